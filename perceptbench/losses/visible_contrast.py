"""Visible contrast: band-pass contrast in units of its threshold, masked by its neighbourhood.

A model of early vision without fitted weights, for images on a desktop display. Each constant is
a threshold of vision, of the eye or of the display:

- Light scattered in the eye lies as a veil over the image. From one degree on it is GLARE of the
  mean light about, taken to be the image's: the general equation of disability glare (CIE 146,
  2002; Vos 2003, doi:10.1111/j.1444-0938.2003.tb03080.x) over the half space, age 30, brown eyes.
  What is scattered less far is in the sensitivities.
- Light to response: 2 asinh(sqrt(Y / CORNER)). A small step of it is a contrast, times the square
  root of Y / (Y + CORNER): the law of de Vries and Rose in the dark, that of Weber in the light.
  With 7 cd/m2 it is within 6 % of the sensitivity to 2 c/deg of castleCSF from 0.1 to 200 cd/m2
  (Ashraf, Mantiuk, Chapiro, Wuerger 2024, J. Vision 24(4):5, doi:10.1167/jov.24.4.5).
- Three directions of colour: luminance, L against M, S against luminance, as differences of the
  responses of the cones (CIE 2006), in the bands of a Laplacian pyramid (Burt, Adelson 1983).
- Each band is multiplied with the sensitivity of castleCSF at the middle of its octave, for a
  Gabor of one degree at 100 cd/m2 (SENSITIVITY): 1 is a threshold, rounding to 8 bits below it.
- Masking: a response is divided by sqrt(1 + (m / MASK)^2), m the root mean square of its
  neighbourhood. Thresholds of a luminance contrast rise from a mask of a few thresholds on, from
  there in proportion (Legge, Foley 1980, doi:10.1364/JOSA.70.001458); of a chromatic one from its
  own threshold on (Switkes, Bradley, De Valois 1988, doi:10.1364/JOSAA.5.001149).
- Two kinds of detector: of a phase (simple cells), and of the energy in a neighbourhood (complex
  cells), twice the mean square of one phase (Adelson, Bergen 1985, doi:10.1364/JOSAA.2.000284),
  below DARK thresholds none.
- Pooling over places with exponent 3, that of detection by many independent detectors: 2.4 in
  Watson, Ahumada 2005, doi:10.1167/5.9.6; 3.5 in Robson, Graham 1981,
  doi:10.1016/0042-6989(81)90169-3. Octaves, and in them both kinds of detector, then count alike.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perceptbench.colour import luminance, srgb_decode
from perceptbench.losses.classical.halves import Embedding, Halves, rising
from perceptbench.losses.distances import exact
from perceptbench.losses.nlpd import blurred, doubled
from perceptbench.tensors import constant

#: Luminance of white; of black on a reference display (ITU-R BT.2100); that above which Weber's
#: law takes over; all in cd/m2.
PEAK, BLACK, CORNER = 100.0, 0.005, 7.0
#: Light scattered by more than a degree, as a share of the mean light.
GLARE = 0.07
#: Linear sRGB -> responses of L, M and S cones, 1 for white: CIE 2006 fundamentals, as in
#: castleCSF.
CONES = ((0.2740, 0.6566, 0.0694), (0.1008, 0.7791, 0.1201), (0.0173, 0.0966, 0.8860))
#: Spatial frequency in c/deg -> sensitivity to luminance, red-green and yellow-violet contrast
#: in units of the DKL axes that OPPONENT is for: castleCSF, as Cai et al. 2025, arXiv:2502.20256.
SENSITIVITY = {
    0.5: (44.0, 324.1, 43.9),
    1.0: (89.6, 398.4, 49.8),
    2.0: (176.5, 392.6, 45.0),
    4.0: (203.3, 286.4, 30.5),
    8.0: (124.7, 164.1, 16.7),
    16.0: (41.7, 81.5, 8.2),
    32.0: (8.5, 36.7, 3.7),
}
#: Differences of cone contrasts for contrast 1 along each DKL axis, on a white of D65.
OPPONENT = (1.0, 1.366, 0.962)
#: Mask in thresholds, of each direction of colour, from which on it masks.
MASK = (5.0, 1.0, 1.0)
#: Octaves: at 60 pixels per degree they reach from 30 down to half a cycle per degree.
LEVELS = 6
#: Energy below which a neighbourhood is empty, in thresholds.
DARK = 0.1


class VisibleContrast(Halves):
    """How visibly two images differ: the mean over octaves of pooled differences of responses.

    What is below the coarsest octave, the mean colour among it, is not seen. Twice
    differentiable; at identical images the distance and its gradient are 0.

    Parameters
    ----------
    pixels_per_degree : viewing resolution; 60 is a desktop display.
    options : as of `Halves`.

    Examples
    --------
    >>> x = torch.rand(2, 3, 48, 64)
    >>> VisibleContrast()(x, x)
    tensor([0., 0.])
    """

    min_size = 4

    def __init__(self, pixels_per_degree: float = 60.0, **options: Any) -> None:
        super().__init__(**options)
        self.pixels_per_degree = pixels_per_degree

    def embed(self, images: Tensor) -> Embedding:
        """Phase and energy responses, (N, 3, H / 2^k, W / 2^k) and half of that, by octave k."""
        level = opponent_responses(images)
        found: list[Tensor] = []
        for number in range(LEVELS):
            if min(level.shape[2:]) < self.min_size:
                break
            below = blurred(level, 2)
            band = level - doubled(below, level.shape[2:])
            found += _masked(band, self.pixels_per_degree / 2**number)
            level = below
        return tuple(found)

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        """Differences pooled over places, mean of the octaves and of both kinds of detector."""
        pooled = [
            rising((apart * apart * apart).mean((2, 3)).sum(1), 1 / 3)
            for apart in ((u - v).abs() for u, v in zip(x, y, strict=True))
        ]
        return torch.stack(pooled).mean(0)


def _masked(band: Tensor, pixels_per_degree: float) -> tuple[Tensor, Tensor]:
    """Phase and energy responses of one band (N, 3, H, W) of differences of responses."""
    # The geometric mean of the octave that ends at the Nyquist frequency.
    gain = constant(tuple(sensitivity(pixels_per_degree / 2 / math.sqrt(2))), band)
    contrast = gain.view(3, 1, 1) * band
    strength = blurred(contrast.square()) / constant(MASK, band).square().view(3, 1, 1)
    response = contrast * torch.rsqrt(1 + strength)
    energy = (2 * blurred(response.square(), 2) + DARK**2).sqrt()
    return response, energy


def sensitivity(frequency: float) -> list[float]:
    """1 / threshold of the three directions at so many c/deg, by the differences of responses.

    Between the frequencies of SENSITIVITY log-log linear, beyond them as at the last.
    """
    known, values = np.log(list(SENSITIVITY)), np.log(list(SENSITIVITY.values()))
    at = [float(np.exp(np.interp(math.log(frequency), known, axis))) for axis in values.T]
    return [value / unit for value, unit in zip(at, OPPONENT, strict=True)]


def opponent_responses(images: Tensor) -> Tensor:
    """Luminance, L - M and S - luminance, (N, 3, H, W), of images (N, 1 or 3, H, W), sRGB-coded."""
    linear = srgb_decode(exact(images)).expand(-1, 3, -1, -1)
    cones = torch.einsum("ij,njhw->nihw", constant(CONES, linear), linear)
    light = torch.cat([luminance(linear), cones], 1) * PEAK + BLACK
    light = light + GLARE * light.mean((2, 3), keepdim=True)
    y, long, medium, short = (2 * torch.asinh((light / CORNER).sqrt())).split(1, 1)
    return torch.cat([y, long - medium, short - y], 1)
