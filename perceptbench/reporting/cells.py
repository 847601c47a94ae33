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
    rank, mean_rank : its place and the mean rank it has by; None for people.
    cells : one a figure, in the order of the run's columns.
    """

    metric: str
    people: bool
    rank: int | None
    mean_rank: float | None
    cells: tuple[Cell, ...]


def rows(run: Run) -> list[Row]:
    """The leaderboard row by row, best first, people last."""
    board = run.board
    best = {column: _best(board, column) for column in run.columns}
    found = []
    for _, row in board.iterrows():
        people = row["metric"] in PEOPLE
        cells = tuple(_cell(row, column, best[column]) for column in run.columns)
        rank = None if people else int(row["rank"])
        mean_rank = None if people else float(row["mean_rank"])
        found.append(Row(row["metric"], people, rank, mean_rank, cells))
    return found


def counts(run: Run) -> list[int]:
    """Number of judged items behind each figure."""
    n = [run.board[f"{column.title} n"].max() for column in run.columns]
    return [0 if pd.isna(count) else int(count) for count in n]


def _best(board: pd.DataFrame, column: Column) -> float:
    values = board.loc[~board["metric"].isin(PEOPLE), column.title]
    return values.min() if column.statistic in SMALLER_IS_BETTER else values.max()


def _cell(row: pd.Series, column: Column, best: float) -> Cell:
    value, low, high = (float(row[f"{column.title}{what}"]) for what in ("", " low", " high"))
    return Cell(value, low, high, best=value == best and row["metric"] not in PEOPLE)
