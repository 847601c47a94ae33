"""CIEDE2000 in two halves."""

from typing import Any

import torch
from torch import Tensor

from perceptbench import colour
from perceptbench.losses.classical.halves import Embedding
from perceptbench.losses.pixel import PixelLoss

#: Pixels that are compared together on a CPU.
PIXELS = 1 << 18


class CIEDE2000(PixelLoss):
    """Mean over pixels of the CIEDE2000 colour difference; images shown on a D65 display.

    Sharma, Wu, Dalal 2005, doi:10.1002/col.20070, with unit parametric factors. For options see
    `ImageLoss`.
    """

    min_size, fuses = 1, True

    def __init__(self, **options: Any) -> None:
        super().__init__("ciede2000", **options)

    def embed(self, images: Tensor) -> Embedding:
        """What is compared of images (N, 3, H, W) in [0, 1]: CIELAB."""
        return colour.srgb_to_lab(images)

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        """Distances (N,) of two embeddings."""
        assert isinstance(x, Tensor) and isinstance(y, Tensor)
        # Rows at a time: few enough for a CPU's cache, enough that calls do not take the time.
        rows = x.shape[2]
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            rows = max(1, PIXELS // (len(x) * x.shape[3]))
        parts = zip(x.split(rows, 2), y.split(rows, 2), strict=True)
        sums = [colour.ciede2000(a, b).sum((1, 2)) for a, b in parts]
        return torch.stack(sums).sum(0) / (x.shape[2] * x.shape[3])
