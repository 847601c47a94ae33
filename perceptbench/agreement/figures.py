"""Every figure of one set of judged items, each with how much every unit matters to it.

A `Figure` is one statistic of several metrics: its value on all items and its spread
(`perceptbench.agreement.units`). What the statistics mean stands in `two_alternative`, `rating`,
`same_different` and `significance`; here is only which of them an item set has, and how each
item's influence on them is had.

A metric whose distances are all equal is *blind*: it has the figure that chance has.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from perceptbench.agreement import (
    influence,
    logistic,
    people,
    rating,
    same_different,
    two_alternative,
)
from perceptbench.agreement.attained import ends
from perceptbench.agreement.items import ITEM_PARTS, Items
from perceptbench.agreement.magnitude import in_range, largest
from perceptbench.agreement.significance import krasula, resolving_power
from perceptbench.agreement.units import FEWEST, Spread, Totals, Units, of_left_out
from perceptbench.datasets.judgements.protocols import LARGEST

Array = NDArray[np.float64]
Found = TypeVar("Found")

#: Threads, and fewer numbers than which to start them takes longer than to do without.
THREADS, FEW_NUMBERS = 2, 10_000
CORRELATIONS = ("srcc", "krcc", "plcc")
OF_REFERENCES = {f"{statistic}_within_reference" for statistic in CORRELATIONS}
OF_FITS = {"plcc_logistic4", "plcc_logistic5", "rmse", "rmse_star", "outlier_ratio"}
OF_PAIRS = {*krasula.STATISTICS, "resolving_power"}
#: Pairs of items that Krasula's analysis and the resolving power look at; where there are more, so
#: many are drawn by chance.
PAIRS, DRAWN = 10_000_000, 1_000_000
#: Pairs of those from which it is told how a figure without an influence varies.
FEW_PAIRS = 100_000
#: What is worked out anew without each of the raters, where they vary: the others cost too much.
OVER_RATERS = {"2afc", "jnd_ap", *CORRELATIONS, *OF_REFERENCES}
#: Groups of units left out in turn where there is no influence to be had, fewer of many items.
GROUPS, FEW_GROUPS, MANY_ITEMS = 100, 20, 20_000
#: Kurtosis of a metric's distances from which the raw PLCC has no interval that holds.
HEAVY = 9.0
CONSTANT, SAME = "all distances are equal", "all judgements are equal"
BLIND = "blind: all its distances are equal, which is chance"
SPLIT = "people are evenly split on every item"
ALONE = "there is no other reference to predict from"
CHANCE = "people agree no more than by chance"
NOBODY = "nobody took any pair for the same"
WITHIN = "within every reference all distances, or all judgements, are equal"
UNMATCHED = "a standard is at distance 0, or the distance of a pattern does not grow with contrast"
FLAT = "no rising curve predicts anything"
OBSERVER = "the ratings of one observer, or of the others, are all equal"
BOUND = "votes are not known: an upper bound, p² + (1-p)²"
HEAVY_TAILS = (
    "no interval: the metric's distances have heavy tails, on which no interval of a raw PLCC "
    "holds; plcc_logistic4 has one"
)
#: Of Krasula's analysis.
NO_PAIR = {
    "auc_ds": "people find every pair of items different, or none",
    "auc_bw": "people find no pair of items different",
    "cc_0": "people find no pair of items different",
    "thr": "people find every pair of items different",
}


@dataclass(frozen=True)
class Figure:
    """One statistic of several metrics."""

    statistic: str
    metrics: tuple[str, ...]
    value: Array  # on all items, (m,)
    spread: Spread | None  # how it varies; None where that is not known
    n: int  # items behind it
    notes: tuple[str, ...]  # of each; ``no interval ...``: that of this one does not hold
    scale: str = "plain"  # on which it is symmetric, of `inference.SCALES`

    @property
    def units(self) -> int:
        """How many units it varies over; 0 where its spread is not known."""
        return 0 if self.spread is None else self.spread.units

    @property
    def sure(self) -> Spread | None:
        """Its spread, where that is known and of enough units for an interval."""
        enough = self.spread is not None and self.spread.totals and self.units >= FEWEST
        return self.spread if enough else None


def figures(items: Items, whole: bool = True, only: Collection[str] = ()) -> Iterator[Figure]:
    """Every figure of the items, one after the other; for a part of a table the main ones only.

    `only` spares what is dear and not among these statistics: further ones may come all the same.
    Every metric has a distance for every item (`Items.answered` takes care of that).
    """
    make = {"2afc": _two_alternative, "rating": _ratings, "same_different": _same_different}
    found, of = make[items.protocol](items, whole, only), make[items.protocol]
    again = OVER_RATERS.intersection(only or OVER_RATERS)
    if not again or not items.groups_of_raters:
        yield from found
        return
    changes = _over_raters(items, lambda less: of(less, whole, again))
    for figure in found:
        yield _with_people(figure, items, changes.get((figure.statistic, figure.metrics)))


def _over_raters(
    items: Items, make: Callable[[Items], Iterator[Figure]]
) -> dict[tuple[str, tuple[str, ...]], Array]:
    """Figures without each group of raters on each part of the items, (groups, parts, metrics).

    NaN where they said nothing there.
    """
    found: dict[tuple[str, tuple[str, ...]], Array] = {}
    shape = (items.groups_of_raters, ITEM_PARTS)
    for group, part, less in items.without_raters():
        for figure in make(less):
            key = (figure.statistic, figure.metrics)
            each = found.setdefault(key, np.full((*shape, len(figure.metrics)), np.nan))
            each[group, part] = figure.value
    return found


def _with_people(figure: Figure, items: Items, without: Array | None) -> Figure:
    """The figure with a spread over raters beside that over units.

    The jackknife over (groups of) raters: what a rater changes in two parts of the items alike is
    the rater's; what it changes in one alone is noise that the units have counted already.
    """
    spread = figure.spread
    if without is None or spread is None or not spread.totals:
        return figure
    groups, parts, _ = without.shape
    change = np.nan_to_num(without - figure.value)
    change = change - change.mean(axis=0)
    change *= np.sqrt((groups - 1) / groups * parts / (parts - 1))
    totals = ((1, change.sum(axis=1)), (-1, change.reshape(groups * parts, -1)))
    return _varied(figure, items, totals, groups)


def _varied(figure: Figure, items: Items, totals: tuple[Totals, ...], groups: int) -> Figure:
    """The figure with what raters add to its spread, said in its notes."""
    assert figure.spread is not None
    said = f"{people.counted(items.votes):,} raters vary too"
    notes = tuple(
        note if np.isnan(v) else "; ".join(filter(None, (note, said)))
        for note, v in zip(figure.notes, figure.value, strict=True)
    )
    return replace(figure, spread=replace(figure.spread, people=totals, groups=groups), notes=notes)


def _figure(
    items: Items, statistic: str, metrics: Sequence[str], value: ArrayLike,
    each: Array | Spread | None, undefined: str = "", *, scale: str = "plain",
    n: int | None = None, notes: Sequence[str] = (), by: Units | None = None, slope: bool = False,
) -> Figure:  # fmt: skip
    """A figure from influences (n, m) or a spread; `undefined` is why a value is NaN.

    `slope`: it is a correlation, see `Spread.of_a_slope`.
    """
    values = np.asarray(value, dtype=float)
    spread = each if each is None or isinstance(each, Spread) else None
    if isinstance(each, np.ndarray):
        spread = (by or items.units).spread(np.nan_to_num(each))
        spread = spread.of_a_slope() if slope else spread
    said = [
        "; ".join(filter(None, (undefined if np.isnan(v) else "", note)))
        for note, v in zip(notes or [""] * len(metrics), values, strict=True)
    ]
    n = len(items.table) if n is None else n
    return Figure(statistic, tuple(metrics), values, spread, n, tuple(said), scale)


def _mean(
    items: Items, statistic: str, metrics: Sequence[str], each: Array, undefined: str = "",
    scale: str = "share", notes: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """The mean over items of `each` (n, m); items where it is NaN are left out."""
    each = each.reshape(len(each), len(metrics))
    value, on = influence.mean(each)
    n = int((~np.isnan(each)).any(axis=1).sum())
    return _figure(items, statistic, metrics, value, on, undefined, scale=scale, n=n, notes=notes)


def blind(items: Items) -> NDArray[np.bool_]:
    """Which metrics say the same of every item, (m,): equal distances, or equal ones of a and b."""
    x = items.distances
    if items.protocol == "2afc":
        return np.asarray((x[0] == x[1]).all(axis=0))
    return np.asarray((x[0] == x[0][:1]).all(axis=0))


def _two_alternative(items: Items, whole: bool, only: Collection[str]) -> Iterator[Figure]:
    a, b = items.distances
    p, names = items.table["p_b"].to_numpy(float), items.metrics
    notes = [BLIND if off else "" for off in blind(items)]
    score = two_alternative.score(a, b, p)
    yield _mean(items, "2afc", names, score, notes=notes)
    # Outcomes without shares (p_b 0, 1/2 or 1 throughout) hide how far people agreed.
    shares = not np.isin(p, (0, 0.5, 1)).all()
    known = items.two_people
    human = two_alternative.human(p) if known is None else known
    bound = BOUND if known is None else ""
    best = np.where(items.adaptive, np.nan, two_alternative.oracle(p))
    shares &= bool((np.isfinite(human) & np.isfinite(best)).any())
    if shares:
        yield _mean(items, "2afc", ("human",), human, notes=(bound,))
        yield _mean(items, "2afc", ("oracle",), best)
    if not whole:
        return
    yield _mean(items, "2afc_majority", names, two_alternative.majority(a, b, p), SPLIT)
    yield from _subset_means(items, "2afc", names, score)
    if shares:
        for who, each in (("human", human), ("oracle", best)):
            if np.isfinite(each).all():
                yield from _subset_means(items, "2afc", (who,), each[:, None])
        yield from _of_ceiling(items, score, human, best, bound)
        each = two_alternative.likelihood(p, p)
        yield _mean(items, "log_likelihood", ("oracle",), each, scale="plain")
    if names and (not only or "log_likelihood" in only):
        of = partial(two_alternative.cross_validated, p_b=p, groups=items.folds)
        each = np.stack([of(*sides) for sides in zip(a.T, b.T, strict=True)], axis=1)
        yield _mean(items, "log_likelihood", names, each, ALONE, scale="plain")


def _subset_means(
    items: Items, statistic: str, metrics: Sequence[str], each: Array
) -> Iterator[Figure]:
    """The mean over categories of the mean in each, where there are several."""
    groups = _categories(items)
    if len(groups) > 1:
        value, on = influence.mean_of_means(each, groups)
        yield _figure(items, f"{statistic}_subset_mean", metrics, value, on, scale="share")


def _of_ceiling(
    items: Items, score: Array, human: Array, best: Array, bound: str
) -> Iterator[Figure]:
    """The part of the way from guessing to the ceiling, by metrics and by a person."""
    top, slope = ends("2afc", items)[1], 1.0
    agree = np.where(np.isnan(best), top, best)
    if not bound:
        agree = np.where(np.isnan(human), np.nanmean(human), human)
        mean, step = float(agree.mean()), 1e-6
        slope = float(two_alternative.ceiling(mean + step) - two_alternative.ceiling(mean - step))
        slope /= 2 * step
        note = "the ceiling is a model: true shares follow a symmetric beta distribution"
    else:
        note = "votes are not known: the ceiling, mean max(p, 1-p), is an upper bound"
    on_top = slope * (agree - agree.mean())[:, None]
    known = [("human", human[:, None])] if not bound else []
    for names, each in ((items.metrics, score), *(((who,), x) for who, x in known)):
        each = np.where(np.isnan(each), np.nanmean(each, axis=0), each)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(top > 0.5, (each.mean(axis=0) - 0.5) / (top - 0.5), np.nan)
            on = (each - each.mean(axis=0) - value * on_top) / (top - 0.5)
        yield _figure(
            items, "2afc_of_ceiling", names, value, on, CHANCE, notes=(note,) * len(names)
        )


def _same_different(items: Items, whole: bool, only: Collection[str]) -> Iterator[Figure]:
    p = items.table["p_same"].to_numpy(float)
    named = [("jnd_ap", [np.arange(len(p))])]
    if whole and len(categories := _categories(items)) > 1:
        named.append(("jnd_ap_subset_mean", categories))
    notes = [BLIND if off else "" for off in blind(items)]
    # The best order there is: what most people took for the same comes first.
    sides = ((items.metrics, items.distances[0], notes), (("oracle",), -p[:, None], [""]))
    for statistic, parts in named:
        undefined = "in a category " * (len(parts) > 1) + NOBODY
        for metrics, distances, said in sides:
            of = partial(_precision, distances, p, parts)
            yield _left_out(items, statistic, metrics, of, undefined, said)


def _precision(
    distances: Array, p: Array, parts: Sequence[NDArray[np.intp]], kept: NDArray[np.bool_]
) -> Array:
    """The mean over parts of the precision among the items that are kept."""
    some = [rows[kept[rows]] for rows in parts]
    each = [same_different.jnd_ap(distances[rows], p[rows]) for rows in some if len(rows)]
    return np.mean(each, axis=0) if each else np.full(distances.shape[1], np.nan)


def _left_out(
    items: Items, statistic: str, metrics: Sequence[str], of: Callable[[NDArray[np.bool_]], Array],
    undefined: str, notes: Sequence[str] = (), scale: str = "share",
) -> Figure:  # fmt: skip
    """A figure whose spread is had by leaving out groups of units: `of` some of the items."""
    everything = np.ones(len(items.table), dtype=bool)
    value = of(everything)
    codes = items.units.codes
    most = FEW_GROUPS if len(codes) > MANY_ITEMS else GROUPS
    unit = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
    groups = min(int(unit.max(initial=0)) + 1, most)
    spread = Spread((), items.units.count, 1.0)
    if groups > 1 and not np.isnan(value).all():
        group = np.where(codes >= 0, unit % groups, -1)
        left = np.stack([of(~(group == g).any(axis=1)) for g in range(groups)])
        spread = of_left_out(left, items.units.count)
    return _figure(items, statistic, metrics, value, spread, undefined, scale=scale, notes=notes)


def _categories(items: Items) -> list[NDArray[np.intp]]:
    """The items of each category, where there is such a column."""
    if "category" not in items.table:
        return []
    codes, names = pd.factorize(items.table["category"], use_na_sentinel=False)
    return [np.flatnonzero(codes == code) for code in range(len(names))]


def _ratings(items: Items, whole: bool, only: Collection[str]) -> Iterator[Figure]:
    for statistic in CORRELATIONS:
        if not only or statistic in only:
            yield _correlation(items, statistic)
            yield from _attainable(items, statistic)
    if not whole or not len(items.table):
        return
    if "impairment" in items.table and (not only or "stress" in only):
        yield _stress(items)
    if set(items.table) >= rating.MATCHING and (items.table["pattern"] == "standard").any():
        yield _matching(items)
    for make, there in (
        (_within_reference, OF_REFERENCES), (_fitted, OF_FITS), (_resolution, OF_PAIRS),
    ):  # fmt: skip
        if items.metrics and (not only or not there.isdisjoint(only)):
            yield from make(items)
    if items.observers is not None and items.observers.shape[1] > 1:
        statistics = [*CORRELATIONS, "stress"] if "impairment" in items.table else CORRELATIONS
        for statistic in statistics:
            yield _one_against_others(items, statistic)


def _columns(
    of: Callable[[Array, Array], tuple[float, Array]], x: Array, y: Array
) -> tuple[Array, Array]:
    """Values (m,) and influences (n, m) of all columns."""
    if not x.size:
        return np.full(x.shape[1], np.nan), np.zeros(x.shape)
    found = _each(lambda column: of(column, y), x)
    return np.array([value for value, _ in found]), np.stack([on for _, on in found], axis=1)


def _each(of: Callable[[Array], Found], x: Array) -> list[Found]:
    """What `of` says of every column."""
    if x.size < FEW_NUMBERS:  # threads would only wait for each other
        return [of(column) for column in x.T]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(of, x.T))


def _correlation(items: Items, statistic: str) -> Figure:
    """One of CORRELATIONS; 0 of a blind metric, undefined where people say the same of all."""
    x, y = items.distances[0], items.badness
    value, on = _columns(getattr(influence, statistic), x, y)
    varied = len(y) > 1 and bool(np.ptp(y) > 0)
    off = blind(items) & varied
    notes = [BLIND if blank else "" for blank in off]
    if statistic == "plcc":
        heavy = _kurtosis(x) > HEAVY
        notes = [HEAVY_TAILS if h and not n else n for h, n in zip(heavy, notes, strict=True)]
    reason = "fewer than two judgements" if len(y) < 2 else SAME
    if varied:
        reason = CONSTANT
    return _figure(
        items, statistic, items.metrics, np.where(off, 0.0, value), on, reason,
        scale="correlation", notes=notes, slope=True,
    )  # fmt: skip


def _kurtosis(x: Array) -> Array:
    """Fourth moment around the mean over the squared second, of each column; 3 of a normal."""
    if not len(x):
        return np.zeros(x.shape[1])
    scaled = in_range(x, axis=0)
    apart = scaled - scaled.mean(axis=0)
    spread = np.abs(apart).max(axis=0)
    apart = apart / np.where(spread > 0, spread, 1)
    square = (apart**2).mean(axis=0)
    found: Array = (apart**4).mean(axis=0) / np.where(square > 0, square, 1) ** 2
    return found


def _attainable(items: Items, statistic: str) -> Iterator[Figure]:
    """The largest correlation to be expected with mean opinions as noisy as these are."""
    known = items.reliability
    std, raters = items.deviations or (None, None)
    if statistic == "krcc" or np.isnan(known) or std is None or raters is None:
        return
    note = f"a model: the root of the reliability of the mean opinions, {known:.3f}"
    # 1 - noise / total, of which every item has its own.
    total = (items.badness - items.badness.mean()) ** 2
    on = ((1 - known) * total - std**2 / raters) / total.mean()
    on = on / (2 * np.sqrt(known)) if known > 0 else np.zeros(len(on))
    yield _figure(
        items, statistic, ("oracle",), np.sqrt([known]), on[:, None], scale="correlation",
        notes=(note,),
    )  # fmt: skip


def _stress(items: Items) -> Figure:
    x, y = items.distances[0].copy(), items.badness
    notes = []
    for i, metric in enumerate(items.metrics):
        power = items.stress_power.get(metric, 1.0)
        note = "STRESS needs distances in proportion to the difference" if power is None else ""
        if power is not None:
            x[:, i] = np.sign(x[:, i]) * np.abs(x[:, i]) ** power
            if rating.negative(x[:, i]) or rating.negative(y) or not x[:, i].any() or not y.any():
                note = "STRESS needs distances and impairments not negative and not all zero"
        notes.append(note)
    value, on = _columns(influence.stress, x, y)
    value = np.where([bool(note) for note in notes], np.nan, value)
    off = blind(items) & ~np.isnan(value)
    notes = [BLIND if blank else note for blank, note in zip(off, notes, strict=True)]
    return _figure(items, "stress", items.metrics, value, on, scale="share", notes=notes)


def _matching(items: Items) -> Figure:
    """How far the contrasts that a metric finds as strong as a standard are from people's."""
    contrast, strength, pattern = (
        items.table[c].to_numpy() for c in ("contrast", "impairment", "pattern")
    )
    each = [rating.matching_errors(x, contrast, strength, pattern) for x in items.distances[0].T]
    matched = rating.matched(strength, pattern)
    error = np.stack(each, axis=1) if each else np.zeros((len(pattern), 0))
    # What a metric has no match for is not left out: its figure is undefined.
    mean, on = influence.mean(np.where(matched[:, None], error**2, np.nan))
    lost = np.isnan(error[matched]).any(axis=0)
    value = np.sqrt(np.where(lost, np.nan, mean))
    off = blind(items)
    value = np.where(off, rating.physical_rmse(contrast, strength, pattern), value)
    with np.errstate(invalid="ignore", divide="ignore"):
        on = np.where(value > 0, on / (2 * value), 0)
    return _figure(
        items, "matching_rmse", items.metrics, value, on, UNMATCHED, scale="positive",
        n=int(matched.sum()), notes=[BLIND if blank else "" for blank in off],
    )  # fmt: skip


