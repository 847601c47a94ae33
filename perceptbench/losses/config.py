"""A loss written in TOML, and the module it stands for.

A feature loss names a network and one row a tap; a composite loss one row a term:

.. code-block:: toml

    [backbone]
    name = "vgg16"            # `perceptbench metrics taps` lists networks; "timm:NAME", "hf:REPO",
                              # "open_clip:NAME:TAG", see libraries; or "module:callable"
    weights = "imagenet"      # or "random", or a file's path; "imagenet" and "pretrained" are both
                              # what the network is published with, see weights.find_weights
    seed = 0                  # of random weights
    pooling = "max"           # or "average", "l2"
                              # "steerable-pyramid" has none of these three, but octaves,
                              # orientations, colour, response: see pyramid.SteerablePyramid
    layout = "tokens"         # or "nchw", "nhwc"; these three only where the network does not say
    prefix_tokens = 1         # it, see networks.Layout
    grid = [14, 14]

    [input]                   # optional, see inputs.InputTable
    scales = [1, 0.5]         # the sum over the images at these resolutions
    scale_weights = [1, 1]

    [[tap]]
    layer = "relu3_3"         # `perceptbench metrics taps vgg16` lists them; or "image";
                              # "relu3_3@0.5" reads it for the image at half its resolution
    distance = "l2"           # see distances.DISTANCES
    weight = 1.0
    head = "lpips:vgg:2"      # see weights.load_head; for unit_normalised, structure_texture;
                              # [1.0] gives every channel the same weight
    reduction = "mean"        # for l1, l2, lp, mean_feature
    p = 3                     # for lp
    epsilon = 1e-10           # for cosine, unit_normalised: added to the lengths

    [[term]]                  # instead of [backbone] and [[tap]]
    weight = 0.1
    loss = "lpips-alex"       # a preset, a key of NAMED or a path, or else
    pixel = "l1"              # a key of pixel.KINDS, or else
    matching = "pair"         # or "batch": feature matching, see gan.FeatureMatching, with
    layers = ["relu1"]        # these taps of
    backbone = { name = "small-discriminator", weights = "random" }

    module = "mine:Loss"      # instead of all these: a callable that returns a module, which maps
                              # images (x, y) to (N,), as nlpd.NLPD does

``detach_target = true`` and ``frozen = false`` (of a backbone) concern training
only. Paths are relative to the file's own folder.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from torch import nn

from perceptbench import toml
from perceptbench.errors import DataError, UsageError, unknown
from perceptbench.losses.backbones import (
    Backbone,
    Network,
    at_scale,
    frozen_weights,
    load_network,
    own_module,
)
from perceptbench.losses.classical import LOSSES
from perceptbench.losses.composite import Composite
from perceptbench.losses.distances import POWERS, REDUCTIONS, distance
from perceptbench.losses.feature_loss import FeatureLoss, Term
from perceptbench.losses.fused import EPSILON
from perceptbench.losses.gan import FeatureMatching
from perceptbench.losses.inputs import Input, InputTable
from perceptbench.losses.networks import Kind, architecture
from perceptbench.losses.pixel import KINDS, PixelLoss
from perceptbench.losses.pyramid import OPTIONS
from perceptbench.losses.weights import find_weights, load_head, sha256

#: Raised when a change of the code changes the numbers of a loss file.
CODE_VERSION = 2
#: Losses that have a name and no file: name -> a callable that takes the options of `ImageLoss`.
NAMED = {
    **{name: f"perceptbench.losses.pixel:{name}" for name in ("mse", "mae", "charbonnier")},
    **{name: f"perceptbench.losses.classical.{where}" for name, where in LOSSES.items()},
}
#: Metrics that are no losses: name -> why.
NO_LOSS = {
    "psnr": "it is a logarithm of mse, without a gradient where images are identical; use mse",
    **dict.fromkeys(("butteraugli", "ssimulacra2", "vmaf"), "a program's figure has no gradient"),
}
#: Options of a composite that are its own, and those that are its terms', too.
WHOLE_OPTIONS = ("mean", "range")
TERM_OPTIONS = ("spatial", "detach_target")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackboneTable(_Table):
    """``[backbone]``."""

    name: str
    weights: str = "imagenet"
    seed: int = 0
    pooling: Literal["max", "average", "l2"] = "max"
    frozen: bool = True
    octaves: int | None = None
    orientations: int | None = None
    colour: str | None = None
    response: str | None = None
    layout: Kind | None = None
    prefix_tokens: NonNegativeInt | None = None
    grid: tuple[PositiveInt, PositiveInt] | None = None

    def stated(self) -> dict[str, Any]:
        """What the file says of the layout of activations, see `networks.Layout`."""
        said = {"kind": self.layout, "prefix_tokens": self.prefix_tokens, "grid": self.grid}
        return {key: value for key, value in said.items() if value is not None}

    def options(self) -> dict[str, Any]:
        """The keyword arguments of the network's constructor, defaults filled in.

        Raises
        ------
        UsageError : an unknown network, or keys that it does not take.
        """
        known = architecture(self.name).options
        given = self.model_dump(
            include={*OPTIONS, "weights", "seed", "pooling"}, exclude_unset=True
        )
        wrong = [key for key in given if (key in OPTIONS) != bool(known)]
        if wrong:
            what = f"its keys are {', '.join(known)}" if known else "a key of steerable-pyramid"
            raise UsageError(f"backbone {self.name} takes no `{wrong[0]}`: {what}")
        return {**known, **given} if known else {}


class TapRow(_Table):
    """``[[tap]]``."""

    layer: str
    distance: str
    weight: NonNegativeFloat = 1.0
    head: str | tuple[NonNegativeFloat, ...] | None = None
    reduction: str | None = None
    p: float | None = None
    epsilon: PositiveFloat | None = None


class TermRow(_Table):
    """``[[term]]``."""

    weight: NonNegativeFloat = 1.0
    loss: str | None = None
    pixel: str | None = None
    matching: Literal["batch", "pair"] | None = None
    layers: tuple[str, ...] = ()
    backbone: BackboneTable | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "TermRow":
        if sum(kind is not None for kind in (self.loss, self.pixel, self.matching)) != 1:
            raise ValueError("needs one of `loss`, `pixel` and `matching`")
        if (self.matching is not None) != (self.backbone is not None and bool(self.layers)):
            raise ValueError("`matching` needs `layers` and `backbone`, the others take neither")
        if self.pixel is not None and self.pixel not in KINDS:
            raise ValueError(f"unknown pixel loss {self.pixel!r}; one of {', '.join(KINDS)}")
        return self


class LossConfig(_Table):
    """A whole loss file; see the module's docstring."""

    backbone: BackboneTable | None = None
    input: InputTable = InputTable()
    tap: tuple[TapRow, ...] = ()
    detach_target: bool = False
    term: tuple[TermRow, ...] = ()
    module: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "LossConfig":
        if self.module is not None:
            if self.model_fields_set != {"module"}:
                raise ValueError("has a key `module` beside other keys; the module is all there is")
            return self
        if self.term and (self.tap or self.backbone or self.input.model_fields_set):
            raise ValueError(
                "has rows [[term]] beside a network; put the network into its own file"
            )
        if not self.term and not (self.tap and self.backbone):
            raise ValueError(
                "needs a table [backbone] and rows [[tap]], or rows [[term]], or a key `module`"
            )
        return self


