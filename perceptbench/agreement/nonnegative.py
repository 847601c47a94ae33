"""Weights of distances learned from judgements, and how they do on references left out.

Model
-----
A loss is D w: ``distances`` D (n, k) in k columns (a tap each, or a channel of a tap) times
weights w >= 0. Of two images, people choose b over a with probability 1 / (1 + exp(-(D_a - D_b)
w)), without an offset: to swap a and b swaps the shares. Ratings are made such choices too: of
two rated images the worse one is not chosen, whatever the distance between the ratings. That is
rank regression (RankNet, Burges et al. 2005, with a linear model), which knows nothing of the
unit of the ratings.

Objective
---------
Mean log-likelihood of the choices, each judgement table counting the same, minus ``ridge`` / 2
times the sum of squared weights after every column is divided by its root mean square: what is
held down is a column's influence, whatever its unit. Convex, so that there is one optimum.

Conventions
-----------
The likelihood fixes the scale of w, people's noise; a loss has no use for it. Weights are scaled
so that the loss has the same mean over the distances it was fitted on as with equal weights
(`rescaled`): a fitted loss takes the place of an equal one at the same learning rate, and
distances of different folds can be ranked together.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from perceptbench.agreement.items import Items
from perceptbench.errors import DataError

Array = NDArray[np.float64]

#: Pairs of ratings that are compared at most; drawn where there are more.
RATED_PAIRS = 20_000
RIDGE = 0.01


def fit_weights(
    difference: ArrayLike, p_b: ArrayLike, counts: ArrayLike | None = None, ridge: float = RIDGE
) -> Array:
    """Non-negative logistic regression without an offset.

    Parameters
    ----------
    difference : distances of a minus those of b, (n, k).
    p_b : share of people who chose b, (n,) in [0, 1].
    counts : how much each row counts, (n,); default: the same.
    ridge : how much large weights cost; see the module's docstring.

    Returns
    -------
    Weights (k,), on the scale of the likelihood; 0 for a column that is 0 throughout.

    >>> fit_weights([[1.0], [-1.0]], [0.75, 0.25], ridge=0).round(4)  # the logarithm of 3
    array([1.0986])
    """
    x, p = np.asarray(difference, dtype=float), np.asarray(p_b, dtype=float)
    share = np.ones(len(p)) if counts is None else np.asarray(counts, dtype=float)
    share = share / share.sum()
    scale = np.sqrt(np.mean(x**2, axis=0))
    scale[scale == 0] = np.inf
    x = x / scale

    def cost(weights: Array) -> tuple[float, Array]:
        logits = x @ weights
        value = share @ (np.logaddexp(0, logits) - p * logits) + ridge / 2 * weights @ weights
        return float(value), x.T @ (share * (expit(logits) - p)) + ridge * weights

    k = x.shape[1]
    found = minimize(
        cost, np.full(k, 1 / k), jac=True, method="L-BFGS-B", bounds=[(0, None)] * k,
        options={"maxiter": 2000, "maxfun": 10_000, "ftol": 1e-12, "gtol": 1e-7},
    )  # fmt: skip
    weights: Array = found.x / scale
    return weights


def choices(items: Items, seed: int = 0) -> tuple[Array, Array]:
    """The judged items as choices: distances of a minus those of b (n, k), share for b (n,).

    Items without all of their distances are left out. Two ratings are compared in random order,
    every two of a table, or RATED_PAIRS of them drawn; equal ratings are no choice.
    """
    whole = np.isfinite(items.distances).all(axis=(0, 2))
    if items.protocol == "2afc":
        a, b = items.distances[:, whole]
        return a - b, items.table["p_b"].to_numpy(float)[whole]
    (distances,), badness = items.distances[:, whole], items.badness[whole]
    n = len(badness)
    rng = np.random.default_rng(seed)
    if n * (n - 1) // 2 <= RATED_PAIRS:
        i, j = np.triu_indices(n, 1)
        turned = rng.random(len(i)) < 0.5
        i, j = np.where(turned, j, i), np.where(turned, i, j)
    else:
        i, j = rng.integers(n, size=(2, RATED_PAIRS))
    different = badness[i] != badness[j]
    i, j = i[different], j[different]
    return distances[i] - distances[j], (badness[i] > badness[j]).astype(float)


def fit_items(tables: Sequence[Items], ridge: float = RIDGE, seed: int = 0) -> Array:
    """Weights (k,) fitted to judgement tables, 2AFC or ratings, each counting the same.

    Raises
    ------
    DataError : nothing to learn from, or no column whose distance grows as people's does.
    """
    parts = [(x, p) for x, p in (choices(items, seed) for items in tables) if len(p)]
    if not parts:
        raise DataError(
            "there is nothing to fit weights to: no judgement has all its distances, or all "
            "ratings are equal"
        )
    counts = np.concatenate([np.full(len(p), 1 / len(p)) for _, p in parts])
    x, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    weights = fit_weights(x, p, counts, ridge)
    if not weights.any():
        raise DataError("no distance grows as people's judgement does: all weights would be 0")
    whole = [items.distances[:, items.answered.all(axis=1)] for items in tables]
    return rescaled(weights, np.concatenate([side for both in whole for side in both]))


def rescaled(weights: Array, distances: Array) -> Array:
    """Weights scaled so that the loss has the same mean over distances (n, k) as with ones.

    >>> rescaled(np.array([0.0, 1.0]), np.array([[1.0, 1.0], [2.0, 1.0]]))
    array([0. , 2.5])
    """
    means = distances.mean(axis=0)
    return np.asarray(weights * (means.sum() / (means @ weights)))


def folds(references: Sequence[str], count: int, seed: int = 0) -> dict[str, int]:
    """Reference -> the fold it is in, all its judgements with it; folds differ by one at most.

    >>> sorted(folds(["r1", "r2", "r1", "r3"], 3).values())
    [0, 1, 2]
    """
    names = sorted(set(references))
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[n]: place % count for place, n in enumerate(order)}


def held_out_weights(
    tables: Sequence[Items],
    fold_of: dict[str, int],
    ridge: float = RIDGE,
    seed: int = 0,
) -> Array:
    """Weights (folds, k): row f is fitted to all judgements but those of references in fold f."""
    fitted = []
    for fold in range(max(fold_of.values()) + 1):
        kept = [
            np.flatnonzero(t.table["reference"].map(fold_of).to_numpy() != fold) for t in tables
        ]
        others = [items.part(rows) for items, rows in zip(tables, kept, strict=True)]
        fitted.append(fit_items(others, ridge, seed))
    return np.stack(fitted)


def shared_images(table: pd.DataFrame, fold_of: dict[str, int]) -> float:
    """Share of judgements left out that show an image which was also shown in training.

    Where every image is compared with every other, folds by reference leave out judgements, not
    images: the figure is then one for new judgements of images that were seen.
    """
    columns = [c for c in ("reference", "a", "b", "distorted") if c in table]
    fold = table["reference"].map(fold_of).to_numpy()
    long = pd.concat(
        [pd.DataFrame({"image": table[c], "fold": fold, "row": np.arange(len(table))})
         for c in columns]
    )  # fmt: skip
    several = long.groupby("image")["fold"].transform("nunique") > 1
    return float(long.loc[several, "row"].nunique() / len(table))
