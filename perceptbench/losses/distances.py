"""What compares the activations of two images at a tap.

Conventions
-----------
Each distance is split in two. `embed` maps activations (N, C, H, W) to what is compared, once
an image; `measure` maps the difference of two embeddings to ``(N, K)`` non-negative primitives,
once a pair. The distance at a tap is the primitives' dot product with a head of K weights, so
that losses which differ only in their weights share all the work. K is 1, or C where channels
stay apart.

All vanish for identical activations, also where these are zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def raw(activations: Tensor) -> Tensor:
    """The activations themselves."""
    return activations


def unit(activations: Tensor) -> Tensor:
    """Activations (N, C, H, W) scaled to unit length over the channels at each location.

    A location without any activation stays zero. Zhang et al. 2018, eq. 1.
    """
    norm = torch.linalg.vector_norm(activations, dim=1, keepdim=True)
    # 1e-10 as in the authors' code: it decides what a location of faint activation becomes.
    return activations / (norm + 1e-10)


def gram(activations: Tensor) -> Tensor:
    """Gram matrices (N, C, C) of activations (N, C, H, W), divided by C H W.

    Johnson, Alahi, Fei-Fei 2016, eq. 3.
    """
    n, c, h, w = activations.shape
    flat = activations.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def mean_absolute(difference: Tensor) -> Tensor:
    """Mean absolute value over everything but the batch, (N, 1)."""
    return difference.abs().flatten(1).mean(1, keepdim=True)


def mean_square(difference: Tensor) -> Tensor:
    """Mean square over everything but the batch, (N, 1)."""
    return difference.square().flatten(1).mean(1, keepdim=True)


def sum_square(difference: Tensor) -> Tensor:
    """Sum of squares (of a matrix: its squared Frobenius norm), (N, 1)."""
    return difference.square().flatten(1).sum(1, keepdim=True)


def channel_square(difference: Tensor) -> Tensor:
    """Mean square of each channel over the locations, (N, C)."""
    return difference.square().mean((2, 3))


@dataclass(frozen=True)
class Distance:
    """How activations are compared: a per-image and a per-pair half, and the head.

    Attributes
    ----------
    embed : (N, C, H, W) -> what is compared.
    measure : difference of two embeddings -> (N, K).
    head : the weight of every primitive where no head is given; None where one must be.
    """

    embed: Callable[[Tensor], Tensor]
    measure: Callable[[Tensor], Tensor]
    head: float | None = 1.0


DISTANCES = {
    "l1": Distance(raw, mean_absolute),
    "l2": Distance(raw, mean_square),
    # For unit vectors 1 - cos = |u - v|^2 / 2; this form does not cancel for similar images
    # and gives 0, not 1, where both activations are zero.
    "cosine": Distance(unit, channel_square, head=0.5),
    "unit_normalised": Distance(unit, channel_square, head=None),
    # Squared Frobenius norm, Johnson et al. 2016, eq. 4.
    "gram": Distance(gram, sum_square),
}
