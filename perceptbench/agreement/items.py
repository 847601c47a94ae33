"""The judged items of one table with their distances, and the parts they fall into."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptbench.agreement import people, rating, two_alternative
from perceptbench.agreement.answers import distances
from perceptbench.agreement.units import Units, find
from perceptbench.datasets.judgements.protocols import LARGEST, Judgements, value_column

Array = NDArray[np.float64]

#: Smaller parts of a table say nothing.
MIN_PART = 5
#: A column `level` of more distinct numbers than this is cut into three bands.
MAX_BANDS = 10
#: Groups that raters are brought into where there are more, and parts of the items that a group is
#: left out of in turn.
RATER_GROUPS, ITEM_PARTS = 30, 5


@dataclass(frozen=True)
class Items:
    """Judged items with their distances; None is what is not known.

    Attributes
    ----------
    distances : (sides, items, metrics): two sides in a 2afc table, else one; NaN where a metric
        did not answer.
    observers : ratings of single people, (items, observers), in the direction of the table; NaN
        where one was not asked.
    agree : the chance that two people agree, from their single votes, (items,); NaN where that
        is not known, or an adaptive sampler asked.
    votes : as `Judgements.votes`, of these items by their place here.
    """

    protocol: str
    table: pd.DataFrame  # one row an item
    distances: Array
    metrics: tuple[str, ...]
    units: Units
    observers: Array | None
    agree: Array | None
    stress_power: Mapping[str, float | None]  # to which distances are raised before STRESS
    votes: pd.DataFrame | None = None

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
        observers, agree = (x if x is None else x[kept] for x in (self.observers, self.agree))
        return replace(
            self, table=self.table.iloc[kept], distances=self.distances[:, kept],
            units=self.units.part(kept), observers=observers, agree=agree,
            votes=_votes_on(self.votes, kept, len(self.table)),
        )  # fmt: skip

    @property
    def groups_of_raters(self) -> int:
        """How many groups of raters `without_raters` leaves out; 0 where people do not vary."""
        return min(people.counted(self.votes), RATER_GROUPS)

    def without_raters(self) -> Iterator[tuple[int, int, "Items"]]:
        """The items as they would be without one group of raters on one part of them, each in turn.

        An item nobody else judged is left out. Means of votes are taken off by as much as the mean
        of the others differs: a judgement that is no mean (``p910``) keeps what else is in it.
        The units of these items are not known, nor single observers: they are for values only.
        """
        votes, n = self.votes, len(self.table)
        assert votes is not None
        item, value = votes["item"].to_numpy(), votes["value"].to_numpy(float)
        group = pd.factorize(votes["rater"])[0] % self.groups_of_raters
        unit = np.unique(self.units.codes[:, -1], return_inverse=True)[1].ravel()
        cell = group * ITEM_PARTS + (unit % ITEM_PARTS)[item]
        fair = ~votes.get("adaptive", pd.Series(False, index=votes.index)).to_numpy(bool)
        powers = np.stack([np.ones_like(value), value, value**2], axis=1)

        def sums(rows: NDArray[np.intp]) -> Array:
            return np.stack([np.bincount(item[rows], x, n) for x in powers[rows].T])

        every = sums(np.arange(len(item)))
        fairly = sums(np.flatnonzero(fair))
        order = np.argsort(cell, kind="stable")
        starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
        nowhere = Units(*2 * (np.full((n, 1), -1),))
        for rows in np.split(order, starts[1:]):
            left = every - sums(rows)
            kept = np.flatnonzero(left[0] > 0.5)
            agree = None
            if self.agree is not None:
                agree = people.pairs_agree(*(fairly - sums(rows[fair[rows]])))
            less = replace(
                self, table=_judged_by(self.table, every, left), units=nowhere, observers=None,
                agree=agree, votes=None,
            )  # fmt: skip
            yield *divmod(int(cell[rows[0]]), ITEM_PARTS), less.part(kept)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which items each metric has a distance for (on both sides), (items, metrics)."""
        return np.asarray(~np.isnan(self.distances).any(axis=0), dtype=bool)

    def parts(self, of: str) -> Iterator[tuple[str, str, "Items"]]:
        """Those of each distortion, band of level and category: value, name as a part of the slice
        `of`, items."""
        for column in ("distortion", "level", "category"):
            if column not in self.table:
                continue
            values = _bands(self.table[column]) if column == "level" else self.table[column]
            codes, names = pd.factorize(values, sort=True)
            for code, name in enumerate(names if len(names) > 1 else ()):
                kept = np.flatnonzero(codes == code)
                if len(kept) >= MIN_PART:
                    whole = "" if of == "all" else f"{of} "
                    yield str(name), f"{whole}{column}={name}", self.part(kept)

    @property
    def folds(self) -> NDArray[np.intp]:
        """Which items are never predicted from each other: those of one reference, (items,)."""
        if "reference" in self.table and self.table["reference"].nunique() > 1:
            return pd.factorize(self.table["reference"])[0]
        return np.arange(len(self.table))

    @property
    def asked(self) -> Array | None:
        """How many people were asked of each item, (items,); None where that is not known."""
        if "votes" not in self.table:
            return None
        votes = pd.to_numeric(self.table["votes"], errors="coerce").to_numpy(float)
        known = bool(((votes >= 1) & (votes < LARGEST)).all()) and bool((votes > 1).any())
        return votes if known else None

    @property
    def two_people(self) -> Array | None:
        """The chance that two different people agree, (items,); None where votes are not known."""
        if self.agree is not None:
            return self.agree
        if self.asked is None:
            return None
        known = two_alternative.two_people(self.table["p_b"].to_numpy(float), self.asked)
        return np.where(self.adaptive, np.nan, known)

    @property
    def adaptive(self) -> NDArray[np.bool_]:
        """Which items were asked because of earlier answers: no ceiling is taken from them."""
        if "adaptive" not in self.table:
            return np.zeros(len(self.table), dtype=bool)
        return np.asarray(self.table["adaptive"].astype(bool))

    @cached_property
    def badness(self) -> Array:
        """People's ratings, higher is worse."""
        if "impairment" in self.table:
            return self.table["impairment"].to_numpy(float)
        return -self.table["quality"].to_numpy(float)

    @cached_property
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
        return (std, raters) if known.all() else None

    @cached_property
    def reliability(self) -> float:
        """Of the mean opinions (`rating.reliability`); NaN where their noise is not known."""
        std, raters = self.deviations or (None, None)
        if std is None or raters is None or not (raters > 1).all():
            return float("nan")
        return rating.reliability(self.badness, std, raters)


