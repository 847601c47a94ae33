"""Two-alternative forced choice: does the metric pick the image people pick?

Conventions
-----------
``distance_a, distance_b`` are distances of a and b to the reference, (n,) or (n, metrics);
``p_b`` (n,) in [0, 1] is the share of people who found b closer, ``votes`` (n,) how many were
asked. Per-item functions return (n,) or (n, metrics); their means are the statistics.

Statistics
----------
``2afc``: mean over items of the share of people who agree with the metric, in [0, 1]; a tie of
the metric is one half.
``2afc_subset_mean``: the mean over subsets (``category``) of the figure within each.
``2afc_majority``: share of items where the metric picks what most people picked; ties of the
metric are one half, items on which people are split evenly are left out.
``human``: what a person reaches against the others, mean p^2 + (1-p)^2.
``oracle``: what the best metric could reach against these votes, mean max(p, 1-p).
``2afc_of_ceiling``: (2afc - 1/2) / (ceiling - 1/2): 0 is guessing, 1 the best any metric can do
against people of whom infinitely many were asked (`ceiling`).
``log_likelihood``: mean over items, in nats, of p log q + (1-p) log(1-q), where q is the share
that a psychometric function of the distances predicts, fitted on other references. Guessing is
-0.693; people's own shares (``oracle``) are the largest possible.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import beta, expit, xlogy

from perceptbench.agreement.magnitude import in_range

Array = NDArray[np.float64]

#: Parts of the items that are predicted from the others.
FOLDS = 5
#: The psychometric function has two parameters: more items than this do not move them.
FIT_ITEMS = 5000


def score(distance_a: ArrayLike, distance_b: ArrayLike, p_b: ArrayLike) -> Array:
    """Share of people who agree with the metric on each item; a tie of the metric is one half.

    Zhang et al. 2018 (LPIPS), section 4.1. NaN where a distance is NaN.

    >>> score([1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [0.2, 0.2, 0.2])
    array([0.8, 0.2, 0.5])
    """
    a, b = np.asarray(distance_a, dtype=float), np.asarray(distance_b, dtype=float)
    p = np.asarray(p_b, dtype=float)
    p = p.reshape(p.shape + (1,) * (a.ndim - p.ndim))
    value = np.where(a < b, 1 - p, np.where(b < a, p, 0.5))
    return np.where(np.isnan(a) | np.isnan(b), np.nan, value)


def majority(distance_a: ArrayLike, distance_b: ArrayLike, p_b: ArrayLike) -> Array:
    """1 where the metric picks the majority's image, 0 where not; NaN where there is none.

    >>> majority([1.0, 2.0, 3.0, 1.0, 3.0], [2.0, 1.0, 3.0, 2.0, 3.0], [0.2, 0.2, 0.2, 0.5, 0.5])
    array([1. , 0. , 0.5, nan, nan])
    """
    p = np.asarray(p_b, dtype=float)
    picks = score(distance_a, distance_b, p > 0.5)
    # Also where the metric is undecided itself: no metric has an item that another has not.
    split = (p == 0.5).reshape(p.shape + (1,) * (picks.ndim - p.ndim))
    return np.where(split, np.nan, picks)


def human(p_b: ArrayLike) -> Array:
    """Per item, the chance that two people agree, drawn with replacement: p^2 + (1-p)^2."""
    p = np.asarray(p_b, dtype=float)
    return p**2 + (1 - p) ** 2


def oracle(p_b: ArrayLike) -> Array:
    """Per item, the share of the majority: max(p, 1-p)."""
    p = np.asarray(p_b, dtype=float)
    return np.maximum(p, 1 - p)


def two_people(p_b: ArrayLike, votes: ArrayLike) -> Array:
    """Per item, the chance that two *different* people agree; unbiased, unlike `human`.

    (v (p^2 + (1-p)^2) - 1) / (v - 1) for v votes; NaN for a single vote.

    >>> float(two_people([0.5], [2])[0])
    0.0
    """
    v = np.asarray(votes, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(v > 1, (v * human(p_b) - 1) / (v - 1), np.nan)


def ceiling(two_people_agree: ArrayLike) -> Array:
    """What the best metric reaches against infinitely many people, in [1/2, 1].

    The majority of a few votes is partly chance, so that mean max(p, 1-p) promises too much.
    Here the true shares are taken to follow a symmetric beta distribution, whose one parameter
    follows from the chance that two different people agree (mean of `two_people`).

    >>> float(ceiling(2 / 3))  # shares spread evenly from 0 to 1
    0.75
    """
    agree = np.clip(np.asarray(two_people_agree, dtype=float), 0.5, 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = (1 - agree) / (2 * agree - 1)
        value = 0.5 + 1 / (a * beta(a, a) * 4.0**a)
    return np.where(agree >= 1, 1.0, np.where(np.isfinite(value), value, 0.5))


def likelihood(p_b: ArrayLike, predicted: ArrayLike) -> Array:
    """Per item, the log-likelihood of the votes under a predicted share, in nats a vote.

    >>> likelihood([0.5], [0.5]).round(3)
    array([-0.693])
    """
    p, q = np.asarray(p_b, dtype=float), np.asarray(predicted, dtype=float)
    return xlogy(p, q) + xlogy(1 - p, 1 - q)


def fit_link(difference: ArrayLike, p_b: ArrayLike) -> tuple[float, float]:
    """Slope and lapse rate of share = lapse / 2 + (1 - lapse) / (1 + exp(-slope difference)).

    Greatest likelihood; the lapse rate, in [0.001, 0.5], keeps one confident mistake from
    costing everything. No offset: to swap a and b must swap the prediction.
    """
    x, p = np.asarray(difference, dtype=float), np.asarray(p_b, dtype=float)
    scale = np.sqrt(np.mean(x**2)) or 1.0
    x = x / scale

    def cost(parameters: Array) -> tuple[float, Array]:
        slope, lapse = parameters
        s = expit(slope * x)
        q = lapse / 2 + (1 - lapse) * s
        by_q = -(p - q) / (q * (1 - q)) / len(x)
        steep = by_q @ ((1 - lapse) * s * (1 - s) * x)
        return float(-likelihood(p, q).mean()), np.array([steep, by_q @ (0.5 - s)])

    found = minimize(
        cost, [1.0, 0.05], jac=True, method="L-BFGS-B", bounds=[(-1e3, 1e3), (1e-3, 0.5)]
    )
    return float(found.x[0] / scale), float(found.x[1])


def cross_validated(
    distance_a: ArrayLike, distance_b: ArrayLike, p_b: ArrayLike, groups: ArrayLike
) -> Array:
    """Per item, the log-likelihood under a link fitted on the other folds, (n,).

    Parameters
    ----------
    groups : (n,) integers; items of one group (a reference) are in the same fold, group g in
        fold g modulo FOLDS.
    """
    a, b = in_range(np.stack([np.asarray(x, dtype=float) for x in (distance_a, distance_b)]))
    difference, p = a - b, np.asarray(p_b, dtype=float)
    fold = np.asarray(groups) % FOLDS
    found = np.full(len(p), np.nan)
    for k in np.unique(fold):
        others = np.flatnonzero(fold != k)
        if not len(others):
            continue
        others = others[:: -(-len(others) // FIT_ITEMS)]
        slope, lapse = fit_link(difference[others], p[others])
        here = fold == k
        predicted = lapse / 2 + (1 - lapse) * expit(slope * difference[here])
        found[here] = likelihood(p[here], predicted)
    return found
