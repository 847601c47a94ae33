"""Ratings: logistic fits, outliers, figures within a reference, distortions and levels."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats

from perceptbench.agreement import agreement, rating
from perceptbench.datasets.judgements import Judgements


def test_a_logistic_world_is_fitted_whatever_the_unit_of_the_metric():
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, 300)
    truth = rating.logistic4(x, 5.0, 1.0, 0.5, 0.8)
    y = truth + rng.normal(0, 0.1, 300)
    for scale, offset in ((1, 0), (1e-9, 0), (1e6, -3e6)):
        fitted = rating.fit_logistic(scale * x + offset, y, 4)
        assert rating.rmse(fitted, truth) < 0.05
        assert rating.plcc(fitted, y) > rating.plcc(x, y) + 0.01
    found = rating.evaluate(x, y)
    assert found["plcc_logistic5"] >= found["plcc_logistic4"] - 1e-3 > found["plcc"]
    assert found["rmse"] == pytest.approx(0.1, abs=0.02)


def test_the_five_parameters_follow_a_line_that_four_cannot():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 400)
    y = rating.logistic5(x, 4.0, 3.0, 0.0, 1.5, 2.0) + rng.normal(0, 0.05, 400)
    assert rating.rmse(rating.fit_logistic(x, y, 5), y) == pytest.approx(0.05, abs=0.01)
    assert rating.rmse(rating.fit_logistic(x, y, 4), y) > 0.06


@pytest.mark.parametrize("parameters", [4, 5])
def test_no_fit_leaves_much_more_than_that_of_scipy(parameters):
    """`curve_fit` from the starts VQEG and Sheikh give, on worlds that are hard to fit."""
    rng = np.random.default_rng(0)
    curve = {4: logistic4, 5: rating.logistic5}[parameters]
    for _ in range(5):
        x = rng.normal(size=200)
        noise = rng.normal(0, 0.2, 200)
        for y in (np.tanh(x) + noise, np.exp(x) + noise, (x > 0) + noise, x**3 + noise):
            mine = rating.rmse(rating.fit_logistic(np.exp(x), y, parameters), y)
            start = {
                4: (y.max(), y.min(), np.exp(x).mean(), np.exp(x).std()),
                5: (np.ptp(y), 1.0, np.exp(x).mean(), 0.1, y.mean()),
            }[parameters]
            try:
                theirs = scipy.optimize.curve_fit(curve, np.exp(x), y, p0=start, maxfev=5000)[0]
            except RuntimeError:
                continue
            # One of them may have fitted a step to an outlier.
            assert mine <= rating.rmse(curve(np.exp(x), *theirs), y) * 1.01


def logistic4(x, top, bottom, centre, width):
    return rating.logistic4(x, top, bottom, centre, max(abs(width), 1e-9))


def test_fits_do_not_depend_on_what_memory_held_before():
    """glibc fills what it hands out with a byte of our choice; elsewhere the variable is void."""
    code = (
        "import numpy as np; from perceptbench.agreement import rating;"
        "rng = np.random.default_rng(0); x, e = rng.normal(size=(2, 20, 84));"
        "print([rating.fit_logistic(a, b, p).tobytes() for a, b in zip(x, x + e) for p in (4, 5)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True,
            env={**os.environ, "MALLOC_PERTURB_": fill},
        ).stdout
        for fill in ("0", "77")
    }  # fmt: skip
    assert len(found) == 1


def test_a_fit_that_fails_says_so_and_falls_back_to_none():
    table = pd.DataFrame(
        {"reference": ["r"] * 4, "distorted": list("abcd"), "impairment": [1.0, 2.0, 3.0, 5.0]}
    )
    scores = table[["reference", "distorted"]].assign(m=[1.0, 2.0, 4.0, 3.0])
    assert rating.fit_logistic(scores.m, table.impairment, 4) is None  # as many points as unknowns
    frame = agreement(Judgements("toy", table), scores, metrics=["m"], resamples=100)
    found = frame.set_index("statistic")
    for name in ("plcc_logistic4", "plcc_logistic5"):
        assert found.loc[name, "value"] == pytest.approx(found.loc["plcc", "value"])
        assert "the logistic could not be fitted" in found.loc[name, "note"]
    line = np.polyval(np.polyfit(scores.m, table.impairment, 1), scores.m)
    assert found.loc["rmse", "value"] == pytest.approx(rating.rmse(line, table.impairment))
    assert "a straight line instead" in found.loc["rmse", "note"]


def rated(seed=0):
    """8 references x 4 distortions x 3 levels, with the spread of the ratings."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([range(8), ["blur", "jpeg", "noise", "shift"], [1, 2, 3]])
    table = index.to_frame(index=False, name=["reference", "distortion", "level"])
    table["distorted"] = [f"d{i}" for i in range(len(table))]
    table["reference"] = "r" + table["reference"].astype(str)
    table["impairment"] = table["level"] + rng.normal(0, 0.5, len(table))
    table["std"], table["raters"] = rng.uniform(0.5, 1.0, len(table)), 20
    scores = table[["reference", "distorted"]].copy()
    scores["good"] = table["impairment"] + rng.normal(0, 0.5, len(table))
    scores["poor"] = table["impairment"] + rng.normal(0, 3.0, len(table))
    return table, scores