def _within_reference(items: Items) -> Iterator[Figure]:
    """The mean over references of each correlation among the items of one reference."""
    codes, _ = pd.factorize(items.table["reference"])
    if np.bincount(codes).max(initial=0) < rating.MIN_WITHIN or codes.max(initial=0) < 1:
        return
    x, y = items.distances[0], items.badness
    by_metric = [rating.within(column, y, codes) for column in x.T]
    by_reference = Units(*2 * (np.arange(codes.max() + 1)[:, None],))
    off = blind(items)
    for statistic in CORRELATIONS:
        each = np.stack([found[statistic] for found in by_metric], axis=1)
        value, on = influence.mean(each)
        some = np.isfinite(each).any(axis=1)
        same = not some.any() and all(np.ptp(y[codes == c]) == 0 for c in range(len(each)))
        yield _figure(
            items, f"{statistic}_within_reference", items.metrics,
            np.where(off & (not same), 0.0, value), on, WITHIN, scale="correlation",
            notes=[BLIND if blank else "" for blank in off], by=by_reference,
        )  # fmt: skip


def _fitted(items: Items) -> Iterator[Figure]:
    """Agreement after a rising curve that was fitted without the item's fold; none to stimuli."""
    if set(items.table) >= rating.STIMULUS:
        return
    x, y, n = items.distances[0], in_range(items.badness), len(items.table)
    unit = largest(items.badness) / (largest(y) or 1.0)
    predicted: dict[int, Array] = {}
    for parameters in (4, 5):
        fit = partial(logistic.cross_fitted, groups=items.folds, parameters=parameters)
        found = _each(lambda column: fit(column, y), x)  # noqa: B023
        predicted[parameters] = np.stack([p for p, _ in found], axis=1)
        fold = found[0][1]
        value, on = _columns(partial(influence.plcc, groups=fold), predicted[parameters], y)
        lost = np.isnan(predicted[parameters]).any(axis=0)
        flat = ~lost & np.isnan(value) & bool(np.ptp(y) > 0)
        yield _figure(
            items, f"plcc_logistic{parameters}", items.metrics, np.where(flat, 0.0, value), on,
            ALONE if lost.any() else SAME, scale="correlation",
            notes=[FLAT if f else "" for f in flat], slope=True,
        )  # fmt: skip
    # A curve fitted to a handful of items may run to where their squares overflow.
    error = unit * np.clip(predicted[4] - y[:, None], -LARGEST, LARGEST)
    yield _root_mean_square(items, "rmse", error)
    if items.deviations is None:
        return
    std, raters = items.deviations
    if raters is not None:
        beyond = np.maximum(np.abs(error.T) - rating.half_width(std, raters), 0)
        yield _root_mean_square(items, "rmse_star", beyond.T)
    missed = [rating.outliers(e, np.zeros(n), std, raters) for e in error.T]
    how = "" if raters is not None else "raters are not known: beyond twice the deviation"
    each = np.where(np.isnan(error), np.nan, np.stack(missed, axis=1))
    notes = (how,) * len(items.metrics)
    yield _mean(items, "outlier_ratio", items.metrics, each, ALONE, notes=notes)


