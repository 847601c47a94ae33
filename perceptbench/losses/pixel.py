"""Pixel losses: means over the pixels and channels of images in [0, 1]."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from perceptbench import colour
from perceptbench.errors import UsageError
from perceptbench.losses.distances import exact
from perceptbench.losses.image_loss import ImageLoss, weighted_mean


class PixelLoss(ImageLoss):
    """``l1``: mean |x - y|. ``l2``: mean (x - y)^2. ``charbonnier``: a smooth L1.

    Charbonnier is sqrt((x - y)^2 + e^2) - e with e = 1e-3 (Lai et al. 2017, arXiv:1704.03915,
    eq. 3), shifted so that identical images have distance 0. ``ciede2000`` is the colour difference
    of sRGB-coded images on a D65 display, see `perceptbench.colour`; of grey ones as of equal
    channels.

    Parameters
    ----------
    kind : a key of KINDS.
    options : see `ImageLoss`.

    Examples
    --------
    >>> PixelLoss("l1")(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5))
    tensor([0.5000, 0.5000])
    """

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        if kind not in KINDS:
            raise UsageError(f"unknown pixel loss {kind!r}; one of {', '.join(KINDS)}")
        self.kind, self.of = kind, KINDS[kind]

    def extra_repr(self) -> str:
        """The kind."""
        return self.kind

    def distances(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `ImageLoss`; in full precision also under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            places = self.of(exact(x), exact(y))
            if self.spatial:
                return places.mean(1, keepdim=True)
            if weight is not None:
                return weighted_mean(places, weight).mean(1)
            return places.flatten(1).mean(1)


def _charbonnier(x: Tensor, y: Tensor, epsilon: float = 1e-3) -> Tensor:
    return ((x - y).square() + epsilon**2).sqrt() - epsilon


def _ciede2000(x: Tensor, y: Tensor) -> Tensor:
    x, y = (images.expand(-1, 3, -1, -1) for images in (x, y))
    return colour.ciede2000(colour.srgb_to_lab(x), colour.srgb_to_lab(y))[:, None]


#: Kind -> two batches (N, C, H, W) to their differences (N, C or 1, H, W).
KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda x, y: (x - y).abs(),
    "l2": lambda x, y: (x - y).square(),
    "charbonnier": _charbonnier,
    "ciede2000": _ciede2000,
}
#: The losses by the names of their metrics, see `config.NAMED`.
mae, mse, charbonnier, ciede2000 = (partial(PixelLoss, kind) for kind in KINDS)
