"""Who stands where over several datasets, how sure that is, and what to choose.

Conventions
-----------
*Attained agreement* of a metric on a dataset is the mean over its columns of the share of the way
from chance (0) to what people's own agreement allows (1), see `perceptbench.agreement.attained`.
It depends on no other metric. Every dataset (or group of datasets that ask the same) has one vote;
one whose slices ask different things has a vote in each of their groups. The errors of one
dataset's columns are taken to go all together, since they are of the same units: at most too wide.

*Over datasets*: random effects (DerSimonian and Laird 1986) with the interval of Hartung, Knapp
(2001, doi:10.1002/sim.1009), Sidik and Jonkman, and the *prediction interval* for a new dataset
(Higgins, Thompson and Spiegelhalter 2009, doi:10.1111/j.1467-985X.2008.00552.x), K - 1 degrees of
freedom. With one dataset there is no standing.

*Places*: which places a metric may have on average over these very datasets, from paired
differences on the datasets that both metrics stood on, corrected (Holm) over all pairs
(`inference.rank_sets`). Metrics are ordered by their mean difference to those that stood on all
datasets, each on its own datasets: a dataset that a metric could not be asked on neither helps nor
harms it.

Three kinds of missing: a blind metric has chance's figure and a vote; one that cannot be asked has
none there; one trained on a dataset has none there either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, stdtr, stdtrit

from perceptbench.agreement.inference import differences, holm, rank_sets
from perceptbench.agreement.ranking import PEOPLE, Key

Array = NDArray[np.float64]

#: How much worse than the best a metric may be, by statistic: a point of 2AFC, .01 of SRCC.
MARGIN = 0.01


@dataclass(frozen=True)
class Pooled:
    """Effects of several datasets together."""

    value: float  # the mean effect, and its 95 % interval
    low: float
    high: float
    new_low: float  # the 95 % prediction interval for a new dataset; NaN below three
    new_high: float
    p: float  # two-sided, that the mean effect is 0
    i2: float  # the share of the spread that is not sampling, in [0, 1]
    q_p: float  # that the datasets do not differ (Cochran's Q)
    error: float  # of the mean effect
    freedom: float


def random_effects(effects: ArrayLike, variances: ArrayLike) -> Pooled:
    """DerSimonian and Laird's mean with Hartung and Knapp's interval.

    Where the datasets do not differ the error is at least that of the fixed effect (Jackson, Law,
    Rucker and Schwarzer 2017, doi:10.1002/sim.7411).

    Parameters
    ----------
    effects, variances : (datasets,), two or more; variances may be 0.

    >>> found = random_effects([0.1, 0.2, 0.3], [0.01, 0.01, 0.01])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.2, -0.048, 0.448)
    """
    y, v = np.asarray(effects, dtype=float), np.asarray(variances, dtype=float)
    k = len(y)
    v = np.maximum(v, 1e-12 * max(float(np.ptp(y)) ** 2, 1e-12))
    w = 1 / v
    mean = (w @ y) / w.sum()
    q = float(w @ (y - mean) ** 2)
    scale = 2 * float(np.triu(np.outer(w, w), 1).sum() / w.sum())
    tau2 = max((q - (k - 1)) / scale, 0.0)
    w = 1 / (v + tau2)
    value = float((w @ y) / w.sum())
    error = float(np.sqrt((w @ (y - value) ** 2) / ((k - 1) * w.sum())))
    if tau2 == 0:  # datasets that happen to agree are no surer than their own errors
        error = max(error, float(1 / np.sqrt(w.sum())))
    freedom = k - 1
    t = float(stdtrit(freedom, 0.975))
    spread = t * np.sqrt(tau2 + error**2) if k > 2 else np.nan
    p = float(2 * stdtr(freedom, -abs(value) / error)) if error > 0 else float(value == 0)
    i2 = max(1 - (k - 1) / q, 0.0) if q > 0 else 0.0
    return Pooled(
        value, value - t * error, value + t * error, value - spread, value + spread, p, i2,
        float(chdtrc(k - 1, q)), error, freedom,
    )  # fmt: skip


def attained(
    agreement: pd.DataFrame, columns: Sequence[Key], groups: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Attained agreement, ``group, metric, value, error, columns``; arguments as of `standing`.

    In-domain and undefined figures have no row.
    """
    rows = _of_columns(agreement, columns)
    rows = rows[~rows["metric"].isin(PEOPLE) & rows["value"].notna()]
    rows = rows[~rows["in_domain"].astype(bool) & rows["chance"].notna()]
    rows = rows.astype(dict.fromkeys(("value", "error"), float))
    reach = _reach(rows)
    rows = rows[reach.notna()]
    share = (rows["value"] - rows["chance"]) / reach
    rows = rows.assign(value=share, error=rows["error"] / reach.abs())
    return _by_group(rows, ["metric"], groups)


