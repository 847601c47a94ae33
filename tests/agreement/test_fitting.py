"""Weights learned from judgements that a known weighting made."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from perceptbench.agreement import nonnegative
from perceptbench.agreement.items import collect
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import DataError

TRUE = np.array([3.0, 0.0, 0.5])
NAMES = ["c0", "c1", "c2"]


def distances(n, seed=0, scale=(1.0, 10.0, 4.0)):
    return np.random.default_rng(seed).gamma(2.0, scale, (n, 3))


def of_choices(n=4000, references=40, noise=True, seed=0):
    """Two-alternative items whose shares follow the model with the weights TRUE."""
    a, b = distances(n, seed), distances(n, seed + 1)
    p = expit((a - b) @ TRUE)
    if noise:
        p = np.random.default_rng(seed + 2).binomial(5, p) / 5
    table = pd.DataFrame({
        "reference": [f"r{i % references}" for i in range(n)],
        "a": [f"a{i}" for i in range(n)], "b": [f"b{i}" for i in range(n)], "p_b": p,
    })  # fmt: skip
    scores = [
        pd.DataFrame(values, columns=NAMES).assign(reference=table["reference"], distorted=table[k])
        for k, values in (("a", a), ("b", b))
    ]
    return collect(Judgements("made", table), pd.concat(scores), NAMES, {})


def of_ratings(n=400, references=20, column="impairment", seed=0):
    """Rated items: a monotone, strongly curved function of the distance with the weights TRUE."""
    x = distances(n, seed)
    rating = np.exp(0.4 * (x @ TRUE))
    table = pd.DataFrame({
        "reference": [f"r{i % references}" for i in range(n)],
        "distorted": [f"d{i}" for i in range(n)],
        column: rating if column == "impairment" else -rating,
    })  # fmt: skip
    scores = pd.DataFrame(x, columns=NAMES).assign(**table[["reference", "distorted"]])
    return collect(Judgements("made", table), scores, NAMES, {})


def direction(weights):
    return weights / np.linalg.norm(weights)


def test_without_noise_and_ridge_the_weights_themselves_are_found():
    x = distances(2000) - distances(2000, 1)
    found = nonnegative.fit_weights(x, expit(x @ TRUE), ridge=0)
    np.testing.assert_allclose(found, TRUE, atol=1e-3)


def test_known_weights_are_recovered_from_votes():
    found = nonnegative.fit_items([of_choices()], ridge=1e-4)
    np.testing.assert_allclose(direction(found), direction(TRUE), atol=0.03)


@pytest.mark.parametrize("column", ["impairment", "quality"])
def test_known_weights_are_recovered_from_ratings_of_any_monotone_unit(column):
    found = nonnegative.fit_items([of_ratings(column=column)], ridge=1e-4)
    np.testing.assert_allclose(direction(found), direction(TRUE), atol=0.03)


def test_two_protocols_are_fitted_together():
    found = nonnegative.fit_items([of_choices(), of_ratings()], ridge=1e-4)
    np.testing.assert_allclose(direction(found), direction(TRUE), atol=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_weights_are_never_negative_and_meet_the_conditions_of_an_optimum(seed, k):
    rng = np.random.default_rng(seed)
    x, p = rng.normal(size=(60, k)), rng.random(60)
    found = nonnegative.fit_weights(x, p, ridge=0.1)
    assert (found >= 0).all()
    scale = np.sqrt(np.mean(x**2, axis=0))
    slope = (x / scale).T @ (expit(x @ found) - p) / 60 + 0.1 * found * scale
    assert (slope > -1e-4).all()  # no weight that is 0 wants to grow
    np.testing.assert_allclose(slope[found > 0], 0, atol=1e-4)


def test_a_unit_of_a_column_does_not_change_the_loss():
    x, p = distances(500) - distances(500, 1), np.random.default_rng(0).random(500)
    unit = np.array([1.0, 1e-3, 1e4])
    np.testing.assert_allclose(
        nonnegative.fit_weights(x * unit, p) * unit,
        nonnegative.fit_weights(x, p),
        rtol=1e-3,
        atol=1e-6,
    )


def test_swapping_the_two_images_changes_nothing():
    x, p = distances(500) - distances(500, 1), np.random.default_rng(0).random(500)
    np.testing.assert_allclose(
        nonnegative.fit_weights(-x, 1 - p), nonnegative.fit_weights(x, p), atol=1e-9
    )


def test_the_mean_of_the_loss_is_that_of_equal_weights():
    items = of_choices(500)
    found, x = nonnegative.fit_items([items]), np.concatenate(list(items.distances))
    assert (x @ found).mean() == pytest.approx(x.sum(axis=1).mean())


def test_distances_that_shrink_as_people_say_they_grow_are_refused():
    items = of_ratings()
    items.distances[:] = 100 - items.distances
    with pytest.raises(DataError, match="all weights would be 0"):
        nonnegative.fit_items([items])


def test_items_without_a_distance_do_not_count():
    items = of_choices(500)
    items.distances[0, 3, 1] = np.nan
    x, p = nonnegative.choices(items)
    assert len(x) == len(p) == 499 and np.isfinite(x).all()


@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 99))
def test_folds_never_share_a_reference_and_are_of_one_size(references, count, seed):
    count = min(count, references)
    names = [f"r{i}" for i in range(references)]
    found = nonnegative.folds(names * 3, count, seed)
    sizes = np.bincount(list(found.values()), minlength=count)
    assert set(found) == set(names) and sizes.min() >= 1 and np.ptp(sizes) <= 1


def test_judgements_of_a_fold_do_not_reach_its_weights():
    items = of_choices(600, references=6)
    fold_of = nonnegative.folds(items.table["reference"], 3)
    first = nonnegative.held_out_weights([items], fold_of)
    inside = items.table["reference"].map(fold_of).to_numpy() == 1
    items.table.loc[inside, "p_b"] = 1 - items.table.loc[inside, "p_b"]
    items.distances[:, inside] *= 3
    second = nonnegative.held_out_weights([items], fold_of)
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.allclose(first[0], second[0])


def test_images_that_both_sides_have_seen_are_counted():
    table = pd.DataFrame({
        "reference": ["x", "y", "z"], "a": ["p", "x", "q"], "b": ["s", "t", "u"]
    })  # fmt: skip
    assert nonnegative.shared_images(table, {"x": 0, "y": 1, "z": 1}) == pytest.approx(2 / 3)
    assert nonnegative.shared_images(table, {"x": 0, "y": 0, "z": 1}) == 0
