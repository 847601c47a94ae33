"""Pairs that two orders agree on, item by item, in n log n steps.

Conventions
-----------
``x, y`` (n,) are the values of n items, ``groups`` (n,) integers: only items of one group are
compared. Two items are *concordant* where x and y order them the same way, *discordant* where the
opposite way, and neither where they are tied in x or in y.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Concordance:
    """How each item stands to the others of its group, all (n,)."""

    net: Integers  # the concordant minus the discordant ones
    below_x: Integers  # those of smaller x
    below_y: Integers
    tied_x: Integers  # those of equal x, the item itself included
    tied_y: Integers
    size: Integers  # all of its group


def concordance(x: Array, y: Array, groups: NDArray[np.intp] | None = None) -> Concordance:
    """How each item stands to the others of its group.

    >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).net
    array([2, 0, 0])
    """
    n = len(x)
    g = np.zeros(n, dtype=np.int64) if groups is None else groups
    size, starts = _counted(g)
    # Dense codes: by group, then by value.
    gx, gy = (_dense(g, np.unique(values, return_inverse=True)[1]) for values in (x, y))
    tied_x, below_x = _counted(gx)
    tied_y, below_y = _counted(gy)
    # Ties are broken so that they do not count as smaller in both orders.
    top = n - 1
    by_x = np.argsort(gx * n + (top - gy), kind="stable")
    by_y = top - np.argsort((gy * n + (top - gx))[::-1], kind="stable")
    place_y = np.empty(n, dtype=np.int64)
    place_y[by_y] = np.arange(n)
    both_smaller = np.empty(n, dtype=np.int64)
    both_smaller[by_x] = smaller_before(place_y[by_x])
    both_smaller -= starts  # all of the groups before are smaller in both
    # Runs of equal x are ordered by falling y, runs of equal y by falling x.
    first, tied_both = _runs(gx[by_x], gy[by_x])
    same_x_larger_y = _back(by_x, first) - below_x
    tied_both = _back(by_x, tied_both)
    same_y_larger_x = _back(by_y, _runs(gy[by_y], gx[by_y])[0]) - below_y
    below_x, below_y = below_x - starts, below_y - starts
    x_only = below_x - both_smaller - (tied_y - tied_both - same_y_larger_x)
    y_only = below_y - both_smaller - (tied_x - tied_both - same_x_larger_y)
    both_larger = size - below_x - tied_x - same_y_larger_x - y_only
    net = both_smaller + both_larger - x_only - y_only
    return Concordance(net, below_x, below_y, tied_x, tied_y, size)


def smaller_before(order: NDArray[np.intp]) -> Integers:
    """How many of the entries before each one are smaller; `order` is a permutation of 0..n-1.

    Entries are sorted by one bit after the other, the highest first, and at each the zeros that
    precede a one are counted (a wavelet tree).

    >>> smaller_before(np.array([2, 0, 1]))
    array([0, 0, 1])
    """
    n = len(order)
    values, found = order.astype(np.int64), np.zeros(n, dtype=np.int64)
    place = np.arange(n)
    for bit in reversed(range(max(n - 1, 1).bit_length())):
        half = 1 << bit
        # Entries that share the higher bits stand together, where their values belong.
        start = values >> (bit + 1) << (bit + 1)
        one = (values & half) != 0
        zeros = np.cumsum(~one) - ~one
        before = zeros - zeros[start]
        found += np.where(one, before, 0)
        target = np.where(one, half + place - before, start + before)
        moved = np.empty_like(values), np.empty_like(found)
        moved[0][target], moved[1][target] = values, found
        values, found = moved
    return found[order]


def _dense(groups: Integers, codes: Integers) -> Integers:
    """Codes 0, 1, ... of the pairs of a group and a code, by group first."""
    return np.unique(groups * (codes.max(initial=0) + 1) + codes, return_inverse=True)[1]


def _counted(codes: Integers) -> tuple[Integers, Integers]:
    """How many items have the code of each one, and how many a smaller one."""
    counts = np.bincount(codes)
    return counts[codes], (np.cumsum(counts) - counts)[codes]


def _runs(*keys: Integers) -> tuple[Integers, Integers]:
    """Where the run of entries that are equal in all keys begins, and how long it is."""
    places = np.arange(len(keys[0]))
    new = places == 0
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    first = np.maximum.accumulate(np.where(new, places, 0))
    return first, np.bincount(first, minlength=len(first))[first]


def _back(order: Integers, ordered: Integers) -> Integers:
    """Values that stand in an order, item by item again."""
    found = np.empty_like(ordered)
    found[order] = ordered
    return found
