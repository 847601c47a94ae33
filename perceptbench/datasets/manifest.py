"""The catalogue: reads and checks ``datasets_manifest/*.toml``, one file a dataset."""

import importlib.util
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from perceptbench import toml
from perceptbench.datasets.fetch.download import Archive
from perceptbench.datasets.judgements.expectations import Expectation
from perceptbench.errors import DataError, UsageError, first_line, unknown

_PACKAGE = Path(__file__).resolve().parents[1]
#: The entry-point group of datasets in other packages.
GROUP = "perceptbench.datasets"
#: Inside the installed package; beside it in a checkout.
FOLDERS = (_PACKAGE / "datasets_manifest", _PACKAGE.parent / "datasets_manifest")


class Strict(BaseModel):
    """A part of a manifest: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Layout(Strict):
    """One form in which copies of a dataset exist, and how it is read.

    Attributes
    ----------
    name : whose form it is: the owner's, a mirror's.
    files : base names (or ``folder/name``) that a copy of this form has, in any case.
    absent : names that it does not have, where another dataset would be mistaken for it.
    reader : ``module:function``, where it is not the manifest's.
    read : keyword arguments of the reader.
    source : where this form is known from.
    """

    name: str
    files: tuple[str, ...]
    absent: tuple[str, ...] = ()
    reader: str = ""
    read: dict[str, Any] = {}
    source: str = ""


class Option(Strict):
    """A choice the user has in how a dataset is read, given as ``--option NAME=VALUE``.

    Attributes
    ----------
    rows : it changes which judgements are read, so that the expected counts do not hold.
    """

    help: str
    default: str
    choices: tuple[str, ...] = ()
    rows: bool = False


class Published(Strict):
    """A figure a run must come near, and who gave it.

    Attributes
    ----------
    tolerance : how far ours may be from it; None: shown beside ours, never judged.
    """

    slice: str = "all"
    metric: str
    statistic: str
    value: float
    tolerance: float | None = None
    source: str


class Source(Strict):
    """Something that is cited, fetched and found: a dataset, or a set of published scores.

    Attributes
    ----------
    name : as its file is called, without ``.toml``.
    title, citation, homepage, licence, notes : for people.
    terms : what a user accepts before the first download; empty where the owner states none.
    archive : what can be fetched, if it can.
    layout : the forms in which copies exist; the first that fits is read.
    """

    name: str
    title: str
    citation: str
    homepage: str = ""
    licence: str = "not stated"
    terms: str = ""
    notes: tuple[str, ...] = ()
    archive: tuple[Archive, ...] = ()
    layout: tuple[Layout, ...] = ()


class Manifest(Source):
    """What is known of a dataset; the keys of its TOML file.

    Attributes
    ----------
    domain : for people: what distortions or images there are.
    reader : ``module:function`` that returns the Dataset; called with the copy's `Files` and
        what its layout says, or, where it has no layout, without arguments.
    protocols : the judgement tables it has.
    images : ``computed`` from formulas, or ``files``.
    embedded : part of the run without arguments; needs nothing from outside, nor more than seconds.
    group : what is asked of a metric (``detection``, ``colour``, ``masking``, ``matching``), for
        all of it or slice -> group; datasets of one group count once in a standing.
    option : choices the user has, by name.
    expect : ``slice/protocol`` -> what the table must be like; the slice may be one of those that
        agreement is told for: ``category=cnn``, ``test category=imagenet``.
    in_domain : metrics that were trained or tuned on it.
    distortions : what labels or names call a distortion -> its name.
    caption : regular expressions and what takes their place, one after the other, in the key of an
        image, for reports that show it in words.
    published : figures a run must come near. Written by source: ``source``, ``tolerance`` and
        ``figures``, a table statistic -> metric -> value, or -> slice -> value.
    """

    domain: str = ""
    reader: str = ""
    protocols: tuple[str, ...] = ()
    images: Literal["computed", "files"]
    embedded: bool = False
    group: str | dict[str, str] = ""
    option: dict[str, Option] = {}
    expect: dict[str, Expectation] = {}
    in_domain: tuple[str, ...] = ()
    distortions: dict[str, str] = {}
    caption: Annotated[tuple[tuple[re.Pattern[str], str], ...], Field(exclude=True)] = ()
    published: tuple[Published, ...] = ()

    def group_of(self, slice: str) -> str:
        """What a table of it asks; a dataset that says nothing is a group of its own.

        >>> find_manifest("vision-card").group_of("red-green")
        'colour'
        """
        named = self.group.get(slice, "") if isinstance(self.group, dict) else self.group
        return named or self.name

    def in_words(self, key: str) -> str:
        """The image of a key in words; empty where the manifest has none for it.

        >>> find_manifest("edge-in-noise").in_words("pink1/0/edge0.048@0.015")
        '1/f noise, with an edge of RMS contrast 0.015, ramps of 0.048 deg'
        """
        said = key
        for pattern, words in self.caption:
            said = pattern.sub(words, said)
        return "" if said == key else said

    @field_validator("published", mode="before")
    @classmethod
    def _one_row_a_figure(cls, sources: Any) -> Any:
        if not isinstance(sources, list | tuple):
            return sources  # what is wrong with it is said as of any other key
        return [row for source in sources for row in _rows(source)]


def _rows(source: Any) -> Iterator[Any]:
    """The figures of one source, each a row of `Published`; what is one already stays so."""
    if not isinstance(source, dict) or not isinstance(source.get("figures"), dict):
        yield source
        return
    rest = {key: value for key, value in source.items() if key != "figures"}
    for statistic, by_metric in source["figures"].items():
        if not isinstance(by_metric, dict):
            raise ValueError(f"`figures.{statistic}` is no table of metrics")
        for metric, value in by_metric.items():
            by_slice = value if isinstance(value, dict) else {str(rest.get("slice", "all")): value}
            for slice, figure in by_slice.items():
                yield {
                    **rest,
                    "slice": slice,
                    "metric": metric,
                    "statistic": statistic,
                    "value": figure,
                }


def folder() -> Path:
    """Where the manifests lie."""
    return next((path for path in FOLDERS if path.is_dir()), FOLDERS[0])


def manifests() -> dict[str, Manifest]:
    """All manifests by name: ours in the order of their names, then those of plugins."""
    own = {path.stem: read_manifest(path) for path in sorted(folder().glob("*.toml"))}
    return {**own, **{name: m for name, m in plugins()[0].items() if name not in own}}


def plugins() -> tuple[dict[str, Manifest], dict[str, str]]:
    """Datasets of other packages, and the plugins that could not be read (name -> reason).

    The entry-point group ``perceptbench.datasets`` may name a package folder of manifests, or a
    function (``package.module:function``) that returns the Dataset. Nothing is imported here.
    """
    found: dict[str, Manifest] = {}
    broken: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            for manifest in _of_plugin(point):
                # The run without arguments is of our own suite.
                found.setdefault(manifest.name, manifest.model_copy(update={"embedded": False}))
        except Exception as error:  # a plugin may be wrong in any way
            broken[point.name] = f"{point.value}: {first_line(error)}"
    return found, broken


def _of_plugin(point: EntryPoint) -> Iterator[Manifest]:
    if point.attr:
        if importlib.util.find_spec(point.module.partition(".")[0]) is None:
            raise ImportError(f"there is no module {point.module}")
        yield Manifest(
            name=point.name, title=f"plugin {point.value}", reader=point.value,
            images="computed", citation="not stated",
        )  # fmt: skip
        return
    spec = importlib.util.find_spec(point.module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{point.module} is not a package folder")
    for where in spec.submodule_search_locations:
        yield from (read_manifest(path) for path in sorted(Path(where).glob("*.toml")))


def read_manifest(path: Path) -> Manifest:
    """One manifest; raises DataError that names the file and the key."""
    try:
        return Manifest.model_validate(toml.read(path, "manifest", DataError))
    except ValidationError as error:
        raise DataError(f"{path}: {toml.wrong_key(error)}") from None


def find_manifest(name: str, others: Iterable[str] = ()) -> Manifest:
    """The manifest of a name, or a UsageError with the nearest names, `others` among them."""
    own = {path.stem: path for path in folder().glob("*.toml")}
    if name in own:
        return read_manifest(own[name])
    found, broken = plugins()
    if name in found:
        return found[name]
    if name in broken:
        raise UsageError(f"dataset plugin {name} cannot be used: {broken[name]}")
    raise unknown("dataset", name, [*own, *found, *others])
