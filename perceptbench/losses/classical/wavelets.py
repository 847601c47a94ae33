"""HaarPSI: similarity of Haar wavelet coefficients.

Reisenhofer, Bosse, Kutyniok, Wiegand 2018, doi:10.1016/j.image.2017.11.001.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench.losses.classical.halves import (
    Embedding,
    Halves,
    apart,
    centred,
    framed,
    halved,
    mixed,
)
from perceptbench.losses.classical.phase import YIQ
from perceptbench.tensors import constant

#: Constant of the similarities; slope of the logistic function.
C, ALPHA = 30.0, 4.2


class HaarPSI(Halves):
    """1 - HaarPSI, on images of half the size."""

    min_size = 16

    def embed(self, images: Tensor) -> Embedding:
        deviations, means = (mixed(t, YIQ) for t in centred(255 * images))
        small = halved(deviations, means)
        luma, mean = small[:, :1], means[:, :1]
        found = [_haar(luma, mean, 2**scale) for scale in (1, 2, 3)]
        fine, coarse = torch.cat(found[:2], 1).abs(), found[2].abs()
        chroma = F.avg_pool2d(framed(small[:, 1:], means[:, 1:], (0, 1, 0, 1)), 2, 1)
        return fine, coarse, (chroma + means[:, 1:]).abs()

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        (fine_x, coarse_x, chroma_x), (fine_y, coarse_y, chroma_y) = x, y
        weights = torch.maximum(coarse_x, coarse_y)
        weights = torch.cat([weights, weights.mean(1, keepdim=True)], 1)
        lack = apart(fine_x, fine_y, C).unflatten(1, (2, 2)).mean(1)
        hue = apart(chroma_x, chroma_y, C).mean(1, keepdim=True)
        lack = torch.cat([lack, hue], 1)
        # How far the logistic function is below its value for equal images, without cancellation.
        top = torch.sigmoid(constant(ALPHA, lack))
        below = torch.sigmoid(ALPHA * (1 - lack)) * (1 - top) * torch.expm1(ALPHA * lack)
        epsilon = torch.finfo(lack.dtype).eps
        below = (below * weights).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) + epsilon)
        # ALPHA times the lack that would put a single place as far below.
        lacking = torch.log1p(below / (top - below)) - torch.log1p(-below / (1 - top + below))
        return (lacking / ALPHA) * (2 - lacking / ALPHA)


def _haar(luma: Tensor, means: Tensor, size: int) -> Tensor:
    """Differences of the upper and lower, left and right halves of a window, (N, 2, H, W)."""
    before, after = size // 2 - 1, size // 2
    wide = framed(luma, means, (before, after, before, after))
    half = wide.new_full((1, 1, size, size), 1 / size)
    half[..., size // 2 :, :] *= -1
    return F.conv2d(wide, torch.cat([half, half.transpose(2, 3)]))
