"""A study: claims about pairs of metrics, each held against what people judged.

A study is a TOML file:

.. code-block:: toml

    title = "Does a trained network agree better with people than a random one?"

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

Conventions
-----------
A *difference* is how much better `better` agrees with people than `worse`, on the same resamples:
positive where the claim holds, also for figures of which small ones are good. It is *supported*
(*refuted*) on a figure where it is positive (negative) and its p, two-sided and corrected by Holm's
method over all claims and figures of that dataset, is below 5 %; else it is *undecided*. The
interval is the 95 % percentile interval, each side stretched by the ratio of Student's quantiles
at the corrected and at the plain level. A claim is supported (refuted) as a whole where it is on
one figure at least and on none refuted (supported).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError
from scipy.special import stdtrit

from perceptbench import toml
from perceptbench.agreement.evaluate import NO_ITEM
from perceptbench.agreement.ranking import SIGNIFICANT, SMALLER_IS_BETTER, Key, holm
from perceptbench.errors import UsageError, unknown
from perceptbench.metrics.registry import (
    LOSS_KEYS,
    Catalogue,
    MetricInfo,
    parse_info,
    select,
)
from perceptbench.reporting import notes
from perceptbench.reporting.leaderboard import Column, estimate, format_table
from perceptbench.reporting.markdown import code, escape
from perceptbench.reporting.run_folder import Run

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
UNDEFINED, NOT_RUN = "undefined", "not run"
COLUMNS = (
    "claim", "better", "worse", "dataset", "slice", "statistic", "better value", "worse value",
    "difference", "low", "high", "p", "p_holm", "n", "units", "verdict",
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
    claim: tuple[Claim, ...]
    metric: dict[str, _Own] = {}
    published: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What a study file says.

    Attributes
    ----------
    name, title : of the study.
    claims : in the order of the file.
    metrics : every metric that a claim names, once; none where scores are published ones.
    published : the datasets whose published scores it is about; its metrics are then theirs,
        ``NAME@VARIANT`` under a change of the images.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    metrics: list[MetricInfo]
    published: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Every metric that a claim names, once."""
        return list(dict.fromkeys(n for claim in self.claims for n in (claim.better, claim.worse)))