class Networks:
    """Networks already loaded, so that losses over the same one share it.

    Attributes
    ----------
    folder : where weights are looked for first.
    sha256 : weights file -> its sha256, of every file that was used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.sha256: dict[str, str] = {}
        self._loaded: dict[tuple[Any, ...], Network] = {}

    def get(self, table: BackboneTable, base: Path = Path()) -> Network:
        """The network of a ``[backbone]`` table; `base` is what a weights path is relative to."""
        weights, options = None, table.options()
        source = "random" if options else table.weights  # a formula has none
        if source in ("imagenet", "pretrained"):
            weights = find_weights(table.name, self.folder)
        elif source != "random":
            weights = base / source
            if not weights.is_file():
                raise DataError(f"{weights}: there is no such weights file")
        if weights is not None and str(weights) not in self.sha256:
            self.sha256[str(weights)] = sha256(weights)
        seed = table.seed if weights is None else 0
        layout = table.stated()
        key = (table.name, weights, seed, table.pooling, *options.items(), *layout.items())
        if key not in self._loaded:
            self._loaded[key] = load_network(
                table.name, weights, seed, table.pooling, layout=layout, folder=self.folder,
                **options,
            )  # fmt: skip
        return self._loaded[key]


def parse_loss(table: Mapping[str, Any], source: str) -> LossConfig:
    """Checks the tables of a loss file.

    Raises
    ------
    UsageError : a wrong or missing key, a negative weight, an unknown network, distance or
        parameter; names the source and the key.
    """
    try:
        config = LossConfig.model_validate(dict(table))
    except ValidationError as error:
        raise UsageError(f"{source}: {toml.wrong_key(error)}") from None
    try:
        if config.backbone is not None:
            config.backbone.options()
        for row in config.tap:
            distance(row.distance, row.p, row.reduction, row.head is not None, row.epsilon)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    return config


def build_loss(
    config: LossConfig,
    networks: Networks,
    base: Path = Path(),
    source: str = "loss",
    **options: Any,
) -> nn.Module:
    """The module a configuration stands for: a FeatureLoss, a Composite, or the one it names.

    Parameters
    ----------
    config : see `parse_loss`.
    networks : where networks come from.
    base : folder that paths in it are relative to.
    source : the file, for errors.
    options : see `load_loss`.

    Raises
    ------
    Unavailable : its weights or heads cannot be had on this machine.
    UsageError, DataError : a tap, a head or a weights file does not fit.
    """
    try:
        return _build(config, networks, base, options)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def _build(
    config: LossConfig, networks: Networks, base: Path, options: dict[str, Any]
) -> nn.Module:
    if config.module is not None:
        return own_module("loss", config.module, options)
    options = {"detach_target": config.detach_target, **options}
    if config.term:
        whole = {key: options.pop(key) for key in WHOLE_OPTIONS if key in options}
        parts: dict[str, tuple[float, nn.Module]] = {}
        for number, row in enumerate(config.term):
            name = row.loss or row.pixel or f"{row.matching} matching"
            key = name if name not in parts else f"{name} ({number})"
            parts[key] = (row.weight, _build_term(row, networks, base, options))
        whole |= {key: options[key] for key in TERM_OPTIONS if key in options}
        return Composite(parts, **whole)
    assert config.backbone is not None
    network = networks.get(config.backbone, base)
    rows = _live(config)
    taps = [row.layer for row in rows]
    backbone = Backbone(
        network,
        list(dict.fromkeys(taps)),
        resolve_input(config, network),
        frozen=config.backbone.frozen,
        registered=options.pop("registered", False),
    )
    heads = [load_head(row.head, base, networks.folder) for row in rows]
    terms = [
        Term(row.layer, row.distance, row.weight, head, row.p, row.reduction, row.epsilon)
        for row, head in zip(rows, heads, strict=True)
    ]
    loss = FeatureLoss(backbone, terms, **options)
    _check_heads(loss)
    return loss


def _build_term(row: TermRow, networks: Networks, base: Path, options: dict[str, Any]) -> nn.Module:
    few = {key: options[key] for key in TERM_OPTIONS if options.get(key)}
    if row.pixel is not None:
        return PixelLoss(row.pixel, **few)
    if row.loss is not None:
        nested, folder = read_part(row.loss, base)
        if nested.module is not None:
            # A target is detached by the composite; a user's module need not know how.
            options = {key: value for key, value in few.items() if key != "detach_target"}
        elif nested.detach_target:
            options = {**options, "detach_target": True}
        return build_loss(nested, networks, folder, row.loss, **options)
    assert row.backbone is not None and row.matching is not None
    network = networks.get(row.backbone, base)
    return FeatureMatching(
        Backbone(
            network,
            row.layers,
            frozen=row.backbone.frozen,
            registered=options.get("registered", False),
        ),
        match=row.matching,
        **few,
    )


def _live(config: LossConfig) -> list[TapRow]:
    """The rows that count, one an input scale: a tap of weight 0 is not even computed."""
    rows = [
        row.model_copy(update={"layer": at_scale(row.layer, scale), "weight": row.weight * weight})
        for row in config.tap
        for scale, weight in config.input.weighted_scales()
        if row.weight * weight
    ]
    if not rows:
        raise UsageError("a feature loss needs a tap whose weight is not 0")
    return rows


def resolve_input(config: LossConfig, network: Network) -> Input:
    """The input handling: what the network was made for, with the file's keys laid over it."""
    own = config.input.model_dump(include=set(Input.model_fields), exclude_unset=True)
    usual = network.default.model_dump()
    if own.get("positions") == "interpolated":
        usual |= {"resize": "none", "multiple": network.patch}
    return Input.model_validate({**usual, **own})


