"""The cluster bootstrap: resamples as counts, so that every statistic sees the same ones.

A resample draws as many units as there are, with replacement. Units are the rows themselves,
the values of one column (clusters, such as reference images), or the values of two columns
together (stimuli judged in pairs): a row then counts as often as the product of how often its
two stimuli were drawn, since triplets over the same stimuli are not independent.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Bytes of weights held at a time.
CHUNK_BYTES = 32 << 20


class Resampler:
    """Draws the resamples of one judgement table.

    Parameters
    ----------
    table : the judged items, one a row.
    columns : none, one or two columns whose values are the units.
    resamples : how many.
    seed : anything numpy.random.SeedSequence takes.

    Attributes
    ----------
    units : number of units drawn from.
    """

    def __init__(
        self, table: pd.DataFrame, columns: Sequence[str], resamples: int, seed: Sequence[int]
    ) -> None:
        if len(columns) > 2:
            raise ValueError(f"rows are resampled by at most two columns, got {list(columns)}")
        rows = len(table)
        if columns:
            stacked = pd.concat([table[c] for c in columns], ignore_index=True)
            codes, names = pd.factorize(stacked, sort=True)
            self._codes = codes.reshape(len(columns), rows)
            self.units = len(names)
        else:
            self._codes, self.units = np.arange(rows)[None], rows
        self.resamples = resamples
        self._seed = list(seed)

    def __iter__(self) -> Iterator[Array]:
        """Weights (r, rows) chunk by chunk, the same ones each time."""
        rng = np.random.default_rng(np.random.SeedSequence(self._seed))
        chance = np.full(self.units, 1 / self.units)
        # The chunks must not change what is drawn: multinomial draws resample by resample.
        step = max(1, CHUNK_BYTES // (8 * max(self._codes.shape[1], self.units)))
        for start in range(0, self.resamples, step):
            size = min(step, self.resamples - start)
            counts = rng.multinomial(self.units, chance, size=size)
            yield counts[:, self._codes].prod(axis=1, dtype=float)


def percentile_interval(samples: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (R,).

    Resamples in which the statistic is undefined are left out; where that is more than half of
    them, so is the interval (NaN, NaN).
    """
    defined = samples[~np.isnan(samples)]
    if len(defined) * 2 <= len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
