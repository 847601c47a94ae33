"""Metrics that order everything alike, as PSNR and MSE do: one entry, with both names."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def same_order(scores: pd.DataFrame, metrics: Sequence[str]) -> dict[str, str]:
    """Metric -> the first one, by name, that orders all pairs of every dataset as it does.

    Metrics that order as no other one, and those that stand for others, are not in it. A metric
    that orders nothing (all distances equal, or none) stands for nobody.

    >>> same_order(pd.DataFrame({"mse": [1, 2, 3], "psnr": [-9, -5, -1], "x": [1, 1, 1]}),
    ...     ["mse", "psnr", "x"])
    {'psnr': 'mse'}
    """
    parts = list(scores.groupby("dataset", sort=False)) if "dataset" in scores else [("", scores)]
    first: dict[bytes, str] = {}
    found = {}
    for metric in sorted(metrics):
        ranks = [_ranks(part[metric].to_numpy(float)) for _, part in parts]
        if max((rank.max(initial=0) for rank in ranks), default=0) < 2:
            continue
        stands = first.setdefault(b"".join(rank.tobytes() for rank in ranks), metric)
        if stands != metric:
            found[metric] = stands
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Dense ranks from 1, 0 where there is no finite value."""
    ranks = np.zeros(len(values), dtype=np.int64)
    there = np.isfinite(values)
    ranks[there] = np.unique(values[there], return_inverse=True)[1] + 1
    return ranks
