"""Resamples of large tables: to first order, beside the exact figures of the same resamples."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from perceptbench.agreement import correlations as fast
from perceptbench.agreement import first_order
from perceptbench.agreement.resampling import MOST_UNITS, bootstrap


def items(n, clusters, digits):
    rng = np.random.default_rng(0)
    codes = np.arange(n) % clusters
    y = rng.normal(size=n)
    x = y + rng.normal(0, 0.5, clusters)[codes] + rng.normal(0, 0.7, n)
    return x.round(digits)[:, None], y.round(digits), pd.DataFrame({"c": codes})


@pytest.mark.parametrize("statistic", ["srcc", "krcc"])
@pytest.mark.parametrize(("n", "clusters"), [(1500, 1500), (4000, 40), (4000, 8)])
@pytest.mark.parametrize("digits", [1, 9])
def test_the_interval_is_nearly_the_exact_one(statistic, n, clusters, digits, monkeypatch):
    x, y, table = items(n, clusters, digits)
    resampler = bootstrap(table, ("c",), 300, (0,))
    exact = fast.correlations(statistic, x, y, resampler)[:, 0]
    monkeypatch.setattr(fast, "EXACT", 1400)
    monkeypatch.setattr(fast, "THINNED", 1400)
    found = fast.correlations(statistic, x, y, resampler)[:, 0]
    assert not np.array_equal(found, exact)
    assert np.corrcoef(found, exact)[0, 1] > 0.98
    ends, near = (np.quantile(drawn, [0.025, 0.975]) for drawn in (exact, found))
    np.testing.assert_allclose(near, ends, atol=0.06 * np.ptp(ends))


def test_values_are_scipys_and_influences_have_mean_zero():
    x, y, _ = items(400, 7, 1)
    for ours, theirs in (
        (first_order.srcc, scipy.stats.spearmanr),
        (first_order.krcc, scipy.stats.kendalltau),
    ):
        value, influence = ours(x[:, 0], y)
        np.testing.assert_allclose(value, theirs(x[:, 0], y).statistic, rtol=1e-12)
        np.testing.assert_allclose(influence.mean(), 0, atol=1e-12)
        assert np.isnan(ours(np.ones(400), y)[0])


def test_more_units_than_are_drawn_one_by_one_have_the_same_spread():
    n = 3 * MOST_UNITS
    values = np.random.default_rng(0).normal(size=(n, 1))
    resampler = bootstrap(pd.DataFrame(index=range(n)), (), 2000, (0,))
    assert resampler.units == MOST_UNITS
    sums = resampler.sums(np.hstack([values, np.ones((n, 1))]))
    means = sums[:, 0] / sums[:, 1]
    np.testing.assert_allclose(means.mean(), values.mean(), atol=1e-3)
    np.testing.assert_allclose(means.std(), 1 / np.sqrt(n), rtol=0.06)
