"""Pixel losses: means over the pixels and channels of (N, 3, H, W) images in [0, 1], (N,)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class PixelLoss(nn.Module):
    """``l1``: mean |x - y|. ``l2``: mean (x - y)^2. ``charbonnier``: a smooth L1.

    Charbonnier is sqrt((x - y)^2 + e^2) - e with e = 1e-3 (Lai et al. 2017, arXiv:1704.03915,
    eq. 3), shifted so that identical images have distance 0.

    Parameters
    ----------
    kind : a key of KINDS.

    Examples
    --------
    >>> PixelLoss("l1")(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5))
    tensor([0.5000, 0.5000])
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.of = kind, KINDS[kind]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances (N,)."""
        return self.of(x - y).flatten(1).mean(1)


def _charbonnier(difference: Tensor, epsilon: float = 1e-3) -> Tensor:
    return (difference.square() + epsilon**2).sqrt() - epsilon


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": torch.abs,
    "l2": torch.square,
    "charbonnier": _charbonnier,
}
