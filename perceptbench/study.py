"""A study: claims about pairs of metrics, each held against what people judged.

A study is a TOML file:

.. code-block:: toml

    title = "Does a trained network agree better with people than a random one?"
    margin = 0.02             # optional: a difference within it is none, see below

    [[claim]]
    text = "Trained AlexNet features agree better than random ones"
    better = "alex-l2"        # a metric by its name, or one of the tables below
    worse = "mine"

    [metric.mine]             # as in a loss file
    like = "alex-l2"          # optional: the same as this one, but for the keys that follow;
                              # tables (backbone, input) are laid over its own
    backbone = { weights = "random" }
    each_tap = { reduction = "sum" }   # laid over every tap
    weights = [1, 2, 4, 8, 16]         # one a tap

    datasets = ["vision-card"]         # optional: what it is run on unless told otherwise
    options = { pairs = "published" }  # optional: how these are read, as `run --option`

    published = ["live"]      # optional: datasets of which, without images, published scores do
    [as_published]            # metric -> the published one that stands for it there
    alex-l2 = "lpips"

A study with `published` and no `as_published` is of published scores alone, by their own names.

Conventions
-----------
A *difference* is how much better `better` agrees with people than `worse`, on the items both
answered, as a share of the way from chance to what people allow
(`perceptbench.agreement.standing`): positive where the claim holds. The verdict on a claim comes
from its pooled effect over all datasets (random effects, Hartung-Knapp; with one dataset, that
one), p corrected by Holm's method over all claims of the study, which are one family:

- *supported* or *refuted*: p below 5 %, the effect positive or negative;
- *equivalent*: the pooled effect lies within the study's margin (two one-sided tests at 5 %);
- *differs between datasets*: none of these, and the datasets differ by more than sampling
  (Cochran's Q below 5 %);
- *undecided*: none of these.

The figures of single datasets stand below it with p values of their own, not corrected.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError

from perceptbench import toml
from perceptbench.agreement.evaluate import NO_ITEM
from perceptbench.agreement.inference import SIGNIFICANT, differences, holm, is_equivalent
from perceptbench.agreement.orders import same_order
from perceptbench.agreement.standing import attained_pairs, random_effects
from perceptbench.errors import UsageError, unknown
from perceptbench.metrics.registry import (
    LOSS_KEYS,
    Catalogue,
    MetricInfo,
    parse_info,
    select,
)
from perceptbench.reporting.leaderboard import estimate, format_table
from perceptbench.reporting.markdown import escape, origin
from perceptbench.reporting.result import Run

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
EQUIVALENT, DIFFERS = "equivalent", "differs between datasets"
UNDEFINED, NOT_RUN = "undefined", "not run"
#: What is too little to matter, as a share of the way from chance to what people allow: 0.02 of it
#: is a point of 2AFC where people all agree.
MARGIN = 0.02
COLUMNS = (
    "claim", "better", "worse", "dataset", "difference", "low", "high", "p", "p_holm", "q_p", "i2",
    "datasets", "units", "verdict",
)  # fmt: skip


class Claim(BaseModel):
    """One ``[[claim]]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    better: str
    worse: str


class _Own(BaseModel):
    """One ``[metric.NAME]``: the keys of a loss file, and what they start from."""

    model_config = ConfigDict(extra="allow", frozen=True)

    like: str | None = None
    each_tap: dict[str, Any] = {}
    weights: tuple[NonNegativeFloat, ...] | None = None
    tap: tuple[dict[str, Any], ...] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    margin: Annotated[float, Field(gt=0)] = MARGIN
    claim: tuple[Claim, ...]
    metric: dict[str, _Own] = {}
    datasets: tuple[str, ...] = ()
    options: dict[str, str] = {}
    published: tuple[str, ...] = ()
    as_published: dict[str, str] = {}


@dataclass(frozen=True)
class Study:
    """What a study file says, as the module's head explains it."""

    title: str
    claims: tuple[Claim, ...]
    metrics: list[MetricInfo]  # those that a claim names and that are computed, once
    margin: float = MARGIN
    datasets: tuple[str, ...] = ()  # none: all that is at hand
    options: Mapping[str, str] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    as_published: Mapping[str, str] = field(default_factory=dict)


