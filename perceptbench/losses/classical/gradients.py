"""Similarity of gradients: GMSD and MDSI."""

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench.losses.classical.halves import (
    PREWITT,
    Directed,
    Embedding,
    Halves,
    apart,
    centred,
    framed,
    gradient,
    halved,
    magnitude,
    mixed,
    rising,
    root,
    shrinking,
)
from perceptbench.losses.classical.phase import YIQ

#: L, H and M of MDSI (Nafchi et al. 2016, eq. 5 and 6).
LHM = ((0.2989, 0.587, 0.114), (0.30, 0.04, -0.35), (0.34, -0.60, 0.17))


class GMSD(Halves):
    """Standard deviation of the similarity of gradient magnitudes, on luma of half the size.

    Xue, Zhang, Mou, Bovik 2014, doi:10.1109/TIP.2013.2293423. Its gradient is 0, not NaN, where
    both images have no gradient and where they are alike.
    """

    def embed(self, images: Tensor) -> Embedding:
        deviations, means = (mixed(t, YIQ[:1]) for t in centred(images))
        small = halved(deviations, means)
        return magnitude(gradient(framed(small, means, (1, 1, 1, 1)), PREWITT))

    def compare(self, x: Embedding, y: Embedding) -> Tensor:
        assert isinstance(x, Tensor) and isinstance(y, Tensor)
        lack = apart(x, y, 170 / 255**2)
        return root((lack - lack.mean((1, 2, 3), keepdim=True)).square().mean((1, 2, 3)))


class MDSI(Directed):
    """Mean deviation similarity index: gradients and chromaticities, combined as a sum.

    Not symmetric.

    Nafchi, Shahkolaei, Hedjam, Cheriet 2016, doi:10.1109/ACCESS.2016.2604042.
    """

    def embed(self, images: Tensor) -> Embedding:
        deviations, means = centred(255 * images)
        factor = shrinking(images)
        before, after = (factor - 1) // 2, factor // 2
        small = F.avg_pool2d(framed(deviations, means, (before, after, before, after)), factor)
        small, means = mixed(small, LHM), mixed(means, LHM)
        slopes = gradient(framed(small[:, :1], means[:, :1], (1, 1, 1, 1)), PREWITT)
        return slopes, magnitude(slopes), small[:, 1:], means[:, 1:]

    def judge(self, distorted: Embedding, reference: Embedding) -> Tensor:
        slopes_x, steep_x, chroma_x, mean_x = distorted
        slopes_y, steep_y, chroma_y, mean_y = reference
        between = magnitude((slopes_x + slopes_y) / 2)
        lack = (
            apart(steep_x, steep_y, 140.0)
            + apart(steep_x, between, 55.0)
            - apart(steep_y, between, 55.0)
        )
        square = ((chroma_x - chroma_y) + (mean_x - mean_y)).square().sum(1, keepdim=True)
        sizes = (chroma_x + mean_x).square() + (chroma_y + mean_y).square()
        chroma = square / (sizes.sum(1, keepdim=True) + 550.0)
        lack = 0.6 * lack + 0.4 * chroma
        # What the similarity to the power 1/4 lacks of 1; a complex number where it is negative.
        turned = rising((lack - 1).clamp_min(0), 0.25) * 0.5**0.5
        alike = -torch.expm1(0.25 * torch.log1p(-torch.where(lack < 1, lack, 0.0)))
        real = torch.where(lack < 1, alike, 1 - turned)
        imaginary = torch.where(lack < 1, 0.0, turned)
        deviation = root(
            (real - real.mean((2, 3), keepdim=True)).square()
            + (imaginary - imaginary.mean((2, 3), keepdim=True)).square()
        )
        return rising(deviation.mean((1, 2, 3)), 0.25)
