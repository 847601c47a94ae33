"""What varies: which judged items depend on each other, found from the judgement tables.

Items that share an image depend on each other, whatever role it has in them. The *units* of a
dataset are the images that items have in common, and what a manifest adds to them; an image that
stands only in items of another one (a distorted image, under its reference) adds nothing to that
one and is dropped, and one that stands in every item (a blank field) does not vary at all. So
units are references where only references repeat, images where images stand in several roles,
stimuli where stimuli are judged in pairs, and the items themselves where nothing repeats.

Variance
--------
The variance of a mean of ``psi`` over n items counts every two items with a unit in common
(Fafchamps and Gubert 2007, doi:10.1016/j.jdeveco.2006.05.005; Aronow, Samii and Assenova 2015,
doi:10.1093/pan/mpv018). By inclusion and exclusion that is a sum of squares of the totals of single
units, minus those of pairs of units, plus those of triples. Each total is divided by the share of
items that are *not* its own: what leaving that unit out would change. The t quantiles have
units / (units an item has) - 1 degrees of freedom. With one unit an item this is the jackknife
over clusters; the correction and the degrees of freedom for more were chosen by simulation
(`tests/benchmarks/bench_coverage.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

#: Fewer units than this have no interval; fewer than ROUGH one that is only roughly right.
FEWEST, ROUGH = 5, 10


#: What single units (or pairs, or triples of them) add to figures: 1 for single ones and triples,
#: -1 for pairs; what leaving each out changes, (of them, metrics).
Totals = tuple[int, Array]


@dataclass(frozen=True)
class Spread:
    """How the figures of several metrics vary together.

    `people` are totals of the raters, where they vary too: what each (or each group) adds, less
    what it adds on each part of the items, since the noise of votes is in the units already.
    """

    totals: tuple[Totals, ...]  # by the number of units, see the module's head
    units: int
    freedom: float  # degrees of freedom of the units
    people: tuple[Totals, ...] = ()
    groups: int = 0  # of raters; 0 where people are taken as given

    def of_a_slope(self) -> "Spread":
        """That of correlations: beside a centre they estimate a slope, as regressions do.

        One degree of freedom less, and the errors divided by the root of those that are left; by
        simulation, intervals of few units cover too seldom without.
        """
        left = max(self.freedom - 1, 1.0)
        wider = np.sqrt(max(self.freedom / left, 1.0))
        totals = tuple((sign, wider * values) for sign, values in self.totals)
        return replace(self, totals=totals, freedom=left)

    @cached_property
    def errors(self) -> Array:
        """Standard errors of the figures, (metrics,)."""
        # In units of the largest, since a metric's own may be enormous.
        unit = np.max([np.abs(v).max(axis=0, initial=0) for _, v in self.totals], axis=0)
        unit = np.where(unit > 0, unit, 1.0)
        return unit * np.sqrt(sum(self._variances(lambda v: ((v / unit) ** 2).sum(axis=0))))

    @cached_property
    def freedoms(self) -> Array:
        """Degrees of freedom of `errors`, (metrics,)."""
        return self._freedoms(lambda v: (v**2).sum(axis=0))

    @cached_property
    def differences(self) -> tuple[Array, Array]:
        """Of every figure minus every other one: errors and their freedom, (metrics, metrics)."""
        return np.sqrt(sum(self._variances(_apart))), self._freedoms(_apart)

    def _variances(self, of: Callable[[Array], Array]) -> tuple[Array, Array]:
        """The variance over units, and what people add to it."""
        over_units = sum_of_squares(self.totals, of)
        if not self.people:
            return over_units, np.zeros_like(over_units)
        added = np.sum([sign * of(values) for sign, values in self.people], axis=0)
        return over_units, np.maximum(added, 0)

    def _freedoms(self, of: Callable[[Array], Array]) -> Array:
        """Those of a sum of two variances (Satterthwaite 1946, doi:10.2307/3002019)."""
        units, people = self._variances(of)
        if not self.people:
            return np.full(units.shape, self.freedom)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.nan_to_num(people / (units + people))
        return 1 / ((1 - share) ** 2 / self.freedom + share**2 / (self.groups - 1))


def sum_of_squares(totals: Sequence[Totals], of: Callable[[Array], Array]) -> Array:
    """The variance from totals: single units, less pairs, and so on, of `of` squares.

    Counting and discounting may leave less than nothing where units are few. Independent items
    would have the single units' part over the number of units an item has; it is never less than
    about that (over one more, by simulation).
    """
    if not totals:
        return of(np.zeros((1, 0)))
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [sign * of(values) for sign, values in totals]
        return np.maximum(np.sum(parts, axis=0), parts[0] / (len(totals) + 1))


def _apart(values: Array) -> Array:
    """Sums of squared differences of all columns (k, m), (m, m)."""
    products = values.T @ values
    own = np.diag(products)
    return np.maximum(own[:, None] + own - 2 * products, 0)


@dataclass(frozen=True)
class Units:
    """The units of the items of one table, as integers from 0."""

    every: Codes  # what each item shows, (items, k)
    codes: Codes  # its units, ascending, (items, k); -1 before the first where there are fewer

    @cached_property
    def count(self) -> int:
        """How many different units the items have."""
        found = np.unique(self.codes)
        return int((found >= 0).sum())

    @property
    def freedom(self) -> float:
        """Degrees of freedom: units over the units an item has, less one."""
        items = len(self.codes)
        each = (self.codes >= 0).sum() / items if items else 1.0
        return max(self.count / max(each, 1.0) - 1, 1.0) if self.count else 1.0

    def part(self, kept: NDArray[np.intp]) -> "Units":
        """Those of some of the items: what stands in all of these does not vary any more."""
        return _units(self.every[kept])

    @cached_property
    def _groups(self) -> list[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
        """By order: sign, items sorted by what they have of it, and where each of it starts."""
        found, base = [], int(self.codes.max(initial=0)) + 1
        for order in range(1, self.codes.shape[1] + 1):
            keys, items = [], []
            for columns in combinations(range(self.codes.shape[1]), order):
                some = self.codes[:, columns]
                there = np.flatnonzero((some >= 0).all(axis=1))
                key = np.zeros(len(there), dtype=np.int64)
                for column in some[there].T:
                    key = key * base + column
                keys.append(key)
                items.append(there)
            key, item = np.concatenate(keys), np.concatenate(items)
            sorting = np.argsort(key, kind="stable")
            starts = np.unique(key[sorting], return_index=True)[1]
            found.append((1 if order % 2 else -1, item[sorting], starts))
        return found

    def spread(self, influence: Array) -> Spread:
        """The spread of figures from the influence (items, metrics) of every item on them."""
        n = len(influence)
        totals = []
        for sign, items, starts in self._groups:
            if len(starts):
                sums = np.add.reduceat(influence[items], starts, axis=0) / n
                share = np.diff(starts, append=len(items)) / n
                with np.errstate(divide="ignore", invalid="ignore"):
                    totals.append((sign, sums / (1 - share)[:, None]))
        return Spread(tuple(totals), self.count, self.freedom)


def of_left_out(left: Array, units: int) -> Spread:
    """The spread from figures with one group of units left out in turn, (groups, metrics)."""
    groups = len(left)
    with np.errstate(over="ignore", invalid="ignore"):  # of a metric with an enormous unit
        apart = (left - left.mean(axis=0)) * np.sqrt((groups - 1) / groups)
    return Spread(((1, apart),), units, max(groups - 1, 1))


def find(part: Judgements) -> Units:
    """The units of the items of a judgement table.

    Images are found from the table; the columns of `Judgements.resample` come before them.
    Replicates (column ``item``) have the units of their first row.
    """
    table = part.table
    if "item" in table:
        table = table.drop_duplicates("item")
    # One name is one image whatever its column.
    images = {name for _, names in PROTOCOLS.values() for name in names}
    columns = [table[c].astype(str).radd(f"{c}\0") for c in part.resample if c not in images]
    columns += [table[c].astype(str) for c in PROTOCOLS[part.protocol][1]]
    codes = pd.factorize(pd.concat(columns, ignore_index=True))[0].astype(np.int64)
    return _units(codes.reshape(len(columns), len(table)).T)


def _units(every: Codes) -> Units:
    varying = _varying(every)
    return Units(every, _packed(varying, _undominated(varying)))


def _varying(codes: Codes) -> Codes:
    """The codes without what stands in every row of the table, as -1; rows of one table."""
    if len(codes) < 2:
        return codes
    first = [c for c in np.unique(codes[0]) if (codes == c).any(axis=1).all()]
    return np.where(np.isin(codes, first), -1, codes)


def _undominated(rows: Codes) -> NDArray[np.bool_]:
    """Which units are kept, by number: those that are not in rows of another one only."""
    names = int(rows.max(initial=0)) + 1
    rows = _unique_in_row(rows)
    degree = np.bincount(rows[rows >= 0], minlength=names)
    kept = np.ones(names, dtype=bool)
    pairs = [rows[:, [i, j]] for i, j in combinations(range(rows.shape[1]), 2)]
    both = np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)
    both = both[(both >= 0).all(axis=1)]
    key = np.sort(both, axis=1) @ np.array([names, 1])
    unique, count = np.unique(key, return_counts=True)
    a, b = unique // names, unique % names
    # Of two that are always together, the one that came first stays.
    kept[b[(count == degree[b]) & (degree[a] >= degree[b])]] = False
    kept[a[(count == degree[a]) & (degree[b] > degree[a])]] = False
    return kept


def _unique_in_row(rows: Codes) -> Codes:
    """Each row ascending, a code that is there twice once."""
    rows = np.sort(rows, axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    return np.sort(rows, axis=1)


def _packed(table: Codes, kept: NDArray[np.bool_]) -> Codes:
    """The kept units of each row, ascending, in as few columns as will do."""
    rows = _unique_in_row(np.where((table >= 0) & kept[table], table, -1))
    if not len(rows):
        return np.zeros((0, 1), dtype=np.int64)
    width = int((rows >= 0).sum(axis=1).max())
    return rows[:, rows.shape[1] - max(width, 1) :]
