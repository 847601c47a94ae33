"""Ratings: does the metric order and scale impairments as people do?

Conventions
-----------
``distance`` (n,) is the metric's, ``badness`` (n,) people's: an impairment, or minus a quality.
Larger is better for every statistic but ``stress``, ``matching_rmse``, ``rmse`` and
``outlier_ratio``. ``weights`` (R, n) says how often each item counts in each of R resamples; a
statistic then is (R,), equal to the one on the resample with its items repeated. Undefined (a
constant input, fewer than two
items) is NaN.

Statistics
----------
``srcc``: Spearman's rank correlation, ties at their mid-rank.
``krcc``: Kendall's tau-b.
``plcc``: Pearson's correlation of the raw values.
``plcc_logistic4``, ``plcc_logistic5``: the same after a logistic of 4 or 5 parameters is fitted
(VQEG 2000 and Sheikh, Sabir, Bovik 2006, doi:10.1109/TIP.2006.881959). A correlation *with* fit
is not comparable with one without.
``rmse``: root mean square of what the 4-parameter logistic leaves, in the unit of the ratings.
``outlier_ratio``: share of items it misses by more than twice the standard error of their mean
rating (ITU-T P.1401), or twice the deviation where the number of raters is not known.
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
from scipy.optimize import least_squares
from scipy.special import expit

from perceptbench.agreement.concordance import concordance
from perceptbench.agreement.magnitude import in_range, unit_range

Array = NDArray[np.float64]

#: Fewest items of a reference among which an order is worth counting.
MIN_WITHIN = 3
#: Bytes of weights worked on at a time.
CHUNK_BYTES = 4 << 20
#: Where the search for a logistic starts: centres at every tenth of the distances and BEYOND them,
#: widths, both in deviations of the distances; the best STARTS are followed to their minimum.
BEYOND, WIDTHS = 3.0, (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 30.0)
STARTS, FIT_STEPS = 3, 200
#: How far beyond the distances a centre may end, and between what widths.
FAR, NARROWEST, WIDEST = 20.0, 1e-5, 1000.0


def validate(distance: ArrayLike, badness: ArrayLike) -> None:
    """Raises ValueError where the two are not equally long vectors."""
    x, y = np.asarray(distance), np.asarray(badness)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"expected two equally long vectors, got {x.shape} and {y.shape}")


def srcc(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Spearman's rank correlation; scipy.stats.spearmanr on the repeated items.

    >>> float(srcc([1, 2, 3, 4], [1, 2, 5, 3]).round(6))
    0.8
    """
    x, y, w = _prepare(distance, badness, weights)
    return pearson(midranks(x, w), midranks(y, w), w)


