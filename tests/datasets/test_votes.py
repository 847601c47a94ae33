"""Votes of single people: brought together as their authors did, whatever the protocol."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from perceptbench.datasets.judgements.own import read_judgements
from perceptbench.datasets.judgements.raters import screening, subject_model
from perceptbench.datasets.judgements.votes import aggregate
from perceptbench.datasets.readers.table import judgement_file
from perceptbench.errors import DataError


@pytest.fixture(scope="module")
def ratings(shared):
    table = pd.read_csv(shared / "rater-votes/ratings.csv", dtype={"rater": str})
    table = table.rename(columns={"image": "distorted", "rating": "quality"})
    return table.assign(reference=table["distorted"].str.split("_1frame").str[0])


def test_the_published_means_and_coefficients_come_out_of_the_votes(shared, ratings, tmp_path):
    ratings.to_csv(tmp_path / "votes.csv", index=False)
    own = read_judgements(tmp_path / "votes.csv")
    published = pd.read_csv(shared / "rater-votes/mos_ci.csv").set_index("image_name")
    ours = own.table.set_index("distorted").loc[published.index]
    assert len(ours) == 371
    np.testing.assert_allclose(ours["quality"], published["mos"], rtol=1e-14)
    np.testing.assert_allclose(ours["std"], published["std"], rtol=1e-12)
    assert ours["raters"].value_counts().to_dict() == {21: 369, 22: 2}
    assert "7,793 votes of 21 raters on 371 items, 21 to 22 on each" in own.assumed
    assert "2 votes are a rater's second on the same item; they count as others" in own.assumed
    metrics = pd.read_csv(shared / "rater-votes/objective_metrics.csv").set_index("image")
    theirs = pd.read_csv(shared / "rater-votes/correlations.csv").set_index("metric")
    mos = ours["quality"].loc[metrics.index]
    for name, row in theirs.iterrows():
        found = [f(metrics[name], mos).statistic for f in (pearsonr, kendalltau, spearmanr)]
        np.testing.assert_allclose(found, row[["pearson", "kendall", "spearman"]], rtol=1e-12)


def test_bias_and_inconsistency_are_those_of_sureal(ratings):
    sureal = pytest.importorskip("sureal.subjective_model")
    once = ratings.drop_duplicates(["rater", "distorted"])
    wide = once.pivot(index="distorted", columns="rater", values="quality").to_numpy(float)

    class Theirs(sureal.SubjectMLEModelProjectionSolver):
        @classmethod
        def _get_opinion_score_3darray_with_preprocessing(cls, reader, **options):
            votes = wide[:, :, None]
            return {"opinion_score_3darray": votes, "original_opinion_score_3darray": votes}

    theirs = Theirs._run_modeling(None)
    codes, _ = pd.factorize(once["distorted"], sort=True)
    rater, _ = pd.factorize(once["rater"], sort=True)
    ours = subject_model(once["quality"].to_numpy(float), codes, rater)
    np.testing.assert_allclose(ours.quality, theirs["quality_scores"], atol=1e-6)
    np.testing.assert_allclose(ours.bias, theirs["observer_bias"], atol=1e-6)
    np.testing.assert_allclose(ours.inconsistency, theirs["observer_inconsistency"], atol=1e-6)


def test_the_model_finds_what_votes_were_made_of():
    rng = np.random.default_rng(0)
    quality, bias = rng.uniform(1, 5, 300), np.linspace(-0.6, 0.6, 12)
    inconsistency = np.r_[np.full(11, 0.3), 2.0]
    item, rater = (x.ravel() for x in np.indices((300, 12)))
    value = quality[item] + bias[rater] + rng.normal(size=item.size) * inconsistency[rater]
    found = subject_model(value, item, rater)
    np.testing.assert_allclose(found.bias, bias, atol=0.25)
    np.testing.assert_allclose(found.inconsistency, inconsistency, rtol=0.15)
    plain = np.bincount(item, value) / 12
    assert abs(found.quality - quality).mean() < 0.6 * abs(plain - quality).mean()
    z = (found.quality - quality) / found.error
    assert 0.85 < z.std() < 1.15
    table = screening(value, item, rater)
    assert table["doubtful"].tolist() == [False] * 11 + [True]


def test_bt500_rejects_who_votes_at_random_to_both_sides():
    rng = np.random.default_rng(0)
    value = np.tile(np.linspace(30, 70, 100)[:, None], (1, 20)) + rng.normal(0, 4, (100, 20))
    value[:, 7] = rng.uniform(0, 100, 100)
    item, rater = (x.ravel() for x in np.indices(value.shape))
    assert np.flatnonzero(screening(value.ravel(), item, rater)["rejected"]).tolist() == [7]
    same = screening(np.ones(item.size), item, rater)  # nobody is beyond a deviation of 0
    assert not same["rejected"].any() and same["correlation"].isna().all()


TRIPLETS = "reference,a,b,rater,choice,sampler\n" + "\n".join([
    "r,x,y,1,a,random", "r,x,y,2,b,random", "r,y,x,3,a,random", "r,y,x,4,x,random",
    "r,x,z,1,same,STE", "r,x,z,2,B,STE", "r,x,z,3,,STE",
]) + "\n"  # fmt: skip


def test_choices_become_shares_whichever_way_round_they_were_shown(tmp_path):
    (tmp_path / "t.csv").write_text(TRIPLETS)
    (part,) = judgement_file(tmp_path / "t.csv").judgements
    table = part.table.set_index(["reference", "a", "b"])
    assert table["p_b"].to_dict() == {("r", "x", "y"): 0.5, ("r", "x", "z"): 0.75}
    assert table["votes"].tolist() == [4, 2] and table["adaptive"].tolist() == [False, True]
    assert part.protocol == "2afc"
    assert part.votes["value"].tolist() == [0, 1, 1, 0, 0.5, 1]
    assert part.votes["rater"].tolist() == ["1", "2", "3", "4", "1", "2"]
    said = " | ".join(judgement_file(tmp_path / "t.csv").assumed)
    assert "1 of 7 votes are blank and left out" in said
    assert "samplers STE are taken for adaptive and are in no ceiling; those of random are" in said
    kept = part.rows([1])
    assert kept.votes["item"].tolist() == [0, 0] and kept.table["p_b"].tolist() == [0.75]


def test_same_or_different(tmp_path):
    text = "a,b,rater,choice\nx,y,1,same\ny,x,2,different\nx,y,3,same\nx,z,1,different\n"
    (tmp_path / "t.csv").write_text(text)
    (part,) = judgement_file(tmp_path / "t.csv").judgements
    assert (
        part.table["p_same"].round(3).tolist() == [0.667, 0] and part.protocol == "same_different"
    )
    assert part.votes["value"].tolist() == [1, 0, 1, 0]


def test_what_belongs_to_an_item_goes_with_it_and_the_rest_is_named():
    table = pd.DataFrame({"reference": "r", "distorted": ["x", "x", "y"], "impairment": [1, 3, 5],
                          "rater": ["1", "2", "1"], "distortion": ["k", "k", "l"],
                          "seconds": [1, 2, 3]})  # fmt: skip
    judged, votes, said = aggregate(table, "t")
    assert judged["impairment"].tolist() == [2, 5] and judged["distortion"].tolist() == ["k", "l"]
    assert judged["std"].iloc[0] == pytest.approx(2**0.5) and np.isnan(judged["std"].iloc[1])
    assert "seconds" not in judged and any("`seconds` differs" in s for s in said)
    assert votes["item"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,rater,choice\nx,y,1,a\n", "choices of the better of two images"),
        ("reference,a,b,rater,choice\nr,x,y,1,left\n", "row 1: `choice` is 'left', not a, b, same"),
        ("reference,a,b,rater,answer\nr,x,y,1,a\n", "need a column `choice`; it has `reference`, "
         "`a`, `b`, `rater`, `answer`; is `answer` meant?"),
        ("reference,a,b,rater,choice\nr,a,y,1,a\n", "`choice` 'a' may be the column or the image"),
        ("distorted,rater,quality\nx,1,2\n", "column `reference` is missing; votes need"),
        ("reference,distorted,rater,quality\nr,x,,2\n", "row 1 has nothing in column `rater`"),
        ("reference,distorted,rater,quality\nr,x,1,good\n", "row 1: `quality` is 'good', not"),
        ("reference,distorted,rater,quality\nr,x,1,\n", "has no vote"),
    ],
)  # fmt: skip
def test_votes_that_are_none_are_said(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as found:
        read_judgements(tmp_path / "t.csv")
    assert words in str(found.value)
