"""The cells of a leaderboard: what every format shows of one metric's standing on one figure."""

from dataclasses import dataclass
from math import isnan

import pandas as pd

from perceptbench.agreement.ranking import PEOPLE
from perceptbench.reporting.leaderboard import Column
from perceptbench.reporting.result import Run


@dataclass(frozen=True)
class Cell:
    """One figure of one metric, with its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float
    top: bool = False  # whether no metric has a better value
    best: bool = False  # whether it cannot be told from the best of the column
    answered: str = ""  # ``30 of 60`` where the metric did not answer all items; else empty
    in_domain: bool = False  # whether the metric was fitted to this dataset
    note: str = ""  # why it is undefined, or what else is to be said of it

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
    """One metric, or one kind of people; what is not known is empty."""

    metric: str
    also: tuple[str, ...]  # the metrics of the same order that it stands for
    people: bool  # whether it is people, who take no rank
    rank: int | None  # None for people, and where it has no figure that counts
    attained: float | None  # attained agreement over datasets; None where there is no standing
    spread: str  # the 95 % interval of that as ``[low, high]``
    new: str  # the 95 % prediction interval for a new dataset, likewise
    places: str  # those it may have, ``1-7``
    best: bool  # whether it cannot be told from the best
    stood: str  # ``3 of 4`` where it did not stand on all datasets
    cells: tuple[Cell, ...]  # one a figure, in the order of the run's columns

    @property
    def name(self) -> str:
        """All its names: ``mse, psnr``."""
        return ", ".join((self.metric, *self.also))


def rows(run: Run) -> list[Row]:
    """The leaderboard row by row, best first, people last."""
    figure = ["dataset", "slice", "statistic", "metric"]
    notes = run.agreement.set_index(figure)["note"].to_dict()
    marked = run.agreement[run.agreement["in_domain"].astype(bool)]
    trained = set(zip(marked["dataset"], marked["metric"], strict=True))
    best = {column: _best(run.board, column, trained) for column in run.columns}
    found = []
    for row in run.board.to_dict("records"):
        metric = row["metric"]
        cells = tuple(
            Cell(
                float(row[c.title]),
                float(row[f"{c.title} low"]),
                float(row[f"{c.title} high"]),
                top=row[c.title] == best[c] and metric not in PEOPLE,
                best=bool(row[f"{c.title} best"]),
                answered=_answered(row[f"{c.title} n"], row[f"{c.title} of"], metric),
                in_domain=(c.dataset, metric) in trained,
                note=notes.get((*c.key, metric), ""),
            )
            for c in run.columns
        )
        places = "" if pd.isna(row["first"]) else span(int(row["first"]), int(row["last"]))
        attained = None if pd.isna(row["attained"]) else float(row["attained"])
        found.append(
            Row(
                metric=metric,
                also=tuple(str(row["also"]).split()),
                people=metric in PEOPLE,
                rank=None if pd.isna(row["rank"]) else int(row["rank"]),
                attained=attained,
                spread=_interval(row["attained low"], row["attained high"]),
                new=_interval(row["new low"], row["new high"]),
                places=places,
                best=bool(row["best"]),
                stood=_answered(row["stood"], row["of"], metric),
                cells=cells,
            )
        )
    return found


def span(first: int, last: int) -> str:
    """The places from first to last.

    >>> span(1, 7), span(3, 3)
    ('1-7', '3')
    """
    return str(first) if first == last else f"{first}-{last}"


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{low:.2f}, {high:.2f}]"


def _answered(some: float, of: float, metric: str) -> str:
    if pd.isna(some) or pd.isna(of) or metric in PEOPLE or some >= of or some == 0:
        return ""
    return f"{int(some):,} of {int(of):,}"


def counts(run: Run) -> list[int]:
    """Number of judged items behind each figure."""
    n = [run.board[f"{column.title} of"].max() for column in run.columns]
    return [0 if pd.isna(count) else int(count) for count in n]


def _best(board: pd.DataFrame, column: Column, trained: set[tuple[str, str]]) -> float:
    """The best value of a metric that was not trained on the dataset."""
    fair = [m not in PEOPLE and (column.dataset, m) not in trained for m in board["metric"]]
    values = board.loc[fair, column.title]
    return float(values.min() if column.smaller else values.max())
