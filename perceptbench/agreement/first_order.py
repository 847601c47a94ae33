"""SRCC and KRCC of large tables on many resamples: to first order, from each item's influence.

Conventions
-----------
``x, y`` (n,). The *influence* of an item is how much the figure grows, times n, when a little more
of the items are like it; its mean over the items is 0. The figure of a resample is the figure of
all items and the mean influence of the items drawn; what is left out is of the order of one over
the number of units drawn, where the spread is of the order of one over its root. Hampel 1974
(doi:10.1080/01621459.1974.10482962) for influence; the two here are the first-order (Hajek) terms
of the V-statistics that both coefficients are, ties at mid-ranks.
"""

import numpy as np
from numpy.typing import NDArray

from perceptbench.agreement.concordance import concordance

Array = NDArray[np.float64]


def srcc(x: Array, y: Array) -> tuple[float, Array]:
    """Spearman's rank correlation and each item's influence on it; NaN where a side is constant."""
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
    """Kendall's tau-b and each item's influence on it; NaN where a side is constant."""
    pairs, n = concordance(x, y), len(x)
    net, apart_x, apart_y = pairs.net / n, 1 - pairs.tied_x / n, 1 - pairs.tied_y / n
    xy, xx, yy = net.mean(), apart_x.mean(), apart_y.mean()
    if not xx > 0 or not yy > 0:
        return float("nan"), np.full(n, np.nan)
    return _of_ratio(xy, xx, yy, 2 * (net - xy), 2 * (apart_x - xx), 2 * (apart_y - yy))


def _of_ratio(
    xy: float, xx: float, yy: float, on_xy: Array, on_xx: Array, on_yy: Array
) -> tuple[float, Array]:
    """xy / sqrt(xx yy) and the influence on it, from those on its parts."""
    value = xy / np.sqrt(xx * yy)
    return float(value), on_xy / np.sqrt(xx * yy) - value / 2 * (on_xx / xx + on_yy / yy)


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
