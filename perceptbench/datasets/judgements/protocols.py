"""The judgement tables: what people said, one row an item.

Conventions
-----------
Three protocols, told apart by their columns:

- ``rating``: ``reference, distorted`` and either ``quality`` (higher is better: a MOS) or
  ``impairment`` (higher is worse: a DMOS, a JND, a colour difference).
- ``2afc``: ``reference, a, b, p_b``; ``p_b`` in [0, 1] is the fraction of people who found
  ``b`` closer to the reference.
- ``same_different``: ``a, b, p_same``; ``p_same`` in [0, 1].

An optional column ``item`` makes rows replicates of one judgement (the same condition shown
with another noise sample, say): their distances are averaged before agreement is computed.
Every other column (``votes``, ``category``, ``distortion`` ...) is carried along.

An image is named by a key, a string its dataset turns into a float tensor (3, H, W).
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from perceptbench.datasets.judgements.tables import as_numbers, lacks
from perceptbench.errors import DataError

#: protocol -> (columns it needs, columns that name images)
PROTOCOLS = {
    "2afc": (("reference", "a", "b", "p_b"), ("reference", "a", "b")),
    "same_different": (("a", "b", "p_same"), ("a", "b")),
    "rating": (("reference", "distorted"), ("reference", "distorted")),
}
#: What goes on the leaderboard, by protocol.
STATISTICS = {"2afc": ("2afc",), "rating": ("srcc",), "same_different": ("jnd_ap",)}

#: What a table's column `variable` says where its column `value` is a spatial frequency.
FREQUENCY = "frequency (c/deg)"
#: A rating of this size is none, and its square would soon be no number.
LARGEST = 1e100


@dataclass(frozen=True)
class Judgements:
    """One judgement table with what is needed to read its numbers.

    Attributes
    ----------
    dataset : name of the dataset the table belongs to.
    table : the rows, as in the module's conventions, index 0..n-1.
    slice : the part of the dataset it covers (``all``, or ``60ppd`` and the like).
    resample : columns that say what else items have in common, beside the images they share
        (`perceptbench.agreement.units`): items of one value depend on each other.
    statistics : the statistics that go on the leaderboard, most important first.
    display : how the images are to be understood (encoding, viewing distance), for people.
    pixels_per_degree : viewing resolution in pixels per degree of visual angle, None where
        the judgements carry none.
    group : what is asked, as the dataset's manifest has it (`Manifest.group_of`).
    observers : one row a judgement row, one column an observer, the same unit and direction
        as the rating itself; None where only pooled judgements are public.
    votes : what single people said, one row a vote; None where that is not known.
        ``item``: the row of `table`, from 0. ``rater``: text, who it was. ``value``: of a rating
        in its unit and direction; of ``2afc`` 1 for b, 0 for a, 0.5 for neither; of
        ``same_different`` 1 for the same. ``adaptive`` (only where the table said how questions
        were chosen): whether earlier answers decided that this one was asked; no ceiling may be
        taken from such votes.
    """

    dataset: str
    table: pd.DataFrame
    slice: str = "all"
    resample: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    display: str = "sRGB files, native size"
    pixels_per_degree: float | None = None
    group: str = ""
    observers: pd.DataFrame | None = None
    votes: pd.DataFrame | None = None

    @property
    def protocol(self) -> str:
        """``2afc``, ``rating`` or ``same_different``, read off the columns."""
        return protocol_of(self.table, self.dataset)

    def rows(self, kept: ArrayLike) -> "Judgements":
        """Some of the judgements, by their places, with what single people said of them."""
        rows = np.asarray(kept, dtype=np.intp)
        observers, votes = self.observers, self.votes
        if observers is not None:
            observers = observers.iloc[rows].reset_index(drop=True)
        if votes is not None:
            place = np.full(len(self.table), -1)
            place[rows] = np.arange(len(rows))
            votes = votes.assign(item=place[votes["item"]])
            votes = votes[votes["item"] >= 0].reset_index(drop=True)
        table = self.table.iloc[rows].reset_index(drop=True)
        return replace(self, table=table, observers=observers, votes=votes)


def protocol_of(table: pd.DataFrame, source: str) -> str:
    """The protocol whose columns `table` has; raises DataError that names what is missing."""
    columns = set(table.columns)
    for protocol, (needed, _) in PROTOCOLS.items():
        if columns.issuperset(needed):
            if protocol == "rating" and not columns & {"quality", "impairment"}:
                raise DataError(
                    f"{source}: a rating table needs a column `quality` (higher is better) "
                    f"or `impairment` (higher is worse){lacks('quality', table.columns)}"
                )
            return protocol
    needed, _ = PROTOCOLS["2afc" if columns & {"a", "b", "p_b"} else "rating"]
    absent = [c for c in needed if c not in columns]
    missing = ", ".join(f"`{c}`" for c in absent)
    raise DataError(
        f"{source}: column {missing} is missing; judgements need reference, a, b, p_b (2afc) "
        "or reference, distorted and quality or impairment (rating)"
        f"{lacks(absent[0], table.columns)}"
    )


def validate(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Checks a judgement table and returns it with image keys as strings, index 0..n-1.

    Raises
    ------
    DataError : no row, a missing column, an empty image name, or a judgement that is not a
        number or outside [0, 1]; the message names the source, the column and the first row
        (counted from 1, without the header).
    """
    protocol = protocol_of(table, source)
    if table.empty:
        raise DataError(f"{source}: the table has no rows")
    table = table.reset_index(drop=True).copy()
    for column in PROTOCOLS[protocol][1]:
        names = as_text(table[column], source)
        empty = table[column].isna() | (names.str.strip() == "")
        if empty.any():
            row = int(empty.to_numpy().argmax())
            raise DataError(f"{source}: row {row + 1} has no image in column `{column}`")
        table[column] = names
        _check_names(names, source)
    if protocol == "rating" and {"quality", "impairment"}.issubset(table.columns):
        raise DataError(f"{source}: has both `quality` and `impairment`; keep the one to use")
    value = value_column(table)
    upper = None if protocol == "rating" else 1.0
    table[value] = numbers(table[value], source, upper)
    return table