def _check_heads(loss: FeatureLoss) -> None:
    """Raises UsageError where a head's width is not that of its tap."""
    headed = [n for n, term in enumerate(loss.terms) if term.head is not None]
    if not headed:
        return
    side = max(64, *(loss.backbone.input.crop or (0, 0)))
    side = math.ceil(side / min(loss.backbone.scales))
    with torch.inference_mode():
        at = loss.backbone(torch.zeros(1, 3, side, side, device="cpu"))
    for number in headed:
        term = loss.terms[number]
        wanted = term.how.compare(*[term.how.embed(at[term.tap])] * 2).shape[1]
        width = getattr(loss, f"head{number}").numel()
        if width not in (1, wanted):
            raise UsageError(
                f"tap {term.tap!r}: the head has {width} weights, {wanted} are needed there"
            )


def read_loss(name: str, base: Path = Path()) -> tuple[LossConfig, Path]:
    """The configuration of a preset or a TOML path, and the folder its paths are relative to.

    Raises
    ------
    UsageError : no such preset or file, or a wrong key in it.
    """
    presets = resources.files("perceptbench.losses.presets")
    known = {p.name[:-5]: Path(str(p)) for p in presets.iterdir() if p.name.endswith(".toml")}
    if name.endswith(".toml"):
        path = base / name
        folder, source = path.parent, str(path)
    elif name in known:
        path, folder, source = known[name], Path(), name
    elif name in NAMED:
        return LossConfig(module=NAMED[name]), Path()
    elif name in NO_LOSS:
        raise UsageError(f"{name} is a metric and no loss: {NO_LOSS[name]}")
    else:
        raise unknown("metric", name, {*known, *NAMED})
    table = {k: v for k, v in toml.read(path).items() if k in LossConfig.model_fields}
    return parse_loss(table, source), folder


