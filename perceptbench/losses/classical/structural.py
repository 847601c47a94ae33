"""Structural similarity: SSIM and MS-SSIM, as 1 minus the similarity.

Wang, Bovik, Sheikh, Simoncelli 2004, doi:10.1109/TIP.2003.819861; Wang, Simoncelli, Bovik 2003,
doi:10.1109/ACSSC.2003.1292216. Of each channel of RGB, then the mean of the three, as in piq.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench.losses.classical.halves import (
    Embedding,
    Halves,
    blurred,
    centred,
    gaussian,
    shrunk,
)
from perceptbench.tensors import constant

#: The window; (0.01, 0.03) squared.
WINDOW, C1, C2 = gaussian(11, 1.5), 1e-4, 9e-4
#: Weights of the scales of MS-SSIM, finest first.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: Values of an image whose channels are compared together: of fewer, the calls take the time. Not
#: of a batch: its size is not known where a loss is exported.
TOGETHER = 1 << 20


def local(images: Tensor) -> Embedding:
    """Deviations, means over the image, local means of the deviations, local variances."""
    deviations, means = centred(images)
    local_means = blurred(deviations, WINDOW)
    return deviations, means, local_means, blurred(deviations.square(), WINDOW) - local_means**2


def parts(x: Embedding, y: Embedding) -> tuple[Tensor, Tensor]:
    """1 - l and 1 - cs at each place, (N, C, H - 10, W - 10): what the similarities lack of 1."""
    (x, mean_x, local_x, variance_x), (y, mean_y, local_y, variance_y) = x, y
    difference = local_x - local_y
    # The variance of the difference: var x + var y - 2 cov, but exact for similar images.
    structure = blurred((x - y).square(), WINDOW) - difference.square()
    structure = structure / (variance_x + variance_y + C2)
    a, b = local_x + mean_x, local_y + mean_y
    luminance = (difference + (mean_x - mean_y)).square() / (a.square() + b.square() + C1)
    return luminance, structure


def _channels(x: Embedding, y: Embedding) -> Iterator[tuple[Embedding, Embedding]]:
    """Both embeddings, of large images a channel at a time, whose results fit a CPU's cache."""
    channels = x[0].shape[1]
    step = channels if math.prod(x[0].shape[1:]) <= TOGETHER else 1
    for channel in range(0, channels, step):
        part = slice(channel, channel + step)
        yield tuple(t[:, part] for t in x), tuple(t[:, part] for t in y)


class SSIM(Halves):
    """1 - SSIM, with images averaged down to about 256 pixels a side, as its authors advise.

    Examples
    --------
    >>> x = torch.rand(2, 3, 32, 48)
    >>> SSIM()(x, x)
    tensor([0., 0.])
    """

    min_size, fuses = 11, True

    def embed(self, images: Tensor) -> Embedding:
        return local(shrunk(images))

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        found = []
        for channel in _channels(x, y):
            luminance, structure = parts(*channel)
            found.append((luminance + structure - luminance * structure).mean((2, 3)))
        return torch.cat(found, 1).mean(1)


class MSSSIM(Halves):
    """1 - MS-SSIM over five scales; 1 where a scale's contrasts are opposed, without a gradient."""

    min_size, fuses = 161, True

    def embed(self, images: Tensor) -> Embedding:
        found = [*local(images)]
        for _ in SCALES[1:]:
            odd = max(side % 2 for side in images.shape[2:])
            images = F.avg_pool2d(F.pad(images, (odd, 0, odd, 0), "replicate"), 2)
            found += local(images)
        return tuple(found)

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        lacking = []
        for start in range(0, len(x), 4):
            found = []
            for channel in _channels(x[start : start + 4], y[start : start + 4]):
                luminance, structure = parts(*channel)
                if start + 4 == len(x):
                    structure = luminance + structure - luminance * structure
                found.append(structure.mean((2, 3)))
            lacking.append(torch.cat(found, 1))
        lack = torch.stack(lacking, -1)  # (N, C, scales)
        alive = ~(lack >= 1).any(-1)  # not a number is no 1
        logs = torch.log1p(-torch.where(alive[..., None], lack, 0.0))
        product = -torch.expm1((logs * constant(SCALES, logs)).sum(-1))
        return torch.where(alive, product, 1.0).mean(1)
