"""Pixel metrics: functions of two batches (N, 3, H, W) in [0, 1] that give distances (N,)."""

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