def attained_pairs(
    agreement: pd.DataFrame,
    comparisons: pd.DataFrame,
    columns: Sequence[Key],
    groups: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Paired differences of attained agreement, ``group, a, b, value, error, freedom, units``."""
    ends = _of_columns(agreement, columns).drop_duplicates(["dataset", "slice", "statistic"])
    key = ["dataset", "slice", "statistic"]
    rows = comparisons.merge(ends.dropna(subset="chance")[[*key, "chance", "ceiling"]], on=key)
    trained = agreement[agreement["in_domain"].astype(bool)]
    seen = set(zip(trained["dataset"], trained["metric"], strict=True))
    fair = [
        (d, a) not in seen and (d, b) not in seen
        for d, a, b in zip(rows["dataset"], rows["a"], rows["b"], strict=True)
    ]
    rows = rows[np.array(fair, dtype=bool)]
    rows = rows.astype(dict.fromkeys(("difference", "error"), float))
    reach = _reach(rows)
    rows = rows.assign(value=rows["difference"] / reach, error=rows["error"] / reach.abs())
    return _by_group(rows, ["a", "b"], groups)


def _of_columns(agreement: pd.DataFrame, columns: Sequence[Key]) -> pd.DataFrame:
    key = pd.MultiIndex.from_frame(agreement[["dataset", "slice", "statistic"]])
    return agreement[key.isin(list(columns))]


def _reach(rows: pd.DataFrame) -> pd.Series:
    """The way from chance to the ceiling; NaN where there is none."""
    return (rows["ceiling"].astype(float) - rows["chance"].astype(float)).replace(0, np.nan)


def _groups_of(rows: pd.DataFrame, groups: Mapping[str, str] | None) -> list[str]:
    """What each row of a table with ``dataset`` and ``slice`` is counted under."""
    known = groups or {}
    return [
        known.get(f"{dataset}/{part}", known.get(dataset, dataset))
        for dataset, part in zip(rows["dataset"], rows["slice"], strict=True)
    ]


def _by_group(
    rows: pd.DataFrame, who: Sequence[str], groups: Mapping[str, str] | None
) -> pd.DataFrame:
    """The mean over the columns of each dataset, then over the datasets of each group."""
    rows = rows.assign(group=_groups_of(rows, groups))
    if "units" not in rows:
        rows = rows.assign(units=0)
    each = rows.groupby(["group", "dataset", *who], sort=False).agg(
        value=("value", "mean"), error=("error", "mean"), known=("error", "count"),
        freedom=("freedom", "min"), units=("units", "min"), columns=("value", "size"),
    )  # fmt: skip
    # An error that is not known makes that of the mean unknown.
    each["square"] = each["error"].where(each["known"] == each["columns"]) ** 2
    # Datasets of one group are separate samples.
    found = each.groupby(["group", *who], sort=False).agg(
        value=("value", "mean"), error=("square", "sum"), known=("square", "count"),
        size=("value", "size"), freedom=("freedom", "min"), units=("units", "min"),
        columns=("columns", "sum"),
    )  # fmt: skip
    error = np.sqrt(found["error"]) / found["size"]
    found["error"] = error.where(found["known"] == found["size"])
    return found.drop(columns=["known", "size"]).reset_index()


#: Columns of a standing.
STANDING = [
    "attained", "attained low", "attained high", "new low", "new high", "first", "last", "best",
    "stood", "of",
]  # fmt: skip


def standing(
    agreement: pd.DataFrame,
    comparisons: pd.DataFrame,
    columns: Sequence[Key],
    groups: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The metrics over all datasets, best first.

    Parameters
    ----------
    agreement, comparisons : of `evaluate`.
    columns : the figures to rank by.
    groups : dataset, or ``dataset/slice``, -> what it is counted under; itself where it is not
        named.

    Returns
    -------
    DataFrame indexed by metric with the columns of STANDING: NaN where there is one dataset or
    none of a metric's; ``stood`` of ``of`` datasets count for it.
    """
    each = attained(agreement, columns, groups)
    every = list(dict.fromkeys(m for m in agreement["metric"] if m not in PEOPLE))
    total = len(each["group"].unique())
    nothing = pd.DataFrame(index=pd.Index(every, name="metric"), columns=STANDING, dtype=float)
    nothing = nothing.assign(stood=each.groupby("metric").size().reindex(every).fillna(0), of=total)
    if total < 2:
        return nothing
    found = nothing.copy()
    for metric, rows in each.groupby("metric", sort=False):
        if len(rows) < 2:
            continue
        errors = rows["error"].to_numpy(float)
        # Where one is not known, all datasets weigh the same.
        known = errors if not np.isnan(errors).any() else np.zeros(len(errors))
        pooled = random_effects(rows["value"], known**2)
        found.loc[str(metric), STANDING[:5]] = [
            pooled.value, pooled.low, pooled.high, pooled.new_low, pooled.new_high,
        ]  # fmt: skip
    pairs = over_datasets(attained_pairs(agreement, comparisons, columns, groups))
    named = set(pairs["a"]) | set(pairs["b"])
    names = [m for m in every if m in named]
    sets = rank_sets(names, pairs, smaller=False) if pairs["p"].notna().any() else None
    if sets is not None:
        found[["first", "last", "best"]] = sets.reindex(every).astype(float)
    order = _order(each, total).reindex(every)
    return found.loc[order.sort_values(ascending=False, kind="stable", na_position="last").index]


def over_datasets(pairs: pd.DataFrame) -> pd.DataFrame:
    """``a, b, difference, low, high, p, p_holm, datasets``: the mean over the common datasets."""
    by = pairs.groupby(["a", "b"], sort=False)
    which = by.ngroup().to_numpy()
    found = by.agg(
        difference=("value", "mean"), freedom=("freedom", "sum"), units=("units", "sum"),
        datasets=("value", "size"),
    )  # fmt: skip
    # Not by pandas, which would pass over an error that is not known.
    square = pairs["error"].to_numpy(float) ** 2
    total = np.bincount(which, square, len(found))
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.bincount(which, square**2 / pairs["freedom"].to_numpy(float), len(found))
        freedom = total**2 / each
    found["freedom"] = np.where(freedom > 0, freedom, found["freedom"])
    found["error"] = np.sqrt(total) / found["datasets"]
    given = (found[c].to_numpy(float) for c in ("difference", "error", "freedom", "units"))
    found["low"], found["high"], found["p"] = differences(*given)
    names = ["difference", "low", "high", "p", "error", "freedom", "datasets"]
    return found[names].assign(p_holm=holm(found["p"].to_numpy(float))).reset_index()


def _order(each: pd.DataFrame, total: int) -> pd.Series:
    """What metrics are ordered by: the mean distance to those that stood on every dataset."""
    table = each.pivot(index="metric", columns="group", values="value")
    whole = table[table.notna().sum(axis=1) == total]
    centre = (whole if len(whole) else table).mean()
    return (table - centre).mean(axis=1)


def left_out(
    agreement: pd.DataFrame, columns: Sequence[Key], groups: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Who would stand first without each dataset in turn; for three datasets and more."""
    each = attained(agreement, columns, groups)
    names = list(dict.fromkeys(each["group"]))
    if len(names) < 3:
        return {}
    rest = {name: _order(each[each["group"] != name], len(names) - 1) for name in names}
    return {name: str(order.idxmax()) for name, order in rest.items()}


def not_worse(
    agreement: pd.DataFrame,
    comparisons: pd.DataFrame,
    columns: Sequence[Key],
    margin: float = MARGIN,
    groups: Mapping[str, str] | None = None,
) -> list[str]:
    """Metrics shown to be no worse than any other by more than `margin`, at 5 %.

    For each metric the hypothesis that some other is better by the margin or more is tested
    against all others (intersection-union), corrected (Holm) over the metrics. The margin is one
    of each figure as it is printed, 0.01 a point of 2AFC.
    """
    ends = _of_columns(agreement, columns).dropna(subset="chance")
    ends = ends.drop_duplicates(["dataset", "slice", "statistic"])
    reach = _reach(ends).abs()
    each_way = pd.DataFrame(
        {"group": _groups_of(ends, groups), "dataset": ends["dataset"], "one": 1 / reach}
    )
    by_dataset = each_way.groupby(["group", "dataset"])["one"].mean()
    allowed = margin * float(by_dataset.groupby("group").mean().mean())
    pairs = over_datasets(attained_pairs(agreement, comparisons, columns, groups))
    each = attained(agreement, columns, groups)
    total = len(each["group"].unique())
    stood = each.groupby("metric").size()
    compared = {*pairs["a"], *pairs["b"]}
    whole = pd.Index([m for m in stood.index[stood == total] if m in compared])
    pairs = pairs[pairs["a"].isin(whole) & pairs["b"].isin(whole)]
    error, freedom = (pairs[c].to_numpy(float) for c in ("error", "freedom"))
    worst = np.zeros(len(whole))
    for metric, sign in (("a", 1), ("b", -1)):
        ahead = sign * pairs["difference"].to_numpy(float) + allowed
        with np.errstate(invalid="ignore", divide="ignore"):
            p = stdtr(np.maximum(freedom, 1), -ahead / error)
        p = np.where(error > 0, p, np.where(ahead > 0, 0.0, 1.0))
        # An error that is not known shows nothing.
        p = np.where(np.isnan(error), 1.0, p)
        np.fmax.at(worst, whole.get_indexer(pairs[metric]), p)
    return list(whole[holm(worst) < 0.05]) if len(whole) > 1 else []
