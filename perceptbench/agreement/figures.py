"""Every figure of one set of judged items, each with the way it is resampled.

A `Figure` is one statistic of all metrics: its value on all items and a function from resamples
to values. What the statistics mean stands in `two_alternative`, `rating`, `same_different` and
`significance`; here is only which of them an item set has, and how their resamples are had
cheaply: as sums over clusters, or by `correlations`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from perceptbench.agreement import rating, same_different, two_alternative
from perceptbench.agreement.correlations import THREADS, correlations
from perceptbench.agreement.items import Items
from perceptbench.agreement.magnitude import in_range, largest
from perceptbench.agreement.ranking import PEOPLE
from perceptbench.agreement.resampling import Resampler
from perceptbench.agreement.significance import krasula, resolving_power
from perceptbench.datasets.judgements import LARGEST

Array = NDArray[np.float64]

CORRELATIONS = ("srcc", "krcc", "plcc")
OF_REFERENCES = {f"{statistic}_within_reference" for statistic in CORRELATIONS}
OF_FITS = {"plcc_logistic4", "plcc_logistic5", "rmse", "outlier_ratio"}
OF_PAIRS = {*krasula.STATISTICS, "resolving_power"}
#: Pairs of items that Krasula's analysis and the resolving power look at, drawn by chance where
#: there are more.
PAIRS = 100_000
#: Pairs of a same_different table beyond which a curve a resample takes too long.
DEAR = 100_000
CONSTANT, SAME = "all distances are equal", "all judgements are equal"
SPLIT = "people are evenly split on every item"
ALONE = "there is no other reference to predict from"
CHANCE = "people agree no more than by chance"
NOBODY = "nobody took any pair for the same"
WITHIN = "within every reference all distances, or all judgements, are equal"
UNMATCHED = "a standard is at distance 0, or the distance of a pattern does not grow with contrast"
FLAT = "the fitted curve is flat"
OBSERVER = "the ratings of one observer, or of the others, are all equal"
#: Of Krasula's analysis.
NO_PAIR = {
    "auc_ds": "people find every pair of items different, or none",
    "auc_bw": "people find no pair of items different",
    "cc_0": "people find no pair of items different",
    "thr": "people find every pair of items different",
}
RAW = "the logistic could not be fitted: raw values instead"
LINE = "the logistic could not be fitted: a straight line instead"


@dataclass(frozen=True)
class Figure:
    """One statistic of several metrics.

    Attributes
    ----------
    statistic, metrics : what of whom.
    value : on all items, (m,).
    resampled : resamples -> (R, m); None where there is no interval.
    notes : what has to be said of each, (m,).
    undefined : why it is undefined where it is and the note does not say.
    n : items behind it.
    dear : too expensive for thousands of resamples: its interval is the jackknife's.
    bounds : the range it can take, for intervals that do not know it.
    by : what is resampled, where it is not what the table says.
    """

    statistic: str
    metrics: tuple[str, ...]
    value: Array
    resampled: Callable[[Resampler], Array] | None
    n: int
    notes: tuple[str, ...] = ()
    undefined: str = ""
    dear: bool = False
    bounds: tuple[float, float] = (-np.inf, np.inf)
    by: Resampler | None = None


def figures(items: Items, whole: bool = True, only: Collection[str] = ()) -> Iterator[Figure]:
    """Every figure of the items, one after the other; for a part of a table the main ones only.

    `only` spares what is dear and not among these statistics: further ones may come all the same.

    A metric that lacks a distance has no figure of any kind: all metrics answer the same items.
    """
    lost = np.isnan(items.distances).any(axis=0).sum(axis=0)
    n = len(items.table)
    live: NDArray[np.bool_] = np.array([n > 0 and not count for count in lost], dtype=bool)
    make = {"2afc": _two_alternative, "rating": _ratings, "same_different": _same_different}
    found = map(_explained, make[items.protocol](items.of(live), whole, only))
    missing = tuple(m for m, there in zip(items.metrics, live, strict=True) if not there)
    notes = tuple(
        f"no finite distance for {count} of {n} judgements" if n else "no pair could be scored"
        for count in lost[~live]
    )
    for figure in found:
        yield _with_undefined(figure, missing, notes) if missing else figure


def _explained(figure: Figure) -> Figure:
    """The figure with its reason beside every value that is undefined."""
    notes = [
        "; ".join(filter(None, (figure.undefined if np.isnan(v) else "", note)))
        for note, v in zip(figure.notes or [""] * len(figure.metrics), figure.value, strict=True)
    ]
    return replace(figure, notes=tuple(notes))


def _with_undefined(figure: Figure, missing: tuple[str, ...], notes: tuple[str, ...]) -> Figure:
    if set(figure.metrics) & set(PEOPLE):
        return figure
    resampled = figure.resampled

    def padded(resampler: Resampler) -> Array:
        assert resampled is not None
        found = resampled(resampler)
        return np.hstack([found, np.full((len(found), len(missing)), np.nan)])

    return replace(
        figure,
        metrics=figure.metrics + missing,
        value=np.append(figure.value, np.full(len(missing), np.nan)),
        resampled=padded if resampled else None,
        notes=(figure.notes or ("",) * len(figure.metrics)) + notes,
    )


def _of_sums(
    statistic: str, metrics: Sequence[str], features: Array, of: Callable[[Array], Array], n: int,
    notes: tuple[str, ...] = (), undefined: str = "",
) -> Figure:  # fmt: skip
    """A function of sums over the items: `of` takes (R, k) sums of features (n, k) to (R, m)."""

    def quiet(sums: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):  # an empty resample is undefined
            return of(sums)

    value = quiet(features.sum(axis=0)[None])[0]
    names = tuple(metrics)
    return Figure(statistic, names, value, lambda r: quiet(r.sums(features)), n, notes, undefined)


def _means(statistic: str, metrics: Sequence[str], each: Array, undefined: str = "") -> Figure:
    """The mean over items of `each` (n, m); items where it is NaN are left out."""
    each = each.reshape(len(each), len(metrics))
    there: NDArray[np.bool_] = np.asarray(np.isfinite(each).any(axis=1))
    features = np.column_stack([np.where(there[:, None], each, 0), there])
    n = int(there.sum())
    return _of_sums(
        statistic, metrics, features, lambda s: s[:, :-1] / s[:, -1:], n, undefined=undefined
    )


def _two_alternative(items: Items, whole: bool, only: Collection[str]) -> list[Figure]:
    a, b = items.distances
    p = items.table["p_b"].to_numpy(float)
    names = items.metrics
    # Outcomes without shares (p_b 0, 1/2 or 1 throughout) hide how far people agreed.
    shares = not np.isin(p, (0, 0.5, 1)).all()
    ceilings = {"human": two_alternative.human(p), "oracle": two_alternative.oracle(p)}
    each = {"2afc": two_alternative.score(a, b, p)}
    if whole:
        each["2afc_majority"] = two_alternative.majority(a, b, p)
    found = [_means(name, names, values, SPLIT) for name, values in each.items()]
    if shares:
        found += [_means("2afc", (who,), values) for who, values in ceilings.items()]
    if not whole:
        return found
    found += _subset_means("2afc", names, each["2afc"], items)
    if shares:
        for who, values in ceilings.items():
            found += _subset_means("2afc", (who,), values[:, None], items)
        found += _of_ceiling(items, each["2afc"], p)
        found.append(_means("log_likelihood", ("oracle",), two_alternative.likelihood(p, p)))
    if only and "log_likelihood" not in only:
        return found
    folds = items.resampler.clusters
    folds = np.arange(len(p)) if folds is None else folds
    likelihoods = [
        two_alternative.cross_validated(a[:, i], b[:, i], p, folds) for i in range(len(names))
    ]
    if names:
        found.append(_means("log_likelihood", names, np.stack(likelihoods, axis=1), ALONE))
    return found


def _subset_means(
    statistic: str, metrics: Sequence[str], each: Array, items: Items
) -> list[Figure]:
    """The mean over categories of the mean in each, where there are several."""
    if not _several(items):
        return []
    codes, names = pd.factorize(items.table["category"], use_na_sentinel=False)
    subsets = [np.flatnonzero(codes == code) for code in range(len(names))]

    def resampled(resampler: Resampler) -> Array:
        mean = np.zeros((resampler.resamples, each.shape[1]))
        for rows in subsets:
            features = np.column_stack([each[rows], np.ones(len(rows))])
            sums = resampler.rows(rows).sums(features)
            with np.errstate(invalid="ignore", divide="ignore"):  # no item of it was drawn
                mean += sums[:, :-1] / sums[:, -1:]
        return mean / len(subsets)

    value = np.mean([each[rows].mean(axis=0) for rows in subsets], axis=0)
    return [Figure(f"{statistic}_subset_mean", tuple(metrics), value, resampled, len(each))]


def _of_ceiling(items: Items, score: Array, p: Array) -> list[Figure]:
    """The fraction of the ceiling reached, by metrics and by a person."""
    votes = pd.to_numeric(items.table.get("votes", pd.Series(dtype=float)), errors="coerce")
    if len(votes) == len(p) and ((votes > 1) & (votes < LARGEST)).all():
        people = two_alternative.two_people(p, votes.to_numpy(float))
        note = ""
    else:
        people = two_alternative.oracle(p)
        note = "votes are not known: the ceiling, mean max(p, 1-p), is not corrected for noise"
    person = people if not note else two_alternative.human(p)
    features = np.column_stack([score, person, people, np.ones(len(p))])

    m = len(items.metrics)

    def of(part: slice) -> Callable[[Array], Array]:
        def share(sums: Array) -> Array:
            means = sums[:, :-1] / sums[:, -1:]
            best = means[:, -1:] if note else two_alternative.ceiling(means[:, -1:])
            return two_alternative.of_ceiling(means[:, :-1], best)[:, part]

        return share

    name, n = "2afc_of_ceiling", len(p)
    return [
        _of_sums(name, items.metrics, features, of(slice(m)), n, (note,) * m, CHANCE),
        _of_sums(name, ("human",), features, of(slice(m, None)), n, (note,), CHANCE),
    ]


def _same_different(items: Items, whole: bool, only: Collection[str]) -> list[Figure]:
    p = items.table["p_same"].to_numpy(float)
    every: list[NDArray[np.intp]] = [np.arange(len(p))]
    subsets: list[NDArray[np.intp]] = []
    if whole and _several(items):
        codes, names = pd.factorize(items.table["category"], use_na_sentinel=False)
        subsets = [np.flatnonzero(codes == code) for code in range(len(names))]

    def figure(
        statistic: str,
        metrics: tuple[str, ...],
        distances: Array,
        parts: Sequence[NDArray[np.intp]],
    ) -> Figure:
        def precision(w: Array) -> Array:
            found = np.empty((len(w), len(metrics)))
            for i, x in enumerate(distances.T):
                each = [same_different.jnd_ap(x[rows], p[rows], w[:, rows]) for rows in parts]
                found[:, i] = np.mean(each, axis=0)
            return found

        def resampled(resampler: Resampler) -> Array:
            return np.concatenate([precision(w) for w in resampler])

        value, where = precision(np.ones((1, len(p))))[0], "in a category " * (len(parts) > 1)
        return Figure(
            statistic, metrics, value, resampled, len(p),
            dear=len(p) > DEAR, bounds=(0, 1), undefined=f"{where}{NOBODY}",
        )  # fmt: skip

    # The best order there is: what most people took for the same comes first.
    people = [("oracle", -p[:, None])] if len(p) else []
    found = []
    for name, parts in (("jnd_ap", every), ("jnd_ap_subset_mean", subsets)):
        if parts:
            found.append(figure(name, items.metrics, items.distances[0], parts))
            found += [figure(name, (who,), best, parts) for who, best in people]
    return found


def _several(items: Items) -> bool:
    """Whether the items are of several categories."""
    return "category" in items.table and items.table["category"].nunique(dropna=False) > 1


def _ratings(items: Items, whole: bool, only: Collection[str]) -> Iterator[Figure]:
    x, y, names = items.distances[0], items.badness, items.metrics
    for statistic in CORRELATIONS:
        yield _correlation(statistic, names, x, y)
    if not whole or not len(y):
        return
    if "impairment" in items.table:
        yield _stress(items)
    if {"pattern", "contrast"} <= set(items.table):
        yield _matching(items)
    for make, there in (
        (_within_reference, OF_REFERENCES), (_fitted, OF_FITS), (_resolution, OF_PAIRS),
    ):  # fmt: skip
        if not only or not there.isdisjoint(only):
            yield from make(items)
    if items.observers is not None and items.observers.shape[1] > 1:
        statistics = [*CORRELATIONS, "stress"] if "impairment" in items.table else CORRELATIONS
        for statistic in statistics:
            yield _one_against_others(statistic, items)


def _correlation(statistic: str, names: Sequence[str], x: Array, y: Array) -> Figure:
    """One of CORRELATIONS; undefined where a side is constant."""
    plain = rating.STATISTICS[statistic]
    value = np.array([float(plain(x[:, i], y)) if len(y) else np.nan for i in range(x.shape[1])])
    live = ~np.isnan(value)

    def resampled(resampler: Resampler) -> Array:
        found = np.full((resampler.resamples, x.shape[1]), np.nan)
        if live.any():
            found[:, live] = correlations(statistic, x[:, live], y, resampler)
        return found

    reason = "fewer than two judgements"
    if len(y) > 1:
        reason = CONSTANT if np.ptp(y) > 0 else SAME
    return Figure(statistic, tuple(names), value, resampled, len(y), undefined=reason)


def _stress(items: Items) -> Figure:
    x, y = items.distances[0].copy(), items.badness
    notes, value = [], []
    for i, metric in enumerate(items.metrics):
        power = items.stress_power.get(metric, 1.0)
        note = "STRESS needs distances in proportion to the difference"
        if power is not None:
            note = ""
            x[:, i] = np.sign(x[:, i]) * np.abs(x[:, i]) ** power
        value.append(np.nan if note else float(rating.stress(x[:, i], y)))
        if not note and np.isnan(value[-1]):
            note = "STRESS needs distances and impairments not negative and not all zero"
        notes.append(note)
    return Figure(
        "stress",
        items.metrics,
        np.array(value),
        lambda r: _stress_of(x, y, r),
        len(y),
        tuple(notes),
    )


def _stress_of(x: Array, y: Array, resampler: Resampler) -> Array:
    m, x, y = x.shape[1], in_range(x, axis=0), in_range(y)
    sums = resampler.sums(np.hstack([x * y[:, None], x * x, (y * y)[:, None]]))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = sums[:, :m] ** 2 / (sums[:, m : 2 * m] * sums[:, 2 * m :])
        return np.sqrt(np.clip(1 - share, 0, 1))


def _matching(items: Items) -> Figure:
    """Error of the contrasts that a metric finds as strong as a standard."""
    columns = (items.table[c].to_numpy() for c in ("contrast", "impairment", "pattern"))
    contrast, strength, pattern = columns
    each = [rating.matching_errors(x, contrast, strength, pattern) for x in items.distances[0].T]
    error, m = np.stack(each, axis=1) if each else np.zeros((len(pattern), 0)), len(each)
    matched = (pattern != "standard") & np.isin(strength, strength[pattern == "standard"])
    features = np.column_stack([np.where(matched[:, None], error**2, 0), matched])
    return _of_sums(
        "matching_rmse", items.metrics, features, lambda s: np.sqrt(s[:, :m] / s[:, m:]),
        int(matched.sum()), undefined=UNMATCHED,
    )  # fmt: skip


def _within_reference(items: Items) -> list[Figure]:
    """The mean over references of each correlation among the items of one reference."""
    codes, _ = pd.factorize(items.table["reference"])
    if np.bincount(codes).max(initial=0) < rating.MIN_WITHIN or codes.max(initial=0) < 1:
        return []
    x, y, found = items.distances[0], items.badness, []
    first, m = np.unique(codes, return_index=True)[1], items.distances.shape[2]
    by_metric = [rating.within(x[:, i], y, codes) for i in range(m)]
    for statistic in CORRELATIONS:
        each = np.full(x.shape, np.nan)
        for i in range(m):
            # One row stands for its reference, as which it is drawn.
            each[first, i] = by_metric[i][statistic]
        there = ~np.isnan(each)
        features = np.hstack([np.where(there, each, 0), there.astype(float)])
        name = f"{statistic}_within_reference"
        figure = _of_sums(
            name, items.metrics, features, lambda s: s[:, :m] / s[:, m:], len(y), undefined=WITHIN
        )
        found.append(replace(figure, by=items.by_reference))
    return found


def _fitted(items: Items) -> Iterator[Figure]:
    """What is left after a logistic: correlations, error and outliers; the curve stays fixed."""
    x, y, m = items.distances[0], in_range(items.badness), len(items.metrics)
    for parameters in (4, 5):
        with ThreadPoolExecutor(THREADS) as pool:
            curves = list(pool.map(rating.fit_logistic, x.T, repeat(y, m), repeat(parameters, m)))
        plain = np.stack([x[:, i] if c is None else c for i, c in enumerate(curves)], 1) if m else x
        figure = _correlation("plcc", items.metrics, plain, y)
        fitted, given = np.array([c is not None for c in curves]), ~np.isnan(figure.value)
        notes = tuple(np.select([fitted & given, fitted, given], ["", FLAT, RAW], figure.undefined))
        name = f"plcc_logistic{parameters}"
        yield replace(figure, statistic=name, notes=notes, undefined="")
        if parameters == 4:
            lines = tuple("" if c is not None else LINE for c in curves)
            predicted = [
                rating.straight_line(x[:, i], y) if c is None else c for i, c in enumerate(curves)
            ]
            predicted4 = np.stack(predicted, axis=1) if m else x
    square = (predicted4 - y[:, None]) ** 2
    features = np.column_stack([square, np.ones(len(y))])
    unit = largest(items.badness) / (largest(y) or 1.0)

    def root(sums: Array) -> Array:
        return unit * np.sqrt(sums[:, :-1] / sums[:, -1:])

    yield _of_sums("rmse", items.metrics, features, root, len(y), lines)
    if items.deviations is not None:
        std, raters = items.deviations
        missed = [rating.outliers(unit * c, items.badness, std, raters) for c in predicted4.T]
        if missed:
            figure = _means("outlier_ratio", items.metrics, np.stack(missed, axis=1))
            how = "" if raters is not None else "raters are not known: beyond twice the deviation"
            notes = tuple("; ".join(filter(None, (how, line))) for line in lines)
            yield replace(figure, notes=notes)


@dataclass(frozen=True)
class RatedPairs:
    """Pairs of rated items, for Krasula's analysis: items i and j, and -1, 0 or 1."""

    i: NDArray[np.intp]
    j: NDArray[np.intp]
    significance: Array


