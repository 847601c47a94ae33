"""Krasula's analysis: the published figures of a real table and of seeded draws."""

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perceptbench.agreement.significance import krasula

# Five metrics on Toyama's 14,028 pairs, computed by vmaf (mean of each row to the last digit).
TOYAMA = {
    "auc_ds": ([0.595422, 0.706762, 0.718157, 0.711723, 0.756286], 0.6976700396090205),
    "auc_bw": ([0.851108, 0.962798, 0.960111, 0.96673, 0.981988], 0.9445470030189453),
    "cc_0": ([0.762971, 0.906933, 0.884093, 0.912688, 0.938585], 0.8810538620627641),
    "thr": ([10.642264, 0.087231, 8.67873, 0.044398, 0.042905], 3.899105581509778),
}


@pytest.fixture(scope="module")
def toyama(shared):
    table = scipy.io.loadmat(shared / "krasula" / "data_Toyama.mat")
    return np.asarray(table["objScoDif"], float), np.asarray(table["signif"], float).ravel()


@pytest.mark.parametrize("name", TOYAMA)
def test_the_real_table(toyama, name):
    differences, significance = toyama
    assert [(significance == s).sum() for s in (-1, 0, 1)] == [5601, 2907, 5520]
    found = [krasula.STATISTICS[name](row, significance) for row in differences]
    each, mean = TOYAMA[name]
    np.testing.assert_array_equal(np.round(found, 6), each)
    assert np.mean(found) == pytest.approx(mean, abs=1e-13)


def four_items():
    """vmaf's seeded draw: ratings of four stimuli, all ordered pairs and self-pairs."""
    ratings = np.random.RandomState(1).normal(0, 1, (4, 10)) + np.array([[1], [2], [3], [4]])
    i, j = np.indices((4, 4)).reshape(2, -1)
    significance = krasula.significance(
        ratings.mean(1), ratings.std(1, ddof=1), np.full(4, 10), i, j
    )
    scores = np.array([[1.0, 2, 3, 4], [3, 1, 2, 4]])
    return scores[:, i] - scores[:, j], significance


def test_seeded_draws_with_self_pairs():
    (a, b), significance = four_items()
    expected = {"auc_ds": (0.9375, 0.625), "auc_bw": (1, 0.8125), "cc_0": (1, 0.75), "thr": (1, 2)}
    for name, (one, two) in expected.items():
        assert krasula.STATISTICS[name](a, significance) == one
        assert krasula.STATISTICS[name](b, significance) == two
    p = krasula.compare(a, b, significance)
    assert p["auc_ds"] == pytest.approx(0.02746864, abs=5e-9)
    assert p["auc_bw"] == pytest.approx(0.06136883, abs=5e-9)
    assert p["cc_0"] == pytest.approx(0.03250944, abs=5e-9)


differences = hnp.arrays(float, 12, elements=st.integers(-3, 3).map(float))
signs = hnp.arrays(float, 12, elements=st.sampled_from([-1.0, 0.0, 1.0]))


@settings(max_examples=50, deadline=None)
@given(differences, signs)
def test_areas_are_scikit_learns(difference, significance):
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    if not 0 < (significance != 0).sum() < 12:
        return
    expected = roc_auc_score(significance != 0, np.abs(difference))
    assert krasula.auc_ds(difference, significance) == pytest.approx(expected)
    right = (difference * significance)[significance != 0]
    expected = roc_auc_score(
        np.r_[np.ones(len(right)), np.zeros(len(right))], np.concatenate([right, -right])
    )
    assert krasula.auc_bw(difference, significance) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(differences, signs)
def test_a_metric_that_orders_every_pair_rightly_has_full_area(difference, significance):
    right = (np.abs(difference) + 1) * np.where(significance == 0, 1, significance)
    if (significance != 0).any():
        assert krasula.auc_bw(right, significance) == krasula.cc_0(right, significance) == 1


def test_a_metric_is_no_different_from_itself_and_what_is_missing_is_undefined():
    (a, _), significance = four_items()
    assert krasula.compare(a, a, significance) == {"auc_ds": 1, "auc_bw": 1, "cc_0": 1}
    assert np.isnan(krasula.auc_bw([1.0, 2.0], [0, 0])) and np.isnan(krasula.thr([1.0], [1]))
