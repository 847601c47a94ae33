"""Comparing metrics: corrections, tiers, standing over datasets."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perceptbench.agreement import ranking


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(hnp.arrays(float, 7, elements=st.floats(0, 1)))
def test_holm_is_statsmodels(p):
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    np.testing.assert_allclose(ranking.holm(p), multipletests(p, method="holm")[1])
    with_gap = ranking.holm(np.append(p, np.nan))
    np.testing.assert_array_equal(with_gap[:-1], ranking.holm(p))


names = list("pqrstuv")
graphs = st.sets(st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(
    lambda pair: pair[0] < pair[1]))  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(graphs)
def test_two_metrics_share_a_letter_exactly_when_they_cannot_be_told_apart(different):
    letters = ranking.letters(names, different)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert bool(set(letters[a]) & set(letters[b])) == ((a, b) not in different)
    assert "a" in letters["p"]
    used = sorted({letter for word in letters.values() for letter in word})
    assert used == list("abcdefghijklmnopqrstuvwxyz"[: len(used)])


def drawn(**metrics):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=1000)
    return pd.DataFrame(
        {name: mean + 0.3 * shared + own * rng.normal(size=1000)
         for name, (mean, own) in metrics.items()}
    )  # fmt: skip


def test_paired_differences_know_what_two_metrics_share():
    samples = drawn(a=(0.5, 0.01), b=(0.4, 0.01), c=(0.5, 0.3))
    table = ranking.compare(samples, {"a": 0.5, "b": 0.4, "c": 0.5}, units=50)
    table = table.set_index(["a", "b"])
    assert table.loc[("a", "b"), "p_holm"] < 0.01  # the spread of a alone is 0.3
    assert table.loc[("a", "c"), "p"] == 1 and table.loc[("b", "c"), "p"] > 0.5
    assert table.loc[("a", "b"), "low"] < 0.1 < table.loc[("a", "b"), "high"]
    assert ranking.tiers(table.reset_index(), ["a", "c", "b"]) == {"a": "a", "c": "ab", "b": "b"}


def test_functions_of_one_another_are_ties():
    samples = pd.DataFrame({"mse": np.linspace(0, 1, 50)})
    samples["psnr"] = samples["mse"] + 1e-16
    table = ranking.compare(samples, {"mse": 0.5, "psnr": 0.5 + 1e-16}, units=50)
    assert table.loc[0, ["difference", "low", "high", "p"]].tolist() == [0, 0, 0, 1]
    assert ranking.first(samples.to_numpy()).tolist() == [0.5, 0.5]


def test_the_chance_to_be_first_is_shared_and_turned_where_smaller_is_better():
    samples = np.array([[1.0, 2.0, np.nan], [2.0, 2.0, 5.0], [3.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert ranking.first(samples).tolist() == [0.5, 0.25, 0.25]
    assert ranking.first(samples, True).tolist() == [0.25 + 0.125, 0.25, 0.375]


def standing(in_domain=None):
    value = {
        ("x", "all", "2afc"): pd.Series({"a": 0.9, "b": 0.8, "c": 0.7}),
        ("y", "all", "stress"): pd.Series({"a": 0.1, "b": 0.2, "c": np.nan}),
        ("y", "all", "srcc"): pd.Series({"a": 0.1, "b": 0.2, "c": 0.3}),
    }
    samples = {
        key: pd.DataFrame({m: v + 0.001 * np.arange(-10, 11) for m, v in s.items()})
        for key, s in value.items()
    }
    return ranking.standing(value, samples, in_domain)


def test_each_dataset_has_one_vote_and_the_undefined_are_last():
    """a: 1 and (1 + 3) / 2; b: 2 and (2 + 2) / 2; c: 3 and (3 + 1) / 2."""
    found = standing()
    assert found["mean_rank"].to_dict() == {"a": 1.5, "b": 2, "c": 2.5}
    assert found["mean_rank low"].tolist() == found["mean_rank high"].tolist() == [1.5, 2, 2.5]
    assert found["p_first"].tolist() == [1, 0, 0]
    assert (found["strength"].diff().dropna() < 0).all()


def test_what_is_in_domain_takes_no_part():
    found = standing({"x": {"a"}})
    # On x, b and c are first and second of two; a keeps its rank on y.
    assert found["mean_rank"].to_dict() == {"a": 2.0, "b": 1.5, "c": 2.0}
    alone = standing({"x": {"a"}, "y": {"a"}})
    assert alone.index[-1] == "a" and alone.loc["a"].drop("tier").isna().all()
    assert alone.loc["a", "tier"] == ""


def test_bradley_terry_of_two_is_the_log_odds():
    """Without the added half games, wins / losses; with them, nearer to even."""
    wins = np.array([[[0.0, 3000.0], [1000.0, 0.0]]])
    (strengths,) = ranking.bradley_terry(wins, steps=2000)
    assert strengths[0] - strengths[1] == pytest.approx(np.log(3), abs=0.01)
    none = ranking.bradley_terry(np.zeros((1, 3, 3)))
    np.testing.assert_allclose(none, 0)


def test_a_column_without_a_figure_ranks_nobody():
    value = {
        ("x", "all", "srcc"): pd.Series({"a": np.nan, "b": np.nan}),
        ("y", "all", "2afc"): pd.Series({"a": 0.6, "b": 0.7}),
    }
    assert ranking.standing(value, {})["mean_rank"].to_dict() == {"b": 1, "a": 2}
    del value["y", "all", "2afc"]
    assert ranking.standing(value, {}).empty
    # Nor one where only a metric that was trained there has a figure.
    value["x", "all", "srcc"]["a"] = 0.5
    assert ranking.standing(value, {}, {"x": {"a"}}).empty
