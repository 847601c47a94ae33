"""From a figure's spread to its interval, and from two to a p value: one place for both.

Conventions
-----------
Everything rests on standard errors and degrees of freedom (`perceptbench.agreement.units`) and
Student's t. An interval is symmetric on the *scale* of its statistic: Fisher's z for correlations,
the logit for shares, the logarithm for what is positive and has a unit. A difference of two metrics
is symmetric as it is, and its interval excludes 0 exactly where its p is below 5 %. Where two
metrics differ and no unit says by how much, p is the least a sign test over the units could give,
2^(1 - units): five units are no proof, however clear each is.

``p_holm`` is corrected for all pairs of one column (Holm 1979).
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtri, stdtr, stdtrit

Array = NDArray[np.float64]

SIGNIFICANT = 0.05
#: Figures nearer than this are ties: some metrics are functions of one another.
TIE = 1e-12
#: scale -> (to it, back, derivative of the first)
SCALES: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "plain": (lambda v: v, lambda v: v, np.ones_like),
    "correlation": (np.arctanh, np.tanh, lambda v: 1 / (1 - v**2)),
    "share": (logit, expit, lambda v: 1 / (v * (1 - v))),
    "positive": (np.log, np.exp, lambda v: 1 / v),
}


def intervals(
    value: ArrayLike, error: ArrayLike, freedom: ArrayLike, scale: str = "plain"
) -> tuple[Array, Array]:
    """95 % intervals of figures (m,) with standard errors (m,), symmetric on one of SCALES; NaN
    where nothing varies.

    >>> [float(end.round(3)) for end in intervals(0.5, 0.1, 10, "correlation")]
    [0.247, 0.689]
    """
    v, e = np.asarray(value, dtype=float), np.asarray(error, dtype=float)
    to, back, slope = SCALES[scale]
    with np.errstate(all="ignore"):
        half = stdtrit(freedom, 1 - SIGNIFICANT / 2) * e * slope(v)
        low, high = back(to(v) - half), back(to(v) + half)
    size = np.abs(v) if scale == "positive" else np.maximum(1, np.abs(v))
    sound = (e > TIE * size) & np.isfinite(low) & np.isfinite(high)
    return np.where(sound, low, np.nan), np.where(sound, high, np.nan)


def p_values(
    difference: ArrayLike, error: ArrayLike, freedom: ArrayLike, units: ArrayLike
) -> Array:
    """Two-sided p of differences with standard errors.

    >>> float(p_values(2.0, 1.0, 1000, 1001).round(4)), float(p_values(2.0, 0.0, 2, 3))
    (0.0458, 0.25)
    """
    d, e = np.abs(np.asarray(difference, dtype=float)), np.asarray(error, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        p = 2 * stdtr(freedom, -d / e)
    p = np.where(e > TIE * d, p, 2.0 ** (1 - np.asarray(units, dtype=float)))
    return np.where(np.isnan(d) | np.isnan(e), np.nan, np.where(d < TIE, 1.0, p))


def differences(
    difference: ArrayLike, error: ArrayLike, freedom: ArrayLike, units: ArrayLike
) -> tuple[Array, Array, Array]:
    """Low, high and p of paired differences."""
    d, e = np.asarray(difference, dtype=float), np.asarray(error, dtype=float)
    p = p_values(d, e, freedom, units)
    half = stdtrit(freedom, 1 - SIGNIFICANT / 2) * e
    # Where there is no error the sign test alone decides whether 0 is in.
    sure = ~(e > TIE * np.abs(d)) & (p >= SIGNIFICANT)
    low = np.where(sure, np.minimum(d, 0), d - half)
    high = np.where(sure, np.maximum(d, 0), d + half)
    tie = np.abs(d) < TIE  # which is none, whatever its error
    low = np.where(tie, np.minimum(low, 0), low)
    high = np.where(tie, np.maximum(high, 0), high)
    lost = np.isnan(p)
    return np.where(lost, np.nan, low), np.where(lost, np.nan, high), p


def is_equivalent(difference: float, error: float, freedom: float, margin: float) -> bool:
    """Whether a difference is shown to lie within +- margin: two one-sided tests at 5 %.

    Schuirmann 1987 (doi:10.1007/BF01068419).

    >>> is_equivalent(0.001, 0.002, 50, 0.01), is_equivalent(0.001, 0.02, 50, 0.01)
    (True, False)
    """
    half = float(stdtrit(freedom, 1 - SIGNIFICANT)) * error
    return bool(difference - half > -margin and difference + half < margin)


def units_needed(difference: float, error: float, units: int, p: float) -> float:
    """Units that would show this difference at 5 % with a chance of 80 %; NaN where it is shown.

    The standard error falls with the root of the units: (1.96 + 0.84)^2 of its squares.

    >>> units_needed(0.01, 0.01, 100, 0.3)
    785.0
    """
    if not p >= SIGNIFICANT or not error > 0 or abs(difference) < TIE:
        return float("nan")
    return float(np.ceil(units * ((ndtri(0.975) + ndtri(0.8)) * error / difference) ** 2))


def holm(p: Array) -> Array:
    """Holm's step-down correction; NaN stays NaN and counts as no test.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1)
    return corrected


def all_pairs(
    names: Sequence[str], value: Array, errors: Array, freedom: Array, units: int
) -> pd.DataFrame:
    """Every pair of metrics: ``a, b, a value, b value, difference, low, high, p``; a minus b.

    `value` is (m,), `errors` and `freedom` are those of the differences, (m, m).
    """
    i, j = np.triu_indices(len(names), 1)
    apart = value[i] - value[j]
    apart = np.where(np.abs(apart) < TIE, 0.0, apart)
    low, high, p = differences(apart, errors[i, j], freedom[i, j], units)
    table = pd.DataFrame(list(combinations(names, 2)), columns=["a", "b"])
    return table.assign(
        **{"a value": value[i], "b value": value[j]}, difference=apart, low=low, high=high, p=p
    )


def rank_sets(names: Sequence[str], pairs: pd.DataFrame, smaller: bool) -> pd.DataFrame:
    """The places each metric may have: 1 + those surely better, to all less those surely worse.

    Mogstad, Romano, Shaikh and Wilhelm 2024 (doi:10.1093/restud/rdad006), from corrected p values
    of `pairs` (``a, b, difference, p_holm``); `smaller`: whether smaller is better. The table is
    indexed by metric: ``first, last``, and ``best``, whether no other one is surely better.
    """
    place = {name: i for i, name in enumerate(names)}
    known = pairs[pairs["a"].isin(place) & pairs["b"].isin(place)]
    sure = known[known["p_holm"] < SIGNIFICANT]
    a_wins = (sure["difference"] > 0) != smaller
    winners = np.where(a_wins, sure["a"], sure["b"])
    losers = np.where(a_wins, sure["b"], sure["a"])
    better, worse = np.zeros((2, len(names)), dtype=int)
    np.add.at(better, [place[str(m)] for m in losers], 1)
    np.add.at(worse, [place[str(m)] for m in winners], 1)
    index = pd.Index(names, name="metric")
    first, last = 1 + better, len(names) - worse
    return pd.DataFrame({"first": first, "last": last, "best": better == 0}, index=index)