def _votes_on(
    votes: pd.DataFrame | None, rows: NDArray[np.intp], count: int
) -> pd.DataFrame | None:
    """The votes on some of `count` items, by their place among these."""
    if votes is None:
        return None
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    moved = votes.assign(item=place[votes["item"]])
    return moved[moved["item"] >= 0].reset_index(drop=True)


def _judged_by(table: pd.DataFrame, every: Array, left: Array) -> pd.DataFrame:
    """A table with the judgements of fewer people, from the sums (`pairs_agree`) of votes."""

    def moments(sums: Array) -> tuple[Array, Array]:
        count, total, square = sums
        mean = total / count
        return mean, (square - count * mean**2) / (count - 1)

    with np.errstate(invalid="ignore", divide="ignore"):
        (mean, variance), (other, less) = moments(every), moments(left)
        column = value_column(table)
        changed = {column: table[column].to_numpy(float) + np.nan_to_num(other - mean)}
        if "std" in table:
            square = table["std"].to_numpy(float) ** 2 + less - variance
            changed |= {"std": np.sqrt(np.maximum(square, 0)), "raters": left[0]}
        elif column in ("p_b", "p_same"):
            changed = {column: np.clip(changed[column], 0, 1)}
    return table.assign(**changed)


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
    """The items of a judgement table, replicates averaged; arguments as of `answers.distances`."""
    table = judgements.table
    values = distances(judgements, scores, metrics)
    rows = np.arange(len(table))
    if "item" in table:
        codes, _ = pd.factorize(table["item"])
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        totals = np.add.reduceat(values[:, order], starts, axis=1)
        values = totals / np.diff(starts, append=len(order))[None, :, None]
        rows = order[starts]
    observers, agree = _single_people(judgements, rows)
    return Items(
        judgements.protocol, table.iloc[rows], values, tuple(metrics), find(judgements), observers,
        agree, stress_power, _votes_on(judgements.votes, rows, len(table)),
    )  # fmt: skip


def _single_people(part: Judgements, rows: NDArray[np.intp]) -> tuple[Array | None, Array | None]:
    """`Items.observers` and `Items.agree` of some rows."""
    votes = part.votes
    if part.observers is not None:
        return part.observers.loc[part.table.index[rows]].to_numpy(float), None
    if votes is None or part.protocol == "same_different":
        return None, None
    if part.protocol == "2afc":
        return None, people.two_people(votes).reindex(rows).to_numpy(float)
    return votes.groupby(["item", "rater"])["value"].mean().unstack().reindex(rows).to_numpy(), None
