"""How a computed stimulus becomes an image: the display it is shown on."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptbench import colour
from perceptbench.errors import DataError

Array = NDArray[np.float64]

#: Responses L, M, S of the cones (CIE 2006, 2 degrees) -> XYZ of an LED display, as in castleCSF.
FROM_LMS = np.array(
    [
        [2.6291293, -3.7802024, 10.2949564],
        [0.8656491, 1.2155558, -0.9841757],
        [-0.0088866, 0.0816126, 51.3710248],
    ]
)


@dataclass(frozen=True)
class Display:
    """A display with an sRGB curve, at a viewing distance.

    Attributes
    ----------
    pixels_per_degree : viewing resolution in pixels per degree of visual angle.
    background : luminance of the uniform field as a fraction of the display's peak.
    peak : luminance of white in cd/m2, where the stimuli are photometric; `background` then goes
        with the stimulus.
    """

    pixels_per_degree: float
    background: float = 0.3
    peak: float | None = None

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

    @staticmethod
    def clipped(xyz: Array) -> Tensor:
        """XYZ (3, H, W) over the display's peak as a float32 image, clipped to the gamut.

        Coded in float64: what float32 then loses is below 1e-6 in contrast, where light is not
        much darker than 1e-3 of the peak.
        """
        linear = colour.xyz_to_linear(torch.from_numpy(np.ascontiguousarray(xyz)))
        return colour.srgb_encode(linear.clamp(0, 1)).float()

    def __str__(self) -> str:
        if self.peak:
            return f"sRGB of {self.peak:g} cd/m2 peak, {self.pixels_per_degree:g} px/deg"
        return f"sRGB, background {self.background:g} of peak, {self.pixels_per_degree:g} px/deg"


def patch(linear: Tensor, size: int) -> Tensor:
    """A uniform patch (3, size, size) of one colour (3,), linear sRGB clipped to the gamut."""
    coded = colour.srgb_encode(linear.double().clamp(0, 1).view(3, 1, 1))
    return coded.float().expand(3, size, size).contiguous()
