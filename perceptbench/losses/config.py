"""A loss written in TOML, and the module it stands for.

.. code-block:: toml

    [loss]
    backbone = "alexnet"            # a key of backbones.ARCHITECTURES
    weights = "imagenet"            # or "random", or a file's path
    seed = 0                        # of random weights
    distance = "unit_normalised"    # a key of distances.DISTANCES
    heads = "alex"                  # LPIPS v0.1 heads, for unit_normalised only

    [loss.taps]                     # tap = its weight
    "features.1" = 1.0
"""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    ValidationError,
    field_validator,
)
from torch import nn

from perceptbench.errors import DataError, UsageError, unknown
from perceptbench.losses.backbones import Backbone, architecture, load_trunk, tap_index
from perceptbench.losses.distances import DISTANCES
from perceptbench.losses.feature_loss import FeatureLoss, Term
from perceptbench.losses.weights import find_weights, lpips_heads, sha256


class LossConfig(BaseModel):
    """The ``[loss]`` table; see the module's docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    taps: dict[str, NonNegativeFloat] = Field(min_length=1)
    distance: str
    weights: str = "imagenet"
    seed: int = 0
    heads: str | None = None

    @field_validator("distance")
    @classmethod
    def _known_distance(cls, value: str) -> str:
        if value not in DISTANCES:
            raise ValueError(f"unknown; one of {', '.join(DISTANCES)}")
        return value


class Trunks:
    """Networks already loaded, so that losses over the same one share it.

    Attributes
    ----------
    sha256 : weights file -> its sha256, of every file that was used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.sha256: dict[str, str] = {}
        self._loaded: dict[tuple[str, Path | None, int], nn.Sequential] = {}

    def get(self, config: LossConfig) -> nn.Sequential:
        """The network of a configuration, at least as deep as its deepest tap."""
        weights = None
        if config.weights == "imagenet":
            weights = find_weights(config.backbone, self.folder)
        elif config.weights != "random":
            weights = Path(config.weights)
        if weights is not None and str(weights) not in self.sha256:
            if not weights.is_file():
                raise DataError(f"{weights}: there is no such weights file")
            self.sha256[str(weights)] = sha256(weights)
        depth = max(tap_index(config.backbone, tap) for tap in config.taps)
        key = (config.backbone, weights, config.seed if weights is None else 0)
        if key not in self._loaded or len(self._loaded[key]) <= depth:
            self._loaded[key] = load_trunk(config.backbone, depth, weights, config.seed)
        return self._loaded[key]


def parse_loss(table: Mapping[str, Any], source: str) -> LossConfig:
    """Checks a ``[loss]`` table; raises UsageError that names the source and the key."""
    try:
        config = LossConfig.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in ("loss", *first["loc"]))
        raise UsageError(f"{source}: key `{key}`: {first['msg'].lower()}") from None
    architecture(config.backbone)
    return config


def build_loss(config: LossConfig, trunks: Trunks) -> FeatureLoss:
    """The module a configuration stands for.

    Raises
    ------
    Unavailable : its weights or heads cannot be had on this machine.
    UsageError, DataError : a tap, a head or a weights file does not fit.
    """
    heads = lpips_heads(config.heads) if config.heads else [None] * len(config.taps)
    if len(heads) != len(config.taps):
        raise UsageError(
            f"the heads {config.heads!r} are for {len(heads)} taps, the loss has {len(config.taps)}"
        )
    terms = [
        Term(tap, config.distance, weight, head)
        for (tap, weight), head in zip(config.taps.items(), heads, strict=True)
    ]
    return FeatureLoss(Backbone(config.backbone, list(config.taps), trunks.get(config)), terms)


def load_loss(name: str, weights_dir: str | Path | None = None) -> FeatureLoss:
    """A preset by its name, or the loss in a TOML file, ready to train with.

    Parameters
    ----------
    name : a preset (``lpips-alex``) or a path that ends in ``.toml``.
    weights_dir : folder with weights files; default ``PERCEPTBENCH_WEIGHTS``.

    Raises
    ------
    UsageError : no such preset or file, or a wrong key in it.
    Unavailable : the weights cannot be had.
    """
    presets = resources.files("perceptbench.losses.presets")
    known = {path.name.removesuffix(".toml"): path for path in presets.iterdir()}
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise UsageError(f"{name}: there is no such loss file")
        text = Path(name).read_text()
    elif name in known:
        text = known[name].read_text()
    else:
        raise unknown("metric", name, [k for k in known if "." not in k])
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: is not valid TOML ({error})") from None
    folder = Path(weights_dir) if weights_dir else None
    return build_loss(parse_loss(table.get("loss", {}), name), Trunks(folder))
