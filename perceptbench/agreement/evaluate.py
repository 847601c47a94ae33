"""Judgement tables and the scores of their pairs in; every agreement figure out."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from perceptbench.agreement import rating
from perceptbench.agreement.figures import Figure, figures
from perceptbench.agreement.items import Items, collect
from perceptbench.agreement.magnitude import in_range
from perceptbench.agreement.ranking import PEOPLE, SMALLER_IS_BETTER, Key, compare, first, tiers
from perceptbench.agreement.resampling import (
    INTERVALS,
    bca_interval,
    jackknife_interval,
    percentile_intervals,
)
from perceptbench.agreement.significance.dependent_correlations import (
    meng_rosenthal_rubin,
    steiger,
)
from perceptbench.datasets.judgements import Judgements
from perceptbench.errors import UsageError

Array = NDArray[np.float64]

COLUMNS = (
    "dataset", "slice", "metric", "statistic", "value", "low", "high", "n", "units", "interval",
    "tier", "p_first", "in_domain", "display", "note",
)  # fmt: skip
COMPARISON = (
    "dataset", "slice", "statistic", "a", "b", "difference", "low", "high", "p", "p_holm",
    "p_meng", "p_steiger", "n",
)  # fmt: skip
NO_ITEM, UNDEFINED = "no item to count", "undefined on these items"
ONE_UNIT = "no interval: there is one unit to resample"
NO_INTERVAL = "no interval: no finite number on too many of the resamples"
#: Groups of units left out in turn where a statistic is dear.
GROUPS = 20


@dataclass
class Evaluation:
    """What `evaluate` found.

    Attributes
    ----------
    table : the agreement table.
    comparisons : paired differences of all metrics on the leaderboard's columns.
    samples : the resamples behind these, by column: one row a resample, one column a metric.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    samples: dict[Key, pd.DataFrame] = field(default_factory=dict)


def agreement(
    judgements: Judgements, scores: pd.DataFrame, *, metrics: Sequence[str], **options: Any
) -> pd.DataFrame:
    """How well each metric agrees with people on one judgement table: `evaluate`'s table."""
    return evaluate([judgements], scores, metrics=metrics, **options).table


def evaluate(
    parts: Sequence[Judgements],
    scores: pd.DataFrame,
    *,
    metrics: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
    interval: str = "percentile",
    stress_power: Mapping[str, float | None] | None = None,
    in_domain: Mapping[str, Collection[str]] | None = None,
    ranked_only: bool = False,
) -> Evaluation:
    """How well each metric agrees with people, on every judgement table and its parts.

    Parameters
    ----------
    parts : judgement tables.
    scores : ``reference, distorted`` and one column of distances a metric; with a column
        ``dataset``, the rows of each table's dataset are used.
    metrics : the columns of `scores` to evaluate.
    resamples, seed : of the bootstrap. The resamples of a table depend on the seed and the
        table's name only, and all metrics and statistics see the same ones.
    interval : ``percentile`` or ``bca``.
    stress_power : metric -> power its distance is raised to before STRESS, which wants a
        distance in proportion to the perceived difference: 0.5 for squared ones, None where
        there is no such power (STRESS is then undefined), 1 where a metric is not named.
    in_domain : dataset -> metrics that were trained on it.
    ranked_only : the leaderboard's columns only, and no parts of tables.

    Returns
    -------
    Evaluation. Its table has one row a slice, metric and statistic: ``low, high`` bound the 95 %
    interval of the kind named in ``interval``, ``n`` is the number of judged items, ``units`` how
    many things were resampled; ``tier`` and ``p_first`` are given for the leaderboard's columns.
    Undefined figures are NaN and ``note`` says why. People are rows too, as ``human`` and
    ``oracle``, where the judgements tell how far they agreed. Besides the whole table there is a
    slice for each ``distortion``, band of ``level`` and ``category`` where it has such columns,
    with fewer resamples (`items.PART_RESAMPLES`) behind its intervals.

    Raises
    ------
    UsageError : `interval` is neither of the two.
    """
    if interval not in INTERVALS:
        raise UsageError(f"there is no interval {interval!r}; use {' or '.join(INTERVALS)}")
    named = {(part.dataset, part.slice) for part in parts}
    tables, comparisons = [], []
    samples: dict[Key, pd.DataFrame] = {}
    for part in parts:
        known = scores
        if "dataset" in scores:
            known = scores[scores["dataset"] == part.dataset].drop(columns="dataset")
        items = collect(part, known, metrics, resamples, entropy(part, seed), stress_power or {})
        trained = (in_domain or {}).get(part.dataset, ())
        found = []
        bar = tqdm(desc=f"agreement on {part.dataset}", unit=" figures", leave=False, disable=None,
                   delay=2)  # fmt: skip
        for figure in figures(items, only=part.statistics if ranked_only else ()):
            bar.update()
            if ranked_only and figure.statistic not in part.statistics:
                continue
            rows, drawn = _rows(figure, items, interval)
            if figure.statistic in part.statistics and not set(figure.metrics) & set(PEOPLE):
                column = (part.dataset, part.slice, figure.statistic)
                samples[column] = drawn
                pairs = _compare(figure, items, drawn)
                comparisons.append(_named(pairs, *column))
                rows = _with_places(rows, pairs, drawn)
            found.append(rows.assign(slice=part.slice))
        for column_name, value, fewer in () if ranked_only else items.parts():
            if (part.dataset, value) in named:
                continue  # the dataset has a table of this part of its own
            name = f"{column_name}={value}"
            name = name if part.slice == "all" else f"{part.slice} {name}"
            for figure in figures(fewer, whole=False):
                bar.update()
                found.append(_rows(figure, fewer, "percentile")[0].assign(slice=name))
        bar.close()
        if not found:
            continue
        table = pd.concat(found, ignore_index=True).assign(dataset=part.dataset)
        table = table.assign(in_domain=table["metric"].isin(list(trained)), display=part.display)
        tables.append(table)
    empty = pd.DataFrame(columns=list(COMPARISON))
    nothing = pd.DataFrame(columns=list(COLUMNS))
    return Evaluation(
        pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else nothing,
        pd.concat(comparisons, ignore_index=True)[list(COMPARISON)] if comparisons else empty,
        samples,
    )


