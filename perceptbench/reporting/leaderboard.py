"""The leaderboard: one row a metric, one column a figure, best mean rank first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from perceptbench.agreement.ranking import PEOPLE, Key, standing
from perceptbench.errors import printable


@dataclass(frozen=True)
class Column:
    """One figure a metric is ranked by."""

    dataset: str
    slice: str
    statistic: str

    @property
    def key(self) -> Key:
        """What the figure's resamples go by."""
        return self.dataset, self.slice, self.statistic

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


def leaderboard(
    agreement: pd.DataFrame,
    columns: Sequence[Column],
    samples: Mapping[Key, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """One row a metric, ordered by its mean rank over the datasets.

    Parameters
    ----------
    agreement : the agreement table (`perceptbench.agreement.evaluate`).
    columns : the figures to rank by; how, is said in `perceptbench.agreement.ranking`. A cell
        marked ``in_domain`` is shown but takes no part.
    samples : the resamples of the figures, for intervals and tiers of the standing.

    Returns
    -------
    DataFrame with ``rank, metric``, the columns of `standing`, and for every column its title
    (the value), ``TITLE low``, ``TITLE high``, ``TITLE n`` and ``TITLE tier``. People come last,
    unranked, after metrics that only have in-domain figures.
    """
    metrics = list(dict.fromkeys(agreement["metric"]))
    ranked = [m for m in metrics if m not in PEOPLE]
    cells: dict[str, pd.Series] = {}
    values: dict[Key, pd.Series] = {}
    trained: dict[str, set[str]] = {}
    units: dict[str, int] = {}
    for column in columns:
        rows = column.rows(agreement).set_index("metric")
        cells[column.title] = rows["value"].reindex(metrics)
        for what in ("low", "high", "n"):
            cells[f"{column.title} {what}"] = rows[what].reindex(metrics)
        cells[f"{column.title} tier"] = rows.get("tier", pd.Series(dtype=str)).reindex(metrics)
        values[column.key] = cells[column.title][ranked]
        # What was not run on a dataset takes no part there; what is undefined counts as last.
        trained[column.dataset] = trained.get(column.dataset, set()) | {*ranked} - {*rows.index}
        if "in_domain" in rows:
            trained[column.dataset] |= set(rows.index[rows["in_domain"].astype(bool)])
        if len(rows) and "units" in rows:
            units[column.dataset] = max(units.get(column.dataset, 0), int(rows["units"].max()))
    places = standing(values, samples or {}, trained, sum(units.values()) or None)
    places = places.reindex(metrics)
    table = pd.concat([places, pd.DataFrame(cells, index=pd.Index(metrics, name="metric"))], axis=1)
    last = table.index.isin(PEOPLE)
    table = table.assign(_people=last).sort_values(
        ["_people", "mean_rank"], kind="stable", na_position="last"
    )
    table = table.drop(columns="_people")
    words = ["tier", *(f"{column.title} tier" for column in columns)]
    table[words] = table[words].fillna("")
    table.insert(0, "rank", table["mean_rank"].rank(method="min").astype("Int64"))
    return table.reset_index()[["rank", "metric", *table.columns[1:]]]


def estimate(value: float, low: float, high: float, *, places: int = 4, sign: str = "") -> str:
    """A figure with its interval as text.

    >>> estimate(0.5, 0.25, 0.75, places=2), estimate(0.5, float("nan"), float("nan"), sign="+")
    ('0.50 [0.25, 0.75]', '+0.5000 [no interval]')
    """
    if value != value:
        return "-"
    shown, *ends = (f"{v:{sign}.{places}f}" for v in (value, low, high))
    return f"{shown} [{'no interval' if low != low else ', '.join(ends)}]"


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too."""
    head, *body = [
        [printable(" ".join(str(cell).replace("|", "\\|").split())) for cell in row]
        for row in [header, *rows]
    ]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    padded = (
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
    return "\n".join(padded) + "\n"
