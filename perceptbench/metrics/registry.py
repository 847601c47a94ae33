"""Entry points -> metrics. A broken plugin is reported, never fatal.

The group ``perceptbench.metrics`` may name, in any installed package,

- a package folder of TOML files (``perceptbench.losses.presets``): each file is a metric, named
  by the file, described by the keys of `MetricInfo`;
- a class or a function (``package.module:MyMetric``): called with two batches
  (N, 3, H, W) in [0, 1], reference first, it returns distances (N,), larger = less alike. A
  class is instantiated without arguments first.

Nothing is imported to list the folders; a metric's code is imported when it is built.
"""

import hashlib
import importlib
import importlib.util
import inspect
import json
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from perceptbench.errors import PerceptbenchError, Unavailable, UsageError, unknown

if TYPE_CHECKING:
    from perceptbench.losses.config import Networks

GROUP = "perceptbench.metrics"
#: The top-level keys of a loss file that make the loss itself.
LOSS_KEYS = ("backbone", "input", "tap", "detach_target", "term", "module")


class MetricInfo(BaseModel):
    """What a metric says of itself; the keys of its TOML file.

    Attributes
    ----------
    name : lower case with dashes; the file's name.
    title : one line for people.
    citation : the paper, with its DOI or arXiv number.
    default : whether a run without ``-m`` ranks it.
    scale : how it grows with the difference, which STRESS asks for. ``linear``: in proportion;
        ``squared``: as its square, so that STRESS takes the root (mean squares; a similarity
        that is highest for identical images has no linear term there, hence 1 - SSIM too);
        ``ordinal``: only its order means something (decibels), so that it has no STRESS.
    trained_on : datasets its weights were fitted to.
    min_size : smallest image side in pixels it is defined for.
    pixels_per_degree : for metrics that need the viewing distance, the value assumed where
        the judgements carry none.
    requires : packages it imports.
    metric : ``module:attribute`` of a class or function; or else
    loss : the tables of a loss file (LOSS_KEYS), see `perceptbench.losses.config`.
    options : keyword arguments for `metric`.
    source : where it was found (a file or an entry point).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    source: str
    citation: str = ""
    default: bool = False
    scale: Literal["linear", "squared", "ordinal"] = "linear"
    trained_on: tuple[str, ...] = ()
    min_size: int = 1
    pixels_per_degree: float | None = None
    requires: tuple[str, ...] = ()
    metric: str | None = None
    loss: dict[str, Any] | None = None
    options: dict[str, Any] = {}


@dataclass(frozen=True)
class Metric:
    """A metric ready to score: its description and the callable, one for each resolution.

    Attributes
    ----------
    info : its description.
    at : pixels per degree -> callable (reference, distorted) -> (N,).
    hash : of a loss: changes exactly when its numbers would; None for other metrics.
    """

    info: MetricInfo
    at: Callable[[float | None], Any]
    hash: str | None = None

    def identity(self, pixels_per_degree: float | None) -> str | None:
        """What decides its values, so that these can be kept; None where that is not known."""
        if self.info.metric is None:
            return self.hash
        module = self.info.metric.partition(":")[0]
        code = _code(module)
        return code and json.dumps(
            [
                self.info.metric,
                self.info.options,
                pixels_per_degree,
                code,
                [version(package) for package in self.info.requires],
            ]
        )


@dataclass
class Catalogue:
    """Every metric found, and the plugins that could not be read (name -> reason)."""

    metrics: dict[str, MetricInfo] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def catalogue() -> Catalogue:
    """All metrics of all installed packages; the project's own come first."""
    found = Catalogue()
    points = sorted(
        entry_points(group=GROUP), key=lambda p: (not p.value.startswith("perceptbench."), p.name)
    )
    for point in points:
        try:
            infos = list(_read_entry(point))
        except Exception as error:  # a plugin may raise anything
            found.broken[point.name] = f"{point.value}: {error}"
            continue
        for info in infos:
            if info.name in found.metrics:
                first = found.metrics[info.name].source
                found.broken[point.name] = f"metric {info.name} is already taken by {first}"
            else:
                found.metrics[info.name] = info
    return found