def rated_pairs(items: Items) -> RatedPairs | None:
    """All pairs of the items, or PAIRS of them; None where no spread of ratings is known.

    The direction is that of the distances: larger is worse.
    """
    std, raters = items.deviations or (None, None)
    n = len(items.table)
    if std is None or raters is None or n < 2 or not (raters > 1).all() or not (std > 0).any():
        return None
    if n * (n - 1) // 2 <= PAIRS:
        i, j = krasula.pairs(n)
    else:
        i, j = np.random.default_rng(0).integers(0, n, (2, PAIRS))
        i, j = i[i != j], j[i != j]
    return RatedPairs(i, j, krasula.significance(items.badness, std, raters, i, j))


def _resolution(items: Items) -> list[Figure]:
    """Krasula's analysis and the resolving power, where the spread of the ratings is known."""
    pairs, (std, raters) = rated_pairs(items), items.deviations or (None, None)
    if pairs is None or std is None or raters is None:
        return []
    i, j = pairs.i, pairs.j
    population = std * np.sqrt((raters - 1) / raters)
    columns, units = [], []
    for own in items.distances[0].T:
        x = in_range(own)
        units.append(largest(own) / (largest(x) or 1.0))
        gap, sure = resolving_power.confidence(x, items.badness, population, raters, i, j)
        # In the order of the gaps: what is sorted already is sorted again in no time.
        order = np.argsort(gap, kind="stable")
        columns.append((order, np.stack([x[i] - x[j], pairs.significance, gap, sure])[:, order]))

    def in_unit(values: ArrayLike, unit: Array) -> Array:
        with np.errstate(over="ignore"):
            found = np.asarray(values, dtype=float) * unit
        return np.where(np.isinf(found), np.nan, found)

    def figure(statistic: str, of: Callable[[Array], float], most: float, undefined: str) -> Figure:
        # What has no bound is in the metric's own unit.
        unit = np.array(units) if most == np.inf else np.ones(len(units))
        value = in_unit([of(each) for _, each in columns], unit)

        def left_out(resampler: Resampler) -> Array:
            kept = [w[i] * w[j] > 0 for chunk in resampler for w in chunk]
            found = [[of(each[:, some[order]]) for order, each in columns] for some in kept]
            return in_unit(np.array(found).reshape(len(kept), len(columns)), unit)

        notes = tuple(undefined if np.isnan(v) else "" for v in value)
        return Figure(
            statistic, items.metrics, value, left_out, len(items.table), notes,
            dear=True, bounds=(0, most),
        )  # fmt: skip

    found = [
        figure(name, partial(_krasula, of), np.inf if name == "thr" else 1, NO_PAIR[name])
        for name, of in krasula.STATISTICS.items()
    ]
    power, never = resolving_power.resolving_power, "the mean confidence never crosses 95 %"
    return [*found, figure("resolving_power", lambda each: power(*each[2:]), np.inf, never)]


def _krasula(of: Callable[[Array, Array], float], each: Array) -> float:
    return of(each[0], each[1])


def _one_against_others(statistic: str, items: Items) -> Figure:
    """Mean over observers of the statistic between one and the mean of the rest."""
    assert items.observers is not None
    ratings = items.observers if "impairment" in items.table else -items.observers
    others = (ratings.sum(1, keepdims=True) - ratings) / (ratings.shape[1] - 1)
    plain = rating.STATISTICS[statistic]
    each = [float(plain(a, b)) for a, b in zip(ratings.T, others.T, strict=True)]

    def resampled(resampler: Resampler) -> Array:
        fast = _stress_of if statistic == "stress" else _correlations_of(statistic)
        found = [fast(a[:, None], b, resampler) for a, b in zip(ratings.T, others.T, strict=True)]
        return np.mean(found, axis=0)

    note = ("one observer against the mean of the others",)
    return Figure(
        statistic, ("human",), np.array([np.mean(each)]), resampled, len(ratings), note, OBSERVER
    )


def _correlations_of(statistic: str) -> Callable[[Array, Array, Resampler], Array]:
    return lambda x, y, resampler: correlations(statistic, x, y, resampler)
