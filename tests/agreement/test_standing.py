"""Attained agreement, random effects, places over datasets, what to choose."""

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement import evaluate
from perceptbench.agreement.orders import same_order
from perceptbench.agreement.standing import (
    attained,
    left_out,
    not_worse,
    random_effects,
    standing,
)
from perceptbench.datasets.judgements.protocols import Judgements


def test_the_random_effects_of_a_textbook():
    """BCG vaccine, 13 trials (Colditz 1994), DerSimonian-Laird: -0.7141, tau2 .3088; HK as in
    metafor's rma(test="knha", method="DL"): [-1.1094, -0.3188]."""
    y = np.array([-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209, 0.0120, -0.4694,
                  -1.3713, -0.3394, 0.4459, -0.0173])  # fmt: skip
    v = np.array([0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730,
                  0.0124, 0.5325, 0.0714])  # fmt: skip
    found = random_effects(y, v)
    assert found.value == pytest.approx(-0.7141, abs=2e-3)
    assert found.i2 == pytest.approx(0.9212, abs=2e-3)
    assert found.low < found.value < found.high and found.new_low < found.low
    assert found.new_high > found.high and found.q_p < 1e-6


def test_two_datasets_have_no_prediction_interval():
    found = random_effects([0.1, 0.3], [0.001, 0.001])
    assert np.isnan(found.new_low) and found.freedom == 1
    assert found.value == pytest.approx(0.2)


