"""Full-reference metrics of the piq package, as distances."""

import importlib
from typing import Any

from torch import Tensor


def similarity(reference: Tensor, distorted: Tensor, *, function: str, **options: Any) -> Tensor:
    """1 minus a similarity of piq, (N,).

    Parameters
    ----------
    reference, distorted : (N, 3, H, W) in [0, 1].
    function : name of the function in piq, which gives 1 for identical images.
    options : passed on.
    """
    return 1 - _call(function, reference, distorted, options)


def distance(reference: Tensor, distorted: Tensor, *, function: str, **options: Any) -> Tensor:
    """A distance of piq (0 = identical) as it is, (N,)."""
    return _call(function, reference, distorted, options)


def _call(function: str, reference: Tensor, distorted: Tensor, options: dict[str, Any]) -> Tensor:
    piq = importlib.import_module("piq")
    # piq takes the distorted image first.
    return getattr(piq, function)(distorted, reference, data_range=1.0, reduction="none", **options)
