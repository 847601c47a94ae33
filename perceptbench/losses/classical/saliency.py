"""VSI: similarity of visual saliency, gradients and chroma.

Zhang, Shen, Li 2014, doi:10.1109/TIP.2014.2346028, with the saliency of Zhang, Gu, Li 2013 (SDSP,
doi:10.1109/ICIP.2013.6738036) as in piq.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench import colour
from perceptbench.losses.classical.halves import (
    SCHARR,
    Embedding,
    Halves,
    apart,
    centred,
    framed,
    gradient,
    magnitude,
    mixed,
    shrinking,
)
from perceptbench.losses.classical.phase import frequencies, radii
from perceptbench.tensors import constant, kept

LMN = ((0.06, 0.63, 0.27), (0.30, 0.04, -0.35), (0.34, -0.60, 0.17))
#: Constants of the similarities of saliency, gradients, chroma; exponents of the last two.
T1, T2, T3, STEEP, CHROMA = 1.27, 386.0, 130.0, 0.40, 0.02
#: Saliency: pixels a side; the log-Gabor filter; what draws the eye to the centre and to warmth.
SIDE, PEAK, SPREAD, CENTRE, WARMTH = 256, 0.021, 1.34, 145.0, 0.001
#: The white that the authors' program counts CIELAB from: D50.
WHITE = (0.9642119944211994, 1.0, 0.8251882845188288)


class VSI(Halves):
    """1 - VSI."""

    def embed(self, images: Tensor) -> Embedding:
        deviations, means = (mixed(t, LMN) for t in centred(255 * images))
        factor = shrinking(images)
        pad = (factor // 2, (factor - 1) // 2) * 2
        salient, deviations = (
            F.avg_pool2d(F.pad(t, pad, "replicate"), factor) for t in (saliency(images), deviations)
        )
        slopes = gradient(framed(deviations[:, :1], means[:, :1], (1, 1, 1, 1)), SCHARR)
        return salient, magnitude(slopes), deviations[:, 1:] + means[:, 1:]

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        (salient_x, steep_x, chroma_x), (salient_y, steep_y, chroma_y) = x, y
        steep = -torch.expm1(STEEP * torch.log1p(-apart(steep_x, steep_y, T2)))
        lack = apart(salient_x, salient_y, T1)
        lack = lack + steep - lack * steep
        m, n = apart(chroma_x, chroma_y, T3).split(1, 1)
        hue = m + n - m * n
        # A negative product of similarities is to the power CHROMA a complex number; its real part.
        turned = torch.where(hue > 1, torch.cos(constant(CHROMA * torch.pi, hue)), 1.0)
        hue = torch.where(hue > 1, 2 - hue, hue).clamp_max(1 - 1e-7)
        hue = 1 - turned - turned * torch.expm1(CHROMA * torch.log1p(-hue))
        weight = torch.maximum(salient_x, salient_y)
        lack = lack + hue - lack * hue
        epsilon = torch.finfo(weight.dtype).eps
        return (lack * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) + epsilon)


def saliency(images: Tensor) -> Tensor:
    """Saliency (N, 1, H, W) in [0, 1] of images (N, 3, H, W) in [0, 1]."""
    epsilon = torch.finfo(images.dtype).eps
    small = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    xyz = colour.linear_to_xyz(colour.srgb_decode(small))
    lab = colour.xyz_to_lab(xyz, constant(WHITE, xyz).view(3, 1, 1))
    gabor, centre = _maps(images)
    outstanding = magnitude(torch.fft.ifft2(torch.fft.fft2(lab) * gabor).real)
    low, high = lab.amin((2, 3), keepdim=True), lab.amax((2, 3), keepdim=True)
    warm = ((lab - low) / (high - low + epsilon))[:, 1:].square().sum(1, keepdim=True)
    found = outstanding * centre * -torch.expm1(-warm / WARMTH**2)
    found = F.interpolate(found, images.shape[2:], mode="bilinear", align_corners=True)
    low, high = found.amin((2, 3), keepdim=True), found.amax((2, 3), keepdim=True)
    return (found - low) / (high - low + epsilon)


@kept
def _maps(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The log-Gabor filter and the pull of the centre, (SIDE, SIDE)."""
    at = frequencies(SIDE)
    radius = radii(at, at)
    radius = torch.where(radius <= 0.5, radius, 0.0)
    log = (radius.clamp_min(1e-300) / PEAK).log().square() / (2 * SPREAD**2)
    gabor = torch.where(radius > 0, (-log).exp(), 0.0)
    place = torch.roll(at, SIDE // 2) * SIDE + 1
    centre = (-(place[:, None].square() + place[None].square()) / CENTRE**2).exp()
    return gabor.to(device, dtype), centre.to(device, dtype)