def _code(module: str) -> str | None:
    """Digest of a metric's source: its file if it is ours, else its whole package.

    Another package's parts are not known, and it may be under development.
    """
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # made while running, from no file
        return None
    if spec is None or spec.origin is None:
        return None
    files = [Path(spec.origin)]
    top = module.partition(".")[0]
    if top != __name__.partition(".")[0]:
        root = importlib.util.find_spec(top)
        folders = (root.submodule_search_locations or []) if root else []
        files += [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _read_entry(point: EntryPoint) -> Iterable[MetricInfo]:
    if point.attr:
        spec = importlib.util.find_spec(point.module.partition(".")[0])
        if spec is None:
            raise ImportError(f"there is no module {point.module}")
        source = f"entry point {point.value}"
        yield MetricInfo(name=point.name, title=source, source=source, metric=point.value)
        return
    spec = importlib.util.find_spec(point.module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{point.module} is not a package folder")
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("*.toml")):
            yield read_info(path)


def read_info(path: Path) -> MetricInfo:
    """The metric described in a TOML file; raises UsageError that names the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        loss = {key: table.pop(key) for key in LOSS_KEYS if key in table}
        own = {"name": path.stem, "source": str(path), "loss": loss or None}
        info = MetricInfo.model_validate({"title": path.stem, **table, **own})
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such loss file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not valid TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: key `{key}`: {first['msg'].lower()}") from None
    if (info.metric is None) == (info.loss is None):
        raise UsageError(
            f"{path}: needs either a loss ([backbone] and [[tap]], [[term]], or `module`) or a key "
            "`metric`"
        )
    return info


def select(names: Iterable[str], found: Catalogue) -> list[MetricInfo]:
    """The metrics of the given names or TOML paths; the default set where none is given.

    Raises
    ------
    UsageError : an unknown name (with the nearest ones), a broken plugin, a faulty TOML.
    """
    chosen = {}
    for name in names:
        if name.endswith(".toml"):
            info = read_info(Path(name))
        elif name in found.metrics:
            info = found.metrics[name]
        elif name in found.broken:
            raise UsageError(f"metric plugin {name} cannot be used: {found.broken[name]}")
        else:
            raise unknown("metric", name, found.metrics)
        chosen[info.name] = info
    return list(chosen.values()) or [i for i in found.metrics.values() if i.default]


def build(info: MetricInfo, networks: "Networks") -> Metric:
    """Imports a metric and loads its weights.

    Raises
    ------
    Unavailable : a package or weights cannot be had; the reason is for people.
    """
    if info.loss is not None:
        from perceptbench.losses.config import build_loss, fingerprint, parse_loss, resolve

        config, base = parse_loss(info.loss, info.source), Path(info.source).parent
        loss = build_loss(config, networks, base, info.source)
        return Metric(info, lambda _: loss, fingerprint(resolve(config, loss, base)))
    for package in info.requires:
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"needs the package `{package}`: pip install {package}")
    try:
        make = _import(info)
        make(info.pixels_per_degree)
    except PerceptbenchError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise Unavailable(
            f"{info.metric} cannot be used: {type(error).__name__}: {error}"
        ) from None
    return Metric(info, make)


def describe(info: MetricInfo, weights_dir: Path | None = None) -> str:
    """A metric's description as JSON: for people, then all that decides its numbers.

    A loss is given with every default filled in and its hash, which changes exactly when its
    numbers would; where its weights cannot be had, as in its file, with the reason.
    """
    shown = info.model_dump(mode="json", exclude_none=True, exclude={"loss"})
    if info.loss is not None:
        from perceptbench.losses import config as losses

        parsed, base = losses.parse_loss(info.loss, info.source), Path(info.source).parent
        try:
            loss = losses.build_loss(parsed, losses.Networks(weights_dir), base, info.source)
        except Unavailable as error:
            shown |= {"loss": info.loss, "hash": f"not known: {error}"}
        else:
            resolved = losses.resolve(parsed, loss, base)
            shown |= {"loss": resolved, "hash": losses.fingerprint(resolved)}
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _import(info: MetricInfo) -> Callable[[float | None], Any]:
    """A maker: pixels per degree (None where unknown) -> the callable."""
    assert info.metric is not None
    module, _, attribute = info.metric.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    options = info.options

    def make(pixels_per_degree: float | None) -> Any:
        viewing = {}
        if info.pixels_per_degree is not None:
            viewing = {"pixels_per_degree": pixels_per_degree or info.pixels_per_degree}
        if inspect.isclass(target):
            return target(**options, **viewing)
        return partial(target, **options, **viewing)

    return make
