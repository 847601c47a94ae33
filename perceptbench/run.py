"""The main job: judgements -> scores -> agreement -> leaderboard."""

import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perceptbench.agreement import evaluate
from perceptbench.agreement.alignment import alignment
from perceptbench.agreement.answers import directions, unanswered
from perceptbench.agreement.own_tables import Scores
from perceptbench.agreement.ranking import PEOPLE, in_domain
from perceptbench.agreement.standing import MARGIN
from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import Judgements, pairs
from perceptbench.datasets.perturbed import perturbed, unperturbed
from perceptbench.datasets.published import Published
from perceptbench.errors import DataError, Unavailable, UsageError, visible
from perceptbench.metrics.registry import Metric, MetricInfo, build
from perceptbench.reporting.notes import COMPUTED, NO_DEVICE
from perceptbench.reporting.result import STRESS_POWER, Run, board
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.options import DEFAULT, Options

#: Packages whose versions can move a number.
PACKAGES = ("perceptbench", "torch", "torchvision", "numpy", "scipy", "pandas", "lpips")
#: What is recorded of a metric.
RECORDED = {"title", "loss", "metric", "options", "scale", "citation", "trained_on"}


def join(
    found: Sequence[Published],
    datasets: Sequence[Dataset],
    computed: Collection[str],
    chosen: Collection[str] = (),
) -> list[Scores]:
    """Published scores as they join a run, each metric under a name that is its own.

    A metric has the name its authors gave it, but where another one has that name, too (one
    computed here, or of another score set): then it is ``SET:NAME``.

    Parameters
    ----------
    found : what was published of the datasets.
    datasets : what is run; the metrics computed are those of the ones with images.
    computed : names of the metrics that are computed.
    chosen : published metrics to take, by the set's names; all where none is named.
    """
    owners: dict[str, set[str]] = {}
    for scores in found:
        for name in scores.metrics:
            owners.setdefault(name.partition("@")[0], set()).add(scores.score_set.name)
    taken = set(computed) if any(d.at_hand for d in datasets) else set()
    brought = []
    for scores in found:
        known, whose = scores.score_set.metric, scores.score_set.name
        metrics = [m for m in scores.metrics if not chosen or chosen_in(m, whose, chosen)]
        names = {
            m: f"{whose}:{m}" if base in taken or len(owners[base]) > 1 else m
            for m in metrics
            for base in [m.partition("@")[0]]
        }
        of = {names[m]: known[m.partition("@")[0]] for m in metrics}
        variant = {names[m]: scores.score_set.variant.get(m.partition("@")[2], "") for m in metrics}
        brought.append(
            Scores(
                f"published by {scores.score_set.by} ({whose})",
                scores.table[["reference", "distorted", *metrics]].rename(columns=names),
                sorted(names.values()),
                dataset=scores.dataset,
                records={
                    n: {
                        "title": m.title + (f"; {variant[n]}" if variant[n] else ""),
                        "citation": m.citation or scores.score_set.citation,
                        "trained_on": list(m.trained_on),
                        "published": whose,
                    }
                    for n, m in of.items()
                },
                here={n: m.here for n, m in of.items() if m.here is not None and "@" not in n},
                changes=scores.score_set.variant,
            )
        )
    return brought


def chosen_in(metric: str, score_set: str, chosen: Collection[str]) -> bool:
    """Whether a published metric, or all variants of it, is among those named."""
    base = metric.partition("@")[0]
    return bool({metric, base, f"{score_set}:{metric}", f"{score_set}:{base}"} & set(chosen))


def build_metrics(
    infos: Sequence[MetricInfo], weights_dir: Path | None
) -> tuple[list[Metric], dict[str, str], dict[str, str]]:
    """Builds what can be had.

    Returns
    -------
    metrics, skipped (metric -> reason), weights (file -> sha256).
    """
    if not infos:  # published scores alone need no torch
        return [], {}, {}
    from perceptbench.losses.config import Networks

    networks = Networks(weights_dir)
    built, skipped = [], {}
    for info in infos:
        try:
            built.append(build(info, networks))
        except Unavailable as error:
            skipped[info.name] = str(error)
    return built, skipped, networks.sha256


