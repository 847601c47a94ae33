"""The CSV files: one figure a line, one metric a line."""

import io

import pandas as pd
import pytest

from perceptbench.reporting import csv


def test_the_tidy_and_the_wide_table(run):
    files = {name: pd.read_csv(io.StringIO(text)) for name, text in csv.render(run).items()}
    tidy = files["agreement.csv"]
    assert not tidy.duplicated(["dataset", "slice", "metric", "statistic"]).any()
    good = tidy[(tidy.dataset == "choices") & (tidy.metric == "good") & (tidy.statistic == "2afc")]
    assert good["value"].item() == pytest.approx(0.825) and good["n"].item() == 24
    pairs = files["comparisons.csv"].set_index(["dataset", "a", "b"])
    apart = pairs.loc[("choices", "good", "bad")]
    assert apart["difference"] == pytest.approx(0.65) and apart["p_holm"] < 0.05
    wide = files["leaderboard.csv"].set_index("metric")
    assert wide.loc["good", "choices 2afc"] == pytest.approx(0.825)
    assert wide["rank"].dropna().tolist() == [1, 2, 3]
    assert {"choices 2afc low", "choices 2afc high", "ratings srcc n"} <= set(wide)
