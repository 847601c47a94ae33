"""The committed reports: made again, not a byte is different."""

import json
import re
from pathlib import Path

import matplotlib
import pytest
from click.testing import CliRunner

from perceptbench.cli import cli
from perceptbench.reporting import formats, run_folder

REPORTS = Path(__file__).resolve().parents[1] / "reports"
#: Folders that hold a run with its scores; those of natural images are not copied into the project.
RUNS = sorted(path.parent for path in REPORTS.glob("**/scores.parquet"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_making_a_report_again_changes_nothing(folder, tmp_path):
    same_bytes(folder, folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "datasets"),
    [
        pytest.param("embedded/natural-images", "tid2013 live", marks=pytest.mark.slow),
        pytest.param("natural-images", "tid2013 live pipal", marks=pytest.mark.slow),
    ],
)
def test_the_boards_of_natural_images_are_made_again(name, datasets, shared, tmp_path):
    """From the published scores; only when, with what and by which command it was made is kept."""
    data = ["--data-dir", shared / "natural-scores"] if "pipal" in datasets else []
    run = ["run", *datasets.split(), "--published", *data, "-o", tmp_path / "run"]
    result = CliRunner().invoke(cli, list(map(str, run)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    committed = json.loads((REPORTS / name / "run.json").read_text())
    made = json.loads((tmp_path / "run" / "run.json").read_text())
    made |= {key: committed[key] for key in ("created", "versions", "command")}
    (tmp_path / "run" / "run.json").write_text(json.dumps(made))
    same_bytes(tmp_path / "run", REPORTS / name, tmp_path / "report")


def same_bytes(run_of, folder, out):
    run = run_folder.read(run_of)
    written = formats.write(run, out, ["csv", "md", "latex", "html"])
    if (folder / "figures").exists() and drawn_here(folder / "figures" / "intervals.svg"):
        written += formats.write(run, out, ["figures"])
    for path in written:
        name = path.relative_to(out)
        if (folder / name).exists():
            assert path.read_bytes() == (folder / name).read_bytes(), f"{name} has changed"
    assert (out / "leaderboard.md").exists() and (folder / "leaderboard.md").exists()


def drawn_here(figure):
    """Whether a committed figure says that this very version of matplotlib drew it."""
    drawn = re.search(r"Matplotlib v([\d.]+)", figure.read_text(encoding="utf-8"))
    return drawn[1] == matplotlib.__version__
