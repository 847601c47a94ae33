"""The CSV files: one figure a line, one metric a line."""

import csv as python_csv
import io

import pandas as pd
import pytest

from perceptbench.reporting import csv, run_folder


def test_the_tidy_and_the_wide_table(run):
    files = {name: pd.read_csv(io.StringIO(text)) for name, text in csv.render(run).items()}
    tidy = files["agreement.csv"]
    assert not tidy.duplicated(["dataset", "slice", "metric", "statistic"]).any()
    good = tidy[(tidy.dataset == "choices") & (tidy.metric == "good") & (tidy.statistic == "2afc")]
    assert good["value"].item() == pytest.approx(0.825) and good["n"].item() == 24
    pairs = files["comparisons.csv"].set_index(["dataset", "a", "b"])
    apart = pairs.loc[[("choices", "good", "bad")]].iloc[0]
    assert apart["difference"] == pytest.approx(0.65) and apart["p_holm"] < 0.05
    wide = files["leaderboard.csv"].set_index("metric")
    assert wide.loc["good", "choices 2afc"] == pytest.approx(0.825)
    assert wide["rank"].dropna().tolist() == [1, 2, 3]
    assert {"choices 2afc low", "choices 2afc high", "ratings srcc n"} <= set(wide)


@pytest.mark.parametrize(
    "names", [("=cmd|' /C calc'!A0", "+1+1", "-1+1"), ("@SUM(1)", "\t=1", "\r=1")]
)
def test_no_cell_is_a_formula_and_the_folder_gives_the_names_back(make_run, tmp_path, names):
    """Whatever a spreadsheet runs is marked; numbers stay numbers; `read` takes the mark off."""
    run = make_run(names[:2], worst=names[2], skipped=names[0])
    files, every = csv.render(run), []
    for text in files.values():
        cells = [cell for row in python_csv.reader(io.StringIO(text, newline="")) for cell in row]
        risky = [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]
        assert all(float(cell) < 0 for cell in risky), risky
        every += cells
    for name in names:
        assert any(cell.startswith(f"'{name}") for cell in every), name
    run_folder.write(run, tmp_path)
    back = run_folder.read(tmp_path)
    pd.testing.assert_frame_equal(back.board, run.board)
    assert set(back.agreement["dataset"]) == set(names[:2]) and names[2] in back.metrics
    assert csv.render(back) == files
