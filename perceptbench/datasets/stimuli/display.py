"""How a computed stimulus becomes an image: the display it is shown on."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptbench import colour
from perceptbench.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Display:
    """A display with an sRGB curve, at a viewing distance.

    Attributes
    ----------
    pixels_per_degree : viewing resolution in pixels per degree of visual angle.
    background : luminance of the uniform field as a fraction of the display's peak.
    """

    pixels_per_degree: float
    background: float = 0.3

    def show(self, contrast: Array) -> Tensor:
        """A luminance contrast pattern (H, W) as a grey image (3, H, W), float32, never 8 bits.

        Luminance is ``background * (1 + contrast)`` of the peak, sRGB-coded.

        Raises
        ------
        DataError : the luminance leaves [0, 1].
        """
        light = self.background * (1 + contrast)
        if not (light.min() >= 0 and light.max() <= 1):
            raise DataError(
                f"contrasts from {contrast.min():.3g} to {contrast.max():.3g} on a background of "
                f"{self.background:g} of the peak cannot be shown: they leave the display's range"
            )
        return colour.srgb_encode(torch.from_numpy(light)).float().expand(3, -1, -1).contiguous()

    def __str__(self) -> str:
        return f"sRGB, background {self.background:g} of peak, {self.pixels_per_degree:g} px/deg"


def patch(linear: Tensor, size: int) -> Tensor:
    """A uniform patch (3, size, size) of one colour (3,), linear sRGB clipped to the gamut."""
    coded = colour.srgb_encode(linear.double().clamp(0, 1).view(3, 1, 1))
    return coded.float().expand(3, size, size).contiguous()
