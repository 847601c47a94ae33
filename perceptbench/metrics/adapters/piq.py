"""Full-reference metrics of the piq package, as distances.

Pairs with a nearly uniform image are computed in float64. In float32 the local variances of such
an image, differences of squares, drown in rounding: 1 - SSIM turns negative, and the order of the
ModelFest patterns changes (2AFC of SSIM at 120 pixels per degree .550 instead of .596, of FSIM
.296 instead of .438). Elsewhere float32 is within 1e-3 and ten times as fast on a CPU.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

Compare = Callable[[Tensor, Tensor], Tensor]

#: Standard deviation of a channel below which it is nearly uniform.
UNIFORM = 0.01


def similarity(reference: Tensor, distorted: Tensor, *, function: str, **options: Any) -> Tensor:
    """1 minus a similarity of piq, (N,), of images (N, 3, H, W) in [0, 1].

    `function` is its name in piq, where it gives 1 for identical images; it gets the options.
    """
    compute = _function(function, options)
    return _compute(lambda x, y: 1 - compute(x, y), reference, distorted)


def distance(reference: Tensor, distorted: Tensor, *, function: str, **options: Any) -> Tensor:
    """What a function of piq gives, as it is, (N,)."""
    return _compute(_function(function, options), reference, distorted)


class Module(nn.Module):
    """A metric of piq that is a module (LPIPS, DISTS, PieAPP ...), made with options, as it is."""

    def __init__(self, module: str, **options: Any) -> None:
        super().__init__()
        piq = importlib.import_module("piq")
        self.inner = getattr(piq, module)(reduction="none", **options)

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self.inner(distorted, reference).reshape(len(reference), -1).squeeze(1)


def _function(name: str, options: dict[str, Any]) -> Compare:
    piq = importlib.import_module("piq")
    return partial(getattr(piq, name), data_range=1.0, reduction="none", **options)


def _compute(compare: Compare, reference: Tensor, distorted: Tensor) -> Tensor:
    uniform = _uniform(reference) | _uniform(distorted)
    value = reference.new_empty(len(reference))
    if not uniform.all():
        # piq takes the distorted image first.
        value[~uniform] = compare(distorted[~uniform], reference[~uniform])
    for i in uniform.nonzero().flatten().tolist():  # a CPU takes longer over a float64 batch
        exact = compare(_double(distorted[i : i + 1]), _double(reference[i : i + 1]))
        value[i : i + 1] = exact.to(value)
    return value


def _uniform(images: Tensor) -> Tensor:
    """Which images (N, C, H, W) have a nearly uniform channel, (N,)."""
    return images.flatten(2).std(2, correction=0).amin(1) < UNIFORM


def _double(image: Tensor) -> Tensor:
    # Apple's mps backend has no float64.
    return (image.cpu() if image.device.type == "mps" else image).double()
