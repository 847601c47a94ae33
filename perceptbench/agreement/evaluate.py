"""One judgement table and the scores of its pairs in; every agreement figure out."""

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptbench.agreement import rating, two_alternative
from perceptbench.agreement.resampling import Resampler, percentile_interval
from perceptbench.datasets.judgements import Judgements
from perceptbench.errors import UsageError

Array = NDArray[np.float64]
#: A statistic over the items: weights (R, n), or none -> (R,), or a scalar.
Statistic = Callable[[Array | None], Array]

RATING = {"srcc": rating.srcc, "krcc": rating.krcc, "plcc": rating.plcc, "stress": rating.stress}
COLUMNS = (
    "dataset", "slice", "metric", "statistic", "value", "low", "high", "n", "units", "display",
    "note",
)  # fmt: skip


def agreement(
    judgements: Judgements,
    scores: pd.DataFrame,
    *,
    metrics: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
    stress_power: Mapping[str, float | None] | None = None,
) -> pd.DataFrame:
    """How well each metric agrees with people on one judgement table.

    Parameters
    ----------
    judgements : a 2afc or rating table.
    scores : ``reference, distorted`` and one column of distances a metric.
    metrics : the columns of `scores` to evaluate.
    resamples, seed : of the bootstrap. The resamples of a table depend on the seed and the
        table's name only, and all metrics and statistics see the same ones.
    stress_power : metric -> power its distance is raised to before STRESS, which wants a
        distance in proportion to the perceived difference: 0.5 for squared ones, None where
        there is no such power (STRESS is then undefined), 1 where a metric is not named.

    Returns
    -------
    DataFrame of one row a metric and statistic: ``dataset, slice, metric, statistic, value,
    low, high, n, units, display, note``. ``low, high`` bound the 95 % percentile interval, n is
    the number of judged items, units how many things were resampled. Undefined figures are NaN
    and ``note`` says why. People are rows too, as ``human`` and ``oracle``, where the judgements
    tell how far they agreed.

    Raises
    ------
    UsageError : the protocol is not ranked yet.
    """
    protocol = judgements.protocol
    if protocol not in ("2afc", "rating"):
        raise UsageError(f"dataset {judgements.dataset}: protocol {protocol} is not ranked yet")
    sides = ("a", "b") if protocol == "2afc" else ("distorted",)
    table, distances = _items(judgements.table, scores, metrics, sides)
    scored = np.flatnonzero(np.isfinite(distances).all(axis=0).any(axis=-1))
    table, distances = table.iloc[scored], distances[:, scored]
    observers = None
    if judgements.observers is not None:
        observers = judgements.observers.loc[table["row"]].to_numpy(float)
    if protocol == "2afc":
        figures = _figures_2afc(table, distances, metrics)
    else:
        figures = _figures_rating(table, distances[0], metrics, stress_power or {}, observers)
    key = f"{judgements.dataset}/{judgements.slice}/{protocol}".encode()
    resampler = Resampler(table, judgements.resample, resamples, (seed, zlib.crc32(key)))
    rows = [
        (judgements.dataset, judgements.slice, metric, statistic, *numbers, note)
        for (metric, statistic, note), numbers in _evaluate(figures, resampler, judgements, table)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _items(
    table: pd.DataFrame, scores: pd.DataFrame, metrics: Sequence[str], sides: Sequence[str]
) -> tuple[pd.DataFrame, Array]:
    """The judged items and their distances (sides, items, metrics), replicates averaged.

    A column ``row`` says which row of the table an item's judgement was taken from. A distance
    is NaN where the pair was not scored, or a replicate of it was not.
    """
    known = scores.set_index(["reference", "distorted"])[list(metrics)]
    known = known[~known.index.duplicated()]
    values = np.stack(
        [
            known.reindex(pd.MultiIndex.from_arrays([table["reference"], table[side]])).to_numpy(
                float
            )
            for side in sides
        ]
    )
    values = np.where(np.isfinite(values), values, np.nan)
    table = table.assign(row=table.index)
    if "item" not in table:
        return table, values
    codes, _ = pd.factorize(table["item"])
    order = np.argsort(codes, kind="stable")
    first = np.flatnonzero(np.diff(codes[order], prepend=-1))
    totals = np.add.reduceat(values[:, order], first, axis=1)
    counts = np.diff(first, append=len(order))
    return table.iloc[order[first]], totals / counts[None, :, None]


def _figures_2afc(
    table: pd.DataFrame, distances: Array, metrics: Sequence[str]
) -> dict[tuple[str, str, str], Statistic | None]:
    p_b = table["p_b"].to_numpy(float)
    per_item = two_alternative.score(distances[0], distances[1], p_b)
    figures: dict[tuple[str, str, str], Statistic | None] = {}
    for i, metric in enumerate(metrics):
        note = _missing(per_item[:, i])
        figures[metric, "2afc", note] = None if note else _mean(per_item[:, i])
    # Outcomes without shares (p_b 0, 1/2 or 1 throughout) hide how far people agreed.
    if not np.isin(p_b, (0, 0.5, 1)).all():
        figures["human", "2afc", ""] = _mean(two_alternative.human(p_b))
        figures["oracle", "2afc", ""] = _mean(two_alternative.oracle(p_b))
    return figures


def _figures_rating(
    table: pd.DataFrame,
    distances: Array,
    metrics: Sequence[str],
    stress_power: Mapping[str, float | None],
    observers: Array | None,
) -> dict[tuple[str, str, str], Statistic | None]:
    impairment = "impairment" in table
    badness = (
        table["impairment"].to_numpy(float) if impairment else -table["quality"].to_numpy(float)
    )
    statistics = [s for s in RATING if s != "stress" or impairment]
    figures: dict[tuple[str, str, str], Statistic | None] = {}
    for i, metric in enumerate(metrics):
        missing = _missing(distances[:, i])
        power = stress_power.get(metric, 1.0)
        for statistic in statistics:
            x, note = distances[:, i], missing
            if statistic == "stress" and not note:
                if power is None:
                    note = "STRESS needs distances in proportion to the difference"
                else:
                    x = np.sign(x) * np.abs(x) ** power
            figures[metric, statistic, note] = None if note else _correlation(statistic, x, badness)
    if observers is not None and observers.shape[1] > 1:
        note = "one observer against the mean of the others"
        for statistic in statistics:
            figures["human", statistic, note] = _one_against_others(
                statistic, observers, impairment
            )
    return figures


def _missing(values: Array) -> str:
    lost = int(np.isnan(values).sum())
    if not len(values):
        return "no pair could be scored"
    return f"no finite distance for {lost} of {len(values)} judgements" if lost else ""


def _mean(per_item: Array) -> Statistic:
    def mean(weights: Array | None) -> Array:
        if weights is None:
            return np.asarray(per_item.mean()) if len(per_item) else np.asarray(np.nan)
        with np.errstate(invalid="ignore"):
            return weights @ per_item / weights.sum(-1)

    return mean


def _correlation(statistic: str, distance: Array, badness: Array) -> Statistic:
    return lambda weights: RATING[statistic](distance, badness, weights)


def _one_against_others(statistic: str, observers: Array, impairment: bool) -> Statistic:
    """Mean over observers of the statistic between one and the mean of the rest."""
    ratings = observers if impairment else -observers
    others = (ratings.sum(1, keepdims=True) - ratings) / (ratings.shape[1] - 1)

    def mean(weights: Array | None) -> Array:
        each = [
            RATING[statistic](ratings[:, i], others[:, i], weights) for i in range(ratings.shape[1])
        ]
        return np.mean(each, axis=0)

    return mean


def _evaluate(
    figures: Mapping[tuple[str, str, str], Statistic | None],
    resampler: Resampler,
    judgements: Judgements,
    table: pd.DataFrame,
) -> list[tuple[tuple[str, str, str], tuple[float, float, float, int, int, str]]]:
    """Value and interval of every figure; the notes of undefined ones completed."""
    values = {key: float(f(None)) if f and len(table) else np.nan for key, f in figures.items()}
    live = {key: f for key, f in figures.items() if f and not np.isnan(values[key])}
    samples: dict[tuple[str, str, str], list[Array]] = {key: [] for key in live}
    for weights in resampler if live else ():
        for key, figure in live.items():
            samples[key].append(figure(weights))
    found = []
    for key, value in values.items():
        metric, statistic, note = key
        low = high = np.nan
        if key in live:
            low, high = percentile_interval(np.concatenate(samples[key]))
        elif not note:
            note = "all distances are equal" if len(table) > 1 else "fewer than two judgements"
            if statistic == "stress":
                note = "STRESS needs distances that are not negative and not all zero"
        numbers = (value, low, high, len(table), resampler.units, judgements.display)
        found.append(((metric, statistic, note), numbers))
    return found
