"""Do we get the figures that others published? Ours beside theirs, figure by figure.

A published figure is judged only where its manifest gives a tolerance: figures of another
implementation, or recalled ones, are shown and no more.
"""

from collections.abc import Iterable

import pandas as pd

from perceptbench.datasets.manifest import Published

COLUMNS = (
    "slice", "statistic", "metric", "ours", "published", "difference", "tolerance", "verdict",
    "source",
)  # fmt: skip
IN, OUT, SHOWN, ABSENT = "in", "OUT", "not judged", "not in this run"
#: What separates figures that are written down with the same digits.
ROUNDING = 1e-9


def conformance(published: Iterable[Published], agreement: pd.DataFrame) -> pd.DataFrame:
    """Every published figure of a dataset beside ours.

    Parameters
    ----------
    published : figures of the dataset's manifest.
    agreement : the dataset's rows of an agreement table: ``slice, metric, statistic, value``.

    Returns
    -------
    DataFrame of COLUMNS, in the order of `published`. ``difference`` is ours minus theirs;
    ``verdict`` is ``in`` or ``OUT`` of tolerance, ``not judged``, or ``not in this run`` where
    there is no such figure, or an undefined one.
    """
    ours = agreement.set_index(["slice", "statistic", "metric"])["value"]
    ours = ours[~ours.index.duplicated()]
    rows = []
    for figure in published:
        key = (figure.slice, figure.statistic, figure.metric)
        value = float(ours.get(key, float("nan")))
        difference = value - figure.value
        tolerance = float("nan") if figure.tolerance is None else figure.tolerance
        if value != value:
            verdict = ABSENT
        elif tolerance != tolerance:
            verdict = SHOWN
        else:
            verdict = IN if abs(difference) <= tolerance + ROUNDING else OUT
        rows.append((*key, value, figure.value, difference, tolerance, verdict, figure.source))
    return pd.DataFrame(rows, columns=list(COLUMNS))
