"""Krasula's analysis: can the metric tell which pairs differ to people, and which is better?

Krasula, Fliegel, Le Callet, Klima, QoMEX 2016 (doi:10.1109/QoMEX.2016.7498936).

Conventions
-----------
A pair (i, j) of stimuli has z = (mean_i - mean_j) / sqrt(var_i / n_i + var_j / n_j) with
variances of ddof 1. It is *different* where |z| > 2 (strictly), and the sign says which side is
higher; else it is *similar*. ``difference`` (pairs,) is the metric's on the same pairs, in the
direction of z; ``significance`` (pairs,) is -1, 0 or 1. Areas count ties by half (mid-ranks).

Pairs are taken once each, i < j. Netflix's vmaf takes all n x n ordered pairs, an
item with itself among the similar ones, which raises AUC_DS: an item differs from itself by
exactly 0.

Statistics
----------
``auc_ds``: area of |difference| that tells different pairs from similar ones.
``auc_bw``: over different pairs, area that tells right from wrong order; each pair is taken both
ways round, so that it depends on no order of the items. 1 for a metric that orders all of them.
``cc_0``: share of the different pairs whose order the sign of the difference gets right; a
difference of 0 by half.
``thr``: 95th percentile (linear interpolation) of |difference| among the *similar* pairs: above
it a difference means something, in the metric's own unit. Older versions took the different
pairs.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

#: |z| above which people are taken to see a difference.
SIGNIFICANT = 2.0


def significance(
    mean: ArrayLike, std: ArrayLike, raters: ArrayLike, first: ArrayLike, second: ArrayLike
) -> Array:
    """-1, 0 or 1 of each pair; `std` (n,) with ddof 1, `raters` (n,) behind each mean."""
    m, error = np.asarray(mean, dtype=float), np.asarray(std, dtype=float) ** 2 / raters
    i, j = np.asarray(first), np.asarray(second)
    apart, width = m[i] - m[j], np.sqrt(error[i] + error[j])
    # Without any deviation every difference of the means is one.
    return np.sign(apart) * (np.abs(apart) > SIGNIFICANT * width)


def area(positive: ArrayLike, negative: ArrayLike) -> float:
    """Area under the ROC curve: chance that a positive exceeds a negative, ties by half.

    >>> area([2, 3], [1, 2])
    0.875
    """
    p, q = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    if not len(p) or not len(q):
        return float("nan")
    ranks = _ranks(np.concatenate([p, q]))
    return float((ranks[: len(p)].sum() - len(p) * (len(p) + 1) / 2) / (len(p) * len(q)))


def auc_ds(difference: ArrayLike, significance: ArrayLike) -> float:
    """Area for different against similar pairs; NaN where one of them is missing."""
    return area(*_different_similar(difference, significance))


def auc_bw(difference: ArrayLike, significance: ArrayLike) -> float:
    """Area for better against worse; NaN where no pair is different."""
    return area(*_better_worse(difference, significance))


def cc_0(difference: ArrayLike, significance: ArrayLike) -> float:
    """Share of different pairs in the right order; a difference of 0 is right by half."""
    better, _ = _better_worse(difference, significance)
    return float(np.heaviside(better, 0.5).mean()) if len(better) else float("nan")


def influence(statistic: str, difference: ArrayLike, significance: ArrayLike) -> Array:
    """How much each pair matters to ``auc_ds``, ``auc_bw`` or ``cc_0``, (pairs,), mean 0.

    Of areas, DeLong's placements: the share of the other kind that a pair is on the right side of.
    0 where the statistic is undefined.
    """
    d, s = np.asarray(difference, dtype=float), np.asarray(significance)
    found = np.zeros(len(d))
    different = s != 0
    if not different.any() or (statistic == "auc_ds" and different.all()):
        return found
    if statistic == "auc_ds":
        above, below = _placements(np.abs(d[different]), np.abs(d[~different]))
        found[different] = (above - above.mean()) * (len(d) / different.sum())
        found[~different] = (below - below.mean()) * (len(d) / (~different).sum())
        return found
    better, worse = _better_worse(d, s)
    each = np.heaviside(better, 0.5)
    if statistic == "auc_bw":
        above, below = _placements(better, worse)
        each = above + below
    found[different] = (each - each.mean()) * (len(d) / different.sum())
    return found


def thr(difference: ArrayLike, significance: ArrayLike) -> float:
    """95th percentile of |difference| among the similar pairs."""
    _, similar = _different_similar(difference, significance)
    return float(np.percentile(similar, 95)) if len(similar) else float("nan")


def compare(
    difference_a: ArrayLike, difference_b: ArrayLike, significance: ArrayLike
) -> dict[str, float]:
    """Two-sided p that metrics a and b are equal, by statistic, on the same pairs.

    DeLong, DeLong, Clarke-Pearson 1988 for the areas; for ``cc_0`` a z test of two proportions
    with 2 x the different pairs, as published. Both take pairs to be independent.
    """
    a, b = (_different_similar(d, significance) for d in (difference_a, difference_b))
    found = {"auc_ds": delong(a, b)}
    a, b = (_better_worse(d, significance) for d in (difference_a, difference_b))
    found["auc_bw"] = delong(a, b)
    shares = np.array([cc_0(d, significance) for d in (difference_a, difference_b)])
    pooled, n = shares.mean(), 2 * len(a[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (shares[0] - shares[1]) / np.sqrt(2 * pooled * (1 - pooled) / n)
    found["cc_0"] = _two_sided(float(z), bool(shares[0] == shares[1]))
    return found


def delong(a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    """Two-sided p that two areas over the same (positive, negative) cases are equal."""
    placements = [_placements(*scores) for scores in (a, b)]
    (p, q), areas = a, [float(on_positive.mean()) for on_positive, _ in placements]
    if len(p) < 2 or len(q) < 2:
        return float("nan")
    apart = [placements[0][k] - placements[1][k] for k in (0, 1)]
    variance = apart[0].var(ddof=1) / len(p) + apart[1].var(ddof=1) / len(q)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (areas[0] - areas[1]) / np.sqrt(variance)
    return _two_sided(float(z), areas[0] == areas[1])


def _placements(positive: Array, negative: Array) -> tuple[Array, Array]:
    """Share of negatives below each positive, and of positives above each negative."""
    p, q = len(positive), len(negative)
    ranks = _ranks(np.concatenate([positive, negative]))
    below = (ranks[:p] - _ranks(positive)) / q
    above = 1 - (ranks[p:] - _ranks(negative)) / p
    return below, above


def _ranks(values: Array) -> Array:
    """From 1, equal ones at their mid-rank."""
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)


def _two_sided(z: float, equal: bool) -> float:
    return 1.0 if equal else float(2 * ndtr(-abs(z)))


def _different_similar(difference: ArrayLike, significance: ArrayLike) -> tuple[Array, Array]:
    size, s = np.abs(np.asarray(difference, dtype=float)), np.asarray(significance)
    return size[s != 0], size[s == 0]


def _better_worse(difference: ArrayLike, significance: ArrayLike) -> tuple[Array, Array]:
    d, s = np.asarray(difference, dtype=float), np.asarray(significance)
    right = (d * s)[s != 0]
    return right, -right


STATISTICS = {"auc_ds": auc_ds, "auc_bw": auc_bw, "cc_0": cc_0, "thr": thr}
