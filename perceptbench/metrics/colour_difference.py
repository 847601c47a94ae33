"""CIEDE2000 between images, pixel by pixel."""

from torch import Tensor

from perceptbench.losses.pixel import PixelLoss


def ciede2000(reference: Tensor, distorted: Tensor) -> Tensor:
    """Mean over pixels of the CIEDE2000 colour difference, (N,).

    Parameters
    ----------
    reference, distorted : (N, 3, H, W) in [0, 1], sRGB-coded; shown on a D65 display.

    Notes
    -----
    Sharma, Wu, Dalal 2005, doi:10.1002/col.20070, with unit parametric factors.
    """
    return PixelLoss("ciede2000")(reference, distorted)
