"""How much every item matters to a figure: the one foundation of errors, differences and ranks.

Conventions
-----------
``x, y`` (n,). The *influence* of an item is how much the figure grows, times n, when a little more
of the items are like it; its mean over the items is 0. What is left out is of the order of one over
the number of units, where the spread is of the order of one over its root. Hampel 1974
(doi:10.1080/01621459.1974.10482962); those of the rank correlations are the first-order (Hajek)
terms of the V-statistics that they are, ties at mid-ranks. Undefined (a constant side) is NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perceptbench.agreement.concordance import concordance
from perceptbench.agreement.magnitude import in_range, unit_range

Array = NDArray[np.float64]


def srcc(x: Array, y: Array) -> tuple[float, Array]:
    """Spearman's rank correlation and each item's influence on it."""
    a, b = _centred_ranks(x), _centred_ranks(y)
    xy, xx, yy = (a * b).mean(), (a * a).mean(), (b * b).mean()
    if not xx > 0 or not yy > 0:
        return float("nan"), np.full(len(x), np.nan)
    # A further item also moves the ranks of all that are above it.
    on_xy = a * b + _mean_above(x, b) + _mean_above(y, a) - 3 * xy
    on_xx = a * a + 2 * _mean_above(x, a) - 3 * xx
    on_yy = b * b + 2 * _mean_above(y, b) - 3 * yy
    return _of_ratio(xy, xx, yy, on_xy, on_xx, on_yy)


def krcc(x: Array, y: Array) -> tuple[float, Array]:
    """Kendall's tau-b and each item's influence on it."""
    pairs, n = concordance(x, y), len(x)
    net, apart_x, apart_y = pairs.net / n, 1 - pairs.tied_x / n, 1 - pairs.tied_y / n
    xy, xx, yy = net.mean(), apart_x.mean(), apart_y.mean()
    if not xx > 0 or not yy > 0:
        return float("nan"), np.full(n, np.nan)
    return _of_ratio(xy, xx, yy, 2 * (net - xy), 2 * (apart_x - xx), 2 * (apart_y - yy))


def plcc(x: Array, y: Array, groups: NDArray[np.intp] | None = None) -> tuple[float, Array]:
    """Pearson's correlation and each item's influence on it.

    With `groups` (n,), integers from 0, values are taken around the mean of their group.
    """
    a, b = (_centred(unit_range(side), groups) for side in (x, y))
    xy, xx, yy = (a * b).mean(), (a * a).mean(), (b * b).mean()
    if not xx > 1e-20 or not yy > 1e-20:
        return float("nan"), np.full(len(x), np.nan)
    return _of_ratio(xy, xx, yy, a * b - xy, a * a - xx, b * b - yy)


def stress(x: Array, y: Array) -> tuple[float, Array]:
    """STRESS, in [0, 1], and each item's influence on it; both sides are not negative."""
    a, b = in_range(x), in_range(y)
    xy, xx, yy = (a * b).mean(), (a * a).mean(), (b * b).mean()
    if not xx > 0 or not yy > 0:
        return float("nan"), np.full(len(x), np.nan)
    share = xy**2 / (xx * yy)
    value = float(np.sqrt(max(1 - share, 0)))
    on_share = 2 * xy * (a * b - xy) / (xx * yy) - share * (a * a / xx + b * b / yy - 2)
    return value, -on_share / (2 * value) if value > 0 else np.zeros(len(x))


def mean(each: Array) -> tuple[Array, Array]:
    """Means over the items of `each` (n, m) and the influences; items that are NaN are left out."""
    there = ~np.isnan(each)
    count = there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(there, each, 0).sum(axis=0) / count
        return value, np.where(there, each - value, 0) * (len(each) / count)


def mean_of_means(each: Array, groups: Sequence[NDArray[np.intp]]) -> tuple[Array, Array]:
    """The mean of the means of groups of items, and the influences; `each` (n, m) without NaN."""
    influence = np.zeros(each.shape)
    means = np.stack([each[rows].mean(axis=0) for rows in groups])
    for rows, own in zip(groups, means, strict=True):
        influence[rows] = (each[rows] - own) * (len(each) / (len(rows) * len(groups)))
    return means.mean(axis=0), influence


def _of_ratio(
    xy: float, xx: float, yy: float, on_xy: Array, on_xx: Array, on_yy: Array
) -> tuple[float, Array]:
    """xy / sqrt(xx yy) and the influence on it, from those on its parts."""
    value = float(np.clip(xy / np.sqrt(xx * yy), -1, 1))
    return value, on_xy / np.sqrt(xx * yy) - value / 2 * (on_xx / xx + on_yy / yy)


def _centred(values: Array, groups: NDArray[np.intp] | None) -> Array:
    if groups is None:
        return values - values.mean()
    return values - (np.bincount(groups, values) / np.bincount(groups))[groups]


def _centred_ranks(values: Array) -> Array:
    """Mid-ranks as shares of the items, around 0."""
    place = np.unique(values, return_inverse=True)[1].ravel()
    sizes = np.bincount(place)
    middle = np.cumsum(sizes) - sizes / 2
    return middle[place] / len(values) - 0.5


def _mean_above(values: Array, of: Array) -> Array:
    """Sum of `of` over the items above each one, equal ones by half, as a share of all items."""
    place = np.unique(values, return_inverse=True)[1].ravel()
    sums = np.bincount(place, weights=of)
    above = sums.sum() - np.cumsum(sums) + sums / 2
    return above[place] / len(values)
