"""Scale values from choices: choix, statsmodels, and coverage of the sandwich's intervals."""

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement import scaling
from perceptbench.datasets.judgements.protocols import Judgements, validate
from perceptbench.errors import DataError


def choices(rng, quality, per_pair, spread=0.0, raters=1):
    """Votes on all pairs of images; people's qualities differ by `spread`."""
    a, b = np.triu_indices(len(quality), 1)
    a, b = np.repeat(a, per_pair), np.repeat(b, per_pair)
    who = rng.integers(0, raters, len(a))
    own = quality + rng.normal(0, spread, (raters, len(quality)))
    won = rng.random(len(a)) < 1 / (1 + np.exp(own[who, a] - own[who, b]))
    votes = pd.DataFrame({"a": a, "b": b, "rater": who, "value": won.astype(float)})
    votes["item"] = votes.groupby(["a", "b"], sort=False).ngroup()
    by_item = votes.groupby("item")
    table = pd.DataFrame({"reference": "r", "a": by_item["a"].first().map("d{}".format),
                          "b": by_item["b"].first().map("d{}".format),
                          "p_b": by_item["value"].mean(), "votes": by_item.size()})  # fmt: skip
    return table, votes[["item", "rater", "value"]]


def test_bradley_terry_is_that_of_choix():
    choix = pytest.importorskip("choix")
    table, votes = choices(np.random.default_rng(0), np.linspace(-1, 1, 6), 15)
    a = table["a"].str[1:].astype(int).to_numpy()[votes["item"]]
    b = table["b"].str[1:].astype(int).to_numpy()[votes["item"]]
    data = [(j, i) if won else (i, j) for i, j, won in zip(a, b, votes["value"], strict=True)]
    theirs = choix.opt_pairwise(6, data, alpha=scaling.RIDGE, tol=1e-12)
    found, said = scaling.scale(Judgements("x", table))
    ours = found.set_index("distorted")["quality"].loc[[f"d{i}" for i in range(6)]]
    np.testing.assert_allclose(ours, theirs - theirs.mean(), atol=1e-4)
    assert said == ["qualities are comparable within a reference only: their mean is 0 in each"]


@pytest.mark.parametrize(
    ("model", "link", "close"),
    # Of a probit they take the observed information, we the expected one.
    [("bradley-terry", "Logit", 1e-6), ("thurstone", "Probit", 0.05)],
)
def test_it_is_a_binomial_regression_with_robust_errors(model, link, close):
    sm = pytest.importorskip("statsmodels.api")
    table, votes = choices(np.random.default_rng(1), np.linspace(-1, 1, 5), 20)
    a = table["a"].str[1:].astype(int).to_numpy()[votes["item"]]
    b = table["b"].str[1:].astype(int).to_numpy()[votes["item"]]
    x = np.eye(5)[b] - np.eye(5)[a]
    y = votes["value"].to_numpy()
    family = sm.families.Binomial(getattr(sm.families.links, link)())
    theirs = sm.GLM(y, x[:, 1:], family).fit(cov_type="HC0", tol=1e-12)
    q = scaling.fit(a, b, y, np.ones_like(y), 5, model, ridge=1e-9)
    np.testing.assert_allclose(q[1:] - q[0], theirs.params, atol=1e-6)
    alone = np.arange(len(y))
    cov = scaling.sandwich(q, a, b, y, np.ones_like(y), alone, model, ridge=1e-9)
    to_first = np.eye(5)[1:] - np.eye(5)[0]
    ours = to_first @ cov @ to_first.T * (len(y) - 1) / len(y)
    np.testing.assert_allclose(np.sqrt(np.diag(ours)), theirs.bse, rtol=close)


@pytest.mark.slow
def test_intervals_cover_where_people_differ():
    rng, truth = np.random.default_rng(2), np.linspace(-1, 1, 5)
    covered = {True: [], False: []}
    for _ in range(60):
        table, votes = choices(rng, truth, 40, spread=1.0, raters=25)
        for known in covered:
            found, _ = scaling.scale(Judgements("x", table, votes=votes if known else None))
            ends = found.set_index("distorted").loc["d2"]
            covered[known].append(ends["low"] < 0 < ends["high"])
    # A standard error of these shares is .04.
    assert np.mean(covered[True]) > 0.87 and np.mean(covered[False]) < 0.8


def test_a_scale_ranks_as_a_rating_does_and_an_image_that_always_wins_is_finite():
    table = pd.DataFrame({"reference": ["r", "r", "s"], "a": ["x", "y", "x"], "b": ["y", "z", "z"],
                          "p_b": [1.0, 1.0, 0.0], "votes": [5, 5, 5]})  # fmt: skip
    found, said = scaling.scale(Judgements("x", table))
    assert validate(found, "x")["quality"].abs().lt(10).all() and len(said) == 1
    assert found[found.reference == "r"].sort_values("quality")["distorted"].tolist() == list("xyz")
    assert found.groupby("reference")["quality"].mean().abs().max() < 1e-9
    assert (found["high"] > found["low"]).all() and found["raters"].tolist() == [5, 10, 5, 5, 5]
    apart = table.assign(reference="r", a=["x", "y", "u"], b=["y", "z", "v"])
    _, said = scaling.scale(Judgements("x", apart))
    assert said[0] == "r: its images fall into 2 groups never compared"
    rated = pd.DataFrame({"reference": ["r"], "distorted": ["x"], "quality": [1.0]})
    with pytest.raises(DataError, match="scale values need reference, a, b"):
        scaling.scale(Judgements("x", rated))
