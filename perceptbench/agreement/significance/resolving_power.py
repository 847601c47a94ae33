"""How far apart two scores must be before people would agree which image is better.

ITU-T J.149 (2004); Pinson and Wolf, NTIA TR-09-457, section 4.

Conventions
-----------
``x`` (n,) are the metric's scores, in the direction of ``mean`` (n,), the mean ratings; ``std``
(n,) their deviations with ddof 0 (sic: J.149 divides by n), ``raters`` (n,) how many gave them.
The result is in the unit of x. Where that should be the unit of the ratings, x is fitted to
them first.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

BINS = 10
CONFIDENCE = 0.95


def confidence(
    x: ArrayLike, mean: ArrayLike, std: ArrayLike, raters: ArrayLike,
    first: ArrayLike, second: ArrayLike,
) -> tuple[Array, Array]:  # fmt: skip
    """|difference| of each pair's scores, and the confidence that people order it that way.

    z = (mean_j - mean_i) / sqrt(var_i / n_i + var_j / n_j), its sign turned with that of
    x_j - x_i (a pair of equal x keeps it); confidence is the normal distribution function of z.
    """
    scores, m = np.asarray(x, dtype=float), np.asarray(mean, dtype=float)
    error = np.asarray(std, dtype=float) ** 2 / np.asarray(raters, dtype=float)
    i, j = np.asarray(first), np.asarray(second)
    apart, width = m[j] - m[i], np.sqrt(error[i] + error[j])
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(apart == 0, 0.0, apart / width)
    difference = scores[j] - scores[i]
    return np.abs(difference), ndtr(np.where(difference < 0, -z, z))


def resolving_power(difference: ArrayLike, confidence: ArrayLike) -> float:
    """The difference at which the mean confidence crosses 0.95; NaN where it never does.

    BINS bins between the smallest and the largest difference, half overlapping the next, with a
    last one added to reach the largest; half open, the left end belongs to it, so that the
    largest difference counts in the added bin only. Empty bins are left out; linear
    interpolation between the centres on both sides of the first upward crossing. The edges are
    those of numpy.arange: for few scores on a grid, its rounding decides on which side of an edge
    a difference lies, and the published figures have it so.
    """
    d, c = np.asarray(difference, dtype=float), np.asarray(confidence, dtype=float)
    if len(d) < 2 or not np.ptp(d) > 0:
        return float("nan")
    width = np.ptp(d) / BINS
    lefts = np.arange(d.min(), d.max(), width / 2)[: 2 * BINS]
    order = np.argsort(d, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(c[order])])
    begin, end = (np.searchsorted(d[order], edges, side="left") for edges in (lefts, lefts + width))
    filled = end > begin
    means = (total[end] - total[begin])[filled] / (end - begin)[filled]
    return _crossing((lefts + width / 2)[filled], means)


def _crossing(centres: Array, means: Array) -> float:
    above = means >= CONFIDENCE
    rises = np.flatnonzero(above[1:] & ~above[:-1])
    if not len(rises):
        return float("nan")
    k = rises[0]
    share = (CONFIDENCE - means[k]) / (means[k + 1] - means[k])
    return float(centres[k] + share * (centres[k + 1] - centres[k]))
