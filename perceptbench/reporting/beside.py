"""A dataset of several tests: the run's metrics beside those whose figures others published.

A published metric stands here where it is none that could be computed here and has a figure of more
than half of the dataset's columns.
"""

from statistics import fmean

from perceptbench.agreement.ranking import PEOPLE
from perceptbench.metrics.registry import catalogue
from perceptbench.reporting.leaderboard import Column
from perceptbench.reporting.result import Run
from perceptbench.reporting.strips import known_manifest

TITLE = "Beside published figures"
READING = (
    "What others published of these tests, between what was computed here. Published figures have "
    "no interval, rest on the pairs their authors showed, and have no place on the board above. "
    "Sorted by the mean over the columns in which more is better."
)
#: Column -> figure.
Figures = dict[Column, float]


def tables(run: Run) -> dict[str, list[list[str]]]:
    """Dataset -> a header and a row a metric; only datasets of which there is something to show."""
    found = {}
    for dataset in dict.fromkeys(column.dataset for column in run.columns):
        columns = [column for column in run.columns if column.dataset == dataset]
        if len(columns) > 1 and (theirs := _published(dataset, columns)):
            found[dataset] = _table(columns, _ours(run, columns), theirs)
    return found


def _published(dataset: str, columns: list[Column]) -> dict[tuple[str, str], Figures]:
    """(Metric, source) -> its figures."""
    if (manifest := known_manifest(dataset)) is None:
        return {}
    ours = {*catalogue().metrics, *PEOPLE}
    by_place = {(column.slice, column.statistic): column for column in columns}
    found: dict[tuple[str, str], Figures] = {}
    for figure in manifest.published:
        column = by_place.get((figure.slice, figure.statistic))
        if column and figure.metric not in ours:
            found.setdefault((figure.metric, figure.source), {})[column] = figure.value
    return {name: figures for name, figures in found.items() if 2 * len(figures) > len(columns)}


def _ours(run: Run, columns: list[Column]) -> dict[tuple[str, str], Figures]:
    found: dict[tuple[str, str], Figures] = {(metric, ""): {} for metric in run.metrics}
    for column in columns:
        rows = column.rows(run.agreement)
        for metric, value in zip(rows["metric"], rows["value"], strict=True):
            if (metric, "") in found and value == value:
                found[metric, ""][column] = float(value)
    return found


def _table(
    columns: list[Column],
    ours: dict[tuple[str, str], Figures],
    theirs: dict[tuple[str, str], Figures],
) -> list[list[str]]:
    """The header, and every metric that has a figure, the best mean first."""
    means = [column for column in columns if not column.smaller]
    titles = [f"{c.slice} {c.statistic}" + " ↓" * c.smaller for c in columns]
    rows = []
    for (metric, source), figures in (ours | theirs).items():
        if all(column in figures for column in means):
            mean = fmean(figures[column] for column in means)
            cells = [f"{figures[c]:.3f}" if c in figures else "-" for c in columns]
            rows.append((mean, [metric, f"{mean:.3f}", *cells, source or "computed here"]))
    rows.sort(key=lambda row: (-row[0], row[1]))
    return [["metric", "mean", *titles, "source"], *(row for _, row in rows)]
