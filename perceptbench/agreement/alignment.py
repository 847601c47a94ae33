"""How far agreement falls when the distorted image is changed a little: NAME@CHANGE beside NAME.

Conventions
-----------
``NAME@CHANGE`` is a column of scores like any other: the metric NAME after a change of the images
that does not change what people said of them, a shift by one pixel say. Both are held against the
same judgements, on the items that both answered, so that the fall is paired. A positive ``fall`` is
a loss of agreement. ``p_holm`` is corrected for all changes of all metrics of a figure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from perceptbench.agreement.figures import Figure, figures
from perceptbench.agreement.inference import differences, holm
from perceptbench.agreement.items import collect
from perceptbench.agreement.ranking import PEOPLE, SMALLER_IS_BETTER
from perceptbench.datasets.judgements.protocols import Judgements

FIGURE = ("dataset", "slice", "statistic")
COLUMNS = (
    "dataset", "slice", "statistic", "metric", "change", "aligned", "changed", "fall", "low",
    "high", "p", "p_holm", "n", "units",
)  # fmt: skip


def alignment(
    parts: Sequence[Judgements],
    scores: pd.DataFrame,
    changes: Mapping[str, Sequence[str]],
    stress_power: Mapping[str, float | None] | None = None,
) -> pd.DataFrame:
    """The fall of each metric under each of its `changes`, in the figures of the leaderboard.

    `parts` and `stress_power` are as of `evaluate`, as `scores` with columns ``METRIC@CHANGE``.
    The table has COLUMNS, one row a figure, metric and change.
    """
    rows = []
    both = [(metric, f"{metric}@{name}") for metric, names in changes.items() for name in names]
    columns = list(dict.fromkeys(column for pair in both for column in pair))
    for part in parts:
        items = collect(part, scores, columns, stress_power or {})
        for pair in both:
            some = items.of(np.isin(columns, pair))
            some = some.part(np.flatnonzero(some.answered.all(axis=1)))
            for figure in figures(some, only=part.statistics) if len(some.table) else ():
                if figure.statistic in part.statistics and not set(figure.metrics) & set(PEOPLE):
                    key = (part.dataset, part.slice, figure.statistic)
                    metric, _, change = pair[1].partition("@")
                    names = dict(zip(FIGURE, key, strict=True))
                    rows.append({**names, "metric": metric, "change": change, **_fall(figure)})
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    if len(table):
        by = table.groupby(list(FIGURE))["p"]
        table["p_holm"] = by.transform(lambda p: holm(p.to_numpy(float)))
    return table


def _fall(figure: Figure) -> dict[str, Any]:
    """Agreement of the first metric minus that of the second, with interval and p."""
    value, error, freedom = figure.value, np.nan, np.nan
    if figure.sure is not None:
        error, freedom = (float(each[0, 1]) for each in figure.sure.differences)
    fall = value[0] - value[1]
    fall = -fall if figure.statistic in SMALLER_IS_BETTER else fall
    low, high, p = (float(x) for x in differences(fall, error, freedom, figure.units))
    return {
        "aligned": value[0], "changed": value[1], "fall": fall, "low": low, "high": high, "p": p,
        "n": figure.n, "units": figure.units,
    }  # fmt: skip


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """Of each figure and metric the change under which least agreement is left."""
    left = table["changed"] * np.where(table["statistic"].isin(SMALLER_IS_BETTER), -1, 1)
    known = table.assign(left=left).dropna(subset="left")
    first = known.sort_values("left", kind="stable").drop_duplicates([*FIGURE, "metric"])
    return first.drop(columns="left")
