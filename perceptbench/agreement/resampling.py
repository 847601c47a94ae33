"""The cluster bootstrap: resamples as counts, so that every statistic sees the same ones.

A resample draws as many units as there are, with replacement. Units are the rows themselves,
the values of one column (clusters, such as reference images), or the values of two columns
together (stimuli judged in pairs): a row then counts as often as the product of how often its
two stimuli were drawn, since triplets over the same stimuli are not independent. More than
MOST_UNITS units are put together by chance into so many groups, which then are the units: groups
put together by chance have, resampled, the spread of their members resampled.

Intervals
---------
``percentile``: quantiles of the resampled statistic.
``bca``: the same, corrected for bias and for a spread that changes with the value (Efron 1987),
the acceleration from leaving out one unit at a time, or one of JACKKNIFE groups of units.
``jackknife``: from leaving out one group of units at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from perceptbench.agreement.magnitude import in_range, largest

Array = NDArray[np.float64]

#: Bytes of weights held at a time.
CHUNK_BYTES = 32 << 20
#: At most so many groups of units are left out in turn.
JACKKNIFE = 200
#: Units that are drawn one by one.
MOST_UNITS = 10_000
INTERVALS = ("percentile", "bca")


@dataclass(frozen=True)
class Resampler:
    """The resamples of one judgement table; `bootstrap` makes them.

    Attributes
    ----------
    codes : the units of each row, (1, rows) or (2, rows), counted from 0.
    units : number of units drawn from.
    resamples : how many.
    draw : yields the counts (r, units) chunk by chunk, the same ones each time.
    """

    codes: NDArray[np.intp]
    units: int
    resamples: int
    draw: Callable[[], Iterator[Array]]

    @property
    def clusters(self) -> NDArray[np.intp] | None:
        """The unit of each row where rows come in clusters, None where they are units or pairs."""
        clustered = len(self.codes) == 1 and self.units < self.codes.shape[1]
        return self.codes[0] if clustered else None

    def counts(self) -> Array:
        """How often each unit is in each resample, (resamples, units)."""
        return np.concatenate([np.zeros((0, self.units)), *self.draw()])

    def __iter__(self) -> Iterator[Array]:
        """How often each row is in each resample, (r, rows), chunk by chunk."""
        step = max(1, CHUNK_BYTES // (8 * max(1, self.codes.shape[1])))
        for counts in self.draw():
            for start in range(0, len(counts), step):
                yield counts[start : start + step, self.codes].prod(axis=1)

    def sums(self, features: Array) -> Array:
        """Sums over the rows of each resample, (rows, k) -> (resamples, k)."""
        if len(self.codes) == 1:
            totals = np.zeros((self.units, features.shape[1]))
            np.add.at(totals, self.codes[0], features)
            return np.concatenate([counts @ totals for counts in self.draw()])
        return np.concatenate([weights @ features for weights in self])

    def rows(self, kept: NDArray[np.intp]) -> "Resampler":
        """The same resamples of some of the rows; `units` are those that these rows have."""
        used, codes = np.unique(self.codes[:, kept], return_inverse=True)
        codes = codes.reshape(len(self.codes), len(kept))
        return Resampler(
            codes, len(used), self.resamples, lambda: (counts[:, used] for counts in self.draw())
        )

    def first(self, resamples: int) -> "Resampler":
        """The first few of the resamples."""
        few: list[Array] = []
        for counts in self.draw():
            few.append(counts[: resamples - sum(map(len, few))])
            if sum(map(len, few)) == resamples:
                break
        return replace(self, resamples=min(resamples, self.resamples), draw=lambda: iter(few))

    def jackknife(self, groups: int = JACKKNIFE) -> "Resampler":
        """Instead of drawn samples: all units but one, or all but one group of units."""
        groups = min(self.units, groups)
        # Neighbours may be alike: every group takes units from all over.
        left_out = np.arange(self.units) % groups
        kept = (left_out[None] != np.arange(groups)[:, None]).astype(float)
        return replace(self, resamples=groups, draw=lambda: iter([kept]))


def bootstrap(
    table: pd.DataFrame, columns: Sequence[str], resamples: int, seed: Sequence[int]
) -> Resampler:
    """The resamples of a judgement table.

    Parameters
    ----------
    table : the judged items, one a row.
    columns : none, one or two columns whose values are the units.
    resamples : how many.
    seed : anything numpy.random.SeedSequence takes.
    """
    if len(columns) > 2:
        raise ValueError(f"rows are resampled by at most two columns, got {list(columns)}")
    rows = len(table)
    if columns:
        stacked = pd.concat([table[c] for c in columns], ignore_index=True)
        flat, names = pd.factorize(stacked, sort=True)
        codes, units = flat.reshape(len(columns), rows), len(names)
    else:
        codes, units = np.arange(rows)[None], rows
    entropy = list(seed)
    if units > MOST_UNITS:
        mixed = np.random.default_rng(np.random.SeedSequence([*entropy, units])).permutation(units)
        codes, units = mixed[codes] % MOST_UNITS, MOST_UNITS

    @cache
    def drawn() -> list[NDArray[np.uint8]]:
        if not units:
            return []
        rng = np.random.default_rng(np.random.SeedSequence(entropy))
        chance = np.full(units, 1 / units)
        # The chunks do not change what is drawn: multinomial draws resample by resample. Counts
        # above 255 are too rare to be seen (of 256 units, one in 10^500).
        step = max(1, CHUNK_BYTES // (8 * units))
        return [
            rng.multinomial(units, chance, min(step, resamples - start)).astype(np.uint8)
            for start in range(0, resamples, step)
        ]

    return Resampler(codes, units, resamples, lambda: (chunk.astype(float) for chunk in drawn()))


def jackknife_interval(value: float, jackknife: Array, level: float = 0.95) -> tuple[float, float]:
    """Interval from leaving out one of G groups of units: value +- t(G - 1) standard errors.

    For statistics too dear to be resampled thousands of times.
    """
    groups = len(jackknife)
    if groups < 2 or np.isnan(jackknife).any():
        return float("nan"), float("nan")
    scaled = in_range(jackknife)
    unit = largest(jackknife) / (largest(scaled) or 1.0)
    error = np.sqrt((groups - 1) / groups * ((scaled - scaled.mean()) ** 2).sum())
    half = float(stdtrit(groups - 1, (1 + level) / 2) * error) * unit
    ends = float(value) - half, float(value) + half
    return ends if np.isfinite(ends).all() else (float("nan"), float("nan"))


def percentile_interval(samples: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (R,).

    Resamples in which the statistic is undefined are left out; where that is more than half of
    them, so is the interval (NaN, NaN).
    """
    return _quantiles(samples, (1 - level) / 2, (1 + level) / 2)