def read_part(name: str, base: Path = Path()) -> tuple[LossConfig, Path]:
    """The same for a term of a composite loss, which must not be a composite itself."""
    config, folder = read_loss(name, base)
    if config.term:
        raise UsageError(f"{name}: is a composite loss and no term of another; list its terms")
    return config, folder


def load_loss(name: str, weights_dir: str | Path | None = None, **options: Any) -> nn.Module:
    """A preset by its name, or the loss in a TOML file, ready to train with.

    Parameters
    ----------
    name : a preset (``lpips-alex``), a key of NAMED, or a path that ends in ``.toml``.
    weights_dir : folder with weights files; default ``PERCEPTBENCH_WEIGHTS``.
    options : of `ImageLoss` (``mean``, ``spatial``, ``detach_target``, ``range``), and of losses
        over a network: ``checkpointing`` (`FeatureLoss`), ``registered`` (`Backbone`).

    Raises
    ------
    UsageError : no such preset or file, or a wrong key in it.
    Unavailable : the weights cannot be had.
    """
    config, folder = read_loss(name)
    networks = Networks(Path(weights_dir) if weights_dir else None)
    return build_loss(config, networks, folder, name, **options)


def resolve(config: LossConfig, loss: nn.Module, base: Path = Path()) -> dict[str, Any]:
    """Everything that decides the numbers of a loss, every default filled in.

    Names of taps are those of the network, taps and terms of weight 0 are left out, weights of
    networks and heads are given by a digest of their values, wherever they were read from.
    """
    if isinstance(loss, Composite):
        rows = []
        for row, part in zip(config.term, loss.parts, strict=True):
            what = row.model_dump(mode="json", exclude={"weight"}, exclude_none=True)
            what["weights"] = _digest({**part.state_dict(), **frozen_weights(part)})
            if row.loss is not None:
                nested, folder = read_part(row.loss, base)
                what = {"loss": resolve(nested, part, folder)}
            rows.append({"weight": row.weight, **what})
        rows = [row for row in rows if row["weight"]]
        return {"code": CODE_VERSION, "term": sorted(rows, key=_canonical)}
    if config.module is not None:
        found = {
            "module": config.module,
            "weights": _digest({**loss.state_dict(), **frozen_weights(loss)}),
        }
        return {"code": CODE_VERSION, **found, **_own_code(loss)}
    assert config.backbone is not None and isinstance(loss, FeatureLoss)
    taps = [_resolved_tap(row, loss, n) for n, row in enumerate(_live(config))]
    trunk = loss.backbone.trunk
    options = config.backbone.options() if trunk is not None else {}
    weights = _digest(loss.backbone.weights()) if trunk is not None and not options else None
    return {
        "code": CODE_VERSION,
        "backbone": {
            "name": config.backbone.name,
            "pooling": config.backbone.pooling,
            "weights": weights,
            **options,
            **config.backbone.stated(),
        },
        "input": _resolved_input(loss.backbone),
        "tap": sorted(taps, key=_canonical),
    }


