"""Metrics of other libraries, ``LIBRARY:NAME``, behind the protocol of `perceptbench.metrics`.

Each library has a table of what its metrics are, ``LIBRARY.toml``, and a module that calls them.
Listed is what the installed version really has, read off its source without importing it.

Keys of a table: ``package`` (the module it is imported as), ``names`` (a file of the package that
shows what it has: a JSON file's keys; those of the dictionary a Python file assigns, ``FILE:NAME``;
or what a Python file imports), ``[defaults]`` and one ``[metric.NAME]`` a metric, with keys of
`MetricInfo` and ``needs``, the name to be found there (default: NAME). The option ``"NAME"`` stands
for the metric's own.
"""

import ast
import importlib.util
import json
import tomllib
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from perceptbench.errors import Unavailable, unknown
from perceptbench.metrics.protocol import MetricInfo

FOLDER = Path(__file__).parent
#: The libraries, in the order of their names.
LIBRARIES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find(name: str) -> MetricInfo:
    """The metric ``LIBRARY:NAME``; raises UsageError with the nearest names.

    A metric whose library is not installed is found too: building it says what to install.
    """
    library, _, _ = name.partition(":")
    if library not in LIBRARIES:
        raise unknown("library of metrics", library, LIBRARIES, "metrics list --all")
    known = described(library)
    package = _table(library)["package"]
    if name not in known and importlib.util.find_spec(package) is not None:
        raise unknown("metric", name, known, f"metrics list {library}")
    # Of a library that is not there the names are not to be known.
    return known.get(name) or MetricInfo(
        name=name, title=name, source=library, metric=package, requires=(package,), extra=library
    )


def offered(library: str) -> dict[str, MetricInfo]:
    """What the installed version has, by name.

    Raises
    ------
    Unavailable : it is not installed; says what to install.
    UsageError : there is no such library.
    """
    if library not in LIBRARIES:
        raise unknown("library of metrics", library, LIBRARIES, "metrics list --all")
    package = _table(library)["package"]
    if importlib.util.find_spec(package) is None:
        raise Unavailable(f"{library} is not installed: pip install 'perceptbench[{library}]'")
    return described(library)


def described(library: str) -> dict[str, MetricInfo]:
    """What is known of a library's metrics; what the installed version lacks is left out."""
    table = _table(library)
    package = table["package"]
    rows: dict[str, dict[str, Any]] = table.get("metric", {})
    names = _names(package, table.get("names", ""))
    if names is not None and library in RULES:
        rows = {n: {**row, **rows.get(n, {})} for n, row in RULES[library](names).items()}
    number = package_version(package)
    defaults = {
        "requires": (package,),
        "extra": library,
        "source": f"package {package} {number}".strip(),
        "version": number,
        **table.get("defaults", {}),
    }
    found = {}
    for name, row in rows.items():
        if names is not None and row.get("needs", name) not in names:
            continue
        said = {k: v for k, v in row.items() if k != "needs"}
        usual = {} if "metric" in said else defaults.get("options", {})
        options = {**usual, **said.get("options", {})}
        said["options"] = {k: name if v == "NAME" else v for k, v in options.items()}
        said.setdefault("title", f"{name} of {library}")
        full = f"{library}:{name}"
        found[full] = MetricInfo.model_validate({**defaults, **said, "name": full})
    return found


def _pyiqa(names: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """pyiqa's own list of models -> the full-reference ones, and which way each points."""
    rows = {}
    for name, config in names.items():
        if config.get("metric_mode") == "FR":
            higher = not config.get("lower_better", False)
            rows[name] = {
                "title": f"{name} of pyiqa, {config.get('score_range', 'range not stated')}, "
                + ("higher is better" if higher else "lower is better"),
                "higher_is_better": higher,
                "scale": "ordinal",
                "downloads": "pyiqa's servers",
            }
    return rows


def _cvvdp(names: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """ColorVideoVDP's display models -> those that show sRGB-coded images; and a plain one."""
    plain = {
        "title": "ColorVideoVDP, 10 minus JOD: sRGB of 400 cd/m2, dark room, own px/deg",
        "metric": "perceptbench.metrics.adapters.cvvdp:ColorVideoVdp",
        "options": {"luminance": 400.0},
        "pixels_per_degree": 60.0,
        "needs": "standard_4k",
    }
    return {"srgb-400": plain} | {
        name: {"title": f"ColorVideoVDP, 10 minus JOD: {display['name'].strip(' ,')}"}
        for name, display in names.items()
        if display.get("colorspace", "sRGB") == "sRGB"
    }


#: Library -> what makes rows of the dictionary in which it lists its models.
RULES: dict[str, Callable[[dict[str, Any]], dict[str, dict[str, Any]]]] = {
    "cvvdp": _cvvdp,
    "dreamsim": lambda names: {name: {"title": f"DreamSim, {name}"} for name in names},
    "pyiqa": _pyiqa,
}


@cache
def _table(library: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{library}.toml").read_text(encoding="utf-8"))


@cache
def package_version(package: str) -> str:
    """Version of the distribution that a module comes from; empty where that is not known."""
    try:
        return version(_distributions().get(package, [package])[0])
    except PackageNotFoundError:
        return ""


_distributions = cache(packages_distributions)  # module -> distributions: reads all metadata


@cache
def _names(package: str, where: str) -> dict[str, Any] | None:
    """What the file `where` of an installed package lists; None where it is not to be read."""
    spec = importlib.util.find_spec(package)
    if not where or spec is None or not spec.submodule_search_locations:
        return None
    file, _, variable = where.partition(":")
    path = Path(spec.submodule_search_locations[0]) / file
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return dict(json.loads(text))
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError):
        return None
    if not variable:
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        return {alias.asname or alias.name: None for node in imports for alias in node.names}
    variable, _, key = variable.partition(".")
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == variable:
            # OrderedDict({...}) holds its dictionary as an argument.
            value = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            listed = ast.literal_eval(value)
            return dict(listed[key] if key else listed)
    return None
