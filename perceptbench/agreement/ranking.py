"""Which metrics differ, which come first, and who stands where over several datasets.

Conventions
-----------
``samples`` is one row a resample, one column a metric: the same resamples for all, so that
differences are paired. ``value`` is the figure on all items, by metric. People are no metrics.

- The *difference* of two metrics has the percentile interval of its resamples, and a two-sided p
  from its bootstrap standard error and Student's t with units - 1 degrees of freedom: a share of
  resamples could not be smaller than 1 / 2,000, too coarse for a thousand pairs of metrics.
  Where no resample differs there is no standard error, and p is the least that a sign test over
  the units could give, 2^(1 - units): five items are no proof, however clear each is.
- ``p_holm`` is corrected for all pairs of one column (Holm 1979).
- *Tiers*: metrics that share a letter cannot be told apart at 5 % after correction (a compact
  letter display, Piepho 2004, doi:10.1198/1061860043515); the best metric has an ``a``.
- ``p_first``: share of resamples in which a metric is best; ties share it.
- *Mean rank*: over datasets, each with one vote, its columns sharing it. An undefined figure
  counts as the last rank; a column in which no metric that takes part has a figure ranks nobody.
  A cell that is in-domain (the metric was trained on that dataset) takes no part: the others are
  ranked without it, and the metric's mean is over its other datasets. In a resample all datasets
  are resampled at once.
- *Strength*: Bradley and Terry's log-odds of beating an average metric on a dataset, one vote a
  dataset for each pair; unlike the mean rank it knows who was met on the datasets that count.
  Half a win and half a loss against an average metric are added, which keeps it finite.
"""

import string
import warnings
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr
from scipy.stats import rankdata

from perceptbench.agreement.resampling import percentile_intervals

Array = NDArray[np.float64]

#: Statistics where smaller is better.
SMALLER_IS_BETTER = frozenset({"stress", "rmse", "outlier_ratio", "matching_rmse"})
#: Rows that are people, not metrics; they are shown but not ranked.
PEOPLE = ("human", "oracle")
SIGNIFICANT = 0.05
#: Figures nearer than this are ties: some metrics are functions of one another.
TIE = 1e-12
#: Resamples from which the interval of the strength is taken, fewer where metrics are many.
STRENGTH_RESAMPLES, STRENGTH_ENTRIES = 500, 50_000_000

#: dataset, slice, statistic
Key = tuple[str, str, str]


