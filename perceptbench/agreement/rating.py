"""Ratings: does the metric order and scale impairments as people do?

Conventions
-----------
``distance`` (n,) is the metric's, ``badness`` (n,) people's: an impairment, or minus a quality.
Larger is better for every statistic but those of `ranking.SMALLER_IS_BETTER`. Undefined (a constant
input, fewer than two items) is NaN. Correlations and STRESS of all items are in `influence`.

Statistics
----------
``srcc``: Spearman's rank correlation, ties at their mid-rank.
``krcc``: Kendall's tau-b.
``plcc``: Pearson's correlation of the raw values.
``plcc_logistic4``, ``plcc_logistic5``: Pearson's correlation with what a rising curve of 4 or 5
parameters predicts of an item from the items of other references
(`perceptbench.agreement.logistic`), both around the mean of the item's fold; noise has 0. A
correlation *with* fit is not comparable with one without.
``rmse``: root mean square of what that curve (4 parameters) misses by, over n - 1, in the unit of
the ratings (ITU-T P.1401, 7.5.2; the curve was not fitted to the items it is measured on, so no
further parameter is counted).
``rmse_star``: the same of what it misses by beyond the 95 % interval of the mean rating (7.8).
``outlier_ratio``: share of items it misses by more than that interval, t(.975, raters - 1) standard
errors (7.5.3); twice the deviation where the number of raters is not known.
``stress``: standardised residual sum of squares of a straight line through the origin, in
[0, 1], smaller is better (Garcia, Huertas, Melgosa, Cui 2007, doi:10.1364/JOSAA.24.001823).
``matching_rmse``: of patterns that people made look as strong as a standard, how far off in log10
contrast a metric is that matches them by its distance (Cai et al. 2025, arXiv:2502.20256).
``srcc_within_reference`` and the like: mean over references of the statistic among the items of
one reference, which is what a loss needs: references with fewer than MIN_WITHIN items, or where
it is undefined, are left out.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from perceptbench.agreement.concordance import concordance

Array = NDArray[np.float64]

#: Fewest items of a reference among which an order is worth counting.
MIN_WITHIN = 3
#: Columns of a table of matches; the rows with `pattern` ``standard`` are what was matched to.
MATCHING = {"impairment", "contrast", "pattern"}
#: Contrasts between which a grating is matched: fainter than any display shows, and all there is.
SHOWN = (1e-4, 1.0)
#: Columns of a table whose `impairment` people did not give, but a stimulus of this contrast has:
#: contrast in thresholds, or the contrast that looks as strong. No opinion, so no curve is fitted.
STIMULUS = {"impairment", "contrast", "value"}


def half_width(std: ArrayLike, raters: ArrayLike) -> Array:
    """Half of the 95 % interval of mean ratings: t(.975, raters - 1) std / sqrt(raters).

    >>> half_width([1.0], [25]).round(4)
    array([0.4128])
    """
    n = np.asarray(raters, dtype=float)
    return np.asarray(stdtrit(np.maximum(n - 1, 1), 0.975) * np.asarray(std, float) / np.sqrt(n))


def matching_errors(
    distance: ArrayLike, contrast: ArrayLike, strength: ArrayLike, pattern: ArrayLike
) -> Array:
    """log10 of the contrast a metric finds as strong as the standard over the one people do, (n,).

    The standard of an item is the row with pattern ``standard`` of the same strength. A pattern's
    distance is interpolated linearly, both in logarithms, between the items at which it is larger
    than at all fainter ones, and drawn on straight beyond them, as far as contrasts can be SHOWN.
    NaN of the standards, of what matches none, and where there are less than two such items or the
    standard is at distance 0.

    Parameters
    ----------
    distance : from the blank field.
    contrast : of each item.
    strength : what people say: the contrast of the standard that looks as strong.
    pattern : names; items of one name differ in contrast only.

    >>> matching_errors([1, 4, 4, 16], [0.1, 0.2, 0.2, 0.4], [0.1, 0.2, 0.1, 0.2],
    ...                 ["standard", "standard", "fine", "fine"]).round(3)
    array([   nan,    nan, -0.301, -0.301])
    """
    d, c, s = (np.asarray(v, dtype=float) for v in (distance, contrast, strength))
    names, found = np.asarray(pattern), np.full(len(d), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        d, c = np.log10(d), np.log10(c)
    standard = names == "standard"
    goal = dict(zip(s[standard], np.where(np.isinf(d), np.nan, d)[standard], strict=True))
    for name in np.unique(names[~standard]):
        rows = np.flatnonzero(names == name)
        order = rows[np.argsort(c[rows], kind="stable")]
        before = np.maximum.accumulate(np.append(-np.inf, d[order][:-1]))
        x, y = c[order][d[order] > before], d[order][d[order] > before]
        if len(x) < 2:
            continue
        wanted = np.array([goal.get(v, np.nan) for v in s[rows]])
        piece = np.clip(np.searchsorted(y, wanted), 1, len(y) - 1)
        slope = (x[piece] - x[piece - 1]) / (y[piece] - y[piece - 1])
        match = x[piece - 1] + slope * (wanted - y[piece - 1])
        found[rows] = np.clip(match, *np.log10(SHOWN)) - c[rows]
    return found


def matched(strength: ArrayLike, pattern: ArrayLike) -> NDArray[np.bool_]:
    """Which items of a matching table were matched to a standard, see `matching_errors`."""
    standard, s = np.asarray(pattern) == "standard", np.asarray(strength, dtype=float)
    return np.asarray(~standard & np.isin(s, s[standard]))


def physical_rmse(contrast: ArrayLike, strength: ArrayLike, pattern: ArrayLike) -> float:
    """``matching_rmse`` of what takes all patterns of one physical contrast for equally strong.

    >>> round(physical_rmse([0.1, 0.2], [0.1, 0.1], ["standard", "fine"]), 3)
    0.301
    """
    some = matched(strength, pattern)
    ratio = np.asarray(strength, dtype=float)[some] / np.asarray(contrast, dtype=float)[some]
    return float(np.sqrt(np.mean(np.log10(ratio) ** 2))) if some.any() else float("nan")


def outliers(
    predicted: ArrayLike, badness: ArrayLike, std: ArrayLike, raters: ArrayLike | None = None
) -> Array:
    """1 where a prediction misses by more than `half_width`, else 0; 2 std without raters.

    >>> outliers([1.0, 1.0], [1.5, 1.0], [1.0, 1.0], [25, 25])
    array([1., 0.])
    """
    error = np.abs(np.asarray(predicted, dtype=float) - np.asarray(badness, dtype=float))
    width = 2 * np.asarray(std, dtype=float) if raters is None else half_width(std, raters)
    return (error > width).astype(float)


def reliability(mean: ArrayLike, std: ArrayLike, raters: ArrayLike) -> float:
    """The share of the spread of mean ratings that is not noise: 1 - mean(std^2 / raters) / var.

    Its root is the largest correlation a metric can be expected to have with them (Spearman 1904).
    Observers' own levels count as noise; at least 0. Items whose deviation is not known are left
    out; NaN for fewer than two.

    >>> reliability([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [10, 10, 10])
    0.9
    """
    m, s, n = (np.asarray(x, dtype=float) for x in (mean, std, raters))
    known = np.isfinite(s)
    total = m[known].var(ddof=1) if known.sum() > 1 else 0.0
    noise = (s[known] ** 2 / n[known]).mean() if total > 0 else 0.0
    return float(max(1 - noise / total, 0)) if total > 0 else float("nan")


def within(distance: Array, badness: Array, groups: ArrayLike) -> dict[str, Array]:
    """``srcc``, ``krcc`` and ``plcc`` among the items of each group, (groups,).

    NaN where a group has fewer than MIN_WITHIN items or a side is constant in it.

    Parameters
    ----------
    groups : (n,) integers from 0.
    """
    codes = np.asarray(groups)
    pairs, sizes = concordance(distance, badness, codes), np.bincount(codes)

    def total(values: NDArray[Any]) -> Array:
        return np.bincount(codes, weights=values, minlength=len(sizes)).astype(float)

    def correlation(x: Array, y: Array) -> Array:
        x, y = (side - (total(side) / sizes)[codes] for side in (x, y))
        xy, xx, yy = total(x * y), total(x * x), total(y * y)
        floor = 1e-20 * sizes
        value = np.clip(xy / np.sqrt(xx * yy), -1, 1)
        return np.where((xx > floor) & (yy > floor), value, np.nan)

    def unit_range(values: Array) -> Array:
        low, high = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
        np.minimum.at(low, codes, values)
        np.maximum.at(high, codes, values)
        # Of each group's own size, so that nothing overflows.
        size = np.frexp(np.maximum(np.abs(low), np.abs(high)))[1]
        low, high = np.ldexp(low, -size), np.ldexp(high, -size)
        spread = (high - low)[codes]
        return (np.ldexp(values, -size[codes]) - low[codes]) / np.where(spread > 0, spread, 1)

    with np.errstate(invalid="ignore", divide="ignore"):
        untied = [total(pairs.size - tied) for tied in (pairs.tied_x, pairs.tied_y)]
        tau = np.clip(total(pairs.net) / np.sqrt(untied[0] * untied[1]), -1, 1)
        ranks = (below + tied / 2 for below, tied in (
            (pairs.below_x, pairs.tied_x), (pairs.below_y, pairs.tied_y)
        ))  # fmt: skip
        found = {
            "srcc": correlation(*ranks),
            "krcc": np.where((untied[0] > 0) & (untied[1] > 0), tau, np.nan),
            "plcc": correlation(unit_range(distance), unit_range(badness)),
        }
    return {name: np.where(sizes >= MIN_WITHIN, each, np.nan) for name, each in found.items()}


def negative(values: Array) -> bool:
    """Whether any value is below zero by more than rounding (1 - SSIM of like images is)."""
    return bool((values < -1e-9 * np.abs(values).max(initial=0)).any())
