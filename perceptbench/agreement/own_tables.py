"""Agreement of anybody's scores with anybody's judgements: two tables, from any language.

Conventions
-----------
Judgements as in `perceptbench.datasets.judgements`. Scores have one row an image pair, keyed
``reference, distorted`` (in a same_different table the key may be called ``a, b``), and one
column of numbers a metric; columns of anything else are carried along unread. A score is a
distance, larger is less alike, unless it is said to be higher for better.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from perceptbench.agreement.evaluate import Evaluation, evaluate
from perceptbench.agreement.ranking import PEOPLE
from perceptbench.datasets.judgements import (
    Judgements,
    as_text,
    protocol_of,
    read_table,
    validate,
)
from perceptbench.errors import DataError, absent, printable

KEY = ["reference", "distorted"]
#: What metrics are compared and ranked by, most important first.
RANKED = {"2afc": ("2afc",), "rating": ("srcc", "krcc", "plcc"), "same_different": ("jnd_ap",)}
#: Metrics of one file: every two of them are compared.
MOST = 2000
#: Statistics that have a sign to keep.
SIGNED = ("srcc", "krcc", "plcc")


def agree(
    judgements: Path,
    scores: Path,
    *,
    metrics: Sequence[str] = (),
    higher_is_better: Collection[str] = (),
    resample: Sequence[str] | None = None,
) -> tuple[Judgements, Evaluation]:
    """How well the metrics of a score file agree with the people of a judgement file.

    Parameters
    ----------
    judgements, scores : CSV or Parquet files.
    metrics : columns of the scores; all of numbers where none is named.
    higher_is_better : those of them that are larger for more alike images.
    resample : columns of the judgements that hold further units, beside the images that items
        share (`perceptbench.agreement.units`).

    Returns
    -------
    The judgements as they were read, and what was found.

    Raises
    ------
    UsageError : there is no such metric or column; the nearest are named.
    DataError : a file cannot be read, a pair is scored twice with different numbers, or no pair
        of the judgements is among the scores.
    """
    name = printable(judgements.stem)
    table = validate(read_table(judgements), str(judgements))
    protocol = protocol_of(table, str(judgements))
    found, names = read_scores(scores, metrics)
    for metric in higher_is_better:
        if metric not in names:
            raise absent(scores, "metric", metric, names)
        found[metric] = -found[metric]
    for column in resample or ():
        if column not in table:
            raise absent(judgements, "column", column, [str(c) for c in table.columns])
    part = Judgements(name, table, resample=tuple(resample or ()), statistics=RANKED[protocol])
    _check_overlap(part, found, judgements, scores)
    return part, evaluate([part], found, metrics=names)


def read_scores(path: Path, metrics: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """The scores of a file and the names of its metrics, in alphabetical order.

    Raises
    ------
    UsageError, DataError : as `agree`.
    """
    table = read_table(path)
    if not set(KEY) <= set(table.columns) and {"a", "b"} <= set(table.columns):
        table = table.rename(columns={"a": "reference", "b": "distorted"})
    missing = [column for column in KEY if column not in table]
    if missing:
        raise DataError(f"{path}: column `{missing[0]}` is missing; scores need {', '.join(KEY)}")
    numbers = [str(c) for c in table.select_dtypes("number").columns if c not in KEY]
    for metric in metrics:
        if metric not in table:
            raise absent(path, "metric", metric, numbers)
        if metric not in numbers:
            wrong = pd.to_numeric(table[metric], errors="coerce").isna().to_numpy().argmax()
            value = str(table[metric].iloc[wrong])
            raise DataError(f"{path}: row {wrong + 1}: `{metric}` is {value!r}, not a number")
    names = sorted(set(metrics or numbers))
    if not names:
        raise DataError(f"{path}: no column of numbers beside {', '.join(KEY)}")
    if len(names) > MOST:
        raise DataError(
            f"{path}: has {len(names):,} columns of numbers; at most {MOST:,} metrics are compared "
            "with each other: leave out those that are none"
        )
    keys = {column: as_text(table[column], str(path)) for column in KEY}
    table = table[[*KEY, *names]].assign(**keys)
    if table.duplicated(KEY).any():  # of all columns only where need be: that takes memory
        table = table.drop_duplicates()
    twice = table.duplicated(KEY)
    if twice.any():
        x, y = table.loc[twice, KEY].iloc[0]
        raise DataError(f"{path}: pair ({x}, {y}) is scored twice with different numbers")
    return table.astype({m: float for m in names}).reset_index(drop=True), names


def _check_overlap(part: Judgements, scores: pd.DataFrame, judged: Path, scored: Path) -> None:
    sides = {
        "2afc": [("reference", "a"), ("reference", "b")],
        "rating": [("reference", "distorted")],
        "same_different": [("a", "b")],
    }[part.protocol]
    known = pd.MultiIndex.from_frame(scores[KEY])
    there = [
        pd.MultiIndex.from_arrays([part.table[x], part.table[y]]).isin(known) for x, y in sides
    ]
    if not np.all(there, axis=0).any():
        x, y = part.table.loc[0, list(sides[0])]
        raise DataError(
            f"{scored}: has no score for any judgement of {judged}; the first needs the pair "
            f"({x}, {y})"
        )


def signed(
    table: pd.DataFrame, judgements: Judgements, higher_is_better: Collection[str]
) -> pd.DataFrame:
    """An agreement table whose correlations have the sign of the columns as they stand.

    A distance against a quality is then negative, and so is a similarity against an impairment.
    Only for reading: everything else takes larger to be better.
    """
    distance = ~table["metric"].isin([*higher_is_better, *PEOPLE])
    turned = distance == ("quality" in judgements.table)
    turned &= table["statistic"].str.startswith(SIGNED) & ~table["metric"].isin(PEOPLE)
    low, high = table["low"].copy(), table["high"].copy()
    return table.assign(
        value=table["value"].where(~turned, -table["value"]),
        low=low.where(~turned, -high),
        high=high.where(~turned, -low),
    )