def plcc(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Pearson's correlation of the values as they are.

    >>> float(plcc([1, 2, 3, 4], [1, 2, 3, 5]).round(6))
    0.982708
    """
    x, y, w = _prepare(distance, badness, weights)
    return pearson(unit_range(x), unit_range(y), w)


def krcc(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Kendall's tau-b; scipy.stats.kendalltau on the repeated items.

    >>> float(krcc([1, 2, 3, 4], [1, 2, 5, 3]).round(6))
    0.666667
    """
    x, y, w = _prepare(distance, badness, weights)
    # Ordered pairs (i, j) count w_i w_j times; copies of one item are tied in both.
    both = np.unique(np.stack([x, y]), axis=1, return_inverse=True)[1].ravel().astype(float)
    tied = [_tied_pairs(values, w) for values in (x, y, both)]
    total = w.sum(-1) ** 2
    if weights is None:
        net = np.array(concordance(x, y).net.sum(), dtype=float)
    else:
        net = total - tied[0] - tied[1] + tied[2] - 4 * _inversions(x, y, w)
    untied_x, untied_y = total - tied[0], total - tied[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.clip(net / np.sqrt(untied_x * untied_y), -1, 1)
        return np.where((untied_x > 0) & (untied_y > 0), value, np.nan)


def stress(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """STRESS between distances and perceived differences, both non-negative, in [0, 1].

    >>> float(stress([2, 4, 6], [1, 2, 3]))
    0.0
    """
    x, y, w = _prepare(distance, badness, weights)
    if _negative(x) or _negative(y):
        return np.full(w.shape[:-1], np.nan)
    x, y = in_range(x), in_range(y)
    xy, xx, yy = (w @ products for products in (x * y, x * x, y * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.sqrt(np.clip(1 - xy**2 / (xx * yy), 0, 1))
        return np.where((xx > 0) & (yy > 0), value, np.nan)


def logistic4(x: Array, top: float, bottom: float, centre: float, width: float) -> Array:
    """(top - bottom) / (1 + exp(-(x - centre) / width)) + bottom: VQEG's monotone curve."""
    return bottom + (top - bottom) * expit((x - centre) / width)


def logistic5(x: Array, b1: float, b2: float, b3: float, b4: float, b5: float) -> Array:
    """b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5: a logistic and a straight line."""
    return b1 * (expit(b2 * (x - b3)) - 0.5) + b4 * x + b5


def fit_logistic(distance: ArrayLike, badness: ArrayLike, parameters: int = 4) -> Array | None:
    """The badness that a fitted logistic of 4 or 5 parameters predicts of each distance, (n,).

    Least squares. None where there are too few items, or a straight line leaves less.

    >>> x = np.linspace(-3, 3, 50)
    >>> y = 4 / (1 + np.exp(-2 * x)) + 1
    >>> bool(np.allclose(fit_logistic(x, y), y))
    True
    """
    x, y, _ = _prepare(distance, badness, None)
    if len(x) <= parameters or not x.max() > x.min() or not y.max() > y.min():
        return None
    low, spread = float(y.min()), float(np.ptp(y))
    x, y = unit_range(x), unit_range(y)
    x = (x - x.mean()) / x.std()
    # Orthonormal columns, as x has mean 0 and deviation 1.
    line = np.column_stack([np.ones(len(x)), x]) * len(x) ** -0.5
    left = _least_squares(x, y, line[:, :1] if parameters == 4 else line)
    if left @ left > np.sum(_without(line, y) ** 2):
        return None
    fitted: Array = y - left
    return fitted * spread + low


def _least_squares(x: Array, y: Array, linear: Array) -> Array:
    """What the best logistic plus a combination of columns `linear` (n, k) leaves of y, (n,).

    Given its centre and width, all else is linear (variable projection, Golub and Pereyra 1973):
    two numbers are searched, from the best of a grid. Not `scipy.optimize.curve_fit`: its MINPACK
    (SciPy 1.17) reads memory that nobody wrote, and the seventh digit changes from run to run.
    """
    y = _without(linear, y)

    def rise(place: Array) -> tuple[Array, Array, float]:
        """(x - centre) / width, the part of the logistic there that is not linear, its factor."""
        z = (x - place[0]) / np.exp(place[1])
        bent = _without(linear, expit(z))
        power = float(bent @ bent)
        return z, bent, float(bent @ y) / power if power > 0 else 0.0

    def left(place: Array) -> Array:
        _, bent, factor = rise(place)
        return y - factor * bent

    def slopes(place: Array) -> Array:
        """Derivatives of `left`, the factor held (Kaufman 1975, doi:10.1007/BF01932995)."""
        z, bent, factor = rise(place)
        steep = expit(z) * expit(-z)
        each = _without(linear, np.stack([steep / np.exp(place[1]), steep * z], axis=1))
        along = bent @ each / max(float(bent @ bent), float(np.finfo(float).tiny))
        return factor * (each - bent[:, None] * along)

    low, high = float(x.min()), float(x.max())
    centres = [low - BEYOND, *np.quantile(x, np.linspace(0, 1, 11)), high + BEYOND]
    grid = sorted(
        (np.array([centre, np.log(width)]) for centre in centres for width in WIDTHS),
        key=lambda place: float(np.sum(left(place) ** 2)),
    )
    bounds = ([low - FAR, np.log(NARROWEST)], [high + FAR, np.log(WIDEST)])
    found = [
        least_squares(left, start, slopes, bounds, x_scale="jac", max_nfev=FIT_STEPS)
        for start in grid[:STARTS]
    ]
    best: Array = min(found, key=lambda fit: float(fit.cost)).fun
    return best


def _without(basis: Array, values: Array) -> Array:
    """What is left of values (n,) or (n, k) without their part along the orthonormal columns."""
    left: Array = values - basis @ (basis.T @ values)
    return left


def rmse(predicted: ArrayLike, badness: ArrayLike) -> float:
    """Root mean square error of a prediction, in the unit of the ratings; mean over n."""
    error = np.asarray(predicted, dtype=float) - np.asarray(badness, dtype=float)
    return float(np.sqrt(np.mean(error**2)))


def matching_errors(
    distance: ArrayLike, contrast: ArrayLike, strength: ArrayLike, pattern: ArrayLike
) -> Array:
    """log10 of the contrast a metric finds as strong as the standard over the one people do, (n,).

    The standard of an item is the row with pattern ``standard`` of the same strength. A pattern's
    distance is interpolated linearly, both in logarithms, between the items at which it is larger
    than at all fainter ones, and drawn on straight beyond them. NaN of the standards, of what
    matches none, and where there are less than two such items or the standard is at distance 0.

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
        found[rows] = x[piece - 1] + slope * (wanted - y[piece - 1]) - c[rows]
    return found


def outliers(
    predicted: ArrayLike, badness: ArrayLike, std: ArrayLike, raters: ArrayLike | None = None
) -> Array:
    """1 where a prediction misses by more than 2 std / sqrt(raters), else 0; 2 std without raters.

    >>> outliers([1.0, 1.0], [1.5, 1.0], [1.0, 1.0], [25, 25])
    array([1., 0.])
    """
    error = np.abs(np.asarray(predicted, dtype=float) - np.asarray(badness, dtype=float))
    width = np.asarray(std, dtype=float)
    if raters is not None:
        width = width / np.sqrt(np.asarray(raters, dtype=float))
    return (error > 2 * width).astype(float)


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


def evaluate(
    distance: ArrayLike, badness: ArrayLike, std: ArrayLike | None = None,
    raters: ArrayLike | None = None,
) -> dict[str, float]:  # fmt: skip
    """Every statistic of one metric on one set of items, by name.

    Where a logistic cannot be fitted its correlation is the raw one, and the error that of a
    straight line.
    """
    x, y, _ = _prepare(distance, badness, None)
    found = {name: float(f(x, y)) for name, f in STATISTICS.items()}
    for parameters in (4, 5):
        fitted = fit_logistic(x, y, parameters)
        found[f"plcc_logistic{parameters}"] = float(plcc(x if fitted is None else fitted, y))
        if parameters == 4:
            curve = straight_line(x, y) if fitted is None else fitted
            found["rmse"] = rmse(curve, y)
            if std is not None:
                found["outlier_ratio"] = float(outliers(curve, y, std, raters).mean())
    return found


def straight_line(distance: Array, badness: Array) -> Array:
    """The least-squares line through the items, at each distance."""
    x = in_range(distance)
    x = x - x.mean()
    power = x @ x
    return badness.mean() + (x * (x @ badness) / power if power > 0 else 0 * x)


def _negative(values: Array) -> bool:
    """Whether any value is below zero by more than rounding (1 - SSIM of like images is)."""
    return bool((values < -1e-9 * np.abs(values).max(initial=0)).any())


def _prepare(
    distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None
) -> tuple[Array, Array, Array]:
    x, y = np.asarray(distance, dtype=float), np.asarray(badness, dtype=float)
    validate(x, y)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
    return x, y, w


def groups(values: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order that sorts the values, and where each run of equal ones starts in it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(values)]
    return order, np.flatnonzero(starts)


def midranks(values: Array, weights: Array) -> Array:
    """Rank of every item in each resample, ties sharing the mean of their places, (R, n)."""
    order, starts = groups(values)
    tied = np.add.reduceat(weights[..., order], starts, axis=-1)
    places = np.cumsum(tied, axis=-1) - tied / 2 + 0.5
    ranks = np.empty(weights.shape)
    ranks[..., order] = np.repeat(places, np.diff(starts, append=len(values)), axis=-1)
    return ranks


def _tied_pairs(values: Array, weights: Array) -> Array:
    """Number of ordered pairs of equal value in each resample, an item with itself included."""
    order, starts = groups(values)
    return (np.add.reduceat(weights[..., order], starts, axis=-1) ** 2).sum(-1)


def pearson(x: Array, y: Array, w: Array) -> Array:
    """Weighted Pearson correlation along the last axis; NaN where a side is constant."""
    total = w.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = x - (w * x).sum(-1, keepdims=True) / total
        y = y - (w * y).sum(-1, keepdims=True) / total
        xy, xx, yy = ((w * p).sum(-1) for p in (x * y, x * x, y * y))
        # What is left of a constant side after rounding is no variance.
        floor = 1e-20 * total[..., 0]
        value = np.clip(xy / np.sqrt(xx * yy), -1, 1)
        return np.where((xx > floor) & (yy > floor), value, np.nan)


def _inversions(x: Array, y: Array, weights: Array) -> Array:
    """Pairs that x orders one way and y the other, in each resample, (R,).

    Both orders are cut into about sqrt(n) blocks. A pair in different blocks of both is found in
    the grid of blocks, by running sums; one in the same block of x or of y by small matrices of
    which pairs are inverted, which are the same in all resamples.
    """
    n, w = len(x), weights.reshape(-1, len(x))
    # Ties are broken so that they are no inversions: in both orders the same way.
    by_x, by_y = np.lexsort((y, x)), np.lexsort((x, y))
    place_x, place_y = np.empty(n, dtype=np.intp), np.empty(n, dtype=np.intp)
    place_x[by_x] = place_y[by_y] = np.arange(n)
    size = max(1, int(np.sqrt(n)))
    blocks = -(-n // size)
    in_x = _inverted(place_y[by_x], size, blocks)
    # Pairs in the same block of both are counted in x's.
    in_y = _inverted(place_x[by_y], size, blocks, across=True)
    cell = place_x // size * blocks + place_y // size
    by_cell = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.diff(cell[by_cell], prepend=-1))
    found = np.zeros(len(w))
    step = max(1, CHUNK_BYTES // (8 * n))
    for start in range(0, len(w), step):
        here = np.ascontiguousarray(w[start : start + step].T)
        some = found[start : start + step]
        for order, inverted in ((by_x, in_x), (by_y, in_y)):
            flat = np.zeros((blocks * size, here.shape[1]), dtype=np.float32)
            flat[:n] = here[order]
            own = flat.reshape(blocks, size, -1)
            # Exact in float32: sums of integers far below 2^24.
            some += ((inverted @ own).astype(float) * own).sum(axis=(0, 1))
        cells = np.zeros((blocks * blocks, here.shape[1]))
        cells[cell[by_cell[starts]]] = np.add.reduceat(here[by_cell], starts, axis=0)
        grid = cells.reshape(blocks, blocks, -1)
        before = np.cumsum(grid, axis=0) - grid
        above = np.cumsum(before[:, ::-1], axis=1)[:, ::-1] - before
        some += (above * grid).sum(axis=(0, 1))
    return found.reshape(weights.shape[:-1])


def _inverted(
    places: NDArray[np.intp], size: int, blocks: int, across: bool = False
) -> NDArray[np.float32]:
    """Which pairs of each block of an order have the other places inverted, (blocks, size, size).

    `across`: only pairs in different blocks of the other order.
    """
    other = np.full(blocks * size, blocks * size)
    other[: len(places)] = places
    a, b = (other.reshape(blocks, size)[index] for index in (np.s_[:, :, None], np.s_[:, None]))
    inverted = (a > b) & np.tri(size, k=-1, dtype=bool).T
    if across:
        inverted &= a // size != b // size
    return inverted.astype(np.float32)


STATISTICS = {"srcc": srcc, "krcc": krcc, "plcc": plcc, "stress": stress}
