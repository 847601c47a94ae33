"""Same or different: do the pairs that people cannot tell apart get the smallest distances?

Conventions
-----------
``distance`` (n,), ``p_same`` (n,) in [0, 1]: the share of people who took a pair for the same
image. ``weights`` (R, n) says how often each item counts in each of R resamples; the copies of an
item are passed together.

Statistics
----------
``jnd_ap``: average precision as the LPIPS authors compute it (Zhang et al. 2018, section 4.2;
their mAP % on the JND set is 100 times this). Pairs are taken in the order of growing distance;
*fractional* labels are added up, TP = sum of p_same, FP = sum of 1 - p_same; precision is TP /
(TP + FP), recall TP / (sum of all p_same). The curve starts at recall 0, ends at recall 1 with
precision 0, its precision is made to fall with recall (VOC 2010), and the area is the sum of
recall steps times precision. It is not scikit-learn's average precision, which takes no
fractions and no envelope. Pairs of equal distance are taken in the table's order.
``jnd_ap_subset_mean``: the mean over subsets (``category``) of the figure within each, as they
report it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def validate(distance: ArrayLike, p_same: ArrayLike) -> None:
    """Raises ValueError where shapes do not fit or a share is not in [0, 1]."""
    x, p = np.asarray(distance), np.asarray(p_same, dtype=float)
    if x.shape != p.shape or x.ndim != 1:
        raise ValueError(f"expected two equally long vectors, got {x.shape} and {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p_same must be shares in [0, 1]")


def jnd_ap(distance: ArrayLike, p_same: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Average precision, in [0, 1]; NaN where nobody took any pair for the same.

    >>> float(jnd_ap([1, 2, 3, 4], [1, 1, 0, 0]))
    1.0
    >>> float(jnd_ap([1, 2], [0, 1]))
    0.5
    """
    validate(distance, p_same)
    x, p = np.asarray(distance, dtype=float), np.asarray(p_same, dtype=float)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
    order = np.argsort(x, kind="stable")
    p, w = p[order], w[..., order]
    hits, taken = np.cumsum(w * p, axis=-1), np.cumsum(w, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(taken > 0, hits / taken, 0)
        total = hits[..., -1] if len(x) else np.zeros(w.shape[:-1])
        envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
        return np.where(total > 0, (envelope * w * p).sum(-1) / total, np.nan)


def evaluate(distance: ArrayLike, p_same: ArrayLike) -> dict[str, float]:
    """Every statistic of one metric by name."""
    return {"jnd_ap": float(jnd_ap(distance, p_same))}
