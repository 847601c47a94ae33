"""Attained agreement: a figure as a share of the way from chance to what people allow.

0 is chance, 1 what people's own agreement allows a metric; where that is not known, the end of the
statistic's range. The two ends are taken as known: their own noise is not in the intervals.
"""

import numpy as np

from perceptbench.agreement import rating, same_different, two_alternative
from perceptbench.agreement.items import Items


def ends(statistic: str, items: Items) -> tuple[float, float, bool]:
    """Of a statistic that a leaderboard may rank by: chance, ceiling, whether people set that one.

    ``2afc``: 1/2, and what the best metric reaches against infinitely many people
    (`two_alternative.ceiling`) where votes are known, mean max(p, 1-p) where only shares are.
    Correlations: 0, and the root of the reliability of mean opinions where deviations and raters
    are known, else 1. ``jnd_ap``: that of equal distances, and that of people's own order.
    ``matching_rmse``: that of physical contrast (`rating.physical_rmse`), which knows nothing of
    what is shown, and 0. Others have no chance that is the same for all metrics, and no vote.
    """
    table = items.table
    if statistic.startswith("2afc"):
        p, agree = table["p_b"].to_numpy(float), items.two_people
        fair = p[~items.adaptive]
        known = len(fair) if agree is None else not np.isnan(agree).all()
        if statistic != "2afc" or np.isin(p, (0, 0.5, 1)).all() or not known:
            return 0.5, 1.0, False
        if agree is None:
            return 0.5, float(two_alternative.oracle(fair).mean()), True
        return 0.5, float(two_alternative.ceiling(np.nanmean(agree))), True
    if statistic.startswith("jnd_ap"):
        p = table["p_same"].to_numpy(float)
        return float(p.mean()), float(same_different.jnd_ap(-p, p)), True
    if statistic == "matching_rmse":
        match = (table[c].to_numpy() for c in ("contrast", "impairment", "pattern"))
        return rating.physical_rmse(*match), 0.0, False
    if statistic in ("srcc", "plcc") and items.reliability > 0:
        return 0.0, float(np.sqrt(items.reliability)), True
    if statistic.startswith(("srcc", "krcc", "plcc")):
        return 0.0, 1.0, False
    return float("nan"), float("nan"), False
