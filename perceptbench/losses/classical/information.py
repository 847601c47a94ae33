"""Visual information fidelity in the pixel domain: what is left of the reference's information.

Sheikh, Bovik 2006, doi:10.1109/TIP.2005.859378, in the authors' simplified form (vifp_mscale).
"""

import math

import torch
from torch import Tensor

from perceptbench.losses.classical.halves import (
    Directed,
    Embedding,
    blurred,
    centred,
    gaussian,
    mixed,
)
from perceptbench.losses.classical.phase import YIQ

#: The windows of the four scales; variance of the visual noise, for luma up to 255.
WINDOWS, NOISE = [gaussian(size, size / 5) for size in (17, 9, 5, 3)], 2.0
#: A variance of no information.
NONE = 1e-8


class VIF(Directed):
    """1 - VIF, which is not symmetric. A uniform reference tells nothing: all are at distance 0."""

    min_size, fuses = 41, True

    def embed(self, images: Tensor) -> Embedding:
        level = mixed(255 * centred(images)[0], YIQ[:1])
        found: list[Tensor] = []
        for number, window in enumerate(WINDOWS):
            if number:
                level = blurred(level, window, 2)
            means = blurred(level, window)
            variances = (blurred(level.square(), window) - means.square()).clamp_min(0)
            found += level, means, variances
        return tuple(found)

    def judge(self, distorted: Embedding, reference: Embedding) -> Tensor:
        lost, all_of_it = [], []
        for number, window in enumerate(WINDOWS):
            level_x, mean_x, variance_x = distorted[3 * number : 3 * number + 3]
            level_y, mean_y, variance_y = reference[3 * number : 3 * number + 3]
            covariance = blurred(level_x * level_y, window) - mean_x * mean_y
            # Asked so that what is no number stays none.
            nothing = (variance_y < NONE) | (variance_x < NONE) | (covariance < 0)
            gain = torch.where(nothing, 0.0, covariance / (variance_y + NONE))
            variance_y = torch.where(variance_y < NONE, 0.0, variance_y)
            rest = torch.where(variance_x < NONE, 0.0, variance_x - gain * covariance)
            signal = gain.square() * variance_y / (rest.clamp_min(NONE) + NOISE)
            arrived = torch.log1p(signal).sum((1, 2, 3))
            sent = torch.log1p(variance_y / NOISE).sum((1, 2, 3))
            lost.append(sent - arrived)
            all_of_it.append(sent)
        epsilon = NONE * math.log(10)  # the authors' logarithms are common ones
        return torch.stack(lost).sum(0) / (torch.stack(all_of_it).sum(0) + epsilon)
