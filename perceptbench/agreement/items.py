"""The judged items of one table with their distances, and the parts they fall into."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptbench.agreement.units import Units, find
from perceptbench.datasets.judgements import LARGEST, Judgements

Array = NDArray[np.float64]

#: Smaller parts of a table say nothing.
MIN_PART = 5
#: A column `level` of more distinct numbers than this is cut into three bands.
MAX_BANDS = 10


@dataclass(frozen=True)
class Items:
    """Judged items with their distances.

    Attributes
    ----------
    protocol : of the judgements.
    table : one row an item.
    distances : (sides, items, metrics): two sides in a 2afc table, else one; NaN where a metric
        did not answer.
    metrics : their names.
    units : of the items.
    observers : ratings of single people, (items, observers), in the direction of the table.
    stress_power : metric -> power its distance is raised to before STRESS.
    """

    protocol: str
    table: pd.DataFrame
    distances: Array
    metrics: tuple[str, ...]
    units: Units
    observers: Array | None
    stress_power: Mapping[str, float | None]

    def of(self, metrics: NDArray[np.bool_]) -> "Items":
        """The same items with some of the metrics."""
        if metrics.all():
            return self
        names = tuple(m for m, kept in zip(self.metrics, metrics, strict=True) if kept)
        return replace(self, distances=self.distances[:, :, metrics], metrics=names)

    def part(self, kept: NDArray[np.intp]) -> "Items":
        """Some of the items."""
        if len(kept) == len(self.table):
            return self
        observers = None if self.observers is None else self.observers[kept]
        return replace(
            self, table=self.table.iloc[kept], distances=self.distances[:, kept],
            units=self.units.part(kept), observers=observers,
        )  # fmt: skip

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which items each metric has a distance for (on both sides), (items, metrics)."""
        return np.asarray(~np.isnan(self.distances).any(axis=0), dtype=bool)

    def parts(self) -> Iterator[tuple[str, str, "Items"]]:
        """The items of each distortion, band of level and category: column, its value, items."""
        for column in ("distortion", "level", "category"):
            if column not in self.table:
                continue
            values = _bands(self.table[column]) if column == "level" else self.table[column]
            codes, names = pd.factorize(values, sort=True)
            for code, name in enumerate(names if len(names) > 1 else ()):
                kept = np.flatnonzero(codes == code)
                if len(kept) >= MIN_PART:
                    yield column, str(name), self.part(kept)

    @property
    def folds(self) -> NDArray[np.intp]:
        """Which items are never predicted from each other: those of one reference, (items,)."""
        if "reference" in self.table and self.table["reference"].nunique() > 1:
            return pd.factorize(self.table["reference"])[0]
        return np.arange(len(self.table))

    @property
    def votes(self) -> Array | None:
        """How many people were asked of each item, (items,); None where that is not known."""
        if "votes" not in self.table:
            return None
        votes = pd.to_numeric(self.table["votes"], errors="coerce").to_numpy(float)
        known = bool(((votes >= 1) & (votes < LARGEST)).all()) and bool((votes > 1).any())
        return votes if known else None

    @property
    def badness(self) -> Array:
        """People's ratings, higher is worse."""
        if "impairment" in self.table:
            return self.table["impairment"].to_numpy(float)
        return -self.table["quality"].to_numpy(float)

    @property
    def deviations(self) -> tuple[Array, Array | None] | None:
        """Deviation (ddof 1) and number of the ratings behind each item, where they are known."""
        if "std" in self.table:
            std = pd.to_numeric(self.table["std"], errors="coerce").to_numpy(float)
            raters = None
            if "raters" in self.table:
                raters = pd.to_numeric(self.table["raters"], errors="coerce").to_numpy(float)
        elif self.observers is not None and self.observers.shape[1] > 1:
            std = self.observers.std(axis=1, ddof=1)
            raters = np.full(len(std), float(self.observers.shape[1]))
        else:
            return None
        known = (std >= 0) & (std < LARGEST)
        if raters is not None:
            known &= (raters >= 1) & (raters < LARGEST)
        if not known.all():
            return None
        return std, raters


def _bands(level: pd.Series) -> pd.Series:
    """Levels as they are where they are few, else the lower, middle and upper third."""
    if level.nunique() <= MAX_BANDS:
        return level
    number = pd.to_numeric(level, errors="coerce")
    share = number.rank(pct=True)
    bands = np.select([share <= 1 / 3, share <= 2 / 3, share <= 1], ["low", "middle", "high"], "")
    return pd.Series(bands, index=level.index).where(number.notna())


def collect(
    judgements: Judgements,
    scores: pd.DataFrame,
    metrics: Sequence[str],
    stress_power: Mapping[str, float | None],
) -> Items:
    """The items of a judgement table, replicates averaged; infinite distances are none."""
    protocol = judgements.protocol
    sides = {
        "2afc": (("reference", "a"), ("reference", "b")),
        "rating": (("reference", "distorted"),),
        "same_different": (("a", "b"),),
    }[protocol]
    table = judgements.table
    values = np.full((len(sides), len(table), len(metrics)), np.nan)
    known = scores.drop_duplicates(["reference", "distorted"])
    index = pd.MultiIndex.from_frame(known[["reference", "distorted"]])
    distances = known[list(metrics)].to_numpy(float)
    for side, (x, y) in zip(values, sides, strict=True):
        place = index.get_indexer(pd.MultiIndex.from_arrays([table[x], table[y]]))
        side[place >= 0] = distances[place[place >= 0]]
    values[~np.isfinite(values)] = np.nan
    rows = np.arange(len(table))
    if "item" in table:
        codes, _ = pd.factorize(table["item"])
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        totals = np.add.reduceat(values[:, order], starts, axis=1)
        values = totals / np.diff(starts, append=len(order))[None, :, None]
        rows = order[starts]
    observers = None
    if judgements.observers is not None:
        observers = judgements.observers.loc[table.index[rows]].to_numpy(float)
    return Items(
        protocol, table.iloc[rows], values, tuple(metrics), find(judgements), observers,
        stress_power,
    )  # fmt: skip
