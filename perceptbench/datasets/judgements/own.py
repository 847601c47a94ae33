"""A table of judgements that somebody brings: read, votes brought together, and what looks odd."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from perceptbench.datasets.judgements.protocols import (
    PROTOCOLS,
    Judgements,
    numbers,
    protocol_of,
    validate,
    value_column,
)
from perceptbench.datasets.judgements.tables import as_numbers, read_table
from perceptbench.datasets.judgements.votes import Mos, aggregate

#: Rank correlation with a level above which a direction is clear.
CLEAR = 0.3


@dataclass(frozen=True)
class Own:
    """What `read_judgements` found.

    Attributes
    ----------
    table : validated judgements, see `perceptbench.datasets.judgements.protocols`.
    votes : as `Judgements.votes`; None where the table has no column ``rater``.
    assumed : what was assumed to read it, left out or noticed about its votes, in sentences.
    """

    table: pd.DataFrame
    votes: pd.DataFrame | None
    assumed: list[str]


def read_judgements(path: Path, mos: Mos = "mean") -> Own:
    """The judgements in a file of somebody's own; `mos`: how ratings become one.

    Raises
    ------
    DataError : it cannot be read, or is no table of judgements or votes; one sentence.
    """
    table, assumed = read_table(path)
    source, votes = str(path), None
    if "rater" in table:
        table, votes, said = aggregate(table, source, mos)
        assumed += said
    table = validate(table, source)
    for column in ("std", "raters", "votes"):
        if column in table:
            table[column] = numbers(table[column], source, blank=True)
    if "level" in table and as_numbers(table["level"]).notna().all():
        table["level"] = pd.to_numeric(table["level"])  # whole ones stay whole
    for column in ("distortion", "category", "split"):
        if column in table and isinstance(table[column].dtype, pd.StringDtype):
            table[column] = table[column].str.strip()
    if votes is None and (again := repeated(table)):
        assumed.append(again)
    return Own(table, votes, assumed)


def repeated(table: pd.DataFrame) -> str:
    """A sentence on judgements that stand in several rows; empty where none does."""
    images = list(PROTOCOLS[protocol_of(table, "the table")][1])
    if "item" in table or not (again := int(table.duplicated(images).sum())):
        return ""
    first = table[table.duplicated(images)].iloc[0]
    return (
        f"{again:,} of {len(table):,} rows judge what another row does, the first "
        f"({', '.join(first[images])}): each counts; if rows are votes, say whose in a column "
        "`rater`, if they are replicates, of what in a column `item`"
    )


def odd(table: pd.DataFrame, name: str) -> list[str]:
    """What looks odd about the direction or the values of judgements, as questions.

    Parameters
    ----------
    table : validated judgements.
    name : of the file or dataset.
    """
    column = value_column(table)
    value = table[column].to_numpy(float)
    found = []
    if (value == value[0]).all() and len(value) > 1:
        found.append(f"every `{column}` is {value[0]:g}: no metric can agree with that")
    if column not in ("quality", "impairment"):
        return found
    other = "impairment" if column == "quality" else "quality"
    better = value if column == "quality" else -value
    if "level" in table:
        level = as_numbers(table["level"]).to_numpy(float)
        r = rank_correlation(level, value)
        if abs(r) > CLEAR:
            way = "rises" if r > 0 else "falls"
            turned = rank_correlation(level, better) > 0
            ask = f": is it one of `{other}`, or does a higher level mean less distortion?"
            found.append(
                f"`{column}` {way} as `level` rises (rank correlation {r:+.2f})"
                + (
                    ask
                    if turned
                    else ", as it should where a level is the strength of a distortion"
                )
            )
    same = (table["reference"] == table["distorted"]).to_numpy()
    if same.any() and not same.all() and better[same].mean() < np.median(better[~same]):
        found.append(
            f"references beside themselves have worse {column} than half of the others: is it one "
            f"of `{other}`?"
        )
    if column == "quality" and "dmos" in name.casefold():
        found.append(
            "the file is called a DMOS: higher is then worse; call the column `impairment`"
        )
    return found


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's over pairs that both have; 0 where it is undefined."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 3 or (x == x[0]).all() or (y == y[0]).all():
        return 0.0
    return float(pd.Series(x).rank().corr(pd.Series(y).rank()))


def describe(part: Judgements) -> list[str]:
    """Counts, units, votes and ranges of judgements, in sentences."""
    table, column = part.table, value_column(part.table)
    images = PROTOCOLS[part.protocol][1]
    value = table[column]
    shown = pd.unique(pd.concat([table[name] for name in images]))
    items = table["item"].nunique() if "item" in table else len(table)
    said = [f"{items:,} judgements in {len(table):,} rows, {len(shown):,} images"]
    if "reference" in table:
        said[0] += f", {table['reference'].nunique():,} references"
    said.append(
        f"`{column}`: {value.min():g} to {value.max():g}, mean {value.mean():g}, "
        f"{value.nunique():,} distinct"
    )
    for name in ("raters", "votes"):
        if name in table and part.votes is None:
            said.append(f"`{name}`: {table[name].min():g} to {table[name].max():g} a judgement")
    unknown = {"raters", "votes"}.isdisjoint(table.columns) or (
        part.protocol == "rating" and "std" not in table
    )
    if unknown:
        said.append("how many people are behind a judgement is not known: no ceiling can be told")
    for name in ("distortion", "level", "category", "split"):
        if name in table:
            said.append(f"`{name}`: {table[name].nunique():,} values")
    return said
