"""The fast bootstrap: the plain statistics on the repeated items, by every route."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perceptbench.agreement import correlations as fast
from perceptbench.agreement import rating
from perceptbench.agreement.resampling import bootstrap

# Few distinct values, so that ties are common; clusters of unequal size.
samples = st.integers(4, 24).flatmap(
    lambda n: st.tuples(
        hnp.arrays(float, (n, 3), elements=st.integers(0, 6).map(float)),
        hnp.arrays(float, n, elements=st.integers(0, 6).map(float)),
        hnp.arrays(int, n, elements=st.integers(0, 3)),
    )
)


def plain(statistic, distances, badness, resampler):
    return np.concatenate(
        [
            np.stack([getattr(rating, statistic)(x, badness, w) for x in distances.T], axis=1)
            for w in resampler
        ]
    )


@settings(max_examples=60, deadline=None)
@given(samples)
@pytest.mark.parametrize("route", ["cubic", "ranks", "rows"])
@pytest.mark.parametrize("statistic", ["srcc", "krcc", "plcc"])
def test_every_route_gives_the_figure_of_the_repeated_items(statistic, route, sample):
    distances, badness, clusters = sample
    resampler = bootstrap(pd.DataFrame({"c": clusters}), ("c",), 20, (0,))
    with pytest.MonkeyPatch.context() as patch:
        if route == "ranks":
            patch.setattr(fast, "_cubic_products", fast._rank_products)
        if route == "cubic":
            patch.setattr(fast, "_rank_products", fast._cubic_products)
        if route == "rows":
            patch.setattr(fast, "UNITS", 0)
        found = fast.correlations(statistic, distances, badness, resampler)
    expected = plain(statistic, distances, badness, resampler)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_clusters_larger_than_a_machine_word_and_continuous_values():
    rng = np.random.default_rng(0)
    clusters = np.sort(rng.integers(0, 5, 700))
    badness = rng.normal(size=700).round(1)
    distances = badness[:, None] + rng.normal(size=(700, 2))
    resampler = bootstrap(pd.DataFrame({"c": clusters}), ("c",), 10, (0,))
    for statistic in ("srcc", "krcc", "plcc"):
        found = fast.correlations(statistic, distances, badness, resampler)
        expected = plain(statistic, distances, badness, resampler)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_tiny_and_huge_distances_lose_no_digits():
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    x = (y + rng.normal(size=60))[:, None]
    resampler = bootstrap(pd.DataFrame({"c": np.arange(60) // 6}), ("c",), 10, (0,))
    expected = fast.correlations("plcc", x, y, resampler)
    for change in (1e-12 * x + 3e-12, 1e12 * x - 5):
        found = fast.correlations("plcc", change, y, resampler)
        np.testing.assert_allclose(found, expected, atol=1e-9)
