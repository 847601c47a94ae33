"""Intervals: scipy's on scipy's own resamples; parts and jackknife of a table."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from perceptbench.agreement.resampling import bca_interval, bootstrap, jackknife_interval


def test_bca_is_scipys():
    data = np.random.default_rng(0).exponential(size=40)
    found = scipy.stats.bootstrap(
        (data,), np.mean, method="BCa", n_resamples=2000, rng=np.random.default_rng(1)
    )
    left_out = np.array([np.delete(data, i).mean() for i in range(40)])
    interval = bca_interval(found.bootstrap_distribution, data.mean(), left_out)
    np.testing.assert_allclose(interval, found.confidence_interval, rtol=1e-12)


def test_a_jackknifed_mean_has_students_interval():
    data = np.random.default_rng(0).normal(size=25)
    left_out = np.array([np.delete(data, i).mean() for i in range(25)])
    expected = scipy.stats.t.interval(0.95, 24, data.mean(), scipy.stats.sem(data))
    np.testing.assert_allclose(jackknife_interval(data.mean(), left_out), expected)
    assert np.isnan(jackknife_interval(1.0, np.array([1.0, np.nan]))).all()


@pytest.fixture
def table():
    return pd.DataFrame({"c": list("aabbbcd"), "value": np.arange(7.0)})


def test_sums_are_those_of_the_weighted_rows(table):
    for columns in ((), ("c",), ("c", "value")):
        resampler = bootstrap(table, columns, 30, (0,))
        features = table[["value"]].to_numpy() ** np.arange(1, 3)
        expected = np.concatenate(list(resampler)) @ features
        np.testing.assert_allclose(resampler.sums(features), expected)


def test_a_part_of_the_rows_sees_the_same_resamples(table):
    resampler = bootstrap(table, ("c",), 30, (0,))
    kept = np.array([1, 3, 6])
    part = resampler.rows(kept)
    whole = np.concatenate(list(resampler))
    np.testing.assert_array_equal(np.concatenate(list(part)), whole[:, kept])
    assert part.units == 3
    few = np.concatenate(list(resampler.first(5)))
    np.testing.assert_array_equal(few, whole[:5])


def test_the_jackknife_leaves_out_one_unit_at_a_time(table):
    left = np.concatenate(list(bootstrap(table, ("c",), 30, (0,)).jackknife()))
    expected = np.array([(table.c != c).to_numpy(float) for c in "abcd"])
    np.testing.assert_array_equal(left, expected)
