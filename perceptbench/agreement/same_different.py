"""Same or different: do the pairs that people cannot tell apart get the smallest distances?

Conventions
-----------
``distance`` (n,) or (n, metrics), ``p_same`` (n,) in [0, 1]: the share of people who took a pair
for the same image.

Statistics
----------
``jnd_ap``: average precision as the LPIPS authors compute it (Zhang et al. 2018, section 4.2;
their mAP % on the JND set is 100 times this). Pairs are taken in the order of growing distance;
*fractional* labels are added up, TP = sum of p_same, FP = sum of 1 - p_same; precision is TP /
(TP + FP), recall TP / (sum of all p_same). The curve starts at recall 0, ends at recall 1 with
precision 0, its precision is made to fall with recall (VOC 2010), and the area is the sum of
recall steps times precision. It is not scikit-learn's average precision, which takes no
fractions and no envelope. Pairs of equal distance are passed together.
``jnd_ap_subset_mean``: the mean over subsets (``category``) of the figure within each, as they
report it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def jnd_ap(distance: ArrayLike, p_same: ArrayLike) -> Array:
    """Average precision, in [0, 1], () or (metrics,); NaN where nobody took any pair for the same.

    >>> float(jnd_ap([1, 2, 3, 4], [1, 1, 0, 0])), float(jnd_ap([1, 1, 1, 1], [1, 0, 1, 0]))
    (1.0, 0.5)
    >>> float(jnd_ap([1, 2], [0, 1]))
    0.5
    """
    x, p = np.asarray(distance, dtype=float), np.asarray(p_same, dtype=float)
    if x.ndim == 2:
        return np.array([float(jnd_ap(column, p)) for column in x.T])
    if not p.sum() > 0:
        return np.array(np.nan)
    _, group, taken = np.unique(x, return_inverse=True, return_counts=True)
    hits = np.bincount(group, p)
    precision = np.cumsum(hits) / np.cumsum(taken)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return np.array(envelope @ hits / p.sum())