def _own_code(loss: nn.Module) -> dict[str, str]:
    """A digest of a user's own code; that of this package has its CODE_VERSION."""
    if type(loss).__module__.startswith("perceptbench."):
        return {}
    try:
        source = inspect.getsource(inspect.getmodule(loss) or type(loss))
    except (OSError, TypeError):  # has none to read
        source = ""
    return {"source": hashlib.sha256(source.encode()).hexdigest()[:16]}


def _resolved_input(backbone: Backbone) -> dict[str, Any]:
    """Without the kernel where nothing is resized."""
    given = backbone.input
    resized = given.resize != "none" or given.multiple is not None or backbone.scales != (1.0,)
    return backbone.input.model_dump(mode="json", exclude=set() if resized else {"kernel"})


def _resolved_tap(row: TapRow, loss: FeatureLoss, number: int) -> dict[str, Any]:
    """One row with the network's own name of the layer and a digest of the head."""
    given: dict[str, Any] = {"layer": loss.backbone.nodes[row.layer], "weight": row.weight}
    given["distance"] = row.distance
    if row.distance in POWERS:
        given["reduction"] = row.reduction or REDUCTIONS[0]
    if row.distance in ("l1", "l2", "lp"):
        given.update(distance="lp", p=row.p or POWERS[row.distance][1])
    if row.epsilon not in (None, EPSILON):
        given["epsilon"] = row.epsilon
    head = getattr(loss, f"head{number}")
    if head is None:
        return given
    if len(head.unique()) == 1:
        head = head[:1]  # equal weights are said in one or in one a channel
    return {**given, "head": _digest({"": head})}


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """Hash of a resolved configuration: changes exactly when the numbers would."""
    return hashlib.sha256(_canonical(resolved).encode()).hexdigest()[:16]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
