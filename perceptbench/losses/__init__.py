"""Differentiable perceptual losses, usable on their own.

>>> from perceptbench.losses import load_loss  # doctest: +SKIP
>>> loss = load_loss("lpips-alex")  # doctest: +SKIP
>>> loss(x, y).mean().backward()  # x, y: (N, 3, H, W) in [0, 1]  # doctest: +SKIP

The names below are imported when first used: reading the presets must not cost the import
of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perceptbench.losses.backbones import Backbone
    from perceptbench.losses.config import load_loss
    from perceptbench.losses.feature_loss import FeatureLoss, Term

__all__ = ["Backbone", "FeatureLoss", "Term", "load_loss"]

_HOME = {
    "Backbone": "backbones",
    "FeatureLoss": "feature_loss",
    "Term": "feature_loss",
    "load_loss": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