def as_text(column: pd.Series, source: str) -> pd.Series:
    """A column of names as text; raises DataError where it cannot be: names source and column."""
    try:
        return column.astype(str)
    except (ValueError, TypeError, NotImplementedError):  # bytes that are no UTF-8, say
        raise DataError(f"{source}: column `{column.name}` holds no text") from None


def _check_names(names: pd.Series, source: str) -> None:
    """Refuses what no file can be called, and what no table could hold."""
    if is_writable("".join(names)):
        return
    row, name = next((n, name) for n, name in enumerate(names, start=1) if not is_writable(name))
    raise DataError(
        f"{source}: row {row}: `{names.name}` is {name!r:.80}, which is no UTF-8 or has a NUL in "
        "it; rename the file"
    )


def is_writable(name: str) -> bool:
    """Whether a name is UTF-8 throughout (that of a file need not be) and has no NUL."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


def value_column(table: pd.DataFrame) -> str:
    """The column of a judgement table that holds what people said."""
    value = {"2afc": "p_b", "same_different": "p_same"}.get(protocol_of(table, "the table"))
    return value or ("quality" if "quality" in table else "impairment")


def numbers(
    column: pd.Series, source: str, upper: float | None = None, *, blank: bool = False
) -> pd.Series:
    """A column of finite numbers, from 0 to `upper` where that is given; NaN for a blank cell.

    Raises
    ------
    DataError : one is none, or blank and not allowed to be; names the source, the row (from 1) and
        the column.
    """
    found = as_numbers(column)
    wrong = ~found.abs().lt(LARGEST)
    if upper is not None:
        wrong |= ~found.between(0.0, upper)
    if blank:
        wrong &= column.notna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        want = "a finite number"
        if upper is not None:
            want = "a fraction between 0 and 1"
        elif abs(found.iloc[row]) < float("inf"):
            want = f"a number below {LARGEST:g} in size"
        value = column.iloc[row]
        shown = "blank" if pd.api.types.is_scalar(value) and pd.isna(value) else repr(str(value))
        raise DataError(f"{source}: row {row + 1}: `{column.name}` is {shown}, not {want}")
    return found


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """The unique (reference, distorted) pairs that a judgement table needs scored.

    Sorted by reference, so that images shared by many pairs are used together.
    """
    if "distorted" in table:
        sides = [table[["reference", "distorted"]]]
    elif "reference" in table:
        sides = [table[["reference", side]].rename(columns={side: "distorted"}) for side in "ab"]
    else:
        sides = [table[["a", "b"]].rename(columns={"a": "reference", "b": "distorted"})]
    return (
        pd.concat(sides)
        .drop_duplicates()
        .sort_values(["reference", "distorted"], kind="stable")
        .reset_index(drop=True)
    )
