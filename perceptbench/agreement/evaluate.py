"""Judgement tables and the scores of their pairs in; every agreement figure out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from perceptbench.agreement.attained import ends
from perceptbench.agreement.figures import Figure, figures
from perceptbench.agreement.inference import all_pairs, holm, intervals, rank_sets
from perceptbench.agreement.items import Items, collect
from perceptbench.agreement.magnitude import in_range
from perceptbench.agreement.orders import same_order
from perceptbench.agreement.ranking import PEOPLE, SMALLER_IS_BETTER
from perceptbench.agreement.significance.dependent_correlations import (
    meng_rosenthal_rubin,
    steiger,
)
from perceptbench.agreement.units import FEWEST, ROUGH
from perceptbench.datasets.judgements.protocols import Judgements

Array = NDArray[np.float64]

#: `error`: the standard error. `of`: judged items, of which `n` were answered. `first, last`: the
#: places a metric may have in a column; `best`: whether it cannot be told from the best.
COLUMNS = (
    "dataset", "slice", "metric", "statistic", "value", "low", "high", "n", "of", "units",
    "error", "freedom", "first", "last", "best", "chance", "ceiling", "ceiling_known",
    "in_domain", "display", "note",
)  # fmt: skip
COMPARISON = (
    "dataset", "slice", "statistic", "a", "b", "a value", "b value", "difference", "low", "high",
    "p", "p_holm", "p_meng", "p_steiger", "error", "freedom", "units", "n",
)  # fmt: skip
NO_ITEM, UNDEFINED = "no item to count", "undefined on these items"
NO_SPREAD = "no interval: nothing varies between the units"


@dataclass
class Evaluation:
    """The agreement table; paired differences of all metrics on the leaderboard's columns, where of
    metrics that order everything alike (`orders.same_order`) the first stands for the others."""

    table: pd.DataFrame
    comparisons: pd.DataFrame


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
    stress_power: Mapping[str, float | None] | None = None,
    in_domain: Mapping[str, Collection[str]] | None = None,
    ranked_only: bool = False,
) -> Evaluation:
    """How well each metric agrees with people, on every judgement table and its parts.

    A metric is measured on the items it answered, and two metrics are compared on those that both
    did. Intervals and p values: `perceptbench.agreement.inference`.

    Parameters
    ----------
    parts : judgement tables.
    scores : ``reference, distorted`` and one column of distances a metric; with a column
        ``dataset``, the rows of each table's dataset are used.
    metrics : the columns of `scores` to evaluate.
    stress_power : metric -> power its distance is raised to before STRESS, which wants a
        distance in proportion to the perceived difference: 0.5 for squared ones, None where
        there is no such power (STRESS is then undefined), 1 where a metric is not named.
    in_domain : dataset -> metrics that were trained on it.
    ranked_only : the leaderboard's columns only, and no parts of tables.

    Returns
    -------
    Evaluation. Its table has one row a slice, metric and statistic: ``low, high`` bound the 95 %
    interval, ``n`` of ``of`` judged items were answered, ``units`` is how many things vary.
    ``first, last, best, chance, ceiling`` are given for the leaderboard's columns. Undefined
    figures are NaN and ``note`` says why. People are rows too, as ``human`` and ``oracle``, where
    the judgements tell how far they agreed. Besides the whole table there is a slice for each
    ``distortion``, band of ``level`` and ``category`` where it has such columns.
    """
    named = {(part.dataset, part.slice) for part in parts}
    stands_for = same_order(scores, metrics)
    tables, comparisons = [], []
    for part in parts:
        items = collect(part, scores, metrics, stress_power or {})
        found = []
        bar = tqdm(desc=f"agreement on {part.dataset}", unit=" figures", leave=False, disable=None,
                   delay=2)  # fmt: skip
        measured = _measured(items, bar, only=part.statistics if ranked_only else ())
        pairs = _pairs(items, measured, part.statistics, stands_for)
        for rows in _tables(items, measured):
            statistic = rows["statistic"].iloc[0]
            if ranked_only and statistic not in part.statistics:
                continue
            if statistic in part.statistics:
                here = pairs[pairs["statistic"] == statistic]
                trained = (in_domain or {}).get(part.dataset, ())
                rows = _with_places(rows, here, stands_for, trained)
                chance, ceiling, known = ends(statistic, items)
                rows = rows.assign(chance=chance, ceiling=ceiling, ceiling_known=known)
            found.append(rows.assign(slice=part.slice))
        for value, name, fewer in () if ranked_only else items.parts(part.slice):
            if (part.dataset, value) in named:
                continue  # the dataset has a table of this part of its own
            for rows in _tables(fewer, _measured(fewer, bar, whole=False)):
                found.append(rows.assign(slice=name))
        bar.close()
        comparisons.append(pairs.assign(dataset=part.dataset, slice=part.slice))
        if found:
            trained = (in_domain or {}).get(part.dataset, ())
            table = pd.concat(found, ignore_index=True).reindex(columns=list(COLUMNS))
            table["in_domain"] = table["metric"].isin(list(trained))
            tables.append(table.assign(dataset=part.dataset, display=part.display))
    return Evaluation(_typed(tables, COLUMNS), _typed(comparisons, COMPARISON))


def _typed(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=list(columns))
    table = pd.concat(tables, ignore_index=True)[list(columns)]
    flags = [c for c in ("best", "ceiling_known") if c in table]
    return table.assign(**{c: table[c].astype("boolean").fillna(False).astype(bool) for c in flags})


@dataclass(frozen=True)
class Measured:
    """The figures of the metrics that answered the same items; of people, of no metric."""

    answered: NDArray[np.bool_]  # (items,)
    metrics: NDArray[np.bool_]  # (metrics,)
    figures: list[Figure]


def _measured(
    items: Items, bar: tqdm, whole: bool = True, only: Collection[str] = ()
) -> list[Measured]:
    """Every figure, metrics by the items they answered, people on all items."""
    everything = np.ones(len(items.table), dtype=bool)
    nobody = np.zeros(len(items.metrics), dtype=bool)
    found = []
    for mask, here in [(everything, nobody), *_patterns(items)]:
        some, kept = items.of(here).part(np.flatnonzero(mask)), []
        for figure in figures(some, whole, only):
            bar.update()
            if bool(set(figure.metrics) & set(PEOPLE)) != here.any():
                kept.append(figure)
        found.append(Measured(mask, here, kept))
    return found


def _tables(items: Items, measured: Sequence[Measured]) -> Iterator[pd.DataFrame]:
    """The rows of each statistic: all metrics, then people."""
    total = len(items.table)
    rows: dict[str, list[pd.DataFrame]] = {}
    for of in [*measured[1:], measured[0]]:
        unanswered = int((~of.answered).sum())
        for figure in of.figures:
            if figure.metrics:
                # Of a figure that is not one of all items, those it is of.
                found = _rows(figure, figure.n + unanswered)
                rows.setdefault(figure.statistic, []).append(found)
    there = np.atleast_1d(items.answered.any(axis=0))
    lost = [m for m, known in zip(items.metrics, there, strict=True) if not known]
    if not there.any():
        main = {"2afc": "2afc", "rating": "srcc", "same_different": "jnd_ap"}[items.protocol]
        rows.setdefault(main, [])
    for statistic, tables in rows.items():
        if lost:
            tables.append(_nothing(statistic, lost, total))
        if tables:
            yield pd.concat(tables, ignore_index=True)


def _patterns(items: Items) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(items answered, metrics that answered just these), complete ones first."""
    answered = items.answered
    if not answered.size:
        return []
    groups: dict[bytes, list[int]] = {}
    for k, column in enumerate(answered.T):
        groups.setdefault(np.packbits(column).tobytes(), []).append(k)
    order = sorted(groups.values(), key=lambda own: -int(answered[:, own[0]].sum()))
    return [
        (answered[:, own[0]], np.isin(np.arange(answered.shape[1]), own))
        for own in order
        if answered[:, own[0]].any()
    ]


