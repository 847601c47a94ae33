"""Two-alternative statistics beyond the plain rule: ceilings, subsets, the psychometric link."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from perceptbench.agreement import agreement, two_alternative
from perceptbench.datasets.judgements.protocols import Judgements

SUBSETS = ("traditional", "cnn", "superres")


def bapps(shared, model="alex_vanilla"):
    """The published distances of three subsets as judgements and scores."""
    tables = []
    for subset in SUBSETS:
        path = shared / f"bapps-val-scores/twoAFC_model-{model}_distortion-{subset}.csv"
        names = ["path", "d0", "d1", "score", "p_b"]
        tables.append(pd.read_csv(path, header=None, names=names).assign(category=subset))
    table = pd.concat(tables, ignore_index=True)
    for side in ("reference", "a", "b"):
        table[side] = table["path"] + side
    pairs = [
        table[["reference", side, d]].set_axis(["reference", "distorted", "alex"], axis=1)
        for side, d in (("a", "d0"), ("b", "d1"))
    ]
    return table[["reference", "a", "b", "p_b", "category"]].assign(votes=5), pd.concat(pairs)


def test_published_subsets_their_mean_and_the_pooled_figure(shared):
    table, scores = bapps(shared)
    frame = agreement(Judgements("bapps", table), scores, metrics=["alex"])
    found = frame[frame.metric == "alex"].set_index(["slice", "statistic"])
    each = [found.loc[(f"category={s}", "2afc"), "value"] for s in SUBSETS]
    np.testing.assert_array_equal(np.round(100 * np.array(each), 4), [77.4788, 82.8708, 71.1883])
    assert found.loc[("all", "2afc_subset_mean"), "value"] == pytest.approx(np.mean(each))
    sizes = [4720, 4720, 10856]
    pooled = found.loc[("all", "2afc")]
    assert pooled.value == pytest.approx(np.average(each, weights=sizes)) and pooled.n == 20296
    people = frame[frame.metric == "human"].set_index(["slice", "statistic"])
    human = [people.loc[(f"category={s}", "2afc"), "value"] for s in SUBSETS]
    # Published is mean p² + (1-p)², in which each of five voters is counted against himself, too.
    published = [two_alternative.human(table.p_b[table.category == s]).mean() for s in SUBSETS]
    np.testing.assert_array_equal(np.round(100 * np.array(published), 2), [80.84, 84.35, 73.60])
    np.testing.assert_allclose(human, (5 * np.array(published) - 1) / 4)
    majority = found.loc[("all", "2afc_majority")]
    picks = two_alternative.majority(*_sides(table, scores), table.p_b)
    assert majority.value == pytest.approx(np.nanmean(picks)) and majority.n == 20296


def _sides(table, scores):
    known = scores.set_index(["reference", "distorted"])["alex"]
    return [known[list(zip(table.reference, table[s], strict=True))].to_numpy() for s in "ab"]


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_the_ceiling_is_what_infinitely_many_people_would_leave(shape):
    """Five votes drawn from known shares: the raw oracle promises too much, the ceiling not."""
    rng = np.random.default_rng(0)
    share = rng.beta(shape, shape, 40_000)
    p = rng.binomial(5, share) / 5
    truth = np.maximum(share, 1 - share).mean()
    found = two_alternative.ceiling(two_alternative.two_people(p, np.full(len(p), 5)).mean())
    assert float(found) == pytest.approx(truth, abs=0.005)
    assert two_alternative.oracle(p).mean() > truth + 0.005
    best = np.where(share > 0.5, p, 1 - p).mean()
    assert (best - 0.5) / (float(found) - 0.5) == pytest.approx(1, abs=0.02)


def test_the_ceiling_at_its_ends():
    assert two_alternative.ceiling([0.5, 1.0]).tolist() == [0.5, 1.0]
    assert two_alternative.ceiling(0.4) == 0.5  # less than chance is chance


def simulated(n=4000, slope=3.0, lapse=0.1):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 2, (2, n))
    q = lapse / 2 + (1 - lapse) * expit(slope * (a - b))
    return a, b, rng.binomial(5, q) / 5, q


def test_the_link_finds_the_slope_and_the_lapses_that_made_the_votes():
    a, b, p, _ = simulated()
    slope, lapse = two_alternative.fit_link(a - b, p)
    assert slope == pytest.approx(3, rel=0.1) and lapse == pytest.approx(0.1, abs=0.03)


def test_the_cross_validated_likelihood_is_that_of_the_true_shares_and_guessing_has_log_half():
    a, b, p, q = simulated()
    groups = np.arange(len(p)) % 50
    found = two_alternative.cross_validated(a, b, p, groups).mean()
    assert found == pytest.approx(two_alternative.likelihood(p, q).mean(), abs=0.005)
    noise = np.random.default_rng(1).uniform(0, 2, (2, len(p)))
    guessing = two_alternative.cross_validated(*noise, p, groups).mean()
    assert guessing == pytest.approx(np.log(0.5), abs=0.005)
    assert two_alternative.likelihood(p, p).mean() > found
    scaled = two_alternative.cross_validated(1e-9 * a, 1e-9 * b, p, groups).mean()
    assert scaled == pytest.approx(found, abs=1e-4)


def test_votes_that_are_not_known_leave_the_ceiling_uncorrected_and_it_is_said():
    a, b, p, _ = simulated(200)
    table = pd.DataFrame({"reference": "r", "a": [f"a{i}" for i in range(200)],
                          "b": [f"b{i}" for i in range(200)], "p_b": p})  # fmt: skip
    scores = pd.DataFrame({"reference": "r", "distorted": [*table.a, *table.b], "m": [*a, *b]})
    for votes, said in ((None, True), (5, False)):
        part = Judgements("toy", table if votes is None else table.assign(votes=votes))
        frame = agreement(part, scores, metrics=["m"])
        row = frame[(frame.statistic == "2afc_of_ceiling") & (frame.metric == "m")].iloc[0]
        assert ("upper bound" in row.note) == said and row.low < row.value < row.high