def in_domain(
    datasets: Collection[str], trained_on: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """Dataset -> metrics trained on it, or on the family it belongs to.

    >>> in_domain(["bapps", "bapps-jnd", "kadid-10k"], {"lpips-alex": ["bapps"], "mse": []})
    {'bapps': {'lpips-alex'}, 'bapps-jnd': {'lpips-alex'}, 'kadid-10k': set()}
    """
    return {
        dataset: {
            metric
            for metric, families in trained_on.items()
            if any(dataset == family or dataset.startswith(f"{family}-") for family in families)
        }
        for dataset in datasets
    }


def holm(p: Array) -> Array:
    """Holm's step-down correction; NaN stays NaN and counts as no test.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1)
    return corrected


def difference(
    a: Array, b: Array, value: ArrayLike, units: int, signs: int | None = None
) -> tuple[Array, Array, Array]:
    """Low, high and p of paired differences (k,), from resamples (R, k) of both sides."""
    apart, value = a - b, np.asarray(value, dtype=float)
    apart[np.abs(apart) < TIE] = 0
    low, high = percentile_intervals(apart)
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what has no resample has no spread
        p = student_p(value, np.nanstd(apart, axis=0, ddof=1), units, signs)
    lost = np.isnan(low) | np.isnan(value) | (units < 2)  # one unit alone tells nothing
    return tuple(np.where(lost, np.nan, each) for each in (low, high, p))  # type: ignore[return-value]


def student_p(value: ArrayLike, error: ArrayLike, units: int, signs: int | None = None) -> Array:
    """Two-sided p of differences with standard errors, units - 1 degrees of freedom.

    Where the error is 0: that of a sign test of `signs` units (default: `units`), all on one side.

    >>> float(student_p(2.0, 1.0, 1000).round(4)), float(student_p(2.0, 0.0, 3))
    (0.0458, 0.25)
    """
    size, spread = np.abs(value), np.asarray(error, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stdtr(max(units - 1, 1), -size / spread)
    least = 2.0 ** (1 - max(units if signs is None else signs, 1))
    return np.where(size < TIE, 1.0, np.where(spread > 0, p, least))


def compare(
    samples: pd.DataFrame, value: Mapping[Any, float], units: int, signs: int | None = None
) -> pd.DataFrame:
    """Every pair of metrics: ``a, b, difference, low, high, p, p_holm``; a minus b."""
    drawn, names = samples.to_numpy(float), list(samples.columns)
    point = np.array([value[name] for name in names], dtype=float)
    columns: list[Array] = []
    for i in range(len(names) - 1):
        apart = point[i] - point[i + 1 :]
        found = difference(drawn[:, i, None], drawn[:, i + 1 :], apart, units, signs)
        columns.append(np.stack([np.where(np.abs(apart) < TIE, 0.0, apart), *found]))
    numbers = np.concatenate(columns, axis=1) if columns else np.zeros((4, 0))
    table = pd.DataFrame(list(combinations(names, 2)), columns=["a", "b"])
    table[["difference", "low", "high", "p"]] = numbers.T
    return table.assign(p_holm=holm(numbers[3]))


def letters(ordered: Sequence[str], different: Collection[tuple[str, str]]) -> dict[str, str]:
    """Compact letter display: two metrics share a letter unless they are in `different`.

    Parameters
    ----------
    ordered : the metrics, best first.
    different : pairs, in either order.

    >>> letters(["x", "y", "z"], [("x", "z")])
    {'x': 'a', 'y': 'ab', 'z': 'b'}
    """
    place = {name: i for i, name in enumerate(ordered)}
    groups = [frozenset(ordered)] if ordered else []
    # Insert and absorb: a group that holds two different metrics is split into two without one.
    for pair in sorted(tuple(sorted(pair, key=place.__getitem__)) for pair in different):
        split = [g - {name} for g in groups if set(pair) <= g for name in pair]
        kept = [g for g in groups if not set(pair) <= g]
        new = [g for g in split if not any(g < other for other in split + kept)]
        groups = kept + [g for i, g in enumerate(new) if g not in kept and g not in new[:i]]
    groups = _swept(groups, ordered)
    groups.sort(key=lambda g: sorted(place[name] for name in g))
    return {
        name: "".join(_letter(i) for i, g in enumerate(groups) if name in g) for name in ordered
    }


def _swept(groups: list[frozenset[str]], ordered: Sequence[str]) -> list[frozenset[str]]:
    """Takes a metric out of each group whose other members it also meets elsewhere."""
    for i in range(len(groups)):
        for name in reversed(ordered):
            elsewhere = [g for k, g in enumerate(groups) if k != i and name in g]
            met = frozenset().union(*elsewhere)
            if name in groups[i] and groups[i] <= met:
                groups[i] -= {name}
    return [g for g in groups if g]


def _letter(i: int) -> str:
    """a ... z, then A ... Z, then (52) and so on."""
    alphabet = string.ascii_letters
    return alphabet[i] if i < len(alphabet) else f"({i})"


def tiers(comparisons: pd.DataFrame, ordered: Sequence[str]) -> dict[str, str]:
    """The letters of metrics, best first, from the pairs of `compare`."""
    apart = comparisons[comparisons["p_holm"] < SIGNIFICANT]
    return letters(ordered, list(zip(apart["a"], apart["b"], strict=True)))


def first(samples: Array, smaller_is_better: bool = False) -> Array:
    """Share of resamples (R, m) in which each metric is best, (m,); ties share it."""
    if not samples.size:
        return np.full(samples.shape[1], np.nan)
    ranks = _ranks(samples, smaller_is_better)
    best = ranks == ranks.min(axis=1, keepdims=True)
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def _ranks(values: Array, smaller_is_better: bool) -> Array:
    """Ranks from 1, best first, along the last axis; ties share the mean, undefined are last."""
    rounded = np.round(values / TIE) * TIE if values.size else values
    signed = rounded if smaller_is_better else -rounded
    ranks = rankdata(np.where(np.isnan(signed), np.inf, signed), axis=-1)
    return np.where(np.isnan(values), float(values.shape[-1]), ranks)


#: Columns of a standing.
STANDING = [
    "mean_rank", "mean_rank low", "mean_rank high", "tier", "p_first",
    "strength", "strength low", "strength high",
]  # fmt: skip


def standing(
    value: Mapping[Key, pd.Series],
    samples: Mapping[Key, pd.DataFrame],
    in_domain: Mapping[str, Collection[str]] | None = None,
    units: int | None = None,
) -> pd.DataFrame:
    """The metrics over all datasets, best mean rank first.

    Parameters
    ----------
    value : the figures of each column, by metric.
    samples : their resamples; where a column has none, its figures are taken as certain.
    in_domain : dataset -> metrics trained on it.
    units : resampled units of all datasets; None: many.

    Returns
    -------
    DataFrame indexed by metric: ``mean_rank, mean_rank low, mean_rank high, tier, p_first,
    strength, strength low, strength high``. NaN for a metric whose datasets are all in-domain;
    no row where there is no figure.
    """
    trained = in_domain or {}
    value = {
        key: figures
        for key, figures in value.items()
        if figures[~figures.index.isin(list(trained.get(key[0], ())))].notna().any()
    }
    if not value:
        nothing = pd.DataFrame(index=pd.Index([], name="metric"), columns=STANDING, dtype=float)
        return nothing.astype({"tier": object})
    metrics = list(dict.fromkeys(m for figures in value.values() for m in figures.index))
    sizes = [len(s) for s in samples.values() if len(s)]
    resamples = min(sizes, default=1)
    point, drawn = {}, {}
    for key, figures in value.items():
        dataset, _, statistic = key
        out = np.array([m in trained.get(dataset, ()) for m in metrics])
        smaller = statistic in SMALLER_IS_BETTER
        here = figures.reindex(metrics).to_numpy(float)[None]
        resampled = samples.get(key, pd.DataFrame()).reindex(columns=metrics)
        many = resampled.to_numpy(float)[:resamples]
        # What is undefined on all items is last in every resample.
        many = np.where(np.isnan(here), np.nan, many if len(many) else here)
        point[key] = _ranked(here, out, smaller)
        drawn[key] = np.broadcast_to(_ranked(many, out, smaller), (resamples, len(metrics)))
    per_dataset = [_by_dataset(ranks) for ranks in (point, drawn)]
    mean, spread = (_nanmean(ranks, axis=0) for ranks in per_dataset)
    if not sizes:  # nothing is known of how the ranks would vary
        spread, per_dataset[1] = spread[:0], per_dataset[1][:, :0]
    table = pd.DataFrame({"mean_rank": mean[0]}, index=pd.Index(metrics, name="metric"))
    table["mean_rank low"], table["mean_rank high"] = percentile_intervals(spread)
    table = _with_tiers(table, pd.DataFrame(spread, columns=metrics), units)
    strength = bradley_terry(_wins(per_dataset[0]))[0]
    few = min(STRENGTH_RESAMPLES, max(1, STRENGTH_ENTRIES // per_dataset[0].size ** 2))
    many_strengths = bradley_terry(_wins(per_dataset[1][:, :few]))
    unranked = table["mean_rank"].isna().to_numpy()
    table["strength"] = np.where(unranked, np.nan, strength)
    table["strength low"], table["strength high"] = (
        np.where(unranked, np.nan, side) for side in percentile_intervals(many_strengths)
    )
    return table.sort_values("mean_rank", kind="stable", na_position="last")


def _ranked(values: Array, out: NDArray[np.bool_], smaller: bool) -> Array:
    """Ranks among the metrics that take part; NaN for the others."""
    ranks = np.full(values.shape, np.nan)
    ranks[:, ~out] = _ranks(values[:, ~out], smaller)
    return ranks


def _by_dataset(ranks: Mapping[Key, Array]) -> Array:
    """Mean rank over the columns of each dataset, (datasets, R, m)."""
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in ranks))
    return np.stack(
        [np.mean([r for key, r in ranks.items() if key[0] == name], axis=0) for name in datasets]
    )


def _nanmean(values: Array, axis: int) -> Array:
    counts = (~np.isnan(values)).sum(axis=axis)
    with np.errstate(invalid="ignore"):
        return np.where(counts > 0, np.nansum(values, axis=axis) / counts, np.nan)


def _with_tiers(table: pd.DataFrame, spread: pd.DataFrame, units: int | None) -> pd.DataFrame:
    ranked = table["mean_rank"].dropna().sort_values(kind="stable").index
    # Datasets, not units, are behind a mean rank: the normal distribution.
    mean = table["mean_rank"].to_dict()
    pairs = compare(spread[list(ranked)], mean, units=1_000_000, signs=units)
    shares = dict(zip(ranked, first(spread[list(ranked)].to_numpy(), True), strict=True))
    names = tiers(pairs, list(ranked)) if len(spread) else {}
    table["tier"] = [names.get(m, "") for m in table.index]
    table["p_first"] = [shares.get(m, np.nan) for m in table.index]
    return table


def _wins(ranks: Array) -> Array:
    """Datasets on which each metric beats each other one, ties by half, (R, m, m)."""
    a, b = ranks[..., :, None], ranks[..., None, :]
    met = ~np.isnan(a) & ~np.isnan(b)
    return (met * ((a < b) + 0.5 * (a == b))).sum(axis=0)


def bradley_terry(wins: Array, steps: int = 200) -> Array:
    """Log strengths of the metrics, (R, m), from wins (R, m, m); the average metric has 0.

    Maximum likelihood by Hunter's minorisation (2004, doi:10.1214/aos/1079120141), with half a
    win and half a loss of each metric against one of strength 1 added.

    >>> strengths = bradley_terry(np.array([[[0, 3], [1, 0]]]))[0]
    >>> bool(strengths[0] > 0), float((strengths[0] + strengths[1]).round(9))
    (True, 0.0)
    """
    games = wins + np.swapaxes(wins, 1, 2)
    diagonal = np.arange(wins.shape[1])
    games[:, diagonal, diagonal] = 0
    won = np.where(np.eye(wins.shape[1], dtype=bool), 0, wins).sum(axis=2) + 0.5
    strength = np.ones(won.shape)
    for _ in range(steps):
        met = games / (strength[:, :, None] + strength[:, None, :])
        strength = won / (met.sum(axis=2) + 1 / (strength + 1))
    logs = np.log(strength)
    return logs - logs.mean(axis=1, keepdims=True)
