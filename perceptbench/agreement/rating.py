"""Ratings: does the metric order and scale impairments as people do?

Conventions
-----------
``distance`` (n,) is the metric's, ``badness`` (n,) people's: an impairment, or minus a quality.
Larger is better for every statistic but ``stress``. ``weights`` (R, n) says how often each item
counts in each of R resamples; a statistic then is (R,), equal to the one on the resample with
its items repeated. Undefined (a constant input, fewer than two items) is NaN.

Statistics
----------
``srcc``: Spearman's rank correlation, ties at their mid-rank.
``krcc``: Kendall's tau-b.
``plcc``: Pearson's correlation of the raw values.
``stress``: standardised residual sum of squares of a straight line through the origin, in
[0, 1], smaller is better (Garcia, Huertas, Melgosa, Cui 2007, doi:10.1364/JOSAA.24.001823).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def srcc(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Spearman's rank correlation; scipy.stats.spearmanr on the repeated items.

    >>> float(srcc([1, 2, 3, 4], [1, 2, 5, 3]).round(6))
    0.8
    """
    x, y, w = _prepare(distance, badness, weights)
    return _pearson(_midranks(x, w), _midranks(y, w), w)


def plcc(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Pearson's correlation of the values as they are.

    >>> float(plcc([1, 2, 3, 4], [1, 2, 3, 5]).round(6))
    0.982708
    """
    x, y, w = _prepare(distance, badness, weights)
    return _pearson(_unit_range(x), _unit_range(y), w)


def krcc(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Kendall's tau-b; scipy.stats.kendalltau on the repeated items.

    >>> float(krcc([1, 2, 3, 4], [1, 2, 5, 3]).round(6))
    0.666667
    """
    x, y, w = _prepare(distance, badness, weights)
    # Ordered pairs (i, j) count w_i w_j times. Copies of one item are tied: the diagonal is 0.
    signs = _signs(x) * _signs(y)
    # In float32 a product is exact: sums of integers far below 2^24, and BLAS is twice as fast.
    concordance = ((w.astype(np.float32) @ signs).astype(float) * w).sum(-1)
    total = w.sum(-1) ** 2
    untied_x, untied_y = total - _tied_pairs(x, w), total - _tied_pairs(y, w)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.clip(concordance / np.sqrt(untied_x * untied_y), -1, 1)
        return np.where((untied_x > 0) & (untied_y > 0), value, np.nan)


def stress(distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """STRESS between distances and perceived differences, both non-negative, in [0, 1].

    >>> float(stress([2, 4, 6], [1, 2, 3]))
    0.0
    """
    x, y, w = _prepare(distance, badness, weights)
    if _negative(x) or _negative(y):
        return np.full(w.shape[:-1], np.nan)
    xy, xx, yy = (w @ products for products in (x * y, x * x, y * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.sqrt(np.clip(1 - xy**2 / (xx * yy), 0, 1))
        return np.where((xx > 0) & (yy > 0), value, np.nan)


def _negative(values: Array) -> bool:
    """Whether any value is below zero by more than rounding (1 - SSIM of like images is)."""
    return bool((values < -1e-9 * np.abs(values).max(initial=0)).any())


def _prepare(
    distance: ArrayLike, badness: ArrayLike, weights: ArrayLike | None
) -> tuple[Array, Array, Array]:
    x, y = np.asarray(distance, dtype=float), np.asarray(badness, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"expected two equally long vectors, got {x.shape} and {y.shape}")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
    return x, y, w


def _groups(values: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order that sorts the values, and where each run of equal ones starts in it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(values)]
    return order, np.flatnonzero(starts)


def _midranks(values: Array, weights: Array) -> Array:
    """Rank of every item in each resample, ties sharing the mean of their places, (R, n)."""
    order, starts = _groups(values)
    tied = np.add.reduceat(weights[..., order], starts, axis=-1)
    places = np.cumsum(tied, axis=-1) - tied / 2 + 0.5
    ranks = np.empty(weights.shape)
    ranks[..., order] = np.repeat(places, np.diff(starts, append=len(values)), axis=-1)
    return ranks


def _tied_pairs(values: Array, weights: Array) -> Array:
    """Number of ordered pairs of equal value in each resample, an item with itself included."""
    order, starts = _groups(values)
    return (np.add.reduceat(weights[..., order], starts, axis=-1) ** 2).sum(-1)


def _unit_range(values: Array) -> Array:
    """Values moved and scaled into [0, 1], so that tiny ones neither cancel nor underflow."""
    low, spread = values.min(), np.ptp(values)
    return (values - low) / spread if spread > 0 else np.zeros_like(values)


def _pearson(x: Array, y: Array, w: Array) -> Array:
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


def _signs(values: Array) -> NDArray[np.float32]:
    """Sign of every difference, (n, n)."""
    return np.sign(values[:, None] - values[None, :]).astype(np.float32)
