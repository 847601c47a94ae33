"""What a loss does as an objective, beside its agreement and cost in a leaderboard.

The figures come from `perceptbench descend`, which says what they are (`descent.measures`).
"""

from pathlib import Path

import pandas as pd

from perceptbench.errors import DataError, first_line
from perceptbench.reporting.leaderboard import estimate
from perceptbench.spreadsheet import restored

#: Column of `descend.csv` and of a leaderboard with it -> its heading.
FIGURES = {"removed": "degradation removed", "invented": "energy invented"}
#: The same with the ends of their intervals.
BOUNDED = [f"{figure}{side}" for figure in FIGURES for side in ("", " low", " high")]


def read(path: Path) -> pd.DataFrame:
    """The table in a `descend.csv`.

    Raises
    ------
    DataError : it cannot be read, lacks a column, has words for numbers, or a metric twice.
    """
    try:
        table = restored(pd.read_csv(path))
        if missing := [name for name in ("metric", *BOUNDED) if name not in table]:
            raise ValueError(f"it has no column {missing[0]!r}; `perceptbench descend` writes it")
        table[BOUNDED] = table[BOUNDED].astype(float)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{path}: cannot be used as descend.csv ({why})") from None
    if twice := table["metric"][table["metric"].duplicated()].tolist():
        raise DataError(f"{path}: has the metric {twice[0]} twice")
    return table


def beside(board: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A leaderboard with BOUNDED of `descend.csv` beside, NaN where a metric has not descended."""
    return board.merge(table[["metric", *BOUNDED]], on="metric", how="left")


def told(board: pd.DataFrame) -> dict[str, list[str]]:
    """Metric -> its figures as text, in the order of FIGURES; empty where none was asked for."""
    if not set(BOUNDED) <= set(board.columns):
        return {}
    rows = board.set_index("metric")[BOUNDED].astype(float)
    return {
        str(metric): [estimate(*row[i : i + 3], places=2) for i in (0, 3)]
        for metric, row in zip(rows.index, rows.to_numpy().tolist(), strict=True)
    }
