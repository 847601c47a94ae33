"""Published scores of published images: ``datasets_manifest/scores/*.toml``, one file a set.

A score set joins datasets of the catalogue: its tables hold what metrics said of their images, as
somebody else computed them. The keys of its TOML are those of `ScoreSet`; how its tables are read
and joined, `perceptbench.datasets.published` tells.
"""

import re
from functools import cached_property
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from pydantic import Field, ValidationError, field_validator

from perceptbench import toml
from perceptbench.datasets import manifest
from perceptbench.datasets.fetch.download import Archive
from perceptbench.datasets.manifest import Manifest, Source, Strict, find_manifest
from perceptbench.errors import DataError


class Here(Strict):
    """The same metric of this program: published scores x ``times`` + ``plus`` are its distances.

    Attributes
    ----------
    metric : its name.
    times, plus : what turns a published score into our distance.
    handling : what the authors did otherwise, so that the numbers differ; empty: nothing.
    """

    metric: str
    times: float = 1.0
    plus: float = 0.0
    handling: str = ""


class ScoreMetric(Strict):
    """One metric of a set: what it is, as far as its authors say.

    Attributes
    ----------
    title : network, training data, distance, input handling.
    citation : of the metric itself, where it is not the set's.
    higher_is_better : it is larger for more alike images.
    trained_on : datasets it was trained on; its figures there are in-domain.
    here : the same metric as this program computes it.
    """

    title: str
    citation: str = ""
    higher_is_better: bool = False
    trained_on: tuple[str, ...] = ()
    here: Here | None = None


class ScoreTable(Strict):
    """Where the scores of one dataset's images stand, and what the columns are called.

    Attributes
    ----------
    dataset, slice : what it joins.
    wide : name of a file with one column a metric.
    single : regular expression of the names of files with the scores of one metric each; its group
        ``metric`` is the name, ``variant`` what was done to the image.
    embedded : file of this package that has the scores, too.
    header : names of the columns, of files without a header.
    columns : theirs -> ours: ``reference, distorted``; ``quality``, ``impairment`` or ``p_b``, what
        people said; ``folder``, which `distorted` lies in; ``score`` in files of one metric. In a
        2afc table ``a`` is the image's name with ``/p0/`` in it, and ``score_a, score_b`` the two.
    minus_from : what people said is this minus the column: 100 - MOS, say.
    drop : column (theirs) -> value: rows left out.
    pattern : searched for in the name of the distorted image; its groups are columns.
    folders : the folders whose images are numbered anew, in the order of the rows.
    partial : it has a part of the dataset only.
    """

    dataset: str
    slice: str = "all"
    wide: str = ""
    single: str = ""
    embedded: str = ""
    header: tuple[str, ...] = ()
    columns: dict[str, str]
    minus_from: float | None = None
    drop: dict[str, str] = Field(default_factory=dict)
    pattern: str = ""
    folders: tuple[str, ...] = ()
    partial: bool = False

    @field_validator("single", "pattern")
    @classmethod
    def _is_an_expression(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from None
        return text


class Listed(Strict):
    """Files of a set that are listed in a CSV beside its TOML: ``file, bytes, rows, sha256``.

    Attributes
    ----------
    list : name of the CSV.
    base : address that file names are appended to.
    left_out : files that are not what their name says: empty, or cut short.
    """

    list: str
    base: str
    left_out: tuple[str, ...] = ()


class ScoreSet(Source):
    """A set of published scores; the keys of its TOML file.

    Attributes
    ----------
    by : who published it, in a few words, for tables.
    metric : by the set's own name.
    rename : what a column or file calls a metric -> its name.
    variant : ``tra`` and the like -> what was done to the distorted image.
    table : the tables, one or several a dataset.
    listed : its files, where these are many.
    """

    by: str
    metric: dict[str, ScoreMetric]
    rename: dict[str, str] = Field(default_factory=dict)
    variant: dict[str, str] = Field(default_factory=dict)
    table: tuple[ScoreTable, ...]
    listed: Listed | None = None

    @property
    def datasets(self) -> list[str]:
        """The datasets it joins."""
        return list(dict.fromkeys(table.dataset for table in self.table))

    @cached_property
    def files(self) -> pd.DataFrame:
        """The listed files; none where there is no list."""
        if self.listed is None:
            return pd.DataFrame(columns=["file", "bytes", "rows", "sha256"])
        return pd.read_csv(folder() / self.listed.list)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Files that are not read, whether they are there or not (`Listed`)."""
        return self.listed.left_out if self.listed else ()

    def archives(self, dataset: str = "", variants: bool = True) -> tuple[Archive, ...]:
        """What is to be fetched: of one dataset, with the scores of changed images or without."""
        chosen = list(self.archive)
        single = {t.single for t in self.table if t.single and dataset in {"", t.dataset}}
        for row in self.files.to_dict("records") if self.listed else ():
            assert self.listed is not None
            matches = [found for s in single if (found := re.fullmatch(s, row["file"]))]
            if not matches or row["file"] in self.left_out:
                continue
            if variants or not matches[0].groupdict().get("variant"):
                chosen.append(
                    Archive(
                        path=row["file"],
                        urls=(self.listed.base + quote(row["file"]),),
                        size=row["bytes"],
                        sha256=row["sha256"],
                    )
                )
        return tuple(chosen)

    def embedded(self, dataset: str) -> Path | None:
        """The file of this package with the scores of a dataset."""
        names = [t.embedded for t in self.table if t.dataset == dataset and t.embedded]
        return (
            Path(str(resources.files("perceptbench.datasets.scores"))) / names[0] if names else None
        )


def folder() -> Path:
    """Where the TOMLs of score sets lie."""
    return manifest.folder() / "scores"


def score_sets(dataset: str = "") -> dict[str, ScoreSet]:
    """Every score set by name, or those that join a dataset."""
    found = {path.stem: read_score_set(path) for path in sorted(folder().glob("*.toml"))}
    return {name: s for name, s in found.items() if dataset in {"", *s.datasets}}


def read_score_set(path: Path) -> ScoreSet:
    """One score set; raises DataError that names the file and the key."""
    try:
        return ScoreSet.model_validate(toml.read(path, "score set", DataError))
    except ValidationError as error:
        raise DataError(f"{path}: {toml.wrong_key(error)}") from None


def find_source(name: str) -> Manifest | ScoreSet:
    """The dataset or score set of a name, or a UsageError with the nearest names."""
    sets = score_sets()
    return sets[name] if name in sets else find_manifest(name, sets)
