"""The standard model of foveal contrast detection of Watson and Ahumada (2005)."""

import torch
from torch import Tensor, nn

from perceptbench import colour

#: Gain, scale and shape of the contrast sensitivity function; radius of the aperture in
#: degrees; exponent of the pooling. Watson and Ahumada 2005, doi:10.1167/5.9.6, as given in
#: the public file humanCSF.m.
GAIN, F0, F1, LOSS, POWER = 373.08, 4.1726, 1.3625, 0.8493, 0.7786
APERTURE, BETA = 0.6273, 2.4081


class WatsonAhumada(nn.Module):
    """Visibility of the luminance difference of two images, in detection thresholds.

    The difference in contrast (luminance over the reference's mean luminance, minus one) is
    filtered by the contrast sensitivity function, seen through a foveal aperture at the image's
    centre and pooled over space by a Minkowski sum. 1 is the threshold of detection on a
    uniform field. A model of detection: it knows neither masking nor colour. The paper's
    oblique effect is left out, since its constants could not be verified.

    Parameters
    ----------
    pixels_per_degree : viewing resolution.
    """

    def __init__(self, pixels_per_degree: float) -> None:
        super().__init__()
        self.pixels_per_degree = pixels_per_degree

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Distances (N,) between (N, 3, H, W) images in [0, 1], sRGB-coded."""
        y_reference = colour.luminance(colour.srgb_decode(reference)).squeeze(1)
        y_distorted = colour.luminance(colour.srgb_decode(distorted)).squeeze(1)
        # A black reference has no contrast; the floor keeps it finite.
        background = y_reference.mean((1, 2), keepdim=True).clamp_min(1e-4)
        visible = self._filter((y_distorted - y_reference) / background)
        visible = visible * self._aperture(visible)
        per_degree = self.pixels_per_degree
        # Scaled by the maximum first: a small number to the power BETA underflows.
        peak = visible.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
        pooled = ((visible.abs() / peak) ** BETA).sum((1, 2)) / per_degree**2
        return peak.flatten() * pooled.clamp_min(1e-30) ** (1 / BETA) * (peak.flatten() > 1e-30)

    def _filter(self, contrast: Tensor) -> Tensor:
        """Contrast (N, H, W) times the contrast sensitivity, zero beyond the borders."""
        h, w = contrast.shape[-2:]
        size = (2 * h, 2 * w)
        like = {"dtype": contrast.dtype, "device": contrast.device}
        fy = torch.fft.fftfreq(size[0], **like) * self.pixels_per_degree
        fx = torch.fft.rfftfreq(size[1], **like) * self.pixels_per_degree
        f = torch.hypot(fy[:, None], fx[None, :])
        gain = GAIN * (_sech((f / F0) ** POWER) - LOSS * _sech(f / F1))
        spectrum = torch.fft.rfft2(contrast, s=size)
        return torch.fft.irfft2(spectrum * gain, s=size)[..., :h, :w]

    def _aperture(self, image: Tensor) -> Tensor:
        """Gaussian fall-off of sensitivity around pixel (H // 2, W // 2), (H, W)."""
        h, w = image.shape[-2:]
        y = (torch.arange(h, device=image.device) - h // 2) / self.pixels_per_degree
        x = (torch.arange(w, device=image.device) - w // 2) / self.pixels_per_degree
        squared = y[:, None] ** 2 + x[None, :] ** 2
        return torch.exp(-squared / (2 * APERTURE**2)).to(image.dtype)


def _sech(x: Tensor) -> Tensor:
    return 1 / torch.cosh(x.clamp_max(80.0))
