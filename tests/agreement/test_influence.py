"""Influences: figures are scipy's, and leaving an item out changes them as they say."""

import numpy as np
import pytest
import scipy.stats

from perceptbench.agreement import influence


def items(n=400, digits=1):
    rng = np.random.default_rng(0)
    y = rng.normal(size=n)
    return (y + rng.normal(0, 0.7, n)).round(digits), y.round(digits)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (influence.srcc, scipy.stats.spearmanr),
        (influence.krcc, scipy.stats.kendalltau),
        (influence.plcc, scipy.stats.pearsonr),
    ],
)
def test_values_are_scipys_and_influences_have_mean_zero(ours, theirs):
    x, y = items()
    value, on = ours(x, y)
    assert value == pytest.approx(theirs(x, y).statistic, rel=1e-12)
    assert on.mean() == pytest.approx(0, abs=1e-12)
    assert np.isnan(ours(np.ones(400), y)[0])


@pytest.mark.parametrize("name", ["srcc", "krcc", "plcc", "stress"])
@pytest.mark.parametrize("digits", [1, 9])
def test_an_influence_is_what_leaving_an_item_out_changes(name, digits):
    x, y = items(300, digits)
    of = getattr(influence, name)
    x, y = (x - x.min() + 1, y - y.min() + 1) if name == "stress" else (x, y)
    value, on = of(x, y)
    left = np.array([of(np.delete(x, i), np.delete(y, i))[0] for i in range(60)])
    expected = (value - left) * 299
    np.testing.assert_allclose(on[:60], expected, atol=0.02 * np.abs(expected).max() + 1e-3)


def test_means_leave_out_what_is_not_there():
    each = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0]])
    value, on = influence.mean(each)
    assert value.tolist() == [3, 3]
    np.testing.assert_allclose(on, [[-2, -1.5], [0, 0], [2, 1.5]])
    value, on = influence.mean_of_means(
        np.array([[1.0], [3.0], [8.0]]), [np.array([0, 1]), np.array([2])]
    )
    assert value.tolist() == [5] and on[:, 0].tolist() == [-0.75, 0.75, 0]
