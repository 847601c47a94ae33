"""Where metrics come from: entry points, TOML files, libraries. What is broken is reported.

The group ``perceptbench.metrics`` may name, in any installed package,

- a package folder of TOML files (``perceptbench.losses.presets``): each file is a metric, named
  by the file, described by the keys of `perceptbench.metrics.protocol.MetricInfo`;
- a class, a function or a dictionary (``package.module:MyMetric``), see
  `perceptbench.metrics.protocol`.

A name with a colon (``piq:ssim``) is a metric of a library, see `perceptbench.metrics.adapters`.

Nothing is imported to list the metrics; a metric's code is imported when it is built.
"""

import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from perceptbench import toml
from perceptbench.errors import PerceptbenchError, Unavailable, UsageError, first_line, unknown
from perceptbench.metrics import adapters
from perceptbench.metrics.protocol import MetricInfo, declared

if TYPE_CHECKING:
    from perceptbench.losses.config import Networks

GROUP = "perceptbench.metrics"
#: The top-level keys of a loss file that make the loss itself.
LOSS_KEYS = ("backbone", "input", "tap", "detach_target", "term", "module")
#: The keys that decide a metric's numbers.
DECIDES = (
    "metric", "options", "version", "colour_space", "value_range", "higher_is_better", "identical",
)  # fmt: skip
#: Seconds a package may take to be imported and a class to be made, downloads excepted.
PATIENCE = 120.0


@dataclass(frozen=True)
class Metric:
    """A metric ready to score: its description, with what its code says of itself; pixels per
    degree -> callable (reference, distorted) -> (N,); of a loss what its numbers hang on."""

    info: MetricInfo
    at: Callable[[float | None], Any]
    hash: str | None = None

    def identity(self, pixels_per_degree: float | None) -> str | None:
        """What decides its values, so that these can be kept; None where that is not known."""
        if self.info.metric is None:
            return self.hash
        if self.info.downloads or self.info.weights_dir:
            return None  # the weights' own versions are not known
        code = _code(self.info.metric.partition(":")[0])
        said = self.info.model_dump(mode="json", include=set(DECIDES))
        versions = [adapters.package_version(package) for package in self.info.requires]
        return code and json.dumps([said, pixels_per_degree, code, versions])


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
    """Digest of a metric's source: its folder and colours if it is ours, else its whole package.

    Another package's parts are not known, and it may be under development.
    """
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # made while running, from no file
        return None
    if spec is None or spec.origin is None:
        return None
    top = module.partition(".")[0]
    if top == "perceptbench":
        own = sorted(Path(spec.origin).parent.glob("*.py"))
        files = [*own, Path(__file__).parents[1] / "colour.py"]
    else:
        root = importlib.util.find_spec(top)
        folders = (root.submodule_search_locations or []) if root else []
        parts = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
        files = [Path(spec.origin), *parts]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:20]


def _read_entry(point: EntryPoint) -> Iterable[MetricInfo]:
    if point.attr:
        spec = importlib.util.find_spec(point.module.partition(".")[0])
        if spec is None:
            raise ImportError(f"there is no module {point.module}")
        source = f"entry point {point.value}"
        version = point.dist.version if point.dist else ""
        yield MetricInfo(
            name=point.name, title=source, source=source, metric=point.value, version=version
        )
        return
    spec = importlib.util.find_spec(point.module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{point.module} is not a package folder")
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("*.toml")):
            yield read_info(path)


def read_info(path: Path) -> MetricInfo:
    """The metric described in a TOML file; raises UsageError that names the file and the key."""
    return parse_info(toml.read(path), path.stem, str(path))


def parse_info(
    table: Mapping[str, Any], name: str, source: str, where: str | None = None
) -> MetricInfo:
    """The metric described by the tables of the file `source`, whose folder paths are relative to.

    Raises
    ------
    UsageError : a key is wrong or missing; names `where`, or the file.
    """
    where = where or source
    loss = {key: table[key] for key in LOSS_KEYS if key in table}
    rest = {key: value for key, value in table.items() if key not in LOSS_KEYS}
    own = {"name": name, "source": source, "loss": loss or None}
    try:
        info = MetricInfo.model_validate({"title": name, **rest, **own})
    except ValidationError as error:
        raise UsageError(f"{where}: {toml.wrong_key(error)}") from None
    if sum(part is not None for part in (info.metric, info.loss, info.program)) != 1:
        raise UsageError(
            f"{where}: needs either a loss ([backbone] and [[tap]], [[term]], or `module`), or a "
            "key `metric`, or a key `program`"
        )
    return info


