"""How far agreement falls when the distorted image is changed a little: NAME@CHANGE beside NAME.

Conventions
-----------
``NAME@CHANGE`` is a column of scores like any other: the metric NAME after a change of the images
that does not change what people said of them, a shift by one pixel say. Both are held against the
same judgements on the same resamples, so that the fall is paired. A positive ``fall`` is a loss of
agreement. ``p_holm`` is corrected for all changes of all metrics of a figure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from perceptbench.agreement.evaluate import evaluate
from perceptbench.agreement.ranking import SMALLER_IS_BETTER, Key, holm
from perceptbench.datasets.judgements import Judgements

FIGURE = ("dataset", "slice", "statistic")
COLUMNS = (
    "dataset", "slice", "statistic", "metric", "change", "aligned", "changed", "fall", "low",
    "high", "p", "p_holm", "n", "units",
)  # fmt: skip


def alignment(
    parts: Sequence[Judgements],
    scores: pd.DataFrame,
    changes: Mapping[str, Sequence[str]],
    **options: Any,
) -> pd.DataFrame:
    """The fall of each metric under each change.

    Parameters
    ----------
    parts, options : as of `evaluate`.
    scores : with a column ``METRIC`` and one ``METRIC@CHANGE`` for each change.
    changes : metric -> changes.

    Returns
    -------
    DataFrame with COLUMNS, one row a figure, metric and change.
    """
    rows = []
    for metric, names in changes.items():
        columns = [metric, *(f"{metric}@{name}" for name in names)]
        found = evaluate(parts, scores, metrics=columns, ranked_only=True, **options)
        values = _by(found.table, "metric")
        both = _by(found.comparisons, "a", "b")
        for figure in found.samples:
            for name, column in zip(names, columns[1:], strict=True):
                sides = [values[(*figure, side)] for side in (metric, column)]
                row = {
                    **dict(zip(FIGURE, figure, strict=True)),
                    "metric": metric,
                    "change": name,
                    "aligned": sides[0]["value"],
                    "changed": sides[1]["value"],
                    "n": sides[0]["n"],
                    "units": sides[0]["units"],
                }
                rows.append({**row, **_fall(both, figure, metric, column)})
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    if len(table):
        by = table.groupby(list(FIGURE))["p"]
        table["p_holm"] = by.transform(lambda p: holm(p.to_numpy(float)))
    return table


def _by(table: pd.DataFrame, *names: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """The rows of a table by figure and `names`."""
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return {tuple(row[column] for column in (*FIGURE, *names)): row for row in rows}


def _fall(
    both: Mapping[tuple[str, ...], Mapping[str, Any]], figure: Key, metric: str, column: str
) -> dict[str, float]:
    """Agreement of the metric minus that of the changed one, with interval and p."""
    for a, b, sign in ((metric, column, 1.0), (column, metric, -1.0)):
        if (*figure, a, b) in both:
            row = both[(*figure, a, b)]
            sign = -sign if figure[2] in SMALLER_IS_BETTER else sign
            low, high = sorted((sign * row["low"], sign * row["high"]))
            return {"fall": sign * row["difference"], "low": low, "high": high, "p": row["p"]}
    return {"fall": np.nan, "low": np.nan, "high": np.nan, "p": np.nan}


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """Of each figure and metric the change under which least agreement is left."""
    left = table["changed"] * np.where(table["statistic"].isin(SMALLER_IS_BETTER), -1, 1)
    known = table.assign(left=left).dropna(subset="left")
    first = known.sort_values("left", kind="stable").drop_duplicates([*FIGURE, "metric"])
    return first.drop(columns="left")
