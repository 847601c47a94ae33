"""FSIM: similarity of phase congruency, gradients and chroma.

Zhang, Zhang, Mou, Zhang 2011, doi:10.1109/TIP.2011.2109730 (FSIMc), with the phase congruency of
Kovesi 1999 in the parameters of the authors' own program.
"""

import math

import torch
from torch import Tensor

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
    root,
    shrunk,
)
from perceptbench.tensors import kept

YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
#: Constants of the similarities of phase congruency, gradients, I and Q; exponent of the last two.
T1, T2, T3, T4, CHROMA = 0.85, 160.0, 200.0, 200.0, 0.03
SCALES, ORIENTATIONS, SHORTEST = 4, 4, 6
#: Spread of the log-Gabor filters: of the frequency, as a ratio, and of the angle, in radians.
SPREAD, ANGLE = 0.55, math.pi / (ORIENTATIONS * 1.2)
#: Standard deviations of the noise's energy above its mean that count as noise; the rescaling of
#: that threshold.
DEVIATIONS, RESCALED = 2.0, 1.7
#: Added to energies and amplitudes: where there are none, all phases count as congruent.
EPSILON = 2.0**-52


class FSIM(Halves):
    """1 - FSIMc, on images averaged down to about 256 pixels a side."""

    min_size, fuses = 2, True

    def embed(self, images: Tensor) -> Embedding:
        # On a uniform field the phase of rounding errors would count.
        wide = images if images.device.type == "mps" else images.double()  # it has no float64
        small = shrunk(255 * wide)
        deviations, means = (mixed(t, YIQ) for t in centred(small))
        luma = deviations[:, :1]
        slopes = gradient(framed(luma, means[:, :1], (1, 1, 1, 1)), SCHARR)
        chroma = deviations[:, 1:] + means[:, 1:]
        found = phase_congruency(luma), magnitude(slopes), chroma
        return tuple(t.to(images) for t in found)

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        (phase_x, steep_x, chroma_x), (phase_y, steep_y, chroma_y) = x, y
        lack, steep = apart(phase_x, phase_y, T1), apart(steep_x, steep_y, T2)
        lack = lack + steep - lack * steep
        i, q = (
            apart(chroma_x[:, k : k + 1], chroma_y[:, k : k + 1], constant)
            for k, constant in enumerate((T3, T4))
        )
        hue = i + q - i * q
        # A negative product of similarities, of complementary colours, counts as a positive one.
        hue = torch.where(hue > 1, 2 - hue, hue).clamp_max(1 - 1e-7)
        hue = -torch.expm1(CHROMA * torch.log1p(-hue))
        weight = torch.maximum(phase_x, phase_y)
        lack = lack + hue - lack * hue
        return (lack * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def phase_congruency(luma: Tensor) -> Tensor:
    """Phase congruency PC_2 of deviations of luma (N, 1, H, W) in [-255, 255], (N, 1, H, W)."""
    filters, noises = _filters(luma, *map(int, luma.shape[2:]))
    spectrum = torch.fft.fft2(luma)
    energies, amplitudes = [], []
    for bank, noise in zip(filters, noises, strict=True):  # an orientation each
        found = torch.fft.ifft2(spectrum * bank)  # even and odd responses, (N, SCALES, H, W)
        amplitude, total = found.abs(), found.sum(1, keepdim=True)
        turned = found * (total / (total.abs() + EPSILON)).conj()
        energy = (turned.real - turned.imag.abs()).sum(1, keepdim=True)
        # What noise would give, from the median response at the finest scale.
        power = amplitude[:, 0].square().flatten(1)
        # The median, which ONNX does not have: the largest of the lower half.
        lower = power.topk((power.shape[1] + 1) // 2, largest=False, sorted=False).values
        median = lower.amax(1)
        tau = root(median / math.log(2) * noise)
        above = math.sqrt(math.pi / 2) + DEVIATIONS * math.sqrt(2 - math.pi / 2)
        threshold = (above * tau / RESCALED)[:, None, None, None]
        energies.append((energy - threshold).clamp_min(0))
        amplitudes.append(amplitude.sum(1, keepdim=True))
    return (_total(energies) + EPSILON) / (_total(amplitudes) + EPSILON)


def _total(maps: list[Tensor]) -> Tensor:
    return torch.stack(maps).sum(0)


@kept
def _filters(
    height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Log-Gabor filters (ORIENTATIONS, SCALES, H, W), and of each orientation (ORIENTATIONS,) half
    the noise energy of all scales a unit of power of the finest.
    """
    fy, fx = frequencies(height), frequencies(width)
    radius = radii(fy, fx)
    radius[0, 0] = 1
    # ONNX Runtime has no arctangent beyond float32: a step of Newton's method gives the rest.
    theta = torch.atan2(-fx.float(), fy.float()[:, None]).double()
    theta = theta - (fx * theta.cos() + fy[:, None] * theta.sin()) / radius
    low_pass = 1 / (1 + (radius / 0.45) ** 30)
    waves = radius.new_tensor([1 / (SHORTEST * 2**s) for s in range(SCALES)])
    radial = (radius / waves[:, None, None]).log().square() / (2 * math.log(SPREAD) ** 2)
    radial = (-radial).exp() * low_pass
    radial[:, 0, 0] = 0
    angles = math.pi / ORIENTATIONS * torch.arange(ORIENTATIONS, dtype=torch.float64, device="cpu")
    turned = theta - angles[:, None, None]
    turned = torch.remainder(turned + math.pi, 2 * math.pi) - math.pi
    bank = radial * (-turned.square() / (2 * ANGLE**2)).exp()[:, None]
    powers = bank[:, 0].square().sum((1, 2))
    kernels = torch.fft.ifft2(bank).real * math.sqrt(height * width)
    # The sum over scales of squares and of twice each product is the square of the sum.
    noise = kernels.sum(1).square().sum((1, 2))
    energy = noise / powers
    return bank.to(device, dtype), energy.to(device, dtype)


def frequencies(side: int) -> Tensor:
    """Cycles per pixel in the order of a Fourier transform, as the authors number them.

    Those of `torch.fft.fftfreq`, which ONNX does not have, where the side is even.
    """
    odd = side % 2
    numbers = torch.arange(side, dtype=torch.float64, device="cpu") - side // 2
    return torch.roll(numbers / max(1, side - odd), -(side // 2))


def radii(fy: Tensor, fx: Tensor) -> Tensor:
    """Radial frequencies (H, W) for vertical (H,) and horizontal (W,) ones."""
    return (fy.square()[:, None] + fx.square()).sqrt()  # no hypot, which ONNX does not have
