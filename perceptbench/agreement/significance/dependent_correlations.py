"""Two metrics' correlations with the same people, compared by formula.

Conventions
-----------
``r_a, r_b`` are the correlations of metrics a and b with people over the same n items, ``r_ab``
the correlation of a with b. Both tests take the items to be independent, which pairs that share
a reference image are not: they stand beside p values that know it, not in their place. z > 0 says
that a agrees better; p is two-sided. Undefined (n < 4, a perfect correlation) is NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]


def meng_rosenthal_rubin(
    r_a: ArrayLike, r_b: ArrayLike, r_ab: ArrayLike, n: int
) -> tuple[Array, Array]:
    """Meng, Rosenthal and Rubin 1992 (doi:10.1037/0033-2909.111.1.172), formula 1: z and p.

    >>> z, p = meng_rosenthal_rubin(0.3, 0.4, 0.5, 100)
    >>> float(z.round(4)), float(p.round(4))
    (-1.0707, 0.2843)
    """
    a, b, ab = (np.asarray(r, dtype=float) for r in (r_a, r_b, r_ab))
    with np.errstate(all="ignore"):
        mean_square = (a**2 + b**2) / 2
        f = np.minimum((1 - ab) / (2 * (1 - mean_square)), 1)
        h = (1 - f * mean_square) / (1 - mean_square)
        return _test(a, b, n, 2 * (1 - ab) * h)


def steiger(r_a: ArrayLike, r_b: ArrayLike, r_ab: ArrayLike, n: int) -> tuple[Array, Array]:
    """Steiger 1980 (doi:10.1037/0033-2909.87.2.245), formula 14, mean correlations: z and p.

    >>> z, p = steiger(0.4, 0.5, 0.1, 103)
    >>> float(z.round(7))
    -0.8887185
    """
    a, b, ab = (np.asarray(r, dtype=float) for r in (r_a, r_b, r_ab))
    with np.errstate(all="ignore"):
        square = ((a + b) / 2) ** 2
        covariance = ab * (1 - 2 * square) - square * (1 - 2 * square - ab**2) / 2
        return _test(a, b, n, 2 - 2 * covariance / (1 - square) ** 2)


def _test(a: Array, b: Array, n: int, variance: Array) -> tuple[Array, Array]:
    if n < 4:
        return np.full(a.shape, np.nan), np.full(a.shape, np.nan)
    z = (np.arctanh(a) - np.arctanh(b)) * np.sqrt((n - 3) / variance)
    # Two metrics that give the same order cannot be told apart.
    z = np.where(a == b, 0.0, z)
    z = np.where(np.isfinite(z), z, np.nan)
    return z, 2 * ndtr(-np.abs(z))