def _nothing(statistic: str, metrics: Sequence[str], total: int) -> pd.DataFrame:
    note = f"no finite distance for any of {total} judgements" if total else NO_ITEM
    return pd.DataFrame({
        "metric": metrics, "statistic": statistic, "value": np.nan, "low": np.nan, "high": np.nan,
        "n": 0, "of": total, "units": 0, "error": np.nan, "freedom": np.nan, "note": note,
    })  # fmt: skip


def _rows(figure: Figure, total: int) -> pd.DataFrame:
    """The rows of one figure: values, intervals, and why there is none."""
    units = figure.units
    error = freedom = np.full(len(figure.metrics), np.nan)
    if figure.sure is not None:
        error, freedom = figure.sure.errors, figure.sure.freedoms
    low, high = intervals(figure.value, error, freedom, figure.scale)
    notes = []
    for k, note in enumerate(figure.notes):
        if np.isnan(figure.value[k]):
            note = note or (UNDEFINED if figure.n else NO_ITEM)
        elif "no interval" in note:
            low[k] = high[k] = np.nan
        elif figure.spread is not None and np.isnan(low[k]):
            why = NO_SPREAD if units >= FEWEST else too_few(units)
            note = "; ".join(filter(None, (note, why)))
        elif units < ROUGH and not np.isnan(low[k]):
            note = "; ".join(filter(None, (note, f"a rough interval: {units} units")))
        notes.append(note)
    undefined = np.isnan(figure.value)
    return pd.DataFrame({
        "metric": list(figure.metrics), "statistic": figure.statistic, "value": figure.value,
        "low": np.where(undefined, np.nan, low), "high": np.where(undefined, np.nan, high),
        "n": figure.n, "of": total, "units": units,
        "error": np.where(undefined, np.nan, error), "freedom": freedom, "note": notes,
    })  # fmt: skip


