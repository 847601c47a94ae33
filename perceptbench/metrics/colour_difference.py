"""CIEDE2000 between images, pixel by pixel."""

import torch
from torch import Tensor

from perceptbench import colour


def ciede2000(reference: Tensor, distorted: Tensor) -> Tensor:
    """Mean over pixels of the CIEDE2000 colour difference, (N,).

    Parameters
    ----------
    reference, distorted : (N, 3, H, W) in [0, 1], sRGB-coded; shown on a D65 display.

    Notes
    -----
    Sharma, Wu, Dalal 2005, doi:10.1002/col.20070, with unit parametric factors.
    """
    return colour.ciede2000(_lab(reference), _lab(distorted)).mean((1, 2))


def _lab(images: Tensor) -> Tensor:
    linear = colour.srgb_decode(images)
    white = colour.linear_to_xyz(torch.ones(3, 1, 1, dtype=images.dtype, device=images.device))
    return colour.xyz_to_lab(colour.linear_to_xyz(linear), white)