def _root_mean_square(items: Items, statistic: str, error: Array) -> Figure:
    n = len(error)
    unit = largest(np.nan_to_num(error)) or 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (error / unit) ** 2
        value = np.sqrt(square.sum(axis=0) / (n - 1))
        on = np.where(value > 0, (square - square.mean(axis=0)) / (2 * value), 0)
    return _figure(
        items, statistic, items.metrics, value * unit, on * unit, ALONE, scale="positive"
    )


class RatedPairs(NamedTuple):
    """Pairs of rated items, for Krasula's analysis: items i and j, and -1, 0 or 1."""

    i: NDArray[np.intp]
    j: NDArray[np.intp]
    significance: Array
    note: str


def rated_pairs(items: Items) -> RatedPairs | None:
    """All pairs of the items, or DRAWN of more than PAIRS; None where no spread is known.

    The direction is that of the distances: larger is worse.
    """
    std, raters = items.deviations or (None, None)
    n, note = len(items.table), ""
    if std is None or raters is None or n < 2 or not (raters > 1).all() or not (std > 0).any():
        return None
    if (count := n * (n - 1) // 2) <= PAIRS:
        i, j = np.triu_indices(n, 1)
    else:
        i, j = np.random.default_rng(0).integers(0, n, (2, DRAWN))
        i, j = i[i != j], j[i != j]
        note = f"from {len(i):,} of {count:,} pairs, drawn by chance"
    return RatedPairs(i, j, krasula.significance(items.badness, std, raters, i, j), note)


def _resolution(items: Items) -> Iterator[Figure]:
    """Krasula's analysis and the resolving power, where the spread of the ratings is known."""
    pairs, (std, raters) = rated_pairs(items), items.deviations or (None, None)
    if pairs is None or std is None or raters is None:
        return
    n, m = len(items.table), len(items.metrics)
    shares = {s: of for s, of in krasula.STATISTICS.items() if s != "thr"}
    value = {s: np.full(m, np.nan) for s in shares}
    on = {s: np.zeros((n, m)) for s in shares}
    for k, x in enumerate(map(in_range, items.distances[0].T)):
        gap = x[pairs.i] - x[pairs.j]  # the largest there is: of one metric at a time
        for statistic, of in shares.items():
            value[statistic][k] = of(gap, pairs.significance)
            each = krasula.influence(statistic, gap, pairs.significance)
            # Of a mean over pairs, each half of whose influence is one item's.
            both = np.bincount(pairs.i, each, n) + np.bincount(pairs.j, each, n)
            on[statistic][:, k] = n * both / len(pairs.i)
    for statistic in shares:
        yield _figure(
            items, statistic, items.metrics, value[statistic], on[statistic], NO_PAIR[statistic],
            scale="share", notes=(pairs.note,) * m,
        )  # fmt: skip
    yield from _in_own_units(items, pairs, std * np.sqrt((raters - 1) / raters), raters)


def _in_own_units(items: Items, pairs: RatedPairs, std: Array, raters: Array) -> Iterator[Figure]:
    """What is in the metric's own unit and has no influence: by leaving out groups of units."""
    step = -(-len(pairs.i) // FEW_PAIRS)
    units, thrs, powers, fewer = [], [], [], []
    for own in items.distances[0].T:
        x = in_range(own)
        units.append(largest(own) / (largest(x) or 1.0))
        size, sure = resolving_power.confidence(x, items.badness, std, raters, pairs.i, pairs.j)
        # In the order of the gaps: what is sorted already is sorted again in no time.
        order = np.argsort(size, kind="stable")
        gap = x[pairs.i] - x[pairs.j]
        gap, sign, size, sure = (a[order] for a in (gap, pairs.significance, size, sure))
        thrs.append(krasula.thr(gap, sign))
        powers.append(resolving_power.resolving_power(size, sure))
        # Every so manieth stands for all where units are left out.
        fewer.append(tuple(a[::step].copy() for a in (order, gap, sign, size, sure)))

    def in_unit(values: Sequence[float]) -> Array:
        with np.errstate(over="ignore"):
            found = np.array(values) * np.array(units)
        return np.where(np.isinf(found), np.nan, found)

    def of(kept: NDArray[np.bool_], thr: bool) -> Array:
        if kept.all():
            return in_unit(thrs if thr else powers)
        some = kept[pairs.i] & kept[pairs.j]
        found = []
        for order, gap, sign, size, sure in fewer:
            here = some[order]
            if thr:
                found.append(krasula.thr(gap[here], sign[here]))
            else:
                found.append(resolving_power.resolving_power(size[here], sure[here]))
        return in_unit(found)

    never = "the mean confidence never crosses 95 %"
    notes = (pairs.note,) * len(items.metrics)
    for statistic, thr, why in (
        ("thr", True, NO_PAIR["thr"]), ("resolving_power", False, never),
    ):  # fmt: skip
        yield _left_out(
            items, statistic, items.metrics, partial(of, thr=thr), why, notes, "positive"
        )


def _one_against_others(items: Items, statistic: str) -> Figure:
    """Mean over observers of the statistic between one and the mean of the rest."""
    assert items.observers is not None
    ratings = items.observers if "impairment" in items.table else -items.observers
    n, asked = len(ratings), ~np.isnan(ratings)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = (np.nansum(ratings, axis=1)[:, None] - ratings) / (asked.sum(axis=1)[:, None] - 1)
    values, total = [], np.zeros(n)
    for own, rest in zip(ratings.T, others.T, strict=True):
        both = np.flatnonzero(np.isfinite(own) & np.isfinite(rest))
        if len(both) < rating.MIN_WITHIN:
            continue
        value, on = getattr(influence, statistic)(own[both], rest[both])
        if np.isnan(value) and not asked.all():
            continue  # one of a crowd who said the same of the few that were shown
        values.append(value)
        total[both] += on * n / len(both)
    k = len(values)
    value = np.array([np.mean(values) if values else np.nan])
    who = f"the same {k} observers throughout" if asked.all() else f"{k} raters"
    note = (f"one observer against the mean of the others; {who}",)
    scale = "share" if statistic == "stress" else "correlation"
    on = total[:, None] / max(k, 1)
    found = _figure(items, statistic, ("human",), value, on, OBSERVER, scale=scale, notes=note)
    if found.spread is None or k < FEWEST or not people.counted(items.votes):
        return found
    # Every observer has a value, and these are the sample of people.
    apart = (np.array(values) - value)[:, None] / np.sqrt(k * (k - 1))
    return _varied(found, items, ((1, apart),), k)