def shipped() -> dict[str, Path]:
    """The studies that come with the program: name -> file."""
    folder = Path(str(resources.files("perceptbench.studies")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_study(name: str, found: Catalogue) -> Study:
    """A study that comes with the program, or the one in a file NAME.toml.

    Raises
    ------
    UsageError : there is no such study, or a key or a metric in it is wrong.
    """
    known = shipped()
    if not name.endswith(".toml") and name not in known:
        raise unknown("study", name, known, "study -h")
    path = known.get(name) or Path(name)
    try:
        file = _File.model_validate(toml.read(path, "study"))
    except ValidationError as error:
        raise UsageError(f"{path}: {toml.wrong_key(error)}") from None
    if not file.claim:
        raise UsageError(f"{path}: needs one or more [[claim]]")
    own: dict[str, MetricInfo] = {}
    for key, table in file.metric.items():
        own[key] = _own(key, table, own, found, str(path))
    names = list(dict.fromkeys(n for claim in file.claim for n in (claim.better, claim.worse)))
    for claim in file.claim:
        if claim.better == claim.worse:
            raise UsageError(f"{path}: claim {claim.text!r} names {claim.better} twice")
    theirs = file.as_published
    if wrong := [n for n in theirs if n not in names or not file.published]:
        raise UsageError(
            f"{path}: `as_published` {wrong[0]} needs a claim, and `published` datasets"
        )
    infos = []
    if file.published and not theirs:
        if file.metric:
            raise UsageError(f"{path}: metrics of one's own need images, not published scores")
        theirs = {name: name for name in names}
    else:
        computed = [n for n in names if n not in theirs or n in own or n in found.metrics]
        infos = [own[n] if n in own else _named(n, found, path) for n in computed]
    return Study(
        file.title, file.claim, infos, file.margin, file.datasets, file.options, file.published,
        theirs,
    )  # fmt: skip


def _named(name: str, found: Catalogue, path: Path) -> MetricInfo:
    """The metric of a name, which in the study is what it is called."""
    try:
        (info,) = select([str(path.parent / name) if name.endswith(".toml") else name], found)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return info.model_copy(update={"name": name})


def _own(
    name: str, table: _Own, own: Mapping[str, MetricInfo], found: Catalogue, source: str
) -> MetricInfo:
    """The metric of a table ``[metric.NAME]``."""
    where = f"{source}: metric {name}"
    given = dict(table.model_extra or {})
    if table.tap is not None:
        given["tap"] = list(table.tap)
    if (like := table.like) is not None:
        base = own[like] if like in own else _named(like, found, Path(source))
        if base.loss is None:
            raise UsageError(f"{where}: `like` needs a loss, and {like} is none")
        given = {"scale": base.scale, "trained_on": base.trained_on, **_laid(base.loss, given)}
    taps, weights = given.get("tap", ()), table.weights
    if (table.each_tap and not taps) or (weights is not None and len(weights) != len(taps)):
        raise UsageError(
            f"{where}: `each_tap` and `weights` (one a tap) need taps; it has {len(taps)}"
        )
    if taps:
        given["tap"] = [
            {**row, **table.each_tap, **({} if weights is None else {"weight": weights[i]})}
            for i, row in enumerate(taps)
        ]
    return parse_info(given, name, source, where)


def _laid(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a loss with others laid over them."""
    result = {key: base[key] for key in LOSS_KEYS if key in base}
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = {**result[key], **value} if both else value
    return result


def verdicts(study: Study, run: Run) -> pd.DataFrame:
    """What a run of its metrics says of each claim of a study, over all datasets and on each.

    COLUMNS; ``claim`` counts from 1. The first row of a claim, ``dataset`` empty, is its pooled
    effect and verdict; one row a dataset follows. A claim with a metric that could not be had is
    ``not run``; one without a difference on any dataset is ``undefined``.
    """
    keys = [column.key for column in run.columns]
    pairs = attained_pairs(run.agreement, run.comparisons, keys)
    stands_for = same_order(run.scores, run.metrics)
    known = {*run.agreement["metric"], *run.metrics}
    rows: list[dict[str, Any]] = []
    for number, claim in enumerate(study.claims, start=1):
        start = {"claim": number, "better": claim.better, "worse": claim.worse}
        if not {claim.better, claim.worse} <= known:
            rows.append({**start, "dataset": "", "verdict": NOT_RUN})
            continue
        better, worse = (stands_for.get(m, m) for m in (claim.better, claim.worse))
        here = _oriented(pairs, better, worse)
        if better == worse:  # of one ordering: no difference wherever it stood
            stood = pairs[(pairs["a"] == better) | (pairs["b"] == better)]
            here = stood.drop_duplicates("group").assign(value=0.0, error=0.0)
        rows.append({**start, "dataset": "", **_pooled(here, study.margin)})
        each: list[dict[str, Any]] = here.to_dict("records")  # type: ignore[assignment]
        for row in each:
            value, units = row["value"], row["units"]
            low, high, p = differences(value, row["error"], row["freedom"], int(units))
            rows.append({
                **start, "dataset": row["group"], "difference": value, "low": float(low),
                "high": float(high), "p": float(p), "units": units, "verdict": "",
            })  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    numbers = ["difference", "low", "high", "p", "p_holm", "q_p", "i2"]
    table[numbers] = table[numbers].astype(float)
    pooled = table["dataset"] == ""
    table.loc[pooled, "p_holm"] = holm(table.loc[pooled, "p"].to_numpy(float))
    clear = pooled & (table["p_holm"] < SIGNIFICANT)
    table.loc[clear & (table["difference"] > 0), "verdict"] = SUPPORTED
    table.loc[clear & (table["difference"] < 0), "verdict"] = REFUTED
    return table


def _oriented(pairs: pd.DataFrame, better: str, worse: str) -> pd.DataFrame:
    """The rows of two metrics, positive where the first agrees better."""
    one = pairs[(pairs["a"] == better) & (pairs["b"] == worse)]
    two = pairs[(pairs["a"] == worse) & (pairs["b"] == better)]
    rows = pd.concat([one, two.assign(value=-two["value"])])
    return rows[rows["value"].notna() & rows["error"].notna()]


def _pooled(here: pd.DataFrame, margin: float) -> dict[str, Any]:
    """The pooled effect of a claim and its verdict before significance is known."""
    if here.empty:
        return {"verdict": UNDEFINED, "datasets": 0}
    if len(here) == 1:
        row = here.iloc[0]
        value, error, freedom = float(row["value"]), float(row["error"]), float(row["freedom"])
        low, high, p = (float(v) for v in differences(value, error, freedom, int(row["units"])))
        found = {"difference": value, "low": low, "high": high, "p": p}
        apart = False
    else:
        pooled = random_effects(here["value"], here["error"] ** 2)
        value, error, freedom = pooled.value, pooled.error, pooled.freedom
        found = {
            "difference": value, "low": pooled.low, "high": pooled.high, "p": pooled.p,
            "q_p": pooled.q_p, "i2": pooled.i2,
        }  # fmt: skip
        apart = pooled.q_p < SIGNIFICANT
    verdict = DIFFERS if apart else UNDECIDED
    if is_equivalent(value, error, freedom, margin):
        verdict = EQUIVALENT
    return {**found, "datasets": len(here), "units": here["units"].sum(), "verdict": verdict}


def page(study: Study, run: Run, table: pd.DataFrame, left_out: Mapping[str, str]) -> str:
    """The verdict as Markdown; `left_out`: dataset -> why it could not be used."""
    parts = [f"# {escape(study.title)}\n", *_where(study, run, left_out), "## The claims\n"]
    parts += [_summary(study, table), _reading(study), "## Dataset by dataset\n"]
    for number, claim in enumerate(study.claims, start=1):
        rows = table[table["claim"] == number]
        parts.append(f"### {number}. {escape(claim.text)}: {rows['verdict'].iloc[0]}\n")
        parts.append(_forest(claim, run, rows))
    return "\n".join([*parts, *origin("##", run)])


def _where(study: Study, run: Run, left_out: Mapping[str, str]) -> list[str]:
    names = [escape(n) for n in dict.fromkeys(part.dataset for part in run.judgements)]
    own = not study.datasets or set(study.datasets) <= {part.dataset for part in run.judgements}
    read = "".join(f" ({escape(f'{k} = {v}')})" for k, v in study.options.items() if own)
    said = [
        f"Run on {', '.join(names)}{read}. The verdicts hold for the images judged there "
        "and the metrics named, and say nothing about other images, distortions or questions.\n"
    ]
    if left_out:
        said.append("Not run on:\n")
        said.append("".join(f"- {escape(n)}: {escape(why)}\n" for n, why in left_out.items()))
    if run.assumed:
        said.append("Assumed:\n")
        said.append("".join(f"- {escape(what)}\n" for what in run.assumed))
    return said


def _summary(study: Study, table: pd.DataFrame) -> str:
    """One line a claim: the verdict, and the pooled effect it rests on."""
    rows = []
    for number, claim in enumerate(study.claims, start=1):
        row = table[(table["claim"] == number) & (table["dataset"] == "")].iloc[0]
        count = "" if pd.isna(row["datasets"]) else str(int(row["datasets"]))
        rows.append([
            str(number), escape(claim.text), escape(claim.better), escape(claim.worse),
            f"**{row['verdict']}**", _estimate(row), _p(row["p_holm"]), count,
        ])  # fmt: skip
    header = ["#", "claim", "better", "worse", "verdict", "pooled difference", "p", "datasets"]
    return format_table(header, rows)


def _reading(study: Study) -> str:
    return (
        "A difference is one of attained agreement, the share of the way from chance (0) to what "
        "people allow (1); positive speaks for the claim. In brackets: its 95 % interval. The "
        "verdict goes by the pooled effect over the datasets (random effects, Hartung-Knapp), "
        "its p corrected by Holm's method over the claims of this study, which are one family; "
        "p values in a leaderboard belong to the family of its column. Equivalent: within "
        f"{study.margin:g} by two one-sided tests at 5 %. Differs between datasets: not pooled "
        "to a verdict, and the datasets differ by more than sampling (Cochran's Q below 5 %). "
        "Undecided is no evidence that two metrics are equal.\n"
    )


def _forest(claim: Claim, run: Run, rows: pd.DataFrame) -> str:
    """The effect on each dataset, the pooled one last, and the figures behind it."""
    if rows["verdict"].iloc[0] == NOT_RUN:
        names = [name for name in (claim.better, claim.worse) if name not in run.metrics]
        whys = [run.skipped.get(name, "no score of it is at hand") for name in names]
        return "".join(
            f"Not run: {escape(name)}: {escape(why)}.\n"
            for name, why in zip(names, whys, strict=True)
        )
    table: list[dict[str, Any]] = run.agreement.to_dict("records")  # type: ignore[assignment]
    key = ("dataset", "slice", "statistic", "metric")
    figures = {tuple(row[c] for c in key): row for row in table}
    body = []
    for row in rows[rows["dataset"] != ""].to_dict("records"):
        body.append([escape(str(row["dataset"])), _estimate(row), _p(row["p"]),
                     f"{row['units']:.0f}"])  # fmt: skip
    pooled = rows.iloc[0]
    spread = "" if np.isnan(pooled["i2"]) else f"I² {100 * pooled['i2']:.0f} %"
    body.append(["**all**", f"**{_estimate(pooled)}**", _p(pooled["p"]), spread])
    text = format_table(["dataset", "difference", "p (not corrected)", "units"], body)
    told = []
    for column in run.columns:
        nothing = {"value": np.nan, "note": NO_ITEM, "in_domain": False}
        sides = [figures.get((*column.key, m), nothing) for m in (claim.better, claim.worse)]
        values, lost = [], ""
        for name, side in zip((claim.better, claim.worse), sides, strict=True):
            undefined = side["value"] != side["value"]
            number = "-" if undefined else f"{side['value']:.3f}"
            values.append(number + "†" * bool(side["in_domain"]))
            lost += f" ({name} is undefined: {side['note']})" * undefined
        said = f"{column.title}: {' against '.join(values)}{lost}"
        told.append(f"- {escape(said)}\n")
    text += "\nThe figures, better against worse:\n\n" + "".join(told)
    return text + ("\n†: trained on this dataset; not counted.\n" if "†" in text else "")


def _estimate(row: Mapping[Any, Any] | pd.Series) -> str:
    return estimate(row["difference"], row["low"], row["high"], places=3, sign="+")


def _p(value: float) -> str:
    return "-" if value != value else "< 0.0001" if value < 1e-4 else f"{value:.4f}"
