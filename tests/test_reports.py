"""The committed reports: made again, not a byte is different."""

import json
import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from click.testing import CliRunner

from perceptbench.cli import cli, natural
from perceptbench.reporting import formats, run_folder
from perceptbench.scoring.clock import Clock

REPORTS = Path(__file__).resolve().parents[1] / "reports"
TABLES = ("csv", "md", "latex", "html")
#: Folders that hold a run with its scores; those of natural images are not copied into the project.
RUNS = sorted(path.parent for path in REPORTS.glob("**/scores.parquet"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_making_a_report_again_changes_nothing(folder, tmp_path):
    assert_the_same(folder, tmp_path, TABLES)
    assert (tmp_path / "leaderboard.md").exists() and (folder / "leaderboard.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_drawing_its_figures_again_changes_nothing(folder, tmp_path):
    if not (folder / "figures").exists() or not drawn_here(folder / "figures" / "intervals.svg"):
        pytest.skip("another version of matplotlib drew them, or nobody")
    assert_the_same(folder, tmp_path, ["figures"])


def assert_the_same(folder, out, names):
    for path in formats.write(run_folder.read(folder), out, list(names)):
        name = path.relative_to(out)
        if (folder / name).exists():
            assert path.read_bytes() == (folder / name).read_bytes(), f"{name} has changed"


def small_board(shared, folder):
    """That of a run without arguments: only the columns of the board."""
    natural.board(folder, folder / "cache", Clock())


def large_board(shared, folder):
    data = ["--data-dir", shared / "natural-scores"]
    run = ["run", "tid2013", "live", "pipal", "--published", *data, "-o", folder]
    result = CliRunner().invoke(cli, list(map(str, run)), catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"), [("embedded/natural-images", small_board), ("natural-images", large_board)]
)
def test_the_boards_of_natural_images_are_made_again(name, make, shared, tmp_path):
    """From the published scores; only when, with what and by which command it was made is kept.

    Not a byte of a page is different; of the tables the last digits, which no two machines share.
    """
    make(shared, tmp_path / "run")
    committed = json.loads((REPORTS / name / "run.json").read_text())
    made = json.loads((tmp_path / "run" / "run.json").read_text())
    made |= {key: committed[key] for key in ("created", "versions", "command")}
    (tmp_path / "run" / "run.json").write_text(json.dumps(made))
    again = formats.write(run_folder.read(tmp_path / "run"), tmp_path / "report", list(TABLES))
    for path in again:
        there = REPORTS / name / path.relative_to(tmp_path / "report")
        if path.suffix == ".csv":
            close = {"rtol": 1e-6, "atol": 1e-9}
            pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(there), **close)
        elif there.exists():
            assert path.read_bytes() == there.read_bytes(), f"{there.name} has changed"
    assert (tmp_path / "report" / "leaderboard.md").exists()


def drawn_here(figure):
    """Whether a committed figure says that this very version of matplotlib drew it."""
    drawn = re.search(r"Matplotlib v([\d.]+)", figure.read_text(encoding="utf-8"))
    return drawn[1] == matplotlib.__version__
