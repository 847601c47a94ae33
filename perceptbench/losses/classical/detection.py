"""The standard model of foveal contrast detection of Watson and Ahumada (2005)."""

from typing import Any

import torch
from torch import Tensor

from perceptbench import colour
from perceptbench.losses.classical.halves import Directed, Embedding, centred
from perceptbench.losses.classical.phase import frequencies, radii
from perceptbench.tensors import kept

#: Gain, scale and shape of the contrast sensitivity function; radius of the aperture in
#: degrees; exponent of the pooling. Watson and Ahumada 2005, doi:10.1167/5.9.6, as given in
#: the public file humanCSF.m.
GAIN, F0, F1, LOSS, POWER = 373.08, 4.1726, 1.3625, 0.8493, 0.7786
APERTURE, BETA = 0.6273, 2.4081


class WatsonAhumada(Directed):
    """Visibility of the luminance difference of two images, in detection thresholds.

    The difference in contrast (luminance over the reference's mean luminance, minus one) is
    filtered by the contrast sensitivity function, seen through a foveal aperture at the image's
    centre and pooled over space by a Minkowski sum. 1 is the threshold of detection on a
    uniform field. A model of detection: it knows neither masking nor colour. The paper's
    oblique effect is left out, since its constants could not be verified. Filter and aperture
    are linear, so that each image goes through them alone.

    Parameters
    ----------
    pixels_per_degree : viewing resolution; a usual desktop's unless it is known.
    options : of `Directed`.
    """

    def __init__(self, pixels_per_degree: float = 60.0, **options: Any) -> None:
        super().__init__(**options)
        self.pixels_per_degree = float(pixels_per_degree)

    def embed(self, images: Tensor) -> Embedding:
        luminance, means = centred(colour.luminance(colour.srgb_decode(images)))
        gain, aperture, _ = self._maps(images)
        return aperture * _filtered(luminance, gain), means

    def judge(self, distorted: Embedding, reference: Embedding) -> Tensor:
        (seen_x, mean_x), (seen_y, mean_y) = distorted, reference
        one = self._maps(seen_x)[2]
        # A black reference has no contrast; the floor keeps it finite.
        visible = (seen_x - seen_y + (mean_x - mean_y) * one) / mean_y.clamp_min(1e-4)
        # Scaled by the maximum first: a small number to the power BETA underflows.
        size = visible.abs()
        peak = size.amax((2, 3), keepdim=True).clamp_min(1e-30)
        pooled = ((size / peak) ** BETA).sum((1, 2, 3)) / self.pixels_per_degree**2
        peak = peak.flatten()
        return peak * pooled.clamp_min(1e-30) ** (1 / BETA) * (peak > 1e-30)

    def _maps(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _maps(like, *map(int, like.shape[2:]), self.pixels_per_degree)


@kept
def _maps(
    height: int, width: int, per_degree: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Contrast sensitivity of an image twice as large, aperture, and what is seen of a step of 1.

    The aperture is a Gaussian fall-off of sensitivity around pixel (H // 2, W // 2).
    """
    like: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}
    fy = frequencies(2 * height) * per_degree
    fx = frequencies(2 * width)[: width + 1] * per_degree
    f = radii(fy, fx)
    gain = GAIN * (_sech((f / F0) ** POWER) - LOSS * _sech(f / F1))
    y = (torch.arange(height, **like) - height // 2) / per_degree
    x = (torch.arange(width, **like) - width // 2) / per_degree
    squared = y[:, None] ** 2 + x[None, :] ** 2
    aperture = torch.exp(-squared / (2 * APERTURE**2))
    one = aperture * _filtered(gain.new_ones(1, 1, height, width), gain)
    return gain.to(device, dtype), aperture.to(device, dtype), one[0].to(device, dtype)


def _filtered(contrast: Tensor, gain: Tensor) -> Tensor:
    """Contrast (N, 1, H, W) times the contrast sensitivity, zero beyond the borders."""
    height, width = contrast.shape[-2:]
    size = (2 * height, 2 * width)
    spectrum = torch.fft.rfft2(contrast, s=size)
    return torch.fft.irfft2(spectrum * gain, s=size)[..., :height, :width]


def _sech(x: Tensor) -> Tensor:
    return 1 / torch.cosh(x.clamp_max(80.0))