def select(names: Iterable[str], found: Catalogue) -> list[MetricInfo]:
    """The metrics of the given names or TOML paths; the default set where none is given.

    Raises UsageError for an unknown name, a broken plugin or a faulty TOML.
    """
    chosen = {}
    for name in names:
        if name.endswith(".toml"):
            info = read_info(Path(name))
        elif ":" in name:
            info = adapters.find(name)
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
    Unavailable : a package, a program or weights cannot be had, or a plugin does not keep the
        protocol; the reason is for people.
    """
    if info.metric is not None:
        info, target = _import(info)
    if info.loss is not None:
        from perceptbench.losses.config import build_loss, fingerprint, parse_loss, resolve

        config, base = parse_loss(info.loss, info.source), Path(info.source).parent
        loss = build_loss(config, networks, base, info.source)
        return Metric(info, lambda _: loss, fingerprint(resolve(config, loss, base)))
    if info.program is not None:
        from perceptbench.metrics.program import ProgramMetric

        program = ProgramMetric(info)
        return Metric(info, lambda _: program)
    if info.downloads:
        told = f"{info.name} fetches its weights from {info.downloads}"
        print(f"perceptbench: {told} unless they are on this machine", file=sys.stderr)
    make = cache(partial(_make, target, info, networks.folder if networks else None))

    def at(pixels_per_degree: float | None) -> Any:
        assumed = info.pixels_per_degree
        return make(assumed and (pixels_per_degree or assumed))

    at(None)  # what cannot be had is known before the first image
    return Metric(info, at)


def _import(info: MetricInfo) -> tuple[MetricInfo, Any]:
    """Imports a metric's class or function; its description completed by what that says."""
    from perceptbench.metrics.guard import within

    assert info.metric is not None
    for package in info.requires:
        if importlib.util.find_spec(package) is None:
            which = f"'perceptbench[{info.extra}]'" if info.extra else package
            raise Unavailable(f"needs the package `{package}`: pip install {which}")
    module, _, attribute = info.metric.partition(":")
    with _blamed(info, "imported"):
        target = within(PATIENCE, lambda: getattr(importlib.import_module(module), attribute))
    if not callable(target) and not isinstance(target, dict):
        raise Unavailable(f"{info.metric} is {type(target).__name__}, no class, function or loss")
    info = declared(target, info)
    if info.loss is not None:
        file = getattr(sys.modules[module], "__file__", None) or info.source
        info = info.model_copy(update={"metric": None, "source": file})
    return info, target


def _make(
    target: Any, info: MetricInfo, weights_dir: Path | None, pixels_per_degree: float | None
) -> Any:
    """The callable for one viewing resolution; other people's are guarded."""
    from perceptbench.metrics.foreign import Foreign
    from perceptbench.metrics.guard import within

    options = dict(info.options)
    if pixels_per_degree is not None:
        options["pixels_per_degree"] = pixels_per_degree
    if info.weights_dir:
        options["weights_dir"] = weights_dir
    made = partial(target, **options)
    if inspect.isclass(target):
        with _blamed(info, "made"):
            made = within(3600.0 if info.downloads else PATIENCE, made)
    assert info.metric is not None
    ours = info.metric.startswith("perceptbench.") and ".adapters." not in info.metric
    return made if ours else Foreign(made, info)


@contextmanager
def _blamed(info: MetricInfo, what: str) -> Iterator[None]:
    """Whatever is raised inside makes the metric unavailable; ours pass as they are."""
    try:
        yield
    except PerceptbenchError:
        raise
    except Exception as error:  # a plugin may raise anything
        why = f"{type(error).__name__}: {first_line(error)}"
        source = f"; its weights come from {info.downloads}" if info.downloads else ""
        raise Unavailable(f"{info.metric} cannot be {what}: {why}{source}") from None


def describe(info: MetricInfo, weights_dir: Path | None = None) -> str:
    """A metric's description as JSON: for people, then all that decides its numbers.

    A loss is given with every default filled in and its hash, which changes exactly when its
    numbers would; where its weights cannot be had, as in its file, with the reason.
    """
    unavailable = {}
    if info.metric is not None:
        try:
            info, _ = _import(info)
        except Unavailable as error:
            unavailable = {"unavailable": str(error)}
    shown = info.model_dump(mode="json", exclude_none=True, exclude={"loss"}) | unavailable
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