def percentile_intervals(samples: Array) -> tuple[Array, Array]:
    """Low and high ends (k,) of the percentile intervals of several statistics, (R, k)."""
    whole = ~np.isnan(samples).any(axis=0)
    low, high = np.full((2, samples.shape[1]), np.nan)
    if len(samples) and whole.any():
        low[whole], high[whole] = np.quantile(samples[:, whole], [0.025, 0.975], axis=0)
    for k in np.flatnonzero(~whole):
        low[k], high[k] = percentile_interval(samples[:, k])
    return low, high


def bca_interval(
    samples: Array, value: float, jackknife: Array, level: float = 0.95
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval; scipy.stats.bootstrap's, ties counted by half.

    Parameters
    ----------
    samples : the statistic on the resamples, (R,).
    value : the statistic on all items.
    jackknife : the statistic with each unit (or group of units) left out, (units,).
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan"), float("nan")
    below = ((defined < value).sum() + (defined <= value).sum()) / (2 * len(defined))
    apart = jackknife.mean() - jackknife
    spread = (apart**2).sum()
    if not 0 < below < 1 or not spread > 0:
        return percentile_interval(samples, level)
    bias, acceleration = ndtri(below), (apart**3).sum() / (6 * spread**1.5)
    z = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = ndtr(bias + z / (1 - acceleration * z))
    return _quantiles(samples, float(low), float(high))


def _quantiles(samples: Array, low: float, high: float) -> tuple[float, float]:
    defined = samples[~np.isnan(samples)]
    if len(defined) * 2 <= len(samples):
        return float("nan"), float("nan")
    found = np.quantile(defined, [low, high])
    return float(found[0]), float(found[1])