def run(
    datasets: Sequence[Dataset],
    infos: Sequence[MetricInfo],
    *,
    weights_dir: Path | None = None,
    options: Options = DEFAULT,
    command: str = "",
    brought: Sequence[Scores] = (),
    cost: bool = False,
    ranked_only: bool = False,
    perturb: Sequence[str] = (),
    apart: bool = True,
    margin: float = MARGIN,
    clock: Clock | None = None,
) -> Run:
    """Scores the datasets with the metrics and ranks the metrics by agreement with people.

    Results do not depend on the order of datasets and metrics: tables have them by name.

    Parameters
    ----------
    datasets : what people judged, under distinct names.
    infos : the metrics to rank; those that cannot be had are skipped and named.
    weights_dir : folder with network weights.
    options : how to score.
    command : what the user typed, for the record.
    brought : scores computed elsewhere, which join the ranking.
    cost : whether to measure what each metric costs alone, for the record.
    ranked_only : the leaderboard's figures only, on whole tables; for hundreds of metrics.
    perturb : changes of the distorted images (`perceptbench.datasets.perturbed`) under which every
        metric is computed again.
    apart : whether scores of changed images (``METRIC@CHANGE``) are held against those of the
        images as they are (`perceptbench.agreement.alignment`); else they rank as metrics do.
    margin : of a figure, what is too little to matter in the choice of a metric.
    clock : told what the time is spent on.

    Raises
    ------
    UsageError : no dataset, two of one name, an unusable device; two metrics of one name.
    DataError : no metric is left, or not one pair could be scored.
    """
    names = [dataset.name for dataset in datasets]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"datasets need distinct names, got {', '.join(names) or 'none'}")
    if any(dataset.at_hand for dataset in datasets):
        options = on_a_device(options)
    datasets = sorted(datasets, key=lambda dataset: dataset.name)
    infos = sorted(infos, key=lambda info: info.name)
    with_images = [dataset for dataset in datasets if dataset.at_hand]
    metrics, skipped, weights = build_metrics(infos if with_images else (), weights_dir)
    if not metrics and not any(own.dataset for own in brought):
        by_reason: dict[str, list[str]] = {}
        for metric, why in skipped.items():
            by_reason.setdefault(why, []).append(metric)
        reasons = "; ".join(f"{_few(found)}: {why}" for why, found in by_reason.items())
        raise DataError(f"no metric is left to rank ({reasons})")
    clock = clock or Clock()
    scores, failures, notes, precision = score_all(
        [perturbed(dataset, perturb) if perturb else dataset for dataset in with_images],
        metrics,
        options,
        weights_dir,
        clock,
    )
    if perturb and len(scores):
        scores = unperturbed(scores, [m.info.name for m in metrics])
    scores = pd.concat([scores, *_unscored(datasets, scores)], ignore_index=True)
    power = {m.info.name: STRESS_POWER[m.info.scale] for m in metrics}
    # Whether a score that was brought has a zero is not known, and without one there is no STRESS.
    power |= {name: None for own in brought for name in own.metrics}
    measured = {dataset.name: [m.info.name for m in metrics] for dataset in with_images}
    scores = _with_brought(scores, brought, measured)
    changes = _changes(scores, measured) if apart else {}
    if apart:
        measured = {name: [m for m in found if "@" not in m] for name, found in measured.items()}
    trained_on = {m.info.name: m.info.trained_on for m in metrics}
    trained_on |= {
        name: tuple(record.get("trained_on", ()))
        for own in brought
        for name, record in own.records.items()
    }
    columns = sorted({name for found in measured.values() for name in found})
    parts = [part for dataset in datasets for part in dataset.judgements]
    with clock.time("statistics"):
        found = evaluate(
            parts,
            scores,
            metrics=columns,
            stress_power=power,
            in_domain={
                name: found | {m for d in datasets if d.name == name for m in d.in_domain}
                for name, found in in_domain(names, trained_on).items()
            },
            ranked_only=ranked_only,
        )
    run_on = [
        metric in PEOPLE or metric in measured.get(dataset, ())
        for dataset, metric in zip(found.table["dataset"], found.table["metric"], strict=True)
    ]
    table = found.table[run_on].reset_index(drop=True)
    _explain(table, notes)
    falls = [
        alignment(dataset.judgements, scores, of, stress_power=_powers(power, of))
        for dataset in datasets
        if (of := changes.get(dataset.name))
    ]
    scores = scores[["dataset", "reference", "distorted", *columns]]
    result = Run(scores, table, pd.DataFrame(), parts, skipped, failures, found.comparisons)
    if falls:
        result.alignment = pd.concat(falls, ignore_index=True)
    result.broken = {
        f"{name} on {dataset}": why
        for (dataset, name), why in notes.items()
        if why.startswith("failed")
    }
    result.failed = _failed(parts, scores, [m.info.name for m in metrics], failures, notes, brought)
    result.assumed = [sentence for dataset in datasets for sentence in dataset.assumed]
    told = [f"{Path(own.source).name}: {what}" for own in brought for what in own.assumed]
    result.assumed += dict.fromkeys(told)
    for own in brought:
        there = [name for name in own.metrics if name in scores]
        for part in parts if not own.dataset else ():  # of those published the way is known
            result.assumed += directions(part, scores, there)
            result.broken |= _no_numbers(own, part)
    result.assumed += [
        f"{m.info.name} takes {dataset.name} to be seen at {m.info.pixels_per_degree:g} px/deg"
        for m in metrics
        for dataset in with_images
        if m.info.pixels_per_degree and None in _by_resolution(dataset.judgements)
    ]
    result.provenance = _provenance(datasets, metrics, weights, options)
    result.provenance |= {"command": command, "margin": margin}
    result.provenance["sources"] = {m.info.name: COMPUTED for m in metrics}
    for own in brought:
        source = visible(own.source if own.dataset else f"from {own.source}")
        result.provenance["sources"] |= dict.fromkeys(own.metrics, source)
        result.provenance["metrics"] |= {
            name: own.records.get(name, {"title": source}) for name in own.metrics
        }
    computed = {m.info.name for m in metrics}
    if beside := [row for own in brought for row in _beside(own, scores, computed)]:
        result.provenance["beside"] = beside
    sources = result.provenance["sources"]
    result.agreement["source"] = table["metric"].map(sources).fillna("")
    if falls:
        result.alignment["source"] = result.alignment["metric"].map(sources)
        result.provenance["changes"] = {k: v for own in brought for k, v in own.changes.items()}
    with clock.time("statistics"):
        result.board = board(result)
    if cost and metrics:
        with clock.time("cost"):
            from perceptbench.scoring.cost import costs  # needs torch: not without images

            callables, identities, _ = _scorable(metrics, None)
            for name, found_cost in costs(callables, identities, options).items():
                result.provenance["metrics"][name]["cost"] = found_cost
    if precision:
        result.provenance["rank_correlation_with_fp32"] = precision
    return result