def entropy(part: Judgements, seed: int) -> tuple[int, int]:
    """What the resamples of a table are drawn from: the seed and the table's name."""
    return seed, zlib.crc32(f"{part.dataset}/{part.slice}/{part.protocol}".encode())


def _named(table: pd.DataFrame, dataset: str, part: str, statistic: str) -> pd.DataFrame:
    return table.assign(dataset=dataset, slice=part, statistic=statistic)


def _rows(figure: Figure, items: Items, interval: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of one figure without their places, and its resamples (none of a dear one)."""
    m, resampler = len(figure.metrics), figure.by or items.resampler
    bounds: list[tuple[float, float]] = [(np.nan, np.nan)] * m
    drawn = np.zeros((0, m))
    kind = "jackknife" if figure.dear else interval
    defined = not np.isnan(figure.value).all()
    if figure.resampled is None or not defined or resampler.units < 2:
        kind = ""
    elif figure.dear:
        left = figure.resampled(resampler.jackknife(GROUPS))
        bounds = [jackknife_interval(v, x) for v, x in zip(figure.value, left.T, strict=True)]
        bounds = [tuple(np.clip(both, *figure.bounds)) for both in bounds]
    else:
        drawn = figure.resampled(resampler)
        if interval == "bca":
            left = figure.resampled(resampler.jackknife())
            bounds = [
                bca_interval(x, v, out)
                for x, v, out in zip(drawn.T, figure.value, left.T, strict=True)
            ]
        else:
            bounds = list(zip(*percentile_intervals(drawn), strict=True))
    undefined = np.isnan(figure.value)
    notes = []
    for note, lost, (low, _) in zip(figure.notes or [""] * m, undefined, bounds, strict=True):
        if lost:
            note = note or (UNDEFINED if figure.n else NO_ITEM)
        elif np.isnan(low):
            note = "; ".join(filter(None, (note, ONE_UNIT if resampler.units < 2 else NO_INTERVAL)))
        notes.append(note)
    drawn = np.where(undefined[None], np.nan, drawn)
    table = pd.DataFrame(
        {
            "metric": list(figure.metrics),
            "statistic": figure.statistic,
            "value": figure.value,
            "low": [np.nan if u else b[0] for u, b in zip(undefined, bounds, strict=True)],
            "high": [np.nan if u else b[1] for u, b in zip(undefined, bounds, strict=True)],
            "n": figure.n,
            "units": resampler.units,
            "interval": ["" if u else kind for u in undefined],
            "tier": "",
            "p_first": np.nan,
            "note": notes,
        }
    )
    return table, pd.DataFrame(drawn, columns=list(figure.metrics))


def _with_places(rows: pd.DataFrame, pairs: pd.DataFrame, drawn: pd.DataFrame) -> pd.DataFrame:
    """The rows with the metrics' tiers and how often each is first, where resamples tell."""
    if drawn.empty:
        return rows
    smaller = rows["statistic"].iloc[0] in SMALLER_IS_BETTER if len(rows) else False
    ranked = rows.dropna(subset="value").sort_values("value", ascending=smaller, kind="stable")
    names = list(ranked["metric"])
    letter = tiers(pairs, names)
    share = dict(zip(names, first(drawn[names].to_numpy(), smaller), strict=True))
    return rows.assign(
        tier=[letter.get(m, "") for m in rows["metric"]],
        p_first=[share.get(m, np.nan) for m in rows["metric"]],
    )


def _compare(figure: Figure, items: Items, drawn: pd.DataFrame) -> pd.DataFrame:
    """Every pair of the figure's metrics that is defined, with the parametric tests beside it."""
    value = dict(zip(figure.metrics, figure.value, strict=True))
    names = [m for m in figure.metrics if not np.isnan(value[m])]
    pairs = compare(drawn[names], value, (figure.by or items.resampler).units)
    pairs = pairs.assign(n=figure.n, p_meng=np.nan, p_steiger=np.nan)
    if figure.statistic not in ("srcc", "plcc") or not len(pairs):
        return pairs
    place = {m: i for i, m in enumerate(items.metrics)}
    x = in_range(items.distances[0][:, [place[m] for m in names]], axis=0)
    if figure.statistic == "srcc":
        x = np.stack([rating.midranks(c, np.ones(len(c))) for c in x.T], axis=1)
    between = pd.DataFrame(np.corrcoef(x.T), names, names)
    a, b = (pairs[side].map(value).to_numpy(float) for side in "ab")
    sides = zip(pairs["a"], pairs["b"], strict=True)
    ab = np.array([between.at[i, j] for i, j in sides], dtype=float)
    return pairs.assign(
        p_meng=meng_rosenthal_rubin(a, b, ab, figure.n)[1],
        p_steiger=steiger(a, b, ab, figure.n)[1],
    )
