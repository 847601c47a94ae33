"""Numbers so large or so small that their squares overflow or vanish.

A metric's unit is its own affair: its distances may lie around 1e300 or among the denormals, and
its agreement with people is the same. What sums squares or takes differences of distances works
on `in_range` of them first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Between 2^-LIMIT and 2^LIMIT sums of products of four are numbers.
LIMIT = 200


def largest(values: Array) -> float:
    """The largest size among the values, 0 where there is none."""
    return float(np.abs(values).max(initial=0))


def in_range(values: Array, axis: int | None = None) -> Array:
    """Finite values in another unit, a power of two, where their own would overflow or vanish.

    Along `axis` values share a unit, 0 for columns; all do where it is None.

    >>> in_range(np.array([1.0, 2.0])).tolist(), in_range(np.array([0.0, 2.0**1000])).tolist()
    ([1.0, 2.0], [0.0, 1.0])
    """
    top: Any = np.abs(values).max(axis=axis, initial=0, keepdims=True)
    power = np.frexp(top)[1] - 1
    return np.ldexp(values, np.where((top > 0) & (np.abs(power) > LIMIT), -power, 0))


def unit_range(values: Array) -> Array:
    """Finite values moved and scaled into [0, 1], so that tiny ones neither cancel nor underflow.

    >>> unit_range(np.array([-1.7e308, 0.0, 1.7e308])).tolist()
    [0.0, 0.5, 1.0]
    """
    if not values.size:
        return values
    values = in_range(values)
    low, spread = values.min(), np.ptp(values)
    return (values - low) / spread if spread > 0 else np.zeros_like(values)