def test_slices_and_within_reference_are_scipys_on_the_groups():
    table, scores = rated()
    part = Judgements("toy", table, resample=("reference",), statistics=("srcc",))
    frame = agreement(part, scores, metrics=["good", "poor"], resamples=300)
    found = frame[frame.metric == "good"].set_index(["slice", "statistic"])
    both = table.assign(good=scores.good)
    groups = [("distortion", d) for d in ("blur", "jpeg", "noise", "shift")]
    for column, value in [*groups, *(("level", k) for k in (1, 2, 3))]:
        some = both[both[column] == value]
        expected = scipy.stats.spearmanr(some.good, some.impairment).statistic
        row = found.loc[(f"{column}={value}", "srcc")]
        assert row.value == pytest.approx(expected) and row.n == len(some) and row.units == 8
        assert row.low <= row.value <= row.high
    each = [
        scipy.stats.kendalltau(g.good, g.impairment).statistic for _, g in both.groupby("reference")
    ]
    row = found.loc[("all", "krcc_within_reference")]
    assert row.value == pytest.approx(np.mean(each)) and row.low < row.value < row.high
    expected = scipy.stats.bootstrap(
        (each,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert row.low == pytest.approx(expected.low, abs=0.02)


def test_many_levels_become_three_bands():
    table, scores = rated()
    table["level"] = np.arange(len(table)) / 7
    frame = agreement(Judgements("toy", table), scores, metrics=["good"], resamples=100)
    assert {"level=low", "level=middle", "level=high"} <= set(frame.slice)
    assert frame[frame.slice == "level=low"].n.iloc[0] == 32


def test_known_spreads_give_outliers_and_krasulas_figures_with_intervals():
    table, scores = rated()
    frame = agreement(
        Judgements("toy", table, resample=("reference",)), scores, metrics=["good", "poor"],
        resamples=200,
    )  # fmt: skip
    found = frame.set_index(["metric", "statistic"]).loc[lambda t: t.slice == "all"]
    for name in ("auc_ds", "auc_bw", "cc_0", "thr"):
        row = found.loc[("good", name)]
        assert row.low <= row.value <= row.high and row.interval == "jackknife"
        assert (row.value > found.loc[("poor", name), "value"]) == (name != "thr")
    misses = [found.loc[(name, "outlier_ratio"), "value"] for name in ("good", "poor")]
    assert 0 < misses[0] < misses[1]
    power = found.loc[("good", "resolving_power")]
    assert power.low < power.value < power.high
    lost = found.loc[("poor", "resolving_power")]
    assert np.isnan(lost.value) == (lost.note == "the mean confidence never crosses 95 %")


def test_the_resolving_power_is_in_the_metrics_own_unit():
    table, scores = rated()
    scores["tenfold"] = 10 * scores.good
    frame = agreement(Judgements("toy", table), scores, metrics=["good", "tenfold"], resamples=100)
    power = frame[frame.statistic == "resolving_power"].set_index("metric")["value"]
    assert power["tenfold"] == pytest.approx(10 * power["good"])


def test_bca_is_another_interval_of_the_same_figure():
    table, scores = rated()
    part = Judgements("toy", table, resample=("reference",))
    one, two = (
        agreement(part, scores, metrics=["good"], resamples=500, interval=kind)
        for kind in ("percentile", "bca")
    )
    pd.testing.assert_series_equal(one.value, two.value)
    # Parts keep the percentile.
    assert set(two.interval[two.value.notna()]) == {"bca", "jackknife", "percentile"}
    row = two[(two.statistic == "srcc") & (two.slice == "all")].iloc[0]
    assert row.interval == "bca" and row.low < row.value < row.high
