"""The committed reports: made again from their stored tables, not a byte is different."""

import re
from pathlib import Path

import matplotlib
import pytest

from perceptbench.reporting import formats, run_folder

REPORTS = Path(__file__).resolve().parents[1] / "reports"
#: Folders that hold a run; what else lies there (a study's verdict) has no tables of its own.
RUNS = sorted(path.parent for path in REPORTS.glob("**/run.json"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_making_a_report_again_changes_nothing(folder, tmp_path):
    run = run_folder.read(folder)
    written = formats.write(run, tmp_path, ["csv", "md", "latex", "html"])
    if drawn_here(folder / "figures" / "intervals.svg"):
        written += formats.write(run, tmp_path, ["figures"])
    for path in written:
        name = path.relative_to(tmp_path)
        assert path.read_bytes() == (folder / name).read_bytes(), f"{name} has changed"


def drawn_here(figure):
    """Whether a committed figure says that this very version of matplotlib drew it."""
    drawn = re.search(r"Matplotlib v([\d.]+)", figure.read_text(encoding="utf-8"))
    return drawn[1] == matplotlib.__version__
