"""How far people agree: published figures, figures by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from perceptbench.agreement import agreement, people, rating, two_alternative
from perceptbench.agreement.items import collect
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.judgements.votes import aggregate


def long(matrix):
    """A matrix (items, raters) as votes; what is not a number was not rated."""
    item, rater = np.nonzero(np.isfinite(matrix))
    return pd.DataFrame({"item": item, "rater": rater, "value": matrix[item, rater]})


# Shrout and Fleiss 1979 (Psychological Bulletin 86), table 2: ICC(2,1) .29, ICC(2,4) .62.
SHROUT = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
                   [6, 2, 4, 7]], float)  # fmt: skip


def test_icc_of_shrout_and_fleiss():
    votes = long(SHROUT)
    assert round(people.icc(votes), 2) == 0.29 and round(people.icc(votes, 4), 2) == 0.62


def test_icc_of_edge_in_noise_and_with_votes_that_are_missing():
    from perceptbench.datasets.load import load_named

    (dataset,) = load_named(["edge-in-noise"], None, None)
    (part,) = [p for p in dataset.judgements if p.observers is not None]
    matrix = part.observers.to_numpy(float)
    assert round(people.icc(long(matrix)), 2) == 0.79
    assert round(people.icc(long(matrix), 6), 3) == 0.957
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, (500, 1)) + rng.normal(0, 0.5, (1, 60)) + rng.normal(0, 1, (500, 60))
    truth[rng.random(truth.shape) < 0.8] = np.nan
    assert people.variance_components(long(truth)) == pytest.approx((1, 0.25, 1), abs=0.15)


def test_two_people_agree_as_published_without_adaptive_questions(shared):
    table = pd.read_csv(shared / "rater-votes/triplets.csv", dtype=str)
    table = table.rename(columns={"left": "a", "right": "b", "closer": "choice"})
    _, votes, _ = aggregate(table, "triplets.csv")
    agreement = people.two_people(votes)
    assert len(agreement) == 1737 and round(agreement.mean(), 4) == 0.7648
    assert len(people.two_people(votes.drop(columns="adaptive"))) > 1737


def test_two_people_is_the_formula_on_shares():
    rng = np.random.default_rng(0)
    votes = pd.DataFrame({"item": np.repeat(range(30), 7), "rater": np.tile(range(7), 30),
                          "value": rng.integers(0, 2, 210)})  # fmt: skip
    p = votes.groupby("item")["value"].mean()
    np.testing.assert_allclose(
        people.two_people(votes), two_alternative.two_people(p, np.full(30, 7))
    )

    ties = pd.DataFrame({"item": 0, "rater": [1, 2], "value": [0.5, 1.0]})
    assert people.two_people(ties).tolist() == [0.5]


def test_reliability_by_hand():
    # var(MOS) = 1; noise: mean(.04 / 4, .36 / 4, .16 / 4) = .14 / 3.
    found = rating.reliability([1, 2, 3], [0.2, 0.6, 0.4], [4, 4, 4])
    assert found == pytest.approx(1 - 0.14 / 3)
    assert np.isnan(rating.reliability([1, 1], [1, 1], [2, 2]))


def test_how_many_raters_are_enough(shared):
    # sqrt(k r / (1 + (k - 1) r)) > .99 where k > .9801 (1 - r) / (.0199 r): r = 1/2: 49.25.
    votes = long(SHROUT)
    single = people.icc(votes)
    k = people.raters_enough(votes)
    assert k == int(0.99**2 * (1 - single) / ((1 - 0.99**2) * single)) + 1
    assert people.mos_ceiling(single, k) > 0.99 > people.mos_ceiling(single, k - 1)
    # Majorities of shares spread evenly from 0 to 1: one 2/3; three 0.7; all 3/4.
    assert people.majority_ceiling(2 / 3, 1) == pytest.approx(2 / 3, abs=1e-4)
    assert people.majority_ceiling(2 / 3, 3) == pytest.approx(0.7, abs=1e-4)
    assert people.majority_ceiling(2 / 3, 9999) == pytest.approx(0.75, abs=1e-3)
    # That is 3/4 - 1 / (4 (k + 2)): 23 are a point off, and one more pair of people is enough.
    afc = pd.DataFrame({"item": np.repeat(range(3), 2), "rater": [0, 1] * 3,
                        "value": [0, 0, 1, 1, 0, 1]})  # fmt: skip
    assert people.two_people(afc).mean() == pytest.approx(2 / 3)
    assert people.raters_enough(afc) == 25
    never = afc.assign(value=[0, 1] * 3)
    assert people.raters_enough(never) is None


def said_by(answers, items=40):
    """Triplets that each rater answers alike throughout, and a metric that picks b."""
    item, rater = (x.ravel() for x in np.indices((items, len(answers))))
    votes = pd.DataFrame({"item": item, "rater": rater.astype(str),
                          "value": np.asarray(answers, float)[rater]})  # fmt: skip
    table = pd.DataFrame({"reference": [f"r{i}" for i in range(items)], "a": "a", "b": "b",
                          "p_b": np.mean(answers), "votes": len(answers)})  # fmt: skip
    scores = pd.concat([table[["reference"]].assign(distorted=s, m=s == "a") for s in "ab"])
    return Judgements("x", table, statistics=("2afc",), votes=votes), scores.astype({"m": float})


def test_people_who_differ_on_all_images_alike_are_a_sample_of_people():
    answers = [1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1]
    part, scores = said_by(answers)
    found = agreement(part, scores, metrics=["m"]).set_index(["statistic", "metric"])
    row = found.loc[("2afc", "m")]
    assert row["value"] == 0.75 and row["error"] == pytest.approx(np.std(answers, ddof=1) / 12**0.5)
    assert row["freedom"] == pytest.approx(11) and "12 raters vary too" in row["note"]
    alone = agreement(replace(part, votes=None), scores, metrics=["m"]).set_index(
        ["statistic", "metric"]
    )
    assert alone.loc[("2afc", "m"), "error"] == 0 and np.isnan(alone.loc[("2afc", "m"), "low"])
    assert alone["value"].tolist() == pytest.approx(found["value"].tolist(), nan_ok=True)


def test_fewer_than_five_raters_are_taken_as_given():
    part, scores = said_by([1, 1, 1, 0])
    row = agreement(part, scores, metrics=["m"]).set_index(["statistic", "metric"]).loc["2afc"]
    assert row.loc["m", "error"] == 0 and not row["note"].str.contains("vary").any()


def test_people_who_do_not_differ_add_nothing_and_groups_of_raters_stand_for_all():
    rng = np.random.default_rng(3)
    added = {}
    for raters, spread in ((20, 0.0), (20, 0.3), (90, 0.3)):
        item, rater = (x.ravel() for x in np.indices((60, raters)))
        lean = spread * rng.choice([-1, 1], raters)
        value = (rng.random(len(item)) < 0.5 + 0.2 * (-1.0) ** item + lean[rater]).astype(float)
        part, scores = said_by([0] * raters, 60)
        votes = part.votes.assign(value=value)
        table = part.table.assign(p_b=votes.groupby("item")["value"].mean())
        errors = [
            agreement(replace(part, table=table, votes=v), scores, metrics=["m"])["error"].iloc[0]
            for v in (votes, None)
        ]
        added[raters, spread] = np.sqrt(errors[0] ** 2 - errors[1] ** 2)
    assert added[20, 0.0] < 0.02
    # The standard deviation of a lean is .3, over the root of the raters.
    assert added[20, 0.3] == pytest.approx(0.3 / 20**0.5, rel=0.25)
    assert added[90, 0.3] == pytest.approx(0.3 / 90**0.5, rel=0.25)


def test_ratings_without_a_person_are_those_of_the_others():
    rng = np.random.default_rng(0)
    asked = [(i, k) for i in range(30) for k in range(8) if (i + k) % 3]
    seen = pd.DataFrame([(i, f"p{k}", rng.normal()) for i, k in asked],
                        columns=["item", "rater", "value"])  # fmt: skip
    by = seen.groupby("item")["value"]
    table = pd.DataFrame({"reference": [f"r{i}" for i in range(30)], "distorted": "d",
                          "quality": by.mean(), "std": by.std(), "raters": by.size()})  # fmt: skip
    part = Judgements("x", table, votes=seen)
    items = collect(part, table[["reference", "distorted"]].assign(m=0.0), ["m"], {})
    cells = list(items.without_raters())
    assert len(cells) == 8 * 5
    for group, place, less in cells:
        lost = (seen["rater"] == f"p{pd.factorize(seen['rater'])[1].tolist()[group][1:]}") & (
            seen["item"] % 5 == place
        )
        others = seen[~lost].groupby("item")["value"]
        np.testing.assert_allclose(less.table["quality"], others.mean())
        np.testing.assert_allclose(less.table["std"], others.std())
        assert less.table["raters"].tolist() == others.size().tolist()


def test_the_human_row_of_triplets_is_that_of_single_votes_without_adaptive_questions():
    choice = pd.DataFrame({"item": np.repeat(range(6), 4), "rater": [*"wxyz"] * 6,
                           "value": [1, 1, 1, 0] * 3 + [1, 1, 0, 0] * 3})  # fmt: skip
    choice["adaptive"] = choice["item"] >= 3
    mean = choice.groupby("item")["value"].mean()
    table = pd.DataFrame({"reference": [f"r{i}" for i in range(6)], "a": "a", "b": "b",
                          "p_b": mean, "votes": 4, "adaptive": mean == 0.5})  # fmt: skip
    scores = pd.DataFrame({"reference": np.repeat(table["reference"], 2), "distorted": [*"ab"] * 6,
                           "m": range(12)})  # fmt: skip
    for votes in (choice, None):  # the share alone tells as much, where every vote counts as one
        part = Judgements("x", table, statistics=("2afc",), votes=votes)
        rows = agreement(part, scores, metrics=["m"]).set_index(["statistic", "metric"])
        assert rows.loc[("2afc", "human"), ["value", "n"]].tolist() == [0.5, 3]
        assert rows.loc[("2afc", "oracle"), ["value", "n"]].tolist() == [0.75, 3]
    part = Judgements("x", table.assign(adaptive=True), votes=choice.assign(adaptive=True))
    rows = agreement(part, scores, metrics=["m"])
    assert set(rows["metric"][rows["statistic"] == "2afc"]) == {"m"}


def test_raters_of_pictures_are_held_against_the_others_where_each_saw_some():
    rng = np.random.default_rng(0)
    quality = np.arange(40.0)
    asked = [(i, k) for i in range(40) for k in range(8) if (i + k) % 3]
    seen = pd.DataFrame(
        [(i, f"p{k}", quality[i] + rng.normal(0, 3)) for i, k in asked],
        columns=["item", "rater", "value"],
    )
    by = seen.groupby("item")["value"]
    table = pd.DataFrame({"reference": [f"r{i}" for i in range(40)], "distorted": "d",
                          "quality": by.mean(), "std": by.std(), "raters": by.size()})  # fmt: skip
    scores = table[["reference", "distorted"]].assign(m=-quality)
    part = Judgements("x", table, statistics=("srcc",), votes=seen)
    row = agreement(part, scores, metrics=["m"]).set_index(["statistic", "metric"])
    wide = seen.pivot(index="item", columns="rater", values="value")
    each = [
        spearmanr(wide[k], wide.drop(columns=k).mean(axis=1), nan_policy="omit").statistic
        for k in wide
    ]
    human = row.loc[("srcc", "human")]
    assert human["value"] == pytest.approx(np.mean(each)) and "8 raters" in human["note"]
    known = rating.reliability(table["quality"], table["std"], table["raters"])
    assert row.loc[("srcc", "oracle"), "value"] == pytest.approx(np.sqrt(known))
