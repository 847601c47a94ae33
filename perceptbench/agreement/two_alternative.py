"""Two-alternative forced choice: does the metric pick the image people pick?

Conventions
-----------
``distance_a, distance_b`` are distances of a and b to the reference, (n,) or (n, metrics);
``p_b`` (n,) in [0, 1] is the share of people who found b closer.

Statistics
----------
``2afc``: mean over items of the share of people who agree with the metric, in [0, 1].
``human``: what a person reaches against the others, mean p^2 + (1-p)^2.
``oracle``: what the best metric could reach, mean max(p, 1-p).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


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


def two_afc(distance_a: ArrayLike, distance_b: ArrayLike, p_b: ArrayLike) -> float:
    """Mean of `score` over the items."""
    return float(score(distance_a, distance_b, p_b).mean())


def human(p_b: ArrayLike) -> Array:
    """Per item, the chance that two people agree: p^2 + (1-p)^2."""
    p = np.asarray(p_b, dtype=float)
    return p**2 + (1 - p) ** 2


def oracle(p_b: ArrayLike) -> Array:
    """Per item, the share of the majority: max(p, 1-p)."""
    p = np.asarray(p_b, dtype=float)
    return np.maximum(p, 1 - p)
