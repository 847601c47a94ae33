"""What raters are like: bias, inconsistency, and who is out of line.

Conventions
-----------
Votes are three vectors of one length: ``value`` (float), ``item`` and ``rater`` (integers from 0,
none left out). Not everybody need have rated everything; a rater may rate an item twice.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.intp]

#: ITU-T P.913, 11.4: a rater who correlates less than this with the mean of all is looked at.
CORRELATED = 0.75
#: Alternations of `subject_model`, and the change (norm of the qualities) at which it ends.
ALTERNATIONS, CHANGE = 1000, 1e-8
#: Keeps the weight of a rater who is never off the quality finite.
EPSILON = 1e-8


@dataclass(frozen=True)
class SubjectModel:
    """Qualities (items,) with their standard errors; bias and inconsistency (raters,)."""

    quality: Array
    error: Array
    bias: Array
    inconsistency: Array


def subject_model(value: Array, item: Integers, rater: Integers) -> SubjectModel:
    """Every vote as quality of the item + bias of the rater + inconsistency of the rater x noise.

    Li, Bampis, Krasula, Janowski, Katsavounidis 2020, "A simple model for subject behavior in
    subjective experiments" (arXiv:2004.02067), which ITU-T P.910 (2022), annex E, recommends:
    maximum likelihood by alternating projections. Biases have mean 0. A rater who is inconsistent
    has little weight, so that none needs to be thrown out. ``error`` is 1 / sqrt(sum of 1 / v^2)
    over the item's votes, v the inconsistency of who gave them.
    """
    count = np.bincount(rater)
    quality = np.bincount(item, value) / np.bincount(item)
    bias = np.bincount(rater, value - quality[item]) / count
    for _ in range(ALTERNATIONS):
        before = quality
        inconsistency = _deviation(value - quality[item] - bias[rater], rater, count)
        weight = 1.0 / (inconsistency**2 + EPSILON)
        weights = np.bincount(item, weight[rater])
        quality = np.bincount(item, weight[rater] * (value - bias[rater])) / weights
        bias = np.bincount(rater, value - quality[item]) / count
        if np.linalg.norm(quality - before) < CHANGE:
            break
    return SubjectModel(
        quality + bias.mean(), 1 / np.sqrt(weights), bias - bias.mean(), inconsistency
    )


def _deviation(residual: Array, rater: Integers, count: NDArray[np.intp]) -> Array:
    """Standard deviation (ddof 0) of each rater's residuals."""
    mean = np.bincount(rater, residual) / count
    return np.sqrt(np.bincount(rater, (residual - mean[rater]) ** 2) / count)


def screening(value: Array, item: Integers, rater: Integers) -> pd.DataFrame:
    """Each rater: correlation with the others, and who is out of line.

    Returns
    -------
    DataFrame indexed by rater: ``correlation`` (Pearson) of the rater's votes with the mean of
    everybody else's, NaN where it is undefined; ``doubtful`` where that is below CORRELATED;
    ``rejected`` by the procedure of ITU-R BT.500-13, annex 2, 2.3.1: more than 5 % of the votes
    are further from the mean than two deviations (sqrt(20) where the kurtosis is not between 2 and
    4), to both sides alike.
    """
    votes = np.bincount(rater)
    total, number = np.bincount(item, value), np.bincount(item)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = (total[item] - value) / (number[item] - 1)
        mean = total / number
        off = value - mean[item]
        moments = [np.bincount(item, off**k) / number for k in (2, 4)]
        kurtosis = moments[1] / moments[0] ** 2
        std = np.sqrt(moments[0] * number / (number - 1))
    bound = np.where((kurtosis >= 2) & (kurtosis <= 4), 2.0, np.sqrt(20.0)) * std
    split = std[item] > 0  # where all say the same, nobody is beyond anything
    above = np.bincount(rater, split & (off >= bound[item]))
    below = np.bincount(rater, split & (off <= -bound[item]))
    outside = above + below
    lopsided = np.abs(above - below) / np.maximum(outside, 1)
    pairs = pd.DataFrame({"rater": rater, "x": value, "y": others}).dropna()
    correlation = pairs.groupby("rater")[["x", "y"]].apply(lambda g: _pearson(g["x"], g["y"]))
    found = pd.DataFrame(
        {
            "correlation": correlation.reindex(range(len(votes))).to_numpy(float),
            "rejected": (outside / votes > 0.05) & (lopsided < 0.3),
        }
    )
    found["doubtful"] = found["correlation"] < CORRELATED
    return found


def _pearson(x: pd.Series, y: pd.Series) -> float:
    if len(x) < 3 or x.nunique() < 2 or y.nunique() < 2:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
