"""The fitted curve of each metric against people, as points for a plot.

A run stores them: a fit differs in its last digits from machine to machine, a report may not.
Ratings have VQEG's logistic of four parameters, 2afc items the psychometric function.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from perceptbench.agreement import logistic, two_alternative
from perceptbench.agreement.magnitude import in_range
from perceptbench.reporting.disputed import Items, answer, judged
from perceptbench.reporting.result import CURVE, Run

Array = NDArray[np.float64]
#: Points of a curve.
POINTS = 33


def curves(run: Run) -> pd.DataFrame:
    """``dataset, slice, protocol, metric, x, y`` of every curve that could be fitted.

    x is the metric's signal (`disputed.py`), y what people are predicted to say.
    """
    rows = [
        (items.part.dataset, items.part.slice, items.part.protocol, metric, x, y)
        for items in judged(run, run.metrics)
        for metric, points in _curves(items)
        for x, y in points
    ]
    return pd.DataFrame(rows, columns=list(CURVE))


def _curves(items: Items) -> Iterator[tuple[str, Array]]:
    fit = {"2afc": _psychometric, "rating": _logistic}.get(items.part.protocol)
    for metric, signal in zip(items.metrics, items.signal.T, strict=True):
        # Of numbers beyond all measure no curve is drawn.
        sound = len(signal) > 1 and np.isfinite(signal).all() and (signal == in_range(signal)).all()
        points = fit(signal, items) if fit and sound and np.ptp(signal) > 0 else None
        if points is not None:
            yield metric, points


def _psychometric(signal: Array, items: Items) -> Array:
    slope, lapse = two_alternative.fit_link(signal, items.people)
    # Differences crowd around zero: equally many on each stretch of the curve.
    x = np.quantile(signal, np.linspace(0, 1, POINTS))
    return np.stack([x, lapse / 2 + (1 - lapse) * expit(slope * x)], axis=1)


def _logistic(signal: Array, items: Items) -> Array | None:
    sign = 1.0 if answer(items.part) == "impairment" else -1.0
    curve = logistic.fit(signal, sign * items.people)
    if curve.rise == 0:
        return None
    places = np.linspace(0, len(signal) - 1, min(POINTS, len(signal))).round().astype(int)
    shown = np.sort(signal)[places]
    return np.stack([shown, sign * curve(shown)], axis=1)
