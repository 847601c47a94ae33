"""The agreement table: resampling units, replicates, people, undefined figures."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from perceptbench.agreement import agreement, evaluate
from perceptbench.datasets.judgements.protocols import Judgements


def rating_set(n=60, seed=0, **columns):
    rng = np.random.default_rng(seed)
    badness = rng.uniform(0, 5, n)
    table = pd.DataFrame(
        {
            "reference": [f"r{i % 6}" for i in range(n)],
            "distorted": [f"d{i}" for i in range(n)],
            "impairment": badness,
            **columns,
        }
    )
    scores = table[["reference", "distorted"]].assign(
        good=np.abs(badness + rng.normal(0, 0.5, n)), bad=rng.uniform(0, 1, n)
    )
    return table, scores


def triplets(stimuli=10, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(f"s{i}", f"s{j}") for i in range(stimuli) for j in range(i)]
    table = pd.DataFrame(rows, columns=["a", "b"]).assign(reference="blank")
    table["p_b"] = rng.integers(0, 5, len(table)) / 4
    scores = pd.DataFrame({"reference": "blank", "distorted": [f"s{i}" for i in range(stimuli)]})
    return table, scores.assign(m=rng.permutation(stimuli).astype(float))


def figure(frame, metric, statistic):
    rows = frame[(frame.metric == metric) & (frame.statistic == statistic)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_rating_table_gets_every_statistic_for_every_metric():
    table, scores = rating_set()
    frame = agreement(Judgements("toy", table), scores,
                      metrics=["good", "bad"])  # fmt: skip
    assert set(frame.statistic) == {
        "srcc", "krcc", "plcc", "plcc_logistic4", "plcc_logistic5", "rmse", "stress",
        "srcc_within_reference", "krcc_within_reference", "plcc_within_reference",
    }  # fmt: skip
    assert len(frame) == 20 and frame[["low", "high"]].notna().all(axis=None)
    good = figure(frame, "good", "srcc")
    assert good.value == pytest.approx(
        scipy.stats.spearmanr(scores.good, table.impairment).statistic
    )
    assert good.low < good.value < good.high
    assert (good.n, good.units) == (60, 6)
    assert figure(frame, "bad", "stress").value > figure(frame, "good", "stress").value


def test_a_quality_is_turned_round_and_has_no_stress():
    table, scores = rating_set()
    quality = table.drop(columns="impairment").assign(quality=5 - table.impairment)
    turned = agreement(Judgements("toy", quality), scores, metrics=["good"])
    plain = agreement(Judgements("toy", table), scores, metrics=["good"])
    assert "stress" not in set(turned.statistic) and "stress" in set(plain.statistic)
    assert figure(turned, "good", "srcc").value == figure(plain, "good", "srcc").value


def test_stress_takes_the_root_of_squared_metrics():
    table, scores = rating_set()
    scores["squared"] = table.impairment**2
    frame = agreement(Judgements("toy", table), scores, metrics=["squared"],
                      stress_power={"squared": 0.5})  # fmt: skip
    assert figure(frame, "squared", "stress").value == pytest.approx(0, abs=1e-7)


def test_a_metric_without_a_ratio_scale_has_no_stress_but_an_order():
    table, scores = rating_set()
    frame = agreement(Judgements("toy", table), scores, metrics=["good"],
                      stress_power={"good": None})  # fmt: skip
    assert np.isnan(figure(frame, "good", "stress").value)
    assert "proportion" in figure(frame, "good", "stress").note
    assert (
        figure(frame, "good", "srcc").value > 0
        and "scale" not in figure(frame, "good", "srcc").note
    )


def test_outcomes_without_shares_have_no_human_ceiling():
    table, scores = triplets()
    table = table.assign(p_b=(table.p_b > 0.5).astype(float))
    frame = agreement(Judgements("toy", table), scores, metrics=["m"])
    assert set(frame.metric) == {"m"}


def test_people_are_rows_of_a_2afc_table():
    table, scores = triplets()
    frame = agreement(Judgements("toy", table), scores, metrics=["m"])
    p = table.p_b
    human = figure(frame, "human", "2afc")
    assert human.value == pytest.approx((p**2 + (1 - p) ** 2).mean())
    assert "upper bound" in human.note
    voted = agreement(Judgements("toy", table.assign(votes=4)), scores, metrics=["m"])
    k = 4 * p  # two different people agree: of k votes for b and 4 - k for a
    pairs = (k * (k - 1) + (4 - k) * (3 - k)) / 12
    assert figure(voted, "human", "2afc").value == pytest.approx(pairs.mean())
    assert figure(frame, "oracle", "2afc").value == pytest.approx(np.maximum(p, 1 - p).mean())
    assert figure(frame, "m", "2afc").units == 10


def test_observers_give_a_rating_table_its_ceiling():
    table, scores = rating_set()
    rng = np.random.default_rng(1)
    seen = pd.DataFrame({o: table.impairment + rng.normal(0, 1, 60) for o in "xyz"})
    frame = agreement(Judgements("toy", table, observers=seen), scores, metrics=["good"])
    others = {o: seen.drop(columns=o).mean(axis=1) for o in "xyz"}
    expected = np.mean([scipy.stats.spearmanr(seen[o], others[o]).statistic for o in "xyz"])
    assert figure(frame, "human", "srcc").value == pytest.approx(expected)


def test_replicates_of_an_item_are_averaged_first():
    table = pd.DataFrame(
        {
            "reference": ["r0", "r1"] * 3,
            "distorted": ["p0", "p1", "q0", "q1", "s0", "s1"],
            "impairment": [1.0, 1.0, 2.0, 2.0, 3.0, 3.0],
            "item": ["p", "p", "q", "q", "s", "s"],
        }
    )
    scores = table[["reference", "distorted"]].assign(m=[1.0, 5.0, 2.0, 2.0, 9.0, 1.0])
    frame = agreement(Judgements("toy", table), scores, metrics=["m"])
    found = figure(frame, "m", "plcc")
    assert found.value == pytest.approx(np.corrcoef([3, 2, 5], [1, 2, 3])[0, 1])
    assert found.n == 3


def test_nothing_scored_is_undefined_not_an_error():
    table, scores = triplets()
    frame = agreement(Judgements("toy", table), scores.assign(m=np.nan), metrics=["m"])
    assert figure(frame, "m", "2afc").note.startswith("no finite distance for any of")
    assert frame[frame.metric == "m"].value.isna().all()


def test_a_same_different_table_has_its_precision_and_the_best_there_is():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": [f"a{i}" for i in range(40)], "b": [f"b{i}" for i in range(40)]})
    table["p_same"] = rng.integers(0, 4, 40) / 3
    scores = table.rename(columns={"a": "reference", "b": "distorted"}).drop(columns="p_same")
    scores["good"], scores["bad"] = 1 - table.p_same, table.p_same
    frame = agreement(Judgements("toy", table), scores, metrics=["good", "bad"])
    good, bad = figure(frame, "good", "jnd_ap"), figure(frame, "bad", "jnd_ap")
    assert good.value == pytest.approx(figure(frame, "oracle", "jnd_ap").value)
    assert bad.value < good.value and good.low <= good.value <= good.high and good.n == 40
    parted = Judgements("toy", table.assign(category=["x"] * 15 + ["y"] * 25))
    frame = agreement(parted, scores, metrics=["bad"])
    rows = frame[frame.metric == "bad"].set_index(["slice", "statistic"])
    each = [rows.loc[(f"category={c}", "jnd_ap"), "value"] for c in "xy"]
    mean = rows.loc[("all", "jnd_ap_subset_mean")]
    assert mean.value == pytest.approx(np.mean(each)) and mean.low < mean.value < mean.high


def test_no_figure_is_undefined_without_a_reason():
    table, scores = triplets()
    even = Judgements("toy", table.assign(p_b=0.5))
    frame = agreement(even, scores, metrics=["m"])
    row = figure(frame, "m", "2afc_majority")
    assert np.isnan(row.value) and row.note == "people are evenly split on every item"
    few, scores = rating_set(n=3)
    frame = agreement(Judgements("toy", few), scores.assign(flat=1.0), metrics=["good", "flat"])
    assert (frame.note[frame.value.isna()] != "").all()


def test_a_metric_undecided_on_an_even_split_takes_no_majority_from_the_others():
    table = pd.DataFrame(
        {"reference": "r", "a": ["1", "1", "2"], "b": ["2", "3", "3"], "p_b": [0.5, 0.8, 0.25]}
    )
    scores = pd.DataFrame({"reference": "r", "distorted": ["1", "2", "3"]}).assign(
        tied=1.0, orders=[3.0, 2.0, 1.0]
    )
    frame = agreement(Judgements("toy", table), scores, metrics=["tied", "orders"])
    for metric, value in {"tied": 0.5, "orders": 0.5}.items():
        row = figure(frame, metric, "2afc_majority")
        assert (row["value"], row["n"]) == (value, 2)


def test_a_metric_is_measured_on_what_it_answered_and_compared_on_what_both_did():
    table, scores = rating_set()
    scores.loc[3, "good"] = np.inf
    scores["flat"] = 0.0
    part = Judgements("toy", table, statistics=("srcc",))
    found = evaluate([part], scores.drop(index=5), metrics=["good", "bad", "flat"])
    good, bad, flat = (figure(found.table, m, "srcc") for m in ("good", "bad", "flat"))
    assert (good.n, good.of, bad.n) == (58, 60, 59)
    kept = scores.drop(index=[3, 5])
    expected = scipy.stats.spearmanr(kept.good, table.impairment.drop([3, 5])).statistic
    assert good.value == pytest.approx(expected)
    pair = found.comparisons.set_index(["a", "b"]).loc[("good", "bad")]
    on_both = scipy.stats.spearmanr(kept.bad, table.impairment.drop([3, 5])).statistic
    assert pair.n == 58 and pair["b value"] == pytest.approx(on_both)
    # A metric that says the same of everything has what chance has, and says so.
    assert flat.value == 0 and flat.note.startswith("blind") and np.isnan(flat.low)


def test_a_blind_metric_has_chance_in_2afc_too():
    table, scores = triplets()
    row = figure(
        agreement(Judgements("toy", table), scores.assign(m=1.0), metrics=["m"]), "m", "2afc"
    )
    assert row.value == 0.5 and row.note.startswith("blind")


def test_few_units_have_a_rough_interval_and_fewer_than_five_none():
    table, scores = rating_set()
    row = figure(agreement(Judgements("toy", table), scores, metrics=["good"]), "good", "srcc")
    assert row.units == 6 and "rough" in row.note and row.low < row.high
    table["reference"] = [f"r{i % 4}" for i in range(60)]
    scores["reference"] = table.reference
    row = figure(agreement(Judgements("toy", table), scores, metrics=["good"]), "good", "srcc")
    assert np.isnan(row.low) and row.note == "no interval: 4 units, fewer than 5"


def test_a_raw_plcc_with_heavy_tails_has_no_interval_but_its_fit_has():
    table, scores = rating_set(n=200)
    scores["wild"] = np.exp(3 * scores.good)
    frame = agreement(Judgements("toy", table), scores, metrics=["wild", "good"])
    raw, fit = (figure(frame, "wild", s) for s in ("plcc", "plcc_logistic4"))
    assert np.isnan(raw.low) and "heavy tails" in raw.note and raw.value > 0
    assert fit.low < fit.value < fit.high
    assert figure(frame, "good", "plcc").low > 0


def test_a_metric_that_is_wrong_throughout_is_not_put_right_by_a_fit():
    table, scores = rating_set()
    scores["wrong"] = -scores.good
    frame = agreement(Judgements("toy", table), scores, metrics=["wrong"])
    assert figure(frame, "wrong", "srcc").value < -0.9
    assert figure(frame, "wrong", "plcc_logistic4").value == 0
    assert figure(frame, "wrong", "plcc_logistic4").note.startswith(
        "no rising curve predicts anything"
    )