def too_few(units: int) -> str:
    """Why there is no interval."""
    return f"no interval: {units} unit{'s' * (units != 1)}, fewer than {FEWEST}"


def _pairs(
    items: Items, measured: Sequence[Measured], statistics: Collection[str],
    stands_for: Mapping[str, str],
) -> pd.DataFrame:  # fmt: skip
    """Every pair of metrics on the items both answered, corrected by column."""
    alone = np.array([m not in stands_for for m in items.metrics], dtype=bool)
    found = [
        _compare(figure, items.part(np.flatnonzero(of.answered)), stands_for)
        for of in measured[1:]
        for figure in of.figures
        if figure.statistic in statistics
    ]
    groups = [of for of in measured[1:] if (of.metrics & alone).any()]
    for one, two in combinations(groups, 2):
        some = items.of((one.metrics | two.metrics) & alone)
        some = some.part(np.flatnonzero(one.answered & two.answered))
        side = {m for m, on in zip(items.metrics, one.metrics, strict=True) if on}
        for figure in figures(some, only=statistics) if len(some.table) else ():
            if figure.statistic in statistics and not set(figure.metrics) & set(PEOPLE):
                table = _compare(figure, some, stands_for)
                across = [(a in side) != (b in side) for a, b in zip(table.a, table.b, strict=True)]
                found.append(table[across])
    columns = [c for c in COMPARISON if c not in ("dataset", "slice")]
    found = [table for table in found if len(table)]
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
    table = table.astype({"p": float})
    table["p_holm"] = table.groupby("statistic")["p"].transform(lambda p: holm(p.to_numpy(float)))
    return table.reindex(columns=columns)


def _compare(figure: Figure, items: Items, stands_for: Mapping[str, str]) -> pd.DataFrame:
    """Every pair of the figure's metrics that is defined, with the parametric tests beside it."""
    alone = np.array([m not in stands_for for m in figure.metrics], dtype=bool)
    there = np.flatnonzero(~np.isnan(figure.value) & alone)
    names = [figure.metrics[k] for k in there]
    value, spread, units, n = figure.value[there], figure.sure, figure.units, figure.n
    errors = freedom = np.full((len(there), len(there)), np.nan)
    if spread is not None:
        errors, freedom = (each[np.ix_(there, there)] for each in spread.differences)
    pairs = all_pairs(names, value, errors, freedom, units)
    i, j = np.triu_indices(len(names), 1)
    pairs = pairs.assign(
        statistic=figure.statistic, error=errors[i, j], freedom=freedom[i, j], units=units, n=n,
        p_meng=np.nan, p_steiger=np.nan,
    )  # fmt: skip
    if figure.statistic not in ("srcc", "plcc") or not len(pairs):
        return pairs
    place = [items.metrics.index(name) for name in names]
    x = in_range(items.distances[0][:, place], axis=0)
    if figure.statistic == "srcc":
        x = pd.DataFrame(x).rank().to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.atleast_2d(np.corrcoef(x.T))[i, j]
    tests = {"p_meng": meng_rosenthal_rubin, "p_steiger": steiger}
    return pairs.assign(**{p: of(value[i], value[j], between, n)[1] for p, of in tests.items()})


def _with_places(
    rows: pd.DataFrame, pairs: pd.DataFrame, stands_for: Mapping[str, str],
    trained: Collection[str],
) -> pd.DataFrame:  # fmt: skip
    """The rows of a column with the places each metric may have; none of one trained there."""
    defined = rows[~rows["metric"].isin([*PEOPLE, *trained])].dropna(subset="value")
    names = [m for m in defined["metric"] if m not in stands_for]
    smaller = rows["statistic"].iloc[0] in SMALLER_IS_BETTER
    # Without a p value nothing is known of places.
    sets = rank_sets(names if pairs["p"].notna().any() else [], pairs, smaller)
    mine = rows["metric"].map(lambda m: stands_for.get(m, m))
    mine = mine.where(~rows["metric"].isin(PEOPLE))
    return rows.assign(**{c: mine.map(sets[c].to_dict()) for c in ("first", "last", "best")})