def _failed(
    parts: Sequence[Judgements],
    scores: pd.DataFrame,
    metrics: Sequence[str],
    failures: pd.DataFrame,
    notes: Mapping[tuple[str, str], str],
    brought: Sequence[Scores],
) -> pd.DataFrame:
    """What each metric did not answer of each table, and why: the rows of ``failed.csv``."""
    found = []
    for part in parts:
        lost = failures[failures["dataset"] == part.dataset]
        reasons = {
            ("", x, y): str(why)
            for x, y, why in zip(
                *(lost[c] for c in ("reference", "distorted", "reason")), strict=True
            )
        }
        reasons |= {(m, "", ""): why for (name, m), why in notes.items() if name == part.dataset}
        found.append(unanswered(part, scores, metrics, reasons))
        found += [own.failed(part) for own in brought]
    return pd.concat(found, ignore_index=True)


def _no_numbers(own: Scores, part: Judgements) -> dict[str, str]:
    """``METRIC on DATASET`` -> how many cells of scores that were brought are no numbers."""
    failed = own.failed(part)
    keys = pd.MultiIndex.from_frame(failed[["metric", "reference", "distorted"]])
    failed = failed[keys.isin(own.reasons)]
    return {
        f"{metric} on {part.dataset}": f"has no number for {len(rows):,} judged pairs of "
        f"{own.source}, the first: {rows['reason'].iloc[0]}"
        for metric, rows in failed.groupby("metric")
    }


def _unscored(datasets: Sequence[Dataset], scores: pd.DataFrame) -> list[pd.DataFrame]:
    """The pairs of datasets without images, nothing computed of them."""
    tables = []
    for dataset in datasets:
        if not dataset.at_hand:
            table = pd.concat([pairs(part.table) for part in dataset.judgements]).drop_duplicates()
            tables.append(table.assign(dataset=dataset.name))
    return tables