def shipped() -> dict[str, Path]:
    """The studies that come with the program: name -> file."""
    folder = Path(str(resources.files("perceptbench.studies")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_study(name: str, found: Catalogue) -> Study:
    """A study that comes with the program, or the one in a TOML file.

    Parameters
    ----------
    name : of the study, or a path that ends in ``.toml``.
    found : where metrics are looked up.

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
    if file.published:
        if file.metric:
            raise UsageError(f"{path}: metrics of one's own need images, not published scores")
        return Study(path.stem, file.title, file.claim, [], file.published)
    infos = [own[n] if n in own else _named(n, found, path) for n in names]
    return Study(path.stem, file.title, file.claim, infos)


def _named(name: str, found: Catalogue, path: Path) -> MetricInfo:
    """The metric of a name, which in the study is what it is called."""
    try:
        (info,) = select([str(path.parent / name) if name.endswith(".toml") else name], found)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return info.model_copy(update={"name": name})


def _own(
    name: str,
    table: _Own,
    own: Mapping[str, MetricInfo],
    found: Catalogue,
    source: str,
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
    """What a run says of each claim, by dataset and figure.

    Parameters
    ----------
    study : the claims.
    run : of the study's metrics (`perceptbench.run.run`).

    Returns
    -------
    DataFrame with COLUMNS; ``claim`` counts from 1. A claim with a metric that could not be had
    has one row, ``not run``; where a metric has no figure, the difference is ``undefined``.
    """
    rows = []
    figures = _rows_by(run.agreement, "metric")
    pairs = _rows_by(run.comparisons, "a", "b")
    for number, claim in enumerate(study.claims, start=1):
        start = {"claim": number, "better": claim.better, "worse": claim.worse}
        if not {claim.better, claim.worse} <= set(run.metrics):
            rows.append({**start, "verdict": NOT_RUN})
            continue
        for column in run.columns:
            nothing = {"value": np.nan, "n": 0, "units": 0}  # not one of its items was scored
            sides = [figures.get((*column.key, m), nothing) for m in (claim.better, claim.worse)]
            row = {
                **start,
                **dict(zip(("dataset", "slice", "statistic"), column.key, strict=True)),
                "better value": sides[0]["value"],
                "worse value": sides[1]["value"],
                "n": sides[0]["n"],
                "units": sides[0]["units"],
            }
            rows.append({**row, **_difference(pairs, column.key, claim)})
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    numbers = ["difference", "low", "high", "p", "p_holm"]
    table[numbers] = table[numbers].astype(float)
    ran = table["verdict"] != NOT_RUN
    by = table[ran].groupby("dataset")["p"]
    table.loc[ran, "p_holm"] = by.transform(lambda p: holm(p.to_numpy(float)))
    tests = by.transform("count")
    stretch = _stretch(table[ran], tests)
    for side in ("low", "high"):
        off = table.loc[ran, side] - table.loc[ran, "difference"]
        table.loc[ran, side] = table.loc[ran, "difference"] + off * stretch
    clear = table["p_holm"] < SIGNIFICANT
    verdict = np.select(
        [
            ~ran,
            table["difference"].isna(),
            clear & (table["difference"] > 0),
            clear & (table["difference"] < 0),
        ],
        [NOT_RUN, UNDEFINED, SUPPORTED, REFUTED],
        UNDECIDED,
    )
    return table.assign(verdict=verdict)


def _rows_by(table: pd.DataFrame, *names: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """The rows of a table by dataset, slice, statistic and `names`."""
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return {tuple(row[c] for c in ("dataset", "slice", "statistic", *names)): row for row in rows}


def _difference(
    pairs: Mapping[tuple[str, ...], Mapping[str, Any]], key: Key, claim: Claim
) -> dict[str, float]:
    """Paired difference, interval and p, positive where the claim holds."""
    for a, b, sign in ((claim.better, claim.worse, 1), (claim.worse, claim.better, -1)):
        if (*key, a, b) in pairs:
            found = pairs[(*key, a, b)]
            sign = -sign if key[2] in SMALLER_IS_BETTER else sign
            ends = sorted((sign * found["low"], sign * found["high"]))
            value = sign * found["difference"]
            return {"difference": value, "low": ends[0], "high": ends[1], "p": found["p"]}
    return {}  # undefined for one of them


def _stretch(table: pd.DataFrame, tests: pd.Series) -> pd.Series:
    """Student's quantile at the corrected level over that at 5 %.

    The corrected level is that of the difference's step in Holm's method, 5 % x p / p_holm.
    """
    share = (table["p"] / table["p_holm"]).where(table["p_holm"] > 0, 1 / tests)
    freedom = (table["units"].astype(float) - 1).clip(lower=1)
    at = stdtrit(freedom, 1 - SIGNIFICANT * share / 2)
    return pd.Series(at / stdtrit(freedom, 1 - SIGNIFICANT / 2), index=table.index)


def overall(found: Sequence[str]) -> str:
    """The verdict on a claim from those on its figures.

    >>> overall(["supported", "undecided"]), overall(["supported", "refuted"])
    ('supported', 'undecided')
    """
    if set(found) == {NOT_RUN}:
        return NOT_RUN
    clear = {SUPPORTED, REFUTED} & set(found)
    return clear.pop() if len(clear) == 1 else UNDECIDED


def page(study: Study, run: Run, table: pd.DataFrame, left_out: Mapping[str, str]) -> str:
    """The verdict as Markdown.

    Parameters
    ----------
    study, run : what was asked, what was found.
    table : `verdicts` of the two.
    left_out : dataset -> why it could not be used.
    """
    parts = [f"# {escape(study.title)}\n", *_where(run, left_out), "## The claims\n"]
    parts.append(_summary(study, table))
    parts.append(
        "A figure is a statistic of a dataset. A claim is supported (refuted) where it is on one "
        "figure at least and refuted (supported) on none; where figures contradict each other, "
        "it is undecided. Undecided is no evidence that two metrics are equal.\n"
    )
    parts += ["## The differences\n", _reading(run)]
    for number, claim in enumerate(study.claims, start=1):
        rows = table[table["claim"] == number]
        parts.append(f"### {number}. {escape(claim.text)}: {overall(list(rows['verdict']))}\n")
        parts.append(_figures(claim, run, rows))
    parts.append("## Where the numbers come from\n")
    parts.append("  \n".join(escape(line) for line in notes.provenance(run)) + "\n")
    if command := run.provenance.get("command"):
        parts.append(f"Made by {code(command)}.\n")
    return "\n".join(parts)


def _where(run: Run, left_out: Mapping[str, str]) -> list[str]:
    names = [escape(n) for n in dict.fromkeys(part.dataset for part in run.judgements)]
    said = [
        f"Run on {', '.join(names)}. The verdicts hold for the images judged there and the metrics "
        "named, and say nothing about other images, distortions or questions.\n"
    ]
    if left_out:
        said.append("Not run on:\n")
        said.append("".join(f"- {escape(n)}: {escape(why)}\n" for n, why in left_out.items()))
    return said


def _summary(study: Study, table: pd.DataFrame) -> str:
    """One line a claim: the verdict, and the figures that decide it."""
    rows = []
    for number, claim in enumerate(study.claims, start=1):
        found = table[table["claim"] == number]
        verdict = overall(list(found["verdict"]))
        told = []
        for kind in (SUPPORTED, REFUTED, UNDECIDED, UNDEFINED):
            here = found[found["verdict"] == kind].to_dict("records")
            clear = kind in (SUPPORTED, REFUTED)
            told.append(escape(", ".join(map(_title, here))) if clear else str(len(here)))
        if verdict == NOT_RUN:
            told = ["", "", "", ""]
        rows.append(
            [
                str(number),
                escape(claim.text),
                escape(claim.better),
                escape(claim.worse),
                f"**{verdict}**",
                *told,
            ]
        )
    header = ["#", "claim", "better", "worse", "verdict"]
    header += ["supported on", "refuted on", "undecided", "undefined"]
    return format_table(header, rows)


def _title(row: Mapping[Any, Any]) -> str:
    """The name of a row's figure."""
    return Column(row["dataset"], row["slice"], row["statistic"]).title


def _reading(run: Run) -> str:
    return (
        "A positive difference speaks for the claim. In brackets: the 95 % interval of paired "
        f"differences ({run.provenance['resamples']:,} bootstrap resamples), stretched to the "
        "level of Holm's correction over all claims and figures of the dataset. p is from the "
        "standard error of the difference; the verdict goes by the corrected p.\n"
    )


def _figures(claim: Claim, run: Run, rows: pd.DataFrame) -> str:
    if list(rows["verdict"]) == [NOT_RUN]:
        names = [name for name in (claim.better, claim.worse) if name in run.skipped]
        return "".join(f"Not run: {escape(name)}: {escape(run.skipped[name])}.\n" for name in names)
    trained = run.agreement[run.agreement["in_domain"].astype(bool)]
    seen = set(zip(trained["dataset"], trained["metric"], strict=True))
    body = []
    for row in rows.to_dict("records"):
        values = [
            _number(row[f"{side} value"]) + ("†" if (row["dataset"], name) in seen else "")
            for side, name in (("better", claim.better), ("worse", claim.worse))
        ]
        apart = estimate(row["difference"], row["low"], row["high"], places=3, sign="+")
        body.append(
            [escape(_title(row)), *values,
             apart, _p(row["p"]), _p(row["p_holm"]), str(int(row["n"])), str(row["verdict"])]
        )  # fmt: skip
    header = [
        "figure",
        *map(escape, (claim.better, claim.worse)),
        "difference",
        "p",
        "p (Holm)",
        "n",
        "verdict",
    ]
    text = format_table(header, body)
    text += "\n†: trained on this dataset.\n" if "†" in text else ""
    reasons = _reasons(claim, run, rows[rows["verdict"] == UNDEFINED])
    return text + (f"\n{reasons}" if reasons else "")


def _reasons(claim: Claim, run: Run, rows: pd.DataFrame) -> str:
    """Why each of these figures is undefined, as a list."""
    figures = _rows_by(run.agreement, "metric")
    found = []
    for row in rows.to_dict("records"):
        for metric in (claim.better, claim.worse):
            key = (row["dataset"], row["slice"], row["statistic"], metric)
            note = figures.get(key, {"note": NO_ITEM, "value": np.nan})
            if note["value"] != note["value"]:
                found.append(f"- {_title(row)} of {metric} is undefined: {escape(note['note'])}.\n")
    return "".join(found)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"


def _p(value: float) -> str:
    return "-" if value != value else "< 0.0001" if value < 1e-4 else f"{value:.4f}"
