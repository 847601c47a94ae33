"""The JND precision: an independent reading of the rule, and ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.agreement import same_different

pairs = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        st.permutations(range(n)),
        st.lists(st.sampled_from([0, 1 / 3, 2 / 3, 1.0]), min_size=n, max_size=n),
    )
)


def by_hand(distance, p_same, counts=None):
    """The area under the envelope, step by step, from the definition."""
    counts = counts or [1] * len(distance)
    total = sum(p * c for p, c in zip(p_same, counts, strict=True))
    order = sorted(range(len(distance)), key=lambda i: distance[i])
    curve, hits, misses = [(0.0, 0.0)], 0.0, 0.0
    for i in order:
        hits, misses = hits + counts[i] * p_same[i], misses + counts[i] * (1 - p_same[i])
        if counts[i]:
            curve.append((hits / total, hits / (hits + misses)))
    curve.append((1.0, 0.0))
    best, area = 0.0, 0.0
    for k in range(len(curve) - 1, 0, -1):
        best = max(best, curve[k][1])
        area += (curve[k][0] - curve[k - 1][0]) * best
    return area


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_the_definition(sample):
    distance, p_same = sample
    if sum(p_same):
        assert same_different.jnd_ap(distance, p_same) == pytest.approx(by_hand(distance, p_same))


@settings(max_examples=40, deadline=None)
@given(pairs, st.lists(st.integers(1, 3), min_size=12, max_size=12), st.randoms())
def test_pairs_of_equal_distance_are_passed_together(sample, copies, random):
    (distance, p_same), copies = sample, copies[: len(sample[0])]
    rows = [(d, p) for d, p, c in zip(distance, p_same, copies, strict=True) for _ in range(c)]
    random.shuffle(rows)
    if sum(p_same):
        found = same_different.jnd_ap(*np.array(rows).T)
        assert found == pytest.approx(by_hand(distance, p_same, copies))


def test_nobody_who_says_the_same_is_undefined():
    assert np.isnan(same_different.jnd_ap([1, 2], [0, 0]))
