"""Agreement of anybody's scores with anybody's judgements: two tables, from any language.

Conventions
-----------
Judgements as in `perceptbench.datasets.judgements.protocols`, or votes (`... .votes`).
Scores have one row an image pair, keyed ``reference, distorted`` (in a same_different table the
key may be called ``a, b``), and one column of numbers a metric. A score is a distance, larger is
less alike, unless it is said to be higher for better. A column is a metric where at least half of
its cells that say anything are numbers: the others of it are what the metric did not answer.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perceptbench.agreement.answers import (
    FAILED,
    KEY,
    directions,
    distances,
    in_words,
    places,
    unanswered,
)
from perceptbench.agreement.evaluate import Evaluation, evaluate
from perceptbench.datasets.judgements.own import read_judgements
from perceptbench.datasets.judgements.protocols import Judgements, as_text, pairs, protocol_of
from perceptbench.datasets.judgements.tables import IMAGES, NUMBERS, as_numbers, lacks, read_table
from perceptbench.datasets.judgements.votes import Mos
from perceptbench.datasets.score_sets import Here
from perceptbench.errors import DataError, absent, printable

#: What metrics are compared and ranked by, most important first.
RANKED = {"2afc": ("2afc",), "rating": ("srcc", "krcc", "plcc"), "same_different": ("jnd_ap",)}
#: What a cell says where there is nothing to say; in a score, that there is none.
NOTHING = {"nan", "na", "n/a", "none", "null", "inf", "+inf", "-inf", "-"}
#: Metrics of one file: every two of them are compared.
MOST = 2000


@dataclass
class Scores:
    """Scores computed elsewhere.

    Attributes
    ----------
    reasons : (metric, reference, distorted) -> why a cell is no score.
    records : metric -> what goes into ``run.json`` of it: title, citation, trained_on.
    here : metric -> the same metric as computed here, see `score_sets.Here`.
    changes : what stands behind an @ in a metric's name -> what was done to the images.
    """

    source: str  # the file, or ``published by SOMEBODY``
    table: pd.DataFrame  # reference, distorted and a column of distances a metric; NaN: no answer
    metrics: list[str]
    assumed: list[str] = field(default_factory=list)  # to read them, in sentences
    reasons: dict[tuple[str, str, str], str] = field(default_factory=dict)
    dataset: str = ""  # the only one they are of; "" where names of images say it
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    here: Mapping[str, Here] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)

    def named(self, columns: Mapping[str, str]) -> "Scores":
        """The metrics of other names (name -> column) that it has; what differs is assumed."""
        here = {name: column for name, column in columns.items() if column in self.metrics}
        told = []
        for name, column in here.items():
            same = self.here.get(column)
            how = f" ({same.handling})" if same and same.handling and same.metric == name else ""
            told += [f"{column} stands for {name}{how}"] if name != column else []
        table = self.table[KEY].assign(**{name: self.table[c] for name, c in here.items()})
        records = {name: self.records[c] for name, c in here.items() if c in self.records}
        return replace(
            self, table=table, metrics=sorted(here), assumed=told, records=records, here={}
        )

    def turn(self, higher_is_better: Collection[str]) -> None:
        """Makes distances of those of the metrics that are similarities."""
        for name in self.metrics:
            if name in higher_is_better:
                self.table[name] = -self.table[name]

    def failed(self, part: Judgements) -> pd.DataFrame:
        """What of the judgements has no score: the rows of ``failed.csv``."""
        if self.dataset not in ("", part.dataset):
            return pd.DataFrame(columns=list(FAILED))
        otherwise = f"no row in {Path(self.source).name}"
        return unanswered(part, self.table, self.metrics, self.reasons, otherwise)


@dataclass
class Tables:
    """Judgements and scores that belong together."""

    judgements: Judgements
    scores: Scores
    failed: pd.DataFrame  # what of the judgements has no score, as in ``failed.csv``
    said: list[str]  # what was assumed, seems to point the wrong way, and was not answered

    def evaluate(self) -> Evaluation:
        """How well the metrics agree with the people."""
        return evaluate([self.judgements], self.scores.table, metrics=self.scores.metrics)


def read(
    judgements: Path,
    scores: Path,
    *,
    metrics: Sequence[str] = (),
    higher_is_better: Collection[str] = (),
    resample: Sequence[str] = (),
    mos: Mos = "mean",
) -> Tables:
    """Both tables, CSV, Excel or Parquet files, checked against each other.

    Parameters
    ----------
    metrics : columns of the scores; all of numbers where none is named.
    resample : columns of the judgements that hold further units, beside the images that items
        share (`perceptbench.agreement.units`).
    mos : how the ratings of single people (a column `rater`) become one.

    Raises
    ------
    UsageError : there is no such metric or column; the nearest are named.
    DataError : a file cannot be read, a pair is scored twice with different numbers, or no pair
        of the judgements is among the scores.
    """
    own = read_judgements(judgements, mos)
    table = own.table
    found = read_scores(scores, metrics)
    for metric in higher_is_better:
        if metric not in found.metrics:
            raise absent(scores, "metric", metric, found.metrics)
    found.turn(higher_is_better)
    for column in resample:
        if column not in table:
            raise absent(judgements, "column", column, [str(c) for c in table.columns])
    part = Judgements(
        printable(judgements.stem),
        table,
        resample=tuple(resample),
        statistics=RANKED[protocol_of(table, str(judgements))],
        votes=own.votes,
    )
    said = [
        *(f"{judgements.name}: {sentence}" for sentence in own.assumed),
        *(f"{scores.name}: {sentence}" for sentence in found.assumed),
    ]
    known = distances(part, found.table, found.metrics)
    if not np.isfinite(known).all(axis=0).any():
        x, y = pairs(table).iloc[0]
        first = ", ".join(map(str, found.table[KEY].iloc[0]))
        raise DataError(
            f"{scores}: has no score for any judgement of {judgements}; the first needs the "
            f"pair ({x}, {y}), the first scored is ({first})"
        )
    (judged,) = places(pairs(table), [found.table[KEY]])
    if unused := int((judged < 0).sum()):
        said.append(
            f"{scores.name}: {unused:,} of {len(judged):,} scored pairs are in no judgement "
            f"of {judgements.name}"
        )
    said += directions(part, found.table, found.metrics, higher_is_better)
    failed = found.failed(part)
    said += in_words(part, known, found.metrics, failed)
    return Tables(part, found, failed, said)


def read_scores(path: Path, metrics: Sequence[str] = ()) -> Scores:
    """The scores of a file; `metrics`: which of its columns, all of numbers where none is named.

    Raises
    ------
    UsageError, DataError : as `read`.
    """
    table, assumed = read_table(path, IMAGES)
    if not set(KEY) <= set(table.columns) and {"a", "b"} <= set(table.columns):
        table = table.rename(columns={"a": "reference", "b": "distorted"})
    missing = [column for column in KEY if column not in table]
    if missing:
        raise DataError(
            f"{path}: column `{missing[0]}` is missing; scores need {', '.join(KEY)}"
            f"{lacks(missing[0], table.columns)}"
        )
    for column in KEY:
        if table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax()) + 1
            raise DataError(f"{path}: row {row} has no image in column `{column}`")
    count = len(metrics) or _columns_of_numbers(table)
    if count > MOST:
        raise DataError(
            f"{path}: has {count:,} columns of numbers; at most {MOST:,} metrics are compared "
            "with each other: leave out those that are none"
        )
    values = _numeric(table, assumed, metrics)
    for metric in metrics:
        if metric not in table or metric in KEY:
            raise absent(path, "metric", metric, values)
        if metric not in values:
            wrong = as_numbers(table[metric]).isna().to_numpy().argmax()
            value = str(table[metric].iloc[wrong])
            raise DataError(f"{path}: row {wrong + 1}: `{metric}` is {value!r}, not a number")
    names = sorted(set(metrics or values))
    if not names:
        raise DataError(f"{path}: no column of numbers beside {', '.join(KEY)}")
    keys = {column: as_text(table[column], str(path)) for column in KEY}
    found = pd.DataFrame({**keys, **{name: values[name] for name in names}})
    reasons = {
        (name, *(key.iloc[row] for key in keys.values())): _reason(table[name].iloc[row], int(row))
        for name in names
        for row in np.flatnonzero(~np.isfinite(values[name].to_numpy()))
    }
    if found.duplicated(KEY).any():  # of all columns only where need be: that takes memory
        before = len(found)
        found = found.drop_duplicates()
        if len(found) < before:
            assumed.append(f"{before - len(found):,} rows stand there twice, and count once")
    twice = found.duplicated(KEY)
    if twice.any():
        x, y = found.loc[twice, KEY].iloc[0]
        raise DataError(f"{path}: pair ({x}, {y}) is scored twice with different numbers")
    return Scores(str(path), found.reset_index(drop=True), names, assumed, reasons)


def _columns_of_numbers(table: pd.DataFrame) -> int:
    """How many there are by the first row; to read a hundred thousand whole takes minutes."""
    if not len(table):
        return 0
    first = as_numbers(table.iloc[0].drop(KEY)).dropna()
    return sum(str(name).casefold() not in NUMBERS for name in first.index)


def _numeric(
    table: pd.DataFrame, assumed: list[str], metrics: Collection[str]
) -> dict[str, pd.Series]:
    """Column -> its numbers (float64), of those that are scores."""
    found, people, wordy = {}, [], []
    for column in table.columns:
        name = str(column)
        if column in KEY or pd.api.types.is_bool_dtype(table[column]):
            continue
        if name.casefold() in NUMBERS and name not in metrics:
            people.append(name)
            continue
        value = as_numbers(table[column])
        if not pd.api.types.is_numeric_dtype(table[column]):
            cells = table[column].dropna()
            words = [str(cell).strip().casefold() for cell in cells]
            said = pd.Series(words, cells.index, "object")
            said = said[~said.isin(NOTHING)]
            share = value[said.index].notna().mean() if len(said) else 0.0
            if share == 0 or (share < 0.5 and name not in metrics):
                wordy.append(f"`{name}` ({share:.0%} of it numbers)" if share else f"`{name}`")
                continue
        found[name] = value
    for names, what in ((people, "are of judgements, not metrics"), (wordy, "hold words")):
        if names:
            shown = f" and {len(names) - 5} more" * (len(names) > 5)
            assumed.append(f"{', '.join(names[:5])}{shown} {what}; left out")
    return found


def _reason(cell: object, row: int) -> str:
    said = "is blank" if pd.isna(cell) else f"is {str(cell)!r:.60}, no finite number"  # type: ignore[call-overload]
    return f"row {row + 1} {said}"
