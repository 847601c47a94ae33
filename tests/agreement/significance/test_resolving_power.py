"""The resolving power of J.149: vmaf's published figures on seeded draws."""

import numpy as np
import pytest

from perceptbench.agreement.significance.resolving_power import confidence, resolving_power


def power(ratings, scores):
    """From raw ratings, one sequence a stimulus."""
    mean, std = [np.mean(r) for r in ratings], [np.std(r) for r in ratings]
    raters = [len(r) for r in ratings]
    return resolving_power(*confidence(scores, mean, std, raters, *np.triu_indices(len(scores), 1)))


def drawn(raters, spread=1.0):
    rng = np.random.RandomState(0)
    return [rng.normal(0, spread, n) + i for i, n in enumerate(raters)]


def test_published_figures():
    four = [r + 1 for r in drawn([10] * 4)]
    assert power(four, [1, 2, 3, 4]) == pytest.approx(1.2176359647113211, abs=1e-13)
    uneven = [r + 1 for r in drawn([10, 10, 10, 8])]
    assert power(uneven, [1, 2, 3, 4]) == pytest.approx(1.2045849280245293, abs=1e-13)
    many = drawn([30] * 100, spread=10.0)
    assert power(many, np.arange(100)) == pytest.approx(9.0014569671225111, abs=1e-12)


def test_the_unit_is_the_metrics_own_and_no_crossing_is_undefined():
    many = drawn([30] * 100, spread=10.0)
    assert power(many, 0.01 * np.arange(100)) == pytest.approx(0.09, rel=0.05)
    noise = np.random.default_rng(0).permutation(100)
    assert np.isnan(power(many, noise)) and np.isnan(power(many, np.zeros(100)))
