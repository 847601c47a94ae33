"""Full-reference metrics of torchmetrics, pair by pair: most give a mean over the batch."""

import importlib
from typing import Any

import torch
from torch import Tensor


def each(reference: Tensor, distorted: Tensor, *, function: str, **options: Any) -> Tensor:
    """What a function of ``torchmetrics.functional.image`` gives, with options, for each pair.

    The images are (N, C, H, W), in the range the function is made for.
    """
    compute = getattr(importlib.import_module("torchmetrics.functional.image"), function)
    values = []
    for x, y in zip(reference.split(1), distorted.split(1), strict=True):
        values.append(torch.as_tensor(compute(y, x, **options)).to(reference).reshape(()))
    return torch.stack(values)


class Fetched:
    """`each` of a function that fetches weights when it is first called, which is now."""

    def __init__(self, function: str, **options: Any) -> None:
        self.options = {"function": function, **options}
        with torch.no_grad():
            self(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))

    def __call__(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return each(reference, distorted, **self.options)
