"""CIEDE2000 between images, pixel by pixel."""

from torch import Tensor

from perceptbench import colour
from perceptbench.losses.classical.halves import Embedding, Halves

#: Pixels that are compared together on a CPU.
PIXELS = 1 << 14


class CIEDE2000(Halves):
    """Mean over pixels of the CIEDE2000 colour difference; images shown on a D65 display.

    Sharma, Wu, Dalal 2005, doi:10.1002/col.20070, with unit parametric factors.
    """

    def embed(self, images: Tensor) -> Embedding:
        white = colour.linear_to_xyz(images.new_ones(3, 1, 1))
        linear = colour.srgb_decode(images)
        return colour.xyz_to_lab(colour.linear_to_xyz(linear), white)

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        assert isinstance(x, Tensor) and isinstance(y, Tensor)
        # Rows at a time, whose intermediate results fit a CPU's cache.
        rows = max(1, PIXELS // (len(x) * x.shape[3])) if x.device.type == "cpu" else x.shape[2]
        parts = zip(x.split(rows, 2), y.split(rows, 2), strict=True)
        total = sum(colour.ciede2000(a, b).sum((1, 2)) for a, b in parts)
        return total / (x.shape[2] * x.shape[3])
