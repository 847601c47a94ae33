"""Differentiable perceptual losses, usable on their own.

>>> from perceptbench.losses import load_loss
>>> loss = load_loss("random-alex-l2")  # or "lpips-alex", or the path of a loss TOML
>>> loss(x, y).mean().backward()  # x, y: (N, 3, H, W) in [0, 1]  # doctest: +SKIP

The names below are imported when first used: reading the presets must not cost the import
of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perceptbench.losses.backbones import Backbone, load_network
    from perceptbench.losses.composite import Composite
    from perceptbench.losses.config import load_loss
    from perceptbench.losses.feature_loss import FeatureLoss, Term
    from perceptbench.losses.gan import Adversarial, FeatureMatching
    from perceptbench.losses.inputs import Input
    from perceptbench.losses.networks import small_cnn, small_discriminator
    from perceptbench.losses.nlpd import NLPD
    from perceptbench.losses.pixel import PixelLoss
    from perceptbench.losses.pyramid import SteerablePyramid
    from perceptbench.losses.visible_contrast import VisibleContrast

_HOME = {
    "NLPD": "nlpd",
    "Adversarial": "gan",
    "Backbone": "backbones",
    "Composite": "composite",
    "FeatureLoss": "feature_loss",
    "FeatureMatching": "gan",
    "Input": "inputs",
    "PixelLoss": "pixel",
    "SteerablePyramid": "pyramid",
    "Term": "feature_loss",
    "VisibleContrast": "visible_contrast",
    "load_loss": "config",
    "load_network": "backbones",
    "small_cnn": "networks",
    "small_discriminator": "networks",
}
__all__ = [
    "NLPD",
    "Adversarial",
    "Backbone",
    "Composite",
    "FeatureLoss",
    "FeatureMatching",
    "Input",
    "PixelLoss",
    "SteerablePyramid",
    "Term",
    "VisibleContrast",
    "load_loss",
    "load_network",
    "small_cnn",
    "small_discriminator",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
