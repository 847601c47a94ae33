"""Pixel metrics: functions of two batches (N, 3, H, W) in [0, 1] that give distances (N,)."""

import math

import torch
from torch import Tensor

#: PSNR in dB above which two images count as identical (a mean squared error of 1e-10).
PSNR_CEILING = 100.0


def mse(reference: Tensor, distorted: Tensor) -> Tensor:
    """Mean squared error over pixels and channels."""
    return (reference - distorted).square().mean((1, 2, 3))


def mae(reference: Tensor, distorted: Tensor) -> Tensor:
    """Mean absolute error over pixels and channels."""
    return (reference - distorted).abs().mean((1, 2, 3))


def psnr(reference: Tensor, distorted: Tensor) -> Tensor:
    """PSNR in dB as a distance: 100 dB minus PSNR, 0 for identical images.

    Linear in dB, so that the Pearson correlation is that of the PSNR. The ceiling keeps
    identical images finite. The logarithm is one of float64, also of float32 images: in float32 two
    mean squared errors that differ may have one logarithm, and PSNR would not order as MSE does.
    """
    floor = 10 ** (-PSNR_CEILING / 10)
    return PSNR_CEILING + 10 * mse(reference, distorted).double().clamp_min(floor).log10()


def angle(
    reference: Tensor, distorted: Tensor, form: str = "chord", precision: str = "float64"
) -> Tensor:
    """Angle between the images as vectors, over pi: ``arccos(cosine) / pi``.

    Parameters
    ----------
    form : ``arccos``, as it is written; ``chord``, from the distance of the unit vectors, which is
        the same number and does not cancel for similar images.
    precision : ``float32`` or ``float64``, in which it is computed.
    """
    x, y = (image.flatten(1).to(getattr(torch, precision)) for image in (reference, distorted))
    u, v = (vector / vector.norm(dim=1, keepdim=True) for vector in (x, y))
    if form == "arccos":
        return (u * v).sum(1).clamp(-1, 1).arccos() / math.pi
    return 2 / math.pi * ((u - v).norm(dim=1) / 2).clamp(max=1).arcsin()