def dataset(name, noise, seed=0, units=12, **wrong):
    """Ratings of `units` references x 8 under metrics with the noises given."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=units * 8)
    table = pd.DataFrame({
        "reference": np.repeat([f"{name}{k}" for k in range(units)], 8),
        "distorted": [f"{name}-{k}" for k in range(units * 8)], "impairment": truth,
    })  # fmt: skip
    scores = table[["reference", "distorted"]].assign(dataset=name)
    for metric, size in noise.items():
        scores[metric] = truth + size * rng.normal(size=units * 8)
    return Judgements(name, table, statistics=("srcc",)), scores.assign(**wrong)


def found(*sets, **options):
    parts, scores = zip(*sets, strict=True)
    scores = pd.concat(scores, ignore_index=True)
    metrics = [c for c in scores if c not in ("dataset", "reference", "distorted")]
    of = evaluate(list(parts), scores, metrics=metrics, ranked_only=True, **options)
    return of.table, of.comparisons, [(p.dataset, "all", "srcc") for p in parts]


NOISE = {"good": 0.3, "fair": 0.6, "poor": 3.0}


def test_attained_agreement_depends_on_no_other_metric():
    everyone = found(dataset("x", NOISE), dataset("y", NOISE, 1))
    alone = found(*(
        (part, scores.drop(columns=["fair", "poor"]))
        for part, scores in (dataset("x", NOISE), dataset("y", NOISE, 1))
    ))  # fmt: skip
    a, b = standing(*everyone), standing(*alone)
    assert a.loc["good", "attained"] == pytest.approx(b.loc["good", "attained"], rel=1e-12)
    assert list(a.index) == ["good", "fair", "poor"]
    assert a.loc["good", ["first", "last", "best"]].tolist() == [1, 1, True]
    assert a.loc["poor", ["first", "last"]].tolist() == [3, 3]


def test_the_known_ceiling_is_the_root_of_the_reliability():
    part, scores = dataset("x", NOISE)
    table = part.table.assign(std=0.5, raters=10)
    rows = evaluate([Judgements("x", table, statistics=("srcc",))], scores,
                    metrics=["good"], ranked_only=True).table  # fmt: skip
    expected = np.sqrt(1 - 0.025 / table.impairment.var(ddof=1))
    assert rows.ceiling.iloc[0] == pytest.approx(expected) and rows.ceiling_known.iloc[0]
    share = attained(rows, [("x", "all", "srcc")])
    assert share.value.iloc[0] == pytest.approx(rows.value.iloc[0] / expected)


def test_three_kinds_of_missing():
    """A blind metric has chance, one that cannot be asked no vote; what failed is counted."""
    part, scores = dataset("x", NOISE, blind=0.0, unasked=np.nan)
    scores.loc[:9, "fair"] = np.nan
    other, more = dataset("y", NOISE, 1)
    more = more.assign(blind=more.good, unasked=more.good + 1e-3 * more.poor)
    third, rest = dataset("z", NOISE, 2, blind=1.0, unasked=np.nan)
    table, pairs, keys = found((part, scores), (other, more), (third, rest))
    rows = table[table.dataset == "x"].set_index("metric")
    assert rows.loc["blind", "value"] == 0 and "blind" in rows.loc["blind", "note"]
    assert np.isnan(rows.loc["unasked", "value"])
    assert tuple(rows.loc["fair", ["n", "of"]]) == (86, 96)
    compared = pairs[(pairs.dataset == "x") & (pairs.a == "good") & (pairs.b == "fair")]
    assert compared.n.iloc[0] == 86
    places = standing(table, pairs, keys)
    assert places.loc["unasked", ["stood", "of"]].tolist() == [1, 3]
    assert places.loc["blind", "stood"] == 3
    assert places.index[-1] in ("blind", "poor")


def test_what_is_in_domain_takes_no_part():
    table, pairs, keys = found(dataset("x", NOISE), dataset("y", NOISE, 1), dataset("z", NOISE, 2),
                               in_domain={"x": {"good"}})  # fmt: skip
    assert standing(table, pairs, keys).loc["good", "stood"] == 2
    assert "good" not in set(attained(table, keys).query("group == 'x'").metric)


def test_one_dataset_has_no_standing():
    places = standing(*found(dataset("x", NOISE)))
    assert places["attained"].isna().all() and (places["of"] == 1).all()


def test_a_group_of_datasets_has_one_vote():
    table, _, keys = found(dataset("x", NOISE), dataset("y", NOISE, 1), dataset("z", NOISE, 2))
    grouped = attained(table, keys, {"x": "same", "y": "same"})
    assert set(grouped.group) == {"same", "z"}
    values = table.set_index(["dataset", "metric"]).value
    good = grouped.set_index(["group", "metric"]).value["same", "good"]
    assert good == pytest.approx((values["x", "good"] + values["y", "good"]) / 2)


def test_metrics_of_one_ordering_are_found_from_the_scores():
    part, scores = dataset("x", NOISE)
    scores = scores.assign(log=np.log(scores.good - scores.good.min() + 1), flat=0.0)
    assert same_order(scores, ["good", "log", "fair", "flat"]) == {"log": "good"}
    of = evaluate([part], scores, metrics=["good", "log", "fair"], ranked_only=True)
    assert set(of.comparisons.a) | set(of.comparisons.b) == {"good", "fair"}
    assert of.table.set_index("metric").best.to_dict()["log"]


def test_who_is_not_worse_than_the_best_and_who_would_be_first():
    close = {"good": 0.3, "near": 0.3001, "poor": 3.0}
    sets = [dataset(n, close, k, units=60) for k, n in enumerate("xyz")]
    for _, scores in sets:
        scores["near"] = scores["good"] + 1e-4 * np.random.default_rng(9).normal(size=len(scores))
    table, pairs, keys = found(*sets)
    assert set(not_worse(table, pairs, keys, 0.01)) == {"good", "near"}
    assert not_worse(table, pairs, keys, 1e-7) == []
    assert set(left_out(table, keys)) == {"x", "y", "z"}


def test_slices_of_one_dataset_may_be_counted_under_different_groups():
    rows = [
        ("card", "red", "a", 0.8), ("card", "blue", "a", 0.6), ("card", "light", "a", 0.3),
        ("tiles", "all", "a", 0.1),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["dataset", "slice", "metric", "value"]).assign(
        statistic="srcc", chance=0.0, ceiling=1.0, in_domain=False, error=0.1, freedom=9
    )
    columns = [(d, s, "srcc") for d, s, _, _ in rows]
    groups = {"card/red": "colour", "card/blue": "colour", "tiles": "colour", "card": "light"}
    found = attained(table, columns, groups).set_index("group")
    # Columns of a dataset first, then datasets: (.7 + .1) / 2; errors .1 and .1 of two datasets.
    assert found["value"].to_dict() == pytest.approx({"colour": 0.4, "light": 0.3})
    assert found["error"].to_dict() == pytest.approx({"colour": 0.1 / 2**0.5, "light": 0.1})
