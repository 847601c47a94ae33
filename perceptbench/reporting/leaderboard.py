"""The leaderboard: one row a metric, one column a figure, best mean rank first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

#: Statistics where smaller is better.
SMALLER_IS_BETTER = {"stress"}
#: Rows that are people, not metrics; they are shown but not ranked.
PEOPLE = ("human", "oracle")


@dataclass(frozen=True)
class Column:
    """One figure a metric is ranked by."""

    dataset: str
    slice: str
    statistic: str

    @property
    def title(self) -> str:
        """``modelfest 120ppd 2afc``; the slice is left out where it is the whole dataset."""
        return " ".join(p for p in (self.dataset, self.slice, self.statistic) if p != "all")

    def rows(self, agreement: pd.DataFrame) -> pd.DataFrame:
        """The rows of an agreement table that hold this figure, one a metric."""
        return agreement[
            (agreement["dataset"] == self.dataset)
            & (agreement["slice"] == self.slice)
            & (agreement["statistic"] == self.statistic)
        ]


def leaderboard(agreement: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """One row a metric, ordered by its mean rank over the datasets.

    Parameters
    ----------
    agreement : the agreement table (`perceptbench.agreement.agreement`).
    columns : the figures to rank by. A dataset's columns share one vote: a metric's rank on a
        dataset is the mean of its ranks there. Ties share a rank; an undefined figure counts as
        the last rank, since to be undefined is no merit.

    Returns
    -------
    DataFrame with ``rank, metric, mean_rank`` and for every column its title (the value),
    ``TITLE low``, ``TITLE high`` and ``TITLE n``. People come last, unranked.
    """
    metrics = list(dict.fromkeys(agreement["metric"]))
    table = pd.DataFrame(index=pd.Index(metrics, name="metric"))
    ranked = [m for m in metrics if m not in PEOPLE]
    ranks = {}
    for column in columns:
        rows = column.rows(agreement).set_index("metric")
        table[column.title] = rows["value"].reindex(metrics)
        for what in ("low", "high", "n"):
            table[f"{column.title} {what}"] = rows[what].reindex(metrics)
        ranks[column] = (
            table.loc[ranked, column.title]
            .rank(ascending=column.statistic in SMALLER_IS_BETTER, method="average")
            .fillna(len(ranked))
        )
    by_dataset = pd.DataFrame(ranks).T.groupby([c.dataset for c in columns]).mean()
    table.insert(0, "mean_rank", by_dataset.mean().reindex(metrics))
    table = table.sort_values("mean_rank", kind="stable", na_position="last")
    position = table["mean_rank"].rank(method="min").astype("Int64")
    table.insert(0, "rank", position)
    return table.reset_index()[["rank", "metric", *table.columns[1:]]]


def to_markdown(board: pd.DataFrame, columns: Sequence[Column]) -> str:
    """The leaderboard as a padded Markdown table: value [low, high], the best in bold.

    n stands in the last row: the number of judged items behind each figure.
    """
    arrows = [" ↓" if c.statistic in SMALLER_IS_BETTER else "" for c in columns]
    header = ["#", "metric", "mean rank"]
    header += [c.title + arrow for c, arrow in zip(columns, arrows, strict=True)]
    best = {c: _best(board, c) for c in columns}
    rows = []
    for _, row in board.iterrows():
        people = row["metric"] in PEOPLE
        name = f"*{row['metric']}*" if people else row["metric"]
        place = ["", name, ""] if people else [f"{row['rank']}", name, f"{row['mean_rank']:.1f}"]
        rows.append(place + [_cell(row, c, best[c]) for c in columns])
    counts = [board[f"{c.title} n"].max() for c in columns]
    rows.append(["", "*n*", "", *(f"{int(n)}" if pd.notna(n) else "0" for n in counts)])
    return format_table(header, rows)


def _best(board: pd.DataFrame, column: Column) -> float:
    values = board.loc[~board["metric"].isin(PEOPLE), column.title]
    return values.min() if column.statistic in SMALLER_IS_BETTER else values.max()


def _cell(row: pd.Series, column: Column, best: float) -> str:
    value, low, high = (row[f"{column.title}{what}"] for what in ("", " low", " high"))
    if pd.isna(value):
        return "-"
    text = f"{value:.3f}"
    if value == best and row["metric"] not in PEOPLE:
        text = f"**{text}**"
    return f"{text} [no interval]" if pd.isna(low) else f"{text} [{low:.3f}, {high:.3f}]"


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too."""
    body = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *body]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    lines = [list(header), rule, *body]
    padded = (
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
    return "\n".join(padded) + "\n"
