"""The leaderboard: one row a metric, one column a figure, best attained agreement first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from perceptbench.agreement.ranking import PEOPLE, SMALLER_IS_BETTER, Key
from perceptbench.agreement.standing import standing
from perceptbench.errors import printable


@dataclass(frozen=True)
class Column:
    """One figure a metric is ranked by."""

    dataset: str
    slice: str
    statistic: str

    @property
    def key(self) -> Key:
        """What the figure goes by."""
        return self.dataset, self.slice, self.statistic

    @property
    def where(self) -> str:
        """``modelfest 120ppd``; the slice is left out where it is the whole dataset."""
        return self.dataset if self.slice == "all" else f"{self.dataset} {self.slice}"

    @property
    def title(self) -> str:
        """``modelfest 120ppd 2afc``."""
        return f"{self.where} {self.statistic}"

    @property
    def smaller(self) -> bool:
        """Whether smaller is better."""
        return self.statistic in SMALLER_IS_BETTER

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table with ``dataset, slice, statistic`` that are of this figure."""
        here = table[["dataset", "slice", "statistic"]] == list(self.key)
        return table[here.all(axis=1)]


def leaderboard(
    agreement: pd.DataFrame,
    comparisons: pd.DataFrame,
    columns: Sequence[Column],
    stands_for: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row a metric, best first.

    Parameters
    ----------
    agreement, comparisons : of `perceptbench.agreement.evaluate`.
    columns : the figures to rank by; how, is said in `perceptbench.agreement.standing`. A cell
        marked ``in_domain`` is shown but takes no part.
    stands_for : metric -> the one that orders everything alike and stands for it
        (`perceptbench.agreement.orders`).
    groups : dataset, or ``dataset/slice``, -> what it is counted under.

    Returns
    -------
    DataFrame with ``rank, metric, also`` (the metrics it stands for), the columns of `standing`,
    and for every column its title (the value), ``TITLE low``, ``TITLE high``, ``TITLE n``,
    ``TITLE of``, ``TITLE first``, ``TITLE last`` and ``TITLE best``. With one dataset there is no
    standing, and metrics are in the order of its first column. People come last, unranked.
    """
    known = dict(stands_for or {})
    metrics = [m for m in dict.fromkeys(agreement["metric"]) if m not in known]
    keys = [column.key for column in columns]
    alone = agreement[~agreement["metric"].isin(list(known))]
    places = standing(alone, comparisons, keys, groups)
    cells: dict[str, pd.Series] = {}
    for column in columns:
        rows = column.rows(alone).set_index("metric")
        cells[column.title] = rows["value"].reindex(metrics)
        for what in ("low", "high", "n", "of", "first", "last", "best"):
            cells[f"{column.title} {what}"] = rows[what].reindex(metrics)
    ranked = [m for m in places.index if m not in PEOPLE]
    has_place = places["attained"].notna() | (places["stood"] > 0) & (places["of"] > 1)
    if not has_place.any() and columns:
        only = columns[0].rows(alone)
        only = only[~only["metric"].isin(PEOPLE) & ~only["in_domain"].astype(bool)].dropna(
            subset="value"
        )
        only = only.sort_values("value", ascending=columns[0].smaller, kind="stable")
        order = list(only["metric"])
        has_place = pd.Series(places.index.isin(order), index=places.index)
        ranked = order + [m for m in ranked if m not in order]
    ranked = [m for m in ranked if has_place[m]] + [m for m in ranked if not has_place[m]]
    everyone = ranked + [m for m in metrics if m in PEOPLE]
    table = pd.concat(
        [places.reindex(everyone), pd.DataFrame(cells).reindex(everyone)], axis=1
    ).rename_axis("metric")
    placed = has_place.reindex(everyone, fill_value=False).astype(bool)
    table.insert(0, "rank", placed.cumsum().where(placed).astype("Int64"))
    also = {m: " ".join(sorted(k for k, v in known.items() if v == m)) for m in everyone}
    table.insert(1, "also", pd.Series(also).reindex(everyone))
    flags = ["best", *(f"{column.title} best" for column in columns)]
    table[flags] = table[flags].astype("boolean").fillna(False).astype(bool)
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
