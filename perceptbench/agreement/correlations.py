"""SRCC, KRCC and PLCC of many metrics on many resamples, exactly and fast.

Conventions
-----------
``distances`` (n, m) of m metrics, ``badness`` (n,); the result is (resamples, m), each figure
equal to that of `perceptbench.agreement.rating` (and of scipy) on the items repeated as the
resample has them. NaN where it is undefined there.

How
---
The items of a resample come in whole clusters (the pairs of one reference image), so its figure
is a polynomial in how often each cluster was drawn, whose coefficients are the same for all
resamples:

- the rank of an item is a sum over clusters of how many of their items lie below it: the sum of
  rank products is a cubic form in the counts;
- concordant minus discordant pairs are a sum over pairs of clusters: a quadratic form. The pairs
  are counted 64 at a time, as the bits that two "is below" sets have in common;
- sums of products are linear.

Where rows are resampled one by one, or the clusters are many, ranks are taken resample by
resample, and Kendall's inversions from blocks of about sqrt(n) items (`rating.krcc`); what sorts
the items is the same in all resamples. Of more than EXACT items or MANY units SRCC and KRCC are
taken to first order in the counts (`perceptbench.agreement.first_order`), which is a sum, too: the
ends of an interval move by a few per cent of its width, about what another 2,000 resamples would.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from perceptbench.agreement import first_order, rating
from perceptbench.agreement.magnitude import in_range
from perceptbench.agreement.resampling import Resampler

Array = NDArray[np.float64]

#: Bytes worked on at a time: what a core's cache holds.
CACHE_BYTES = 1 << 20
THREADS = 2
#: Up to so many units figures are taken from tables of items by clusters, of ENTRIES at most; a
#: cubic form is taken of CUBIC units at most.
UNITS, ENTRIES, CUBIC = 500, 10_000_000, 150
#: Rank correlations of more items, or of more units, are taken to first order; what is beyond it
#: matters where units are few (UNITS), and is taken from THINNED of the items.
EXACT, MANY, THINNED = 20_000, 2000, 5_000


def correlations(statistic: str, distances: Array, badness: Array, resampler: Resampler) -> Array:
    """``srcc``, ``krcc`` or ``plcc`` of every metric on every resample, (resamples, m)."""
    if not len(badness):
        return np.full((resampler.resamples, distances.shape[1]), np.nan)
    return _FAST[statistic](distances, badness, resampler)


def _plcc(distances: Array, badness: Array, resampler: Resampler) -> Array:
    # Around the mean of all items and in units of their spread little is lost to rounding.
    x, y = _standard(distances), _standard(badness[:, None])
    n, sy, syy = resampler.sums(np.hstack([np.ones_like(y), y, y * y])).T[:, :, None]
    sx, sxx, sxy = np.split(resampler.sums(np.hstack([x, x * x, x * y])), 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _ratio(sxy - sx * sy / n, sxx - sx**2 / n, syy - sy**2 / n, 1e-13 * n)


def _srcc(distances: Array, badness: Array, resampler: Resampler) -> Array:
    clusters, units, n = resampler.clusters, resampler.units, len(badness)
    if n > EXACT or units > MANY:
        return _large("srcc", distances, badness, resampler)
    if clusters is None or units > UNITS or units * n > ENTRIES:
        return _srcc_by_rows(distances, badness, resampler)
    counts = resampler.counts()
    total = resampler.sums(np.ones((n, 1)))[:, 0]
    below_y = _below(badness, clusters, units)
    spread_y = total**3 - _tie_powers(badness, clusters, counts, 3)
    # A cubic form costs units^3 a resample, the ranks themselves units n.
    cubic = units <= CUBIC and units**2 < 2 * n
    products = _cubic_products if cubic else _rank_products

    def one(x: Array) -> Array:
        found = products(_below(x, clusters, units), below_y, clusters, counts)
        spread_x = total**3 - _tie_powers(x, clusters, counts, 3)
        return _ratio(12 * found - 3 * total**3, spread_x, spread_y, 0)

    return _each(one, distances)


def _rank_products(
    below_x: Array, below_y: Array, clusters: NDArray[np.intp], counts: Array
) -> Array:
    """Sum over the items of each resample of the product of their ranks, (resamples,)."""
    found = np.empty(len(counts))
    step = max(1, CACHE_BYTES // (8 * len(clusters)))
    for start in range(0, len(counts), step):
        w = counts[start : start + step]
        ranks = (w @ below_x.T) * (w @ below_y.T)
        found[start : start + step] = (ranks * w[:, clusters]).sum(1)
    return found


def _cubic_products(
    below_x: Array, below_y: Array, clusters: NDArray[np.intp], counts: Array
) -> Array:
    """The same as sum over k, c, d of form[k, c, d] w[k] w[c] w[d] for each row w of counts."""
    order, units = np.argsort(clusters, kind="stable"), counts.shape[1]
    bounds = np.searchsorted(clusters[order], np.arange(units + 1))
    x, y = below_x[order], below_y[order]
    form = np.stack([x[i:j].T @ y[i:j] for i, j in pairwise(bounds)]).reshape(units, units**2)
    found = np.empty(len(counts))
    step = max(1, CACHE_BYTES // (units * units))
    for start in range(0, len(counts), step):
        w = counts[start : start + step]
        quadratic = (w @ form).reshape(len(w), units, units)
        found[start : start + step] = ((quadratic @ w[:, :, None])[:, :, 0] * w).sum(1)
    return found


def _below(values: Array, clusters: NDArray[np.intp], units: int) -> Array:
    """How many items of each cluster lie below each item, equal ones by half, (n, clusters)."""
    order, starts = rating.groups(values)
    ends = np.append(starts[1:], len(values))
    member = np.zeros((len(values) + 1, units))
    member[np.arange(1, len(values) + 1), clusters[order]] = 1
    passed = np.cumsum(member, axis=0)
    middle = (passed[starts] + passed[ends]) / 2
    below = np.empty((len(values), units))
    below[order] = np.repeat(middle, ends - starts, axis=0)
    return below


def _tie_powers(values: Array, clusters: NDArray[np.intp], counts: Array, power: int) -> Array:
    """Sum over groups of equal values of (their number in the resample) ** power, (resamples,)."""
    order, starts = rating.groups(values)
    sizes = np.diff(starts, append=len(values))
    alone = order[starts[sizes == 1]]
    found = counts**power @ np.bincount(clusters[alone], minlength=counts.shape[1])
    tied = np.repeat(sizes > 1, sizes)
    if tied.any():
        group = np.repeat(np.arange((sizes > 1).sum()), sizes[sizes > 1])
        where = (group, clusters[order[tied]])
        member = scipy.sparse.csr_array(
            (np.ones(len(group)), where), shape=(group[-1] + 1, counts.shape[1])
        )
        step = max(1, 8 * CACHE_BYTES // (8 * member.shape[0]))
        for start in range(0, len(counts), step):
            part = member @ counts[start : start + step].T
            found[start : start + step] += (part**power).sum(0)
    return found


def _krcc(distances: Array, badness: Array, resampler: Resampler) -> Array:
    clusters = resampler.clusters
    if len(badness) > EXACT or resampler.units > MANY:
        return _large("krcc", distances, badness, resampler)
    if clusters is None or resampler.units > UNITS:
        return _krcc_by_rows(distances, badness, resampler)
    counts = resampler.counts()
    total = resampler.sums(np.ones((len(badness), 1)))[:, 0]
    forms = _concordance(distances, badness, clusters, resampler.units)
    untied_y = total**2 - _tie_powers(badness, clusters, counts, 2)

    def one(x: Array, form: Array) -> Array:
        concordance = 2 * ((counts @ form) * counts).sum(1)
        return _ratio(concordance, total**2 - _tie_powers(x, clusters, counts, 2), untied_y, 0)

    columns = zip(distances.T, forms, strict=True)
    return np.stack([one(x, form) for x, form in columns], axis=1)


def _concordance(distances: Array, badness: Array, clusters: NDArray[np.intp], units: int) -> Array:
    """Concordant minus discordant pairs between clusters, (m, clusters, clusters).

    Entry [c, d] is over items i of c and j of d with x_j < x_i.
    """
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters, minlength=units)
    words = -(-sizes // 64)
    starts = np.cumsum(words) - words
    place = np.repeat(64 * starts, sizes) + np.concatenate([np.arange(s) for s in sizes])
    width = 64 * int(words.sum())

    def ranks(values: Array) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        rank = np.unique(values, return_inverse=True)[1].astype(np.int32)[order]
        # Places where no item is hold a rank that is below nothing.
        padded = np.full(width, len(values), dtype=np.int32)
        padded[place] = rank
        return rank, padded

    def bits(truth: NDArray[np.bool_]) -> NDArray[np.uint64]:
        return np.packbits(truth, axis=1).view(np.uint64)

    y, y_all = ranks(badness)
    xs = [ranks(x) for x in distances.T]
    ends = np.cumsum(sizes)
    found = np.zeros((len(xs), units, units))

    def rows_of(cluster: int) -> None:
        rows = slice(ends[cluster] - sizes[cluster], ends[cluster])
        below_y, above_y = bits(y_all < y[rows, None]), bits(y_all > y[rows, None])
        for metric, (x, x_all) in enumerate(xs):
            below_x = bits(x_all < x[rows, None])
            net = np.bitwise_count(below_x & below_y).astype(np.int32)
            net -= np.bitwise_count(below_x & above_y)
            found[metric, cluster] = np.add.reduceat(net.sum(0), starts)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(rows_of, range(units)))
    return found


def _srcc_by_rows(distances: Array, badness: Array, resampler: Resampler) -> Array:
    found = [np.zeros((0, distances.shape[1]))]
    step = max(1, CACHE_BYTES // (8 * len(badness)))
    for chunk in resampler:
        for start in range(0, len(chunk), step):
            found.append(_srcc_of_rows(distances, badness, chunk[start : start + step]))
    return np.concatenate(found)


def _srcc_of_rows(distances: Array, badness: Array, weights: Array) -> Array:
    total, (_, tied) = weights.sum(axis=1), _ties(badness, weights)
    spread = total**3 - (tied**3).sum(axis=1)
    weighted = weights * rating.midranks(badness, weights)
    # Ranks without the half that every one has: their mean is half of the total.
    even = weighted.sum(axis=1) * total / 2

    def one(x: Array) -> Array:
        (order, starts), tied = _ties(x, weights)
        ranks = np.cumsum(tied, axis=1) - tied / 2
        products = (ranks * np.add.reduceat(weighted[:, order], starts, axis=1)).sum(axis=1)
        spread_x = total**3 - (tied**3).sum(axis=1)
        return _ratio(12 * (products - even), spread_x, spread, 0)

    return _each(one, distances)


def _ties(values: Array, weights: Array) -> tuple[tuple[Any, Any], Array]:
    """`rating.groups` of equal values and how many items each has in each resample."""
    order, starts = rating.groups(values)
    return (order, starts), np.add.reduceat(weights[:, order], starts, axis=1)


def _krcc_by_rows(distances: Array, badness: Array, resampler: Resampler) -> Array:
    return np.concatenate(
        [_each(lambda x: rating.krcc(x, badness, weights), distances) for weights in resampler]  # noqa: B023
    )


def _large(statistic: str, distances: Array, badness: Array, resampler: Resampler) -> Array:
    """SRCC or KRCC to first order, and beyond it where units are few."""
    found = _to_first_order(statistic, distances, badness, resampler)
    if resampler.units <= UNITS:
        every = -(-len(badness) // THINNED)
        rows = np.sort(np.argsort(resampler.codes[0], kind="stable")[::every])
        some, x, y = resampler.rows(rows), distances[rows], badness[rows]
        beyond = _FAST[statistic](x, y, some) - _to_first_order(statistic, x, y, some)
        found = np.clip(found + np.nan_to_num(beyond), -1, 1)
    return found


def _to_first_order(
    statistic: str, distances: Array, badness: Array, resampler: Resampler
) -> Array:
    of = {"srcc": first_order.srcc, "krcc": first_order.krcc}[statistic]
    with ThreadPoolExecutor(THREADS) as pool:
        values, influence = zip(*pool.map(lambda x: of(x, badness), distances.T), strict=True)
    ones = np.ones(len(badness))
    sums = resampler.sums(np.stack([*influence, ones], axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(np.array(values) + sums[:, :-1] / sums[:, -1:], -1, 1)


def _each(one: Callable[[Array], Array], distances: Array) -> Array:
    """`one` of every column, the columns side by side on two threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return np.stack(list(pool.map(one, distances.T)), axis=1)


def _standard(values: Array) -> Array:
    values = in_range(values, axis=0)
    spread = np.ptp(values, axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)


def _ratio(product: Array, xx: Array, yy: Array, floor: float | Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.clip(product / np.sqrt(xx * yy), -1, 1)
        return np.where((xx > floor) & (yy > floor), value, np.nan)


_FAST = {"srcc": _srcc, "krcc": _krcc, "plcc": _plcc}
