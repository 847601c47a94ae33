"""The cells of a leaderboard: what every format shows of one metric's standing on one figure."""

from dataclasses import dataclass
from math import isnan

import pandas as pd

from perceptbench.agreement.ranking import PEOPLE, SMALLER_IS_BETTER
from perceptbench.reporting.leaderboard import Column
from perceptbench.reporting.run_folder import Run


@dataclass(frozen=True)
class Cell:
    """One figure of one metric.

    Attributes
    ----------
    value, low, high : the figure and its 95 % interval; NaN where undefined.
    best : whether no metric has a better value.
    tier : metrics that share a letter cannot be told apart; empty where not known.
    in_domain : whether the metric was fitted to this dataset.
    note : why it is undefined, or what else is to be said of it.
    """

    value: float
    low: float
    high: float
    best: bool = False
    tier: str = ""
    in_domain: bool = False
    note: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is a figure at all."""
        return not isnan(self.value)

    @property
    def number(self) -> str:
        """The value to three places, ``-`` where undefined."""
        return f"{self.value:.3f}" if self.defined else "-"

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not isnan(self.low)

    @property
    def interval(self) -> str:
        """``[low, high]`` to three places, ``[no interval]``, empty where there is no value."""
        if not self.defined:
            return ""
        return "[no interval]" if not self.bounded else f"[{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Row:
    """One metric, or one kind of people.

    Attributes
    ----------
    metric : its name.
    people : whether it is people, who take no rank.
    rank, mean_rank : its place and the mean rank it has it by; None for people, and where all
        its datasets are in-domain.
    spread : the 95 % interval of the mean rank as ``[low, high]``; empty where not known.
    tier : metrics that share a letter cannot be told apart by their mean rank.
    p_first : share of resamples in which its mean rank is the best; None where not known.
    strength : Bradley and Terry's log-odds of beating the average metric; None where not known.
    cells : one a figure, in the order of the run's columns.
    """

    metric: str
    people: bool
    rank: int | None
    mean_rank: float | None
    spread: str
    tier: str
    p_first: float | None
    strength: float | None
    cells: tuple[Cell, ...]


def rows(run: Run) -> list[Row]:
    """The leaderboard row by row, best first, people last."""
    notes = _notes(run)
    marked = run.agreement[run.agreement["in_domain"].astype(bool)]
    trained = set(zip(marked["dataset"], marked["metric"], strict=True))
    best = {column: _best(run.board, column, trained) for column in run.columns}
    found = []
    for row in run.board.to_dict("records"):
        metric = row["metric"]
        low, high = (_known(row[f"mean_rank {side}"]) for side in ("low", "high"))
        cells = tuple(
            Cell(
                float(row[c.title]),
                float(row[f"{c.title} low"]),
                float(row[f"{c.title} high"]),
                best=row[c.title] == best[c] and metric not in PEOPLE,
                tier=letters(row[f"{c.title} tier"]),
                in_domain=(c.dataset, metric) in trained,
                note=notes.get((*c.key, metric), ""),
            )
            for c in run.columns
        )
        found.append(
            Row(
                metric=metric,
                people=metric in PEOPLE,
                rank=None if pd.isna(row["rank"]) else int(row["rank"]),
                mean_rank=_known(row["mean_rank"]),
                spread="" if low is None else f"[{low:.1f}, {high:.1f}]",
                tier=letters(row["tier"]),
                p_first=_known(row["p_first"]),
                strength=_known(row["strength"]),
                cells=cells,
            )
        )
    return found


def letters(tier: str) -> str:
    """The letters of a tier, four and more in a row as a range.

    >>> letters("abcdefh"), letters("abc")
    ('a–fh', 'abc')
    """
    runs: list[str] = []
    for letter in tier:
        if runs and ord(letter) == ord(runs[-1][-1]) + 1:
            runs[-1] += letter
        else:
            runs.append(letter)
    return "".join(run if len(run) < 4 else f"{run[0]}–{run[-1]}" for run in runs)


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _notes(run: Run) -> dict[tuple[str, str, str, str], str]:
    """(dataset, slice, statistic, metric) -> what is to be said of the figure."""
    said = run.agreement[run.agreement["note"] != ""]
    keys = zip(*(said[key] for key in ("dataset", "slice", "statistic", "metric")), strict=True)
    return dict(zip(keys, said["note"], strict=True))


def counts(run: Run) -> list[int]:
    """Number of judged items behind each figure."""
    n = [run.board[f"{column.title} n"].max() for column in run.columns]
    return [0 if pd.isna(count) else int(count) for count in n]


def _best(board: pd.DataFrame, column: Column, trained: set[tuple[str, str]]) -> float:
    """The best value of a metric that was not trained on the dataset."""
    fair = [m not in PEOPLE and (column.dataset, m) not in trained for m in board["metric"]]
    values = board.loc[fair, column.title]
    return float(values.min() if column.statistic in SMALLER_IS_BETTER else values.max())