def _with_brought(
    scores: pd.DataFrame, brought: Sequence[Scores], measured: dict[str, list[str]]
) -> pd.DataFrame:
    """The scores with the columns that were brought; notes in `measured` what is of which dataset.

    Raises
    ------
    UsageError : a name is taken.
    """
    keys = ["reference", "distorted"]
    computed = {name for found in measured.values() for name in found}
    seen: dict[str, str] = {}
    for own in brought:
        taken = [m for m in own.metrics if m in computed or seen.get(m, own.source) != own.source]
        if taken or any(not own.dataset and m in seen for m in own.metrics):
            name = (taken or [m for m in own.metrics if m in seen])[0]
            raise UsageError(f"{own.source}: there is a metric {name} already; rename the column")
        seen |= dict.fromkeys(own.metrics, own.source)
        wanted = scores["dataset"] == own.dataset if own.dataset else scores["dataset"].notna()
        values = scores.loc[wanted, keys].merge(own.table, on=keys, how="left", indicator=True)
        here = (values["_merge"] == "both").to_numpy()
        for dataset in scores.loc[wanted, "dataset"][here].unique():
            known = measured.setdefault(dataset, [])
            known += [m for m in own.metrics if m not in known]
        new = pd.DataFrame(np.nan, scores.index, [m for m in own.metrics if m not in scores])
        scores = pd.concat([scores, new], axis=1)
        scores.loc[wanted, own.metrics] = values[own.metrics].to_numpy(float)
    return scores


def _changes(
    scores: pd.DataFrame, measured: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, list[str]]]:
    """Dataset -> metric -> the changes of images under which there are scores of it, too."""
    found: dict[str, dict[str, list[str]]] = {}
    for dataset, metrics in measured.items():
        here = scores[scores["dataset"] == dataset]
        known = [str(c) for c in here if "@" in str(c) and here[c].notna().any()]
        by_metric: dict[str, list[str]] = {}
        for column in sorted(known):
            metric, _, change = column.partition("@")
            by_metric.setdefault(metric, []).append(change)
        found[dataset] = {m: names for m, names in by_metric.items() if m in metrics}
    return found


def _powers(
    power: Mapping[str, float | None], changes: Mapping[str, Sequence[str]]
) -> dict[str, float | None]:
    """The power of a metric for what it is under changes, too."""
    return {
        name: power.get(metric, 1.0)
        for metric, names in changes.items()
        for name in (metric, *(f"{metric}@{change}" for change in names))
    }


def _beside(
    own: Scores, scores: pd.DataFrame, computed: Collection[str]
) -> Iterator[dict[str, Any]]:
    """What the same metric, published and computed here, differs by."""
    for name, same in own.here.items():
        if same.metric not in computed or name not in scores:
            continue
        rows = scores[scores["dataset"] == own.dataset]
        # Similarities were turned into distances as they were read.
        theirs = rows[name].to_numpy(float) * abs(same.times) + same.plus
        both = pd.DataFrame({"theirs": theirs, "ours": rows[same.metric]}).dropna()
        if len(both):
            apart = both["theirs"] - both["ours"]
            yield {
                "dataset": own.dataset,
                "published": name,
                "computed": same.metric,
                "n": len(both),
                "largest": float(apart.abs().max()),
                "mean": float(apart.mean()),
                "handling": same.handling,
            }


def _few(names: Sequence[str]) -> str:
    """The names, or the first of many and their number."""
    if len(names) <= 3:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


def outlooks(
    datasets: Sequence[Dataset],
    infos: Sequence[MetricInfo],
    *,
    weights_dir: Path | None = None,
    options: Options = DEFAULT,
) -> Iterator[tuple[str, str, float | None]]:
    """What `run` would compute, a dataset and viewing resolution at a time; arguments as there.

    Yields the name, what is to do, the seconds it will take: see `outlook`.
    """
    from perceptbench.scoring.engine import prepare
    from perceptbench.scoring.outlook import outlook

    metrics, _, _ = build_metrics(infos, weights_dir)
    for dataset, resolution, table in _work([d for d in datasets if d.at_hand]):
        callables, identities, min_size = _scorable(metrics, resolution)
        job = prepare(
            table, dataset.load, callables, options, identities=identities, min_size=min_size
        )
        job.recall()
        at = f" at {resolution:g} px/deg" if resolution else ""
        yield f"{dataset.name}{at}", *outlook(job)


def _work(datasets: Sequence[Dataset]) -> Iterator[tuple[Dataset, float | None, pd.DataFrame]]:
    """(dataset, pixels per degree, pairs to score) of every dataset and resolution."""
    for dataset in datasets:
        for resolution, parts in _by_resolution(dataset.judgements).items():
            yield (
                dataset,
                resolution,
                pd.concat([pairs(part.table) for part in parts]).drop_duplicates(),
            )


