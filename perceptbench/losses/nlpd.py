"""Normalised Laplacian pyramid distance: local means subtracted, local contrast divided by.

Laparra, Balle, Berardino, Simoncelli, Electronic Imaging 2016(16),
doi:10.2352/ISSN.2470-1173.2016.16.HVEI-103, with the parameters of the authors' own program
(https://www.cns.nyu.edu/~lcv/NLPyr/NLP_dist.m), which they fitted to undistorted photographs.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench import tensors
from perceptbench.colour import luma
from perceptbench.errors import UsageError
from perceptbench.losses.classical.halves import blurred as filtered
from perceptbench.losses.classical.halves import root
from perceptbench.losses.distances import exact
from perceptbench.losses.image_loss import ImageLoss, weighted_mean

#: Smallest image side for which six levels can be reflected at their borders.
MIN_SIZE = 33
#: What each level's contrast is normalised by: a constant, and weights of the magnitudes of its
#: neighbours as (rows down, columns right, weight).
LEVELS: tuple[tuple[float, tuple[tuple[int, int, float], ...]], ...] = (
    (0.0248, ((-1, 0, 0.1011), (0, -1, 0.1493), (0, 1, 0.1460), (0, 2, 0.0072), (1, 0, 0.1015))),
    (0.0185, ((-1, 0, 0.0757), (0, -1, 0.1986), (0, 1, 0.1846), (1, 0, 0.0837))),
    (0.0179, ((-1, 0, 0.0477), (0, -1, 0.2138), (0, 1, 0.2243), (1, 0, 0.0467))),
    (0.0191, ((0, -1, 0.2503), (0, 1, 0.2616))),
    (0.0220, ((0, -1, 0.2598), (0, 1, 0.2552))),
    (0.2782, ((0, -1, 0.2215), (0, 1, 0.0717))),
)
#: The binomial filter that levels are blurred with, along rows and columns.
BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


class NLPD(ImageLoss):
    """The mean over six levels of the root mean squared difference of normalised coefficients.

    On luma (Rec. 601). Values are those of ``plenoptic.metric.nlpd``, but that nothing is added
    under the root: identical images have distance 0, and there the gradient is 0. A map of weights
    is averaged down to each level, whose mean square it weighs. For options see `ImageLoss`.

    Examples
    --------
    >>> x = torch.rand(2, 3, 48, 64)
    >>> NLPD()(x, x)
    tensor([0., 0.])
    """

    def __init__(self, **options: Any) -> None:
        if options.get("spatial"):
            raise UsageError("NLPD has no spatial map: it is a root over each whole level")
        super().__init__(**options)

    def distances(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `ImageLoss`; raises ValueError for an image side below 33 pixels."""
        with torch.autocast(x.device.type, enabled=False):
            # Both at once: half the calls, and a level of either is as large as of the other.
            levels = self.embed(torch.cat([exact(x), exact(y)]))
            at_x, at_y = zip(*(level.tensor_split(2) for level in levels), strict=True)
            return self.compare(at_x, at_y, weight)

    def embed(self, images: Tensor) -> tuple[Tensor, ...]:
        """What `compare` takes of images (N, 1 or 3, H, W): the levels of their pyramid."""
        return tuple(normalised_laplacian_pyramid(images))

    def compare(
        self, x: tuple[Tensor, ...], y: tuple[Tensor, ...], weight: Tensor | None = None
    ) -> Tensor:
        """Distances (N,) of two embeddings."""
        roots = []
        for a, b in zip(x, y, strict=True):
            square = (a - b).square()
            if weight is None:
                roots.append(root(square.flatten(1).mean(1)))
            else:
                roots.append(root(weighted_mean(square, weight)[:, 0]))
        return torch.stack(roots).mean(0)


def normalised_laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Six levels of images (N, 1 or 3, H, W), finest first, each (N, 1, H / 2^k, W / 2^k).

    At least float32: in divisions of small differences half precision would be noise.
    """
    level = luma(images) if images.shape[1] == 3 else images
    if min(level.shape[2:]) < MIN_SIZE:
        height, width = level.shape[2:]
        raise ValueError(
            f"the normalised Laplacian pyramid needs {MIN_SIZE} pixels a side, an image has "
            f"{width} x {height}"
        )
    found = []
    for number in range(len(LEVELS)):
        if number < len(LEVELS) - 1:
            below = blurred(level, 2)
            found.append(_normalised(level - doubled(below, level.shape[2:]), number))
            level = below
    return [*found, _normalised(level, len(LEVELS) - 1)]


def _normalised(level: Tensor, number: int) -> Tensor:
    """Coefficients over a constant plus the weighted magnitudes of their neighbours."""
    constant, neighbours = LEVELS[number]
    weights = {(down, right): weight for down, right, weight in neighbours}
    around = range(-2, 3)
    kernel = tuple(tuple(weights.get((i, j), 0.0) for j in around) for i in around)
    magnitudes = F.conv2d(level.abs(), tensors.constant(((kernel,),), level), padding=2)
    return level / (constant + magnitudes)


def blurred(level: Tensor, step: int = 1) -> Tensor:
    """Planes (N, C, H, W) blurred, every `step`-th row and column of them, reflected outside."""
    return filtered(F.pad(level, (2, 2, 2, 2), "reflect"), BLUR, step)


def doubled(level: Tensor, size: torch.Size) -> Tensor:
    """Twice as many rows and columns, the new ones zero, then blurred to the same mean."""
    for dim, side in ((2, size[0]), (3, size[1])):
        level = _doubled_along(level, dim, side)
    return level


def _doubled_along(level: Tensor, dim: int, side: int) -> Tensor:
    """The blur, taken apart for the places that were there and those that are new."""
    count = level.shape[dim]
    before, after = level.narrow(dim, 1, 1), level.narrow(dim, count - 2, 1)
    wide = torch.cat([before, level, after], dim)
    left, right = wide.narrow(dim, 0, count), wide.narrow(dim, 2, count)
    old, new = (left + 6 * level + right) / 8, (level + right) / 2
    both = torch.stack([old, new], dim + 1).flatten(dim, dim + 1)
    return both.narrow(dim, 0, side)
