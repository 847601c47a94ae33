"""Intervals, p values, corrections and places."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perceptbench.agreement import inference


def test_holm_is_statsmodels():
    """Few calls: each of theirs collects garbage, of a second in a process that holds torch."""
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    spread = 10 ** -np.random.default_rng(0).uniform(0, 6, 50)
    for p in (spread, np.array([0.02, 0.02, 0.0, 0.01, 1.0, 1.0, 0.3]), np.array([0.04])):
        np.testing.assert_allclose(inference.holm(p), multipletests(p, method="holm")[1])


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(float, 7, elements=st.floats(0, 1)))
def test_what_has_no_p_does_not_count_in_holms_correction(p):
    with_gap = inference.holm(np.append(p, np.nan))
    assert np.isnan(with_gap[-1])
    np.testing.assert_array_equal(with_gap[:-1], inference.holm(p))


def test_the_interval_of_a_mean_is_students_and_that_of_a_correlation_fishers():
    x = np.random.default_rng(0).normal(size=20)
    error = x.std(ddof=1) / np.sqrt(20)
    found = inference.intervals(x.mean(), error, 19)
    np.testing.assert_allclose(found, scipy.stats.ttest_1samp(x, 0).confidence_interval(0.95))
    low, high = inference.intervals(0.9, 0.05, 1e6, "correlation")
    half = 1.96 * 0.05 / (1 - 0.81)
    np.testing.assert_allclose(
        [low, high], np.tanh(np.arctanh(0.9) + np.array([-half, half])), atol=1e-4
    )
    assert high < 1 and np.isnan(inference.intervals(1.0, 0.0, 9, "share")).all()


@settings(max_examples=60, deadline=None)
@example(9.094947017729282e-13, 2.273736754432328e-13, 5)
@given(
    st.floats(-1, 1), st.floats(0, 1), st.integers(5, 200),
)  # fmt: skip
def test_an_interval_excludes_zero_exactly_where_p_is_below_five_per_cent(value, error, units):
    low, high, p = inference.differences(value, error, units - 1, units)
    assert (low > 0 or high < 0) == (p < 0.05)


def test_where_no_unit_differs_p_is_a_sign_tests():
    assert inference.p_values(0.1, 0.0, 4, 5) == 1 / 16
    assert inference.p_values(0.0, 0.0, 4, 5) == 1


def test_places_follow_from_what_is_surely_better():
    pairs = pd.DataFrame(
        [("a", "b", 0.1, 0.01), ("a", "c", 0.2, 0.01), ("b", "c", 0.1, 0.2), ("a", "d", 0.0, 1.0),
         ("b", "d", -0.1, 0.6), ("c", "d", -0.2, 0.02)],
        columns=["a", "b", "difference", "p_holm"],
    )  # fmt: skip
    sets = inference.rank_sets(list("abcd"), pairs, smaller=False)
    assert sets["first"].tolist() == [1, 2, 3, 1] and sets["last"].tolist() == [2, 4, 4, 3]
    assert sets["best"].tolist() == [True, False, False, True]
    turned = inference.rank_sets(list("abcd"), pairs, smaller=True)
    assert turned["first"].tolist() == [3, 1, 1, 2] and turned["best"].tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_equivalence_is_two_one_sided_tests():
    """Against statsmodels' on the same numbers."""
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    x = np.random.default_rng(3).normal(0.002, 0.02, 40)
    error = x.std(ddof=1) / np.sqrt(40)
    for margin in (0.004, 0.006, 0.008, 0.01, 0.02):
        p = weightstats.DescrStatsW(x).ttost_mean(-margin, margin)[0]
        assert inference.is_equivalent(x.mean(), error, 39, margin) == (p < 0.05)


def test_as_many_units_as_are_needed_show_the_difference_in_four_of_five():
    """The facts: a paired 2AFC score with deviation .44 needs 15,200 triplets for one point."""
    needed = inference.units_needed(0.01, 0.44 / np.sqrt(1000), 1000, 0.5)
    assert needed == pytest.approx(15200, rel=0.01)
    assert inference.units_needed(0.05, 0.22 / np.sqrt(100), 100, 0.5) == pytest.approx(
        150, rel=0.02
    )
    assert np.isnan(inference.units_needed(0.1, 0.01, 100, 1e-4))