def on_a_device(options: Options) -> Options:
    """The options with ``auto`` resolved; raises UsageError for a device that is not there."""
    from perceptbench.scoring.machine import choose_device

    return replace(options, device=choose_device(options.device))


def score_all(
    datasets: Sequence[Dataset],
    metrics: Sequence[Metric],
    options: Options,
    weights_dir: Path | None,
    clock: Clock | None = None,
) -> tuple[
    pd.DataFrame, pd.DataFrame, dict[tuple[str, str], str], dict[str, dict[str, float | None]]
]:
    """Scores of all datasets, each image of a dataset and resolution encoded once.

    Returns
    -------
    scores, failures, (dataset, metric) -> note, dataset -> metric -> correlation with fp32.
    """
    tables, failures, notes, precision = [], [], {}, {}
    for dataset, resolution, table in _work(datasets):
        from perceptbench.scoring.engine import score  # needs torch: not without images

        callables, identities, min_size = _scorable(metrics, resolution)
        found = score(
            table,
            dataset.load,
            callables,
            options,
            identities=identities,
            min_size=min_size,
            label=dataset.name,
            rebuild=partial(_rebuilt, [m.info for m in metrics], weights_dir, resolution),
            clock=clock,
        )
        found.table.insert(0, "dataset", dataset.name)
        found.failures.insert(0, "dataset", dataset.name)
        tables.append(found.table)
        failures.append(found.failures)
        notes.update({(dataset.name, name): why for name, why in found.notes.items()})
        if found.precision:
            precision[dataset.name] = found.precision
    if not tables:
        nothing = pd.DataFrame(columns=["dataset", "reference", "distorted"])
        return nothing, nothing.assign(reason=""), {}, {}
    lost = pd.concat(failures, ignore_index=True)
    scores = pd.concat(tables, ignore_index=True)
    if len(lost) == len(scores):
        raise DataError(f"not one pair could be scored; the first: {lost['reason'].iloc[0]}")
    return scores, lost, notes, precision


def _scorable(
    metrics: Sequence[Metric], resolution: float | None
) -> tuple[dict[str, Any], dict[str, str], dict[str, int]]:
    """What the engine wants to know: callables, what decides their values, smallest sizes."""
    identities = {m.info.name: m.identity(resolution) for m in metrics}
    return (
        {m.info.name: m.at(resolution) for m in metrics},
        {name: identity for name, identity in identities.items() if identity is not None},
        {m.info.name: m.info.min_size for m in metrics},
    )


def _rebuilt(
    infos: Sequence[MetricInfo], weights_dir: Path | None, resolution: float | None
) -> tuple[dict[str, Any], dict[str, str], dict[str, int]]:
    """The same, made anew on another machine."""
    return _scorable(build_metrics(infos, weights_dir)[0], resolution)


def _by_resolution(parts: Sequence[Judgements]) -> dict[float | None, list[Judgements]]:
    groups: dict[float | None, list[Judgements]] = {}
    for part in parts:
        groups.setdefault(part.pixels_per_degree, []).append(part)
    return groups


def _explain(table: pd.DataFrame, notes: Mapping[tuple[str, str], str]) -> None:
    """Adds the engine's reason to figures that are undefined for lack of a distance."""
    keys = zip(table["dataset"], table["metric"], strict=True)
    why = pd.Series([notes.get(key, "") for key in keys], index=table.index)
    undefined = table["value"].isna() & (why != "")
    table.loc[undefined, "note"] += ": " + why


def _provenance(
    datasets: Sequence[Dataset],
    metrics: Sequence[Metric],
    weights: Mapping[str, str],
    options: Options,
) -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "datasets": {
            d.name: {
                "fingerprint": d.fingerprint(),
                "folder": None if d.folder is None else visible(str(d.folder)),
                "left_out": list(d.left_out),
            }
            for d in datasets
        },
        "groups": {
            f"{part.dataset}/{part.slice}": part.group
            for d in datasets
            for part in d.judgements
            if part.group not in ("", d.name)
        },
        "metrics": {
            m.info.name: {
                **m.info.model_dump(
                    include=RECORDED,
                    exclude_none=True,
                    mode="json",
                ),
                **({"hash": m.hash} if m.hash else {}),
            }
            for m in metrics
        },
        "weights_sha256": {Path(path).name: digest for path, digest in weights.items()},
        **(_machine(options) if metrics else {"device": NO_DEVICE, "threads": 0}),
        "precision": options.precision,
    }


def _machine(options: Options) -> dict[str, Any]:
    import torch

    device = options.device
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "threads": torch.get_num_threads(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
