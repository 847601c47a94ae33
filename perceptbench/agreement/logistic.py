"""The rising curve between a metric's distances and people's ratings, and what it predicts.

Conventions
-----------
``distance`` (n,) is the metric's, ``badness`` (n,) people's, larger is worse in both: the curve may
rise or be flat, never fall, so that a metric that is wrong throughout is not put right by its fit.
``parameters``: 4, VQEG's logistic (VQEG 2000), or 5, a logistic and a straight line (Sheikh, Sabir
and Bovik 2006, doi:10.1109/TIP.2006.881959).

What a curve says of the items it was fitted to flatters it: of noise, 30 items, the correlation is
.36 with 4 parameters and .44 with 5. `cross_fitted` predicts each item from a curve fitted without
the items of its fold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from perceptbench.agreement.magnitude import in_range

Array = NDArray[np.float64]

#: Parts of the items that are predicted from the others.
FOLDS = 5
#: A curve of a few parameters is fitted to the means of so many equal parts of the items.
MOST_FIT = 500
#: Where the search for a logistic starts: centres at every tenth of the distances and BEYOND them,
#: widths, both in deviations of the distances; the best STARTS are followed to their minimum.
BEYOND, WIDTHS = 3.0, (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 30.0)
STARTS, FIT_STEPS = 2, 200
#: How far beyond the distances a centre may end, and between what widths.
FAR, NARROWEST, WIDEST = 20.0, 1e-5, 1000.0
#: In place of a power of 0.
TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Curve:
    """level + rise `_bend`(z, centre, width) + slope z, z = (x / size - mean) / spread.

    `rise` and `slope` are not negative.
    """

    level: float
    rise: float
    slope: float
    centre: float
    width: float
    size: float
    mean: float
    spread: float

    def __call__(self, distance: ArrayLike) -> Array:
        """The badness it predicts of each distance."""
        z = (np.asarray(distance, dtype=float) / self.size - self.mean) / self.spread
        z = np.clip(z, -1e150, 1e150)  # so far beyond what it was fitted to, squares overflow
        bend = _bend(z, self.centre, self.width)
        found: Array = self.level + self.rise * bend + self.slope * z
        return found

    @property
    def flat(self) -> bool:
        """Whether it predicts the same of every item."""
        return self.rise == 0 and self.slope == 0


def fit(
    distance: ArrayLike, badness: ArrayLike, parameters: int = 4, like: Curve | None = None
) -> Curve:
    """The rising curve of 4 or 5 parameters with the least squares.

    Where a straight line leaves no more, or there are too few items, a straight line; where that
    would fall, a flat one. The search begins from the curve `like`, else from the best of a grid.

    >>> x = np.linspace(-3, 3, 50)
    >>> y = 4 / (1 + np.exp(-2 * x)) + 1
    >>> bool(np.allclose(fit(x, y)(x), y)), fit(x, -y).flat
    (True, True)
    """
    x, y = np.asarray(distance, dtype=float), np.asarray(badness, dtype=float)
    size, height = _size(x), _size(y)
    x, y = x / size, y / height
    if not len(x):
        return Curve(0, 0, 0, 0, 1, size, 0, 1)
    mean, spread = float(x.mean()), float(x.std())
    z = (x - mean) / (spread or 1.0)
    own = [size, mean, spread or 1.0]
    zm, ym, weight = _condensed(z, y)
    slope = max(float((weight * zm) @ ym / max(float((weight * zm) @ zm), 1e-300)), 0.0)
    level = float(weight @ ym / weight.sum())
    best = (float(weight @ (ym - level - slope * zm) ** 2), [level, 0.0, slope, 0.0, 1.0])
    if len(x) > parameters and spread > 0 and np.ptp(y) > 0:
        starts = None
        if like is not None and like.rise > 0:
            centre = (like.centre * like.spread + like.mean) * like.size / size
            width = like.width * like.spread * like.size / size / (spread or 1.0)
            starts = [np.array([(centre - mean) / spread, np.log(width)])]
        found = _bent(zm, ym, weight, parameters == 5, starts)
        best = min(best, found, key=lambda each: each[0])
    level, rise, slope, centre, width = best[1]
    return Curve(level * height, rise * height, slope * height, centre, width, *own)


def cross_fitted(
    distance: ArrayLike, badness: ArrayLike, groups: ArrayLike, parameters: int = 4
) -> tuple[Array, NDArray[np.intp]]:
    """What is predicted of each item by a curve fitted to the other folds, and its fold.

    Parameters
    ----------
    groups : (n,) integers from 0; items of one group (a reference) are in the same fold, group g
        in fold g modulo FOLDS.
    """
    x, y = np.asarray(distance, dtype=float), np.asarray(badness, dtype=float)
    fold = np.unique(np.asarray(groups) % FOLDS, return_inverse=True)[1]
    predicted = np.full(len(x), np.nan)
    # Of many items every fold's curve is near that of all; of few it would have seen the fold.
    like = fit(x, y, parameters) if len(x) > MOST_FIT else None
    for k in range(int(fold.max(initial=-1)) + 1):
        others = fold != k
        if others.any():
            predicted[~others] = fit(x[others], y[others], parameters, like)(x[~others])
    return predicted, fold


def _size(values: Array) -> float:
    """What to divide by so that squares neither overflow nor vanish."""
    top = float(np.abs(values).max(initial=0))
    scaled = float(np.abs(in_range(values)).max(initial=0))
    return top / scaled if scaled > 0 else 1.0


def _condensed(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """The items, or the means of MOST_FIT equal parts of them by x, and how many each stands for.

    Of one curve the squares around the means differ from those around the items by a constant, but
    for what the curve rises within one part.
    """
    if len(x) <= MOST_FIT:
        return x, y, np.ones(len(x))
    order = np.argsort(x, kind="stable")
    starts = np.linspace(0, len(x), MOST_FIT, endpoint=False).astype(int)
    count = np.diff(starts, append=len(x)).astype(float)
    return (
        np.add.reduceat(x[order], starts) / count,
        np.add.reduceat(y[order], starts) / count,
        count,
    )


def _bent(
    x: Array, y: Array, weight: Array, line: bool, starts: Sequence[Array] | None = None
) -> tuple[float, list[float]]:
    """What the best logistic that rises (with a line that rises) leaves, and its parameters.

    Given its centre and width, all else is linear (variable projection, Golub and Pereyra 1973):
    two numbers are searched, from the best of a grid. Not `scipy.optimize.curve_fit`: its MINPACK
    (SciPy 1.17) reads memory that nobody wrote, and the seventh digit changes from run to run.
    """
    root = np.sqrt(weight)
    basis = [root / np.linalg.norm(root)]
    if line:
        tilted = root * x
        tilted = tilted - basis[0] * (basis[0] @ tilted)
        norm = float(np.linalg.norm(tilted))
        if norm > 0:
            basis.append(tilted / norm)
    linear = np.column_stack(basis)
    target = _without(linear, root * y)
    projection = _projection(x, root, target, linear)
    low, high = float(x.min()), float(x.max())
    if starts is None:
        centres = [low - BEYOND, *np.quantile(x, np.linspace(0, 1, 11)), high + BEYOND]
        grid = np.array([(centre, np.log(width)) for centre in centres for width in WIDTHS])
        bend = _bend(x[:, None], grid[:, 0], np.exp(grid[:, 1]))
        bent = _without(linear, root[:, None] * bend)
        gain = np.maximum(bent.T @ target, 0) ** 2 / np.maximum((bent**2).sum(axis=0), 1e-300)
        starts = list(grid[np.argsort(-gain, kind="stable")[:STARTS]])
    bounds = ([low - FAR, np.log(NARROWEST)], [high + FAR, np.log(WIDEST)])

    def cost(place: Array) -> tuple[float, Array]:
        missed, slopes = projection(place)
        return float(missed @ missed) / 2, slopes.T @ missed

    found = [
        minimize(cost, np.clip(start, *bounds), jac=True, method="L-BFGS-B",
                 bounds=list(zip(*bounds, strict=True)), options={"maxiter": FIT_STEPS})
        for start in starts
    ]  # fmt: skip
    centre, width = min(found, key=lambda fit: float(fit.fun)).x
    width = float(np.exp(width))
    bend = _bend(x, centre, width)
    bent = _without(linear, root * bend)
    rise = max(float(bent @ target) / max(float(bent @ bent), TINY), 0.0)
    left = y - rise * bend
    columns = np.column_stack([np.ones(len(x)), *([x] if line else [])])
    level, *slope = np.linalg.lstsq(columns * root[:, None], root * left, rcond=None)[0].tolist()
    if slope and slope[0] < 0:
        return _bent(x, y, weight, False)
    tilt = slope[0] if slope else 0.0
    missed = float(weight @ (left - level - tilt * x) ** 2)
    return missed, [level, rise, tilt, float(centre), width]


def _projection(
    x: Array, root: Array, target: Array, linear: Array
) -> Callable[[Array], tuple[Array, Array]]:
    """What a logistic at (centre, log width) leaves of the target, and its derivatives.

    The derivatives are taken with the logistic's factor held (Kaufman 1975,
    doi:10.1007/BF01932995).
    """

    def of(place: Array) -> tuple[Array, Array]:
        width = np.exp(place[1])
        z = (x - place[0]) / width
        bent = _without(linear, root * _bend(x, place[0], width))
        power = max(float(bent @ bent), TINY)
        factor = max(float(bent @ target) / power, 0.0)
        steep = root * expit(z) * expit(-z)
        each = _without(linear, np.stack([steep / width, steep * z], axis=1))
        along = bent @ each / power
        return target - factor * bent, factor * (each - bent[:, None] * along)

    return of


def _bend(z: Array, centre: Array | float, width: Array | float) -> Array:
    """The logistic 1 / (1 + exp(-(z - centre) / width)), less 1 where its centre is below 0.

    Far from its centre it is 0 or 1 and an exponential that a difference from 1 would lose; what
    is subtracted is part of the level.
    """
    away = (z - centre) / width
    below = np.asarray(centre) < 0
    bend: Array = np.where(below, -expit(-away), expit(away))
    return bend


def _without(basis: Array, values: Array) -> Array:
    """What is left of values (n,) or (n, k) without their part along the orthonormal columns."""
    left: Array = values - basis @ (basis.T @ values)
    return left
