"""What the classical losses have in common: two halves, filters, roots that have a gradient.

Conventions
-----------
`embed` does once an image what can be done once; `compare` does the rest of a pair. Images are
kept as deviations from their own mean, which every filter leaves alone but at the border: squares
of what is left are then small where the image is nearly uniform, and float32 holds them. Distances
are summed from what the images differ in, never as 1 minus a similarity, which cancels.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench import tensors
from perceptbench.losses.distances import exact
from perceptbench.losses.image_loss import ImageLoss

Embedding = Tensor | tuple[Tensor, ...]


class Halves(ImageLoss):
    """A loss that embeds each image once and compares embeddings: compare(embed(x), embed(y)).

    For options see `ImageLoss`; it has no spatial map.

    Attributes
    ----------
    min_size : smallest image side in pixels it is defined for.
    fuses : whether `compare` takes a CPU a fifth of the time when compiled, or less.
    """

    min_size = 1
    fuses = False

    def __init__(self, **options: Any) -> None:
        self.placeless = type(self).__name__
        super().__init__(**options)

    def embed(self, images: Tensor) -> Embedding:
        """What is compared of images (N, 3, H, W) in [0, 1]: tensors (N, ...)."""
        raise NotImplementedError

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        """Distances (N,) of two embeddings."""
        raise NotImplementedError

    def distances(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `ImageLoss`; raises ValueError for an image side below `min_size` pixels."""
        if min(x.shape[2:]) < self.min_size:
            raise ValueError(
                f"{type(self).__name__} needs {self.min_size} pixels a side, an image has "
                f"{x.shape[3]} x {x.shape[2]}"
            )
        with torch.autocast(x.device.type, enabled=False):
            at_x, at_y = (self.embed(exact(image).expand(-1, 3, -1, -1)) for image in (x, y))
            return self.compare(at_x, at_y)


class Directed(Halves):
    """One that is not symmetric: it takes `y`, what `x` is trained towards, for the reference.

    Parameters
    ----------
    reference_first : whether `x` is the reference instead, as metrics are called.
    options : see `Halves`.
    """

    def __init__(self, *, reference_first: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.reference_first = reference_first

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        return self.judge(y, x) if self.reference_first else self.judge(x, y)

    def judge(self, distorted: Embedding, reference: Embedding) -> Tensor:
        """Distances (N,) of distorted images from their references."""
        raise NotImplementedError


def centred(images: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations (N, C, H, W) of each channel from its mean, and the means (N, C, 1, 1)."""
    # From a pixel on, so that the deviations of a uniform image are 0, not rounding errors.
    corner = images[..., :1, :1]
    means = corner + (images - corner).mean((2, 3), keepdim=True)
    return images - means, means


def mixed(channels: Tensor, weights: Sequence[Sequence[float]]) -> Tensor:
    """Other channels (N, K, H, W) as weighted sums of channels (N, C, H, W)."""
    rows = [
        sum(
            (w * channels[:, c : c + 1] for c, w in enumerate(row[1:], 1)), row[0] * channels[:, :1]
        )
        for row in weights
    ]
    return torch.cat(rows, 1)


def framed(deviations: Tensor, means: Tensor, pad: tuple[int, int, int, int]) -> Tensor:
    """Deviations with black around them (left, right, top, bottom), as a zero of the image is."""
    if not any(pad):
        return deviations
    inside = F.pad(deviations.new_ones(deviations.shape[2:], dtype=torch.bool), pad)
    return torch.where(inside, F.pad(deviations, pad), -means)


def halved(deviations: Tensor, means: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, black being added below and on the right where a side is odd."""
    odd = max(side % 2 for side in deviations.shape[2:])
    return F.avg_pool2d(framed(deviations, means, (0, odd, 0, odd)), 2)


def shrunk(images: Tensor) -> Tensor:
    """Images averaged down so that the shorter side has about 256 pixels; smaller ones as is."""
    factor = shrinking(images)
    return F.avg_pool2d(images, factor) if factor > 1 else images


def shrinking(images: Tensor) -> int:
    """By how much images are averaged down to about 256 pixels a side."""
    return max(1, round(int(min(images.shape[2:])) / 256))


#: Smoothing across the derivative: Prewitt's and Scharr's operators.
PREWITT, SCHARR = (1 / 3, 1 / 3), (3 / 16, 10 / 16)


def gradient(framed: Tensor, smoothing: tuple[float, float]) -> Tensor:
    """Central differences, smoothed across, of images with a frame of one pixel.

    Parameters
    ----------
    framed : (N, 1, H + 2, W + 2).
    smoothing : weight of the neighbours across, and of the pixel's own row or column.

    Returns
    -------
    (N, 2, H, W) : along rows and along columns.
    """
    side, middle = smoothing
    along = framed[..., 2:] - framed[..., :-2]
    down = framed[..., 2:, :] - framed[..., :-2, :]
    along = side * (along[..., :-2, :] + along[..., 2:, :]) + middle * along[..., 1:-1, :]
    down = side * (down[..., :-2] + down[..., 2:]) + middle * down[..., 1:-1]
    return torch.cat([along, down], 1)


def magnitude(vectors: Tensor) -> Tensor:
    """Lengths (N, 1, H, W) of vectors (N, K, H, W)."""
    square = vectors.square().sum(1, keepdim=True)
    # The floor keeps the root's derivative finite; it is beyond what the constants let count.
    return square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()


def root(square: Tensor) -> Tensor:
    """Square root with derivative 0, not infinity, at 0; of NaN it is NaN."""
    zero = square <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def rising(base: Tensor, exponent: float) -> Tensor:
    """base^exponent with derivative 0, not infinity, at 0; of NaN it is NaN."""
    zero = base <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, base) ** exponent)


def apart(u: Tensor, v: Tensor, constant: float) -> Tensor:
    """1 minus the similarity (2 u v + c) / (u^2 + v^2 + c), without the cancellation."""
    return (u - v).square() / (u.square() + v.square() + constant)


@cache
def gaussian(size: int, sigma: float) -> tuple[float, ...]:
    """Weights of a Gaussian, sum 1."""
    weights = [math.exp(-((n - (size - 1) / 2) ** 2) / (2 * sigma**2)) for n in range(size)]
    return tuple(w / sum(weights) for w in weights)


def blurred(images: Tensor, weights: tuple[float, ...], step: int = 1) -> Tensor:
    """Every `step`-th row and column of images filtered along both with K symmetric weights.

    Returns
    -------
    (N, C, H-K+1, W-K+1), or as much of it.
    """
    if images.device.type != "cpu" or torch.onnx.is_in_onnx_export():
        n, c, *size = images.shape
        kernel = tensors.constant(weights, images)
        flat = images.reshape(n * c, 1, *size)
        rows = F.conv2d(flat, kernel.view(1, 1, -1, 1), stride=(step, 1))
        both = F.conv2d(rows, kernel.view(1, 1, 1, -1), stride=(1, step))
        return both.squeeze(1).unflatten(0, (n, c))
    # A convolution of a single channel takes a CPU several times as long as these sums, but ONNX's
    # exporter minutes for their many operations.
    last, half = len(weights) - 1, len(weights) // 2
    for down in (True, False):
        side = images.shape[2 if down else 3] - last
        taps = [
            images[:, :, k : k + side : step] if down else images[..., k : k + side : step]
            for k in range(last + 1)
        ]
        images = taps[half] * weights[half]
        for k in range(half):
            images.add_(taps[k], alpha=weights[k]).add_(taps[last - k], alpha=weights[k])
    return images
