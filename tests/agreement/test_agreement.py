"""The agreement table: resampling units, replicates, people, undefined figures."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from perceptbench.agreement import agreement, evaluate
from perceptbench.agreement.resampling import bootstrap, percentile_interval
from perceptbench.datasets.judgements import Judgements


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
    frame = agreement(Judgements("toy", table, resample=("reference",)), scores,
                      metrics=["good", "bad"], resamples=200)  # fmt: skip
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
    turned = agreement(Judgements("toy", quality), scores, metrics=["good"], resamples=100)
    plain = agreement(Judgements("toy", table), scores, metrics=["good"], resamples=100)
    assert "stress" not in set(turned.statistic) and "stress" in set(plain.statistic)
    assert figure(turned, "good", "srcc").value == figure(plain, "good", "srcc").value


def test_stress_takes_the_root_of_squared_metrics():
    table, scores = rating_set()
    scores["squared"] = table.impairment**2
    frame = agreement(Judgements("toy", table), scores, metrics=["squared"], resamples=100,
                      stress_power={"squared": 0.5})  # fmt: skip
    assert figure(frame, "squared", "stress").value == pytest.approx(0, abs=1e-7)


def test_a_metric_without_a_ratio_scale_has_no_stress_but_an_order():
    table, scores = rating_set()
    frame = agreement(Judgements("toy", table), scores, metrics=["good"], resamples=100,
                      stress_power={"good": None})  # fmt: skip
    assert np.isnan(figure(frame, "good", "stress").value)
    assert "proportion" in figure(frame, "good", "stress").note
    assert figure(frame, "good", "srcc").value > 0 and not figure(frame, "good", "srcc").note


def test_outcomes_without_shares_have_no_human_ceiling():
    table, scores = triplets()
    table = table.assign(p_b=(table.p_b > 0.5).astype(float))
    frame = agreement(Judgements("toy", table), scores, metrics=["m"], resamples=100)
    assert set(frame.metric) == {"m"}


def test_people_are_rows_of_a_2afc_table():
    table, scores = triplets()
    frame = agreement(Judgements("toy", table, resample=("a", "b")), scores, metrics=["m"])
    p = table.p_b
    assert figure(frame, "human", "2afc").value == pytest.approx((p**2 + (1 - p) ** 2).mean())
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
    frame = agreement(Judgements("toy", table), scores, metrics=["m"], resamples=100)
    found = figure(frame, "m", "plcc")
    assert found.value == pytest.approx(np.corrcoef([3, 2, 5], [1, 2, 3])[0, 1])
    assert found.n == 3


def test_the_interval_is_scipys_bootstrap_where_rows_are_the_units():
    table, scores = rating_set(n=80)
    frame = agreement(Judgements("toy", table), scores, metrics=["good"], resamples=4000)
    found = figure(frame, "good", "plcc")
    expected = scipy.stats.bootstrap(
        (scores.good, table.impairment), lambda x, y: scipy.stats.pearsonr(x, y).statistic,
        paired=True, vectorized=False, n_resamples=4000, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.1 * width)
    assert found.high == pytest.approx(expected.high, abs=0.1 * width)


def test_two_columns_weight_a_row_by_the_product_of_its_stimuli():
    table, _ = triplets(stimuli=6)
    resampler = bootstrap(table, ("a", "b"), 50, (0,))
    rng = np.random.default_rng(np.random.SeedSequence([0]))
    drawn = rng.multinomial(6, np.full(6, 1 / 6), size=50)
    names = sorted(set(table.a) | set(table.b))
    places = {side: [names.index(key) for key in table[side]] for side in "ab"}
    expected = [
        [counts[a] * counts[b] for a, b in zip(places["a"], places["b"], strict=True)]
        for counts in drawn
    ]
    np.testing.assert_array_equal(np.concatenate(list(resampler)), expected)


def test_chunks_do_not_change_what_is_drawn(monkeypatch):
    table, _ = triplets()
    whole = np.concatenate(list(bootstrap(table, ("a",), 30, (0,))))
    monkeypatch.setattr("perceptbench.agreement.resampling.CHUNK_BYTES", 1)
    np.testing.assert_array_equal(np.concatenate(list(bootstrap(table, ("a",), 30, (0,)))), whole)


def test_the_same_seed_gives_the_same_table_and_another_seed_another_interval():
    table, scores = rating_set()
    one, two, other = (
        agreement(Judgements("toy", table), scores, metrics=["good"], resamples=200, seed=s)
        for s in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, two)
    assert one.low[0] != other.low[0] and one.value[0] == other.value[0]


def test_a_failed_pair_lowers_n_for_all_metrics():
    table, scores = rating_set()
    scores.loc[3, ["good", "bad"]] = np.nan
    frame = agreement(Judgements("toy", table), scores.drop(index=5), metrics=["good", "bad"])
    assert set(frame.n) == {58}
    assert frame.value.notna().all()


def test_a_metric_without_some_distances_is_undefined_and_says_why():
    table, scores = rating_set()
    scores.loc[3, "good"] = np.inf
    scores["flat"] = 0.0
    frame = agreement(Judgements("toy", table), scores, metrics=["good", "bad", "flat"])
    lost, flat = figure(frame, "good", "srcc"), figure(frame, "flat", "srcc")
    assert np.isnan([lost.value, lost.low, lost.high]).all()
    assert lost.note == "no finite distance for 1 of 60 judgements"
    assert np.isnan(flat.value) and flat.note == "all distances are equal"
    assert np.isfinite(figure(frame, "bad", "srcc").value)


def test_nothing_scored_is_undefined_not_an_error():
    table, scores = triplets()
    frame = agreement(Judgements("toy", table), scores.assign(m=np.nan), metrics=["m"])
    assert figure(frame, "m", "2afc").note == "no pair could be scored"
    assert frame.value.isna().all() and (frame.n == 0).all()


def test_an_interval_of_mostly_undefined_resamples_is_undefined():
    samples = np.array([0.5] * 4 + [np.nan] * 6)
    assert np.isnan(percentile_interval(samples)).all()
    assert percentile_interval(np.array([0.5] * 6 + [np.nan] * 4)) == (0.5, 0.5)


def test_a_same_different_table_has_its_precision_and_the_best_there_is():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": [f"a{i}" for i in range(40)], "b": [f"b{i}" for i in range(40)]})
    table["p_same"] = rng.integers(0, 4, 40) / 3
    scores = table.rename(columns={"a": "reference", "b": "distorted"}).drop(columns="p_same")
    scores["good"], scores["bad"] = 1 - table.p_same, table.p_same
    frame = agreement(Judgements("toy", table), scores, metrics=["good", "bad"], resamples=200)
    good, bad = figure(frame, "good", "jnd_ap"), figure(frame, "bad", "jnd_ap")
    assert good.value == pytest.approx(figure(frame, "oracle", "jnd_ap").value)
    assert bad.value < good.value and good.low <= good.value <= good.high and good.n == 40
    parted = Judgements("toy", table.assign(category=["x"] * 15 + ["y"] * 25))
    frame = agreement(parted, scores, metrics=["bad"], resamples=200)
    rows = frame[frame.metric == "bad"].set_index(["slice", "statistic"])
    each = [rows.loc[(f"category={c}", "jnd_ap"), "value"] for c in "xy"]
    mean = rows.loc[("all", "jnd_ap_subset_mean")]
    assert mean.value == pytest.approx(np.mean(each)) and mean.low < mean.value < mean.high


def test_the_ranked_figures_alone_come_from_the_same_resamples():
    table, scores = rating_set()
    part = Judgements("toy", table, resample=("reference",), statistics=("srcc",))
    options = {"metrics": ["good", "bad"], "resamples": 200}
    whole, few = (evaluate([part], scores, **options, ranked_only=r) for r in (False, True))
    key = ("toy", "all", "srcc")
    pd.testing.assert_frame_equal(whole.samples[key], few.samples[key])
    assert set(few.table.statistic) == {"srcc"}
    assert figure(whole.table, "good", "srcc").tier == "a"


def test_no_figure_is_undefined_without_a_reason():
    table, scores = triplets()
    even = Judgements("toy", table.assign(p_b=0.5))
    frame = agreement(even, scores, metrics=["m"], resamples=100)
    row = figure(frame, "m", "2afc_majority")
    assert np.isnan(row.value) and row.note == "people are evenly split on every item"
    few, scores = rating_set(n=3)
    frame = agreement(Judgements("toy", few), scores.assign(flat=1.0), metrics=["good", "flat"])
    assert (frame.note[frame.value.isna()] != "").all()


def test_a_dear_statistic_on_the_leaderboard_claims_no_tiers():
    table, scores = rating_set(std=1.0, raters=20)
    part = Judgements("toy", table, resample=("reference",), statistics=("auc_bw",))
    frame = agreement(part, scores, metrics=["good", "bad"], resamples=100)
    row = figure(frame, "good", "auc_bw")
    assert row.interval == "jackknife" and row.low < row.value <= row.high <= 1
    assert row.tier == "" and np.isnan(row.p_first)


def test_a_metric_undecided_on_an_even_split_takes_no_majority_from_the_others():
    table = pd.DataFrame(
        {"reference": "r", "a": ["1", "1", "2"], "b": ["2", "3", "3"], "p_b": [0.5, 0.8, 0.25]}
    )
    scores = pd.DataFrame({"reference": "r", "distorted": ["1", "2", "3"]}).assign(
        tied=1.0, orders=[3.0, 2.0, 1.0]
    )
    frame = agreement(Judgements("toy", table), scores, metrics=["tied", "orders"], resamples=100)
    for metric, value in {"tied": 0.5, "orders": 0.5}.items():
        row = figure(frame, metric, "2afc_majority")
        assert (row["value"], row["n"]) == (value, 2)


def test_many_same_different_pairs_have_the_interval_of_a_jackknife(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = [f"a{i}" for i in range(400)], [f"b{i}" for i in range(400)]
    true = rng.random(400)
    table = pd.DataFrame({"a": a, "b": b, "p_same": rng.binomial(3, 1 - true) / 3})
    scores = pd.DataFrame({"reference": a, "distorted": b, "m": true + rng.normal(0, 0.2, 400)})
    part = Judgements("toy", table, statistics=("jnd_ap",))
    rows = []
    for dear in (1_000, 100):
        monkeypatch.setattr("perceptbench.agreement.figures.DEAR", dear)
        frame = agreement(part, scores, metrics=["m"], resamples=500)
        rows.append(figure(frame, "m", "jnd_ap"))
    assert [row.interval for row in rows] == ["percentile", "jackknife"]
    assert rows[0]["value"] == rows[1]["value"] and rows[1].tier == ""
    widths = [row.high - row.low for row in rows]
    assert 0.6 < widths[1] / widths[0] < 1.6


def test_the_kind_of_interval_is_the_one_that_is_printed(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("perceptbench.agreement.figures.DEAR", 3)
    a, b = list("abcdefgh"), list("ABCDEFGH")
    table = pd.DataFrame({"a": a, "b": b, "p_same": [1, 1, 0, 1, 0, 0.5, 0, 0]})
    table.to_csv(tmp_path / "j.csv", index=False)
    pd.DataFrame({"a": a, "b": b, "m": range(8)}).to_csv(tmp_path / "s.csv", index=False)
    code, out, _ = cli("agree", "--judgements", tmp_path / "j.csv", "--scores", tmp_path / "s.csv")
    assert code == 0 and "95 % jackknife interval over 8 units" in out
