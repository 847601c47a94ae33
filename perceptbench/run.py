"""The main job: judgements -> scores -> agreement -> leaderboard."""

import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from perceptbench.agreement import evaluate
from perceptbench.agreement.own_tables import read_scores
from perceptbench.agreement.ranking import in_domain
from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements import Judgements, pairs
from perceptbench.errors import DataError, Unavailable, UsageError, visible
from perceptbench.metrics.registry import Metric, MetricInfo, build
from perceptbench.reporting.run_folder import STRESS_POWER, Run, board
from perceptbench.scoring.options import DEFAULT, Options

if TYPE_CHECKING:
    from perceptbench.scoring.outlook import Outlook

#: Dataset -> metric -> rank correlation with fp32; None where undefined.
Correlations = dict[str, dict[str, float | None]]
#: Packages whose versions can move a number.
PACKAGES = ("perceptbench", "torch", "torchvision", "numpy", "scipy", "pandas", "piq", "lpips")
#: What is recorded of a metric.
RECORDED = {"title", "loss", "metric", "options", "scale", "citation", "trained_on"}


@dataclass(frozen=True)
class Brought:
    """Scores computed elsewhere: ``reference, distorted`` and one column of distances a metric."""

    source: str
    table: pd.DataFrame
    metrics: list[str]


def bring(path: Path, higher_is_better: Collection[str] = ()) -> Brought:
    """The scores in a CSV or Parquet file.

    Parameters
    ----------
    path : columns ``reference, distorted``, and one of numbers a metric.
    higher_is_better : the metrics that are larger for more alike images, of those it has.

    Raises
    ------
    DataError : the file cannot be read, or lacks a column.
    """
    table, names = read_scores(path)
    for name in names:
        if name in higher_is_better:
            table[name] = -table[name]
    return Brought(str(path), table, names)


def build_metrics(
    infos: Sequence[MetricInfo], weights_dir: Path | None
) -> tuple[list[Metric], dict[str, str], dict[str, str]]:
    """Builds what can be had.

    Returns
    -------
    metrics, skipped (metric -> reason), weights (file -> sha256).
    """
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
    brought: Sequence[Brought] = (),
    cost: bool = False,
    ranked_only: bool = False,
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

    Raises
    ------
    UsageError : no dataset, two of one name, an unusable device; two metrics of one name.
    DataError : no metric is left, or not one pair could be scored.
    """
    names = [dataset.name for dataset in datasets]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"datasets need distinct names, got {', '.join(names) or 'none'}")
    options = on_a_device(options)
    datasets = sorted(datasets, key=lambda dataset: dataset.name)
    infos = sorted(infos, key=lambda info: info.name)
    metrics, skipped, weights = build_metrics(infos, weights_dir)
    if not metrics:
        by_reason: dict[str, list[str]] = {}
        for metric, why in skipped.items():
            by_reason.setdefault(why, []).append(metric)
        reasons = "; ".join(f"{_few(found)}: {why}" for why, found in by_reason.items())
        raise DataError(f"no metric is left to rank ({reasons})")
    scores, failures, notes, precision = score_all(datasets, metrics, options, weights_dir)
    power = {m.info.name: STRESS_POWER[m.info.scale] for m in metrics}
    # Whether a score that was brought has a zero is not known, and without one there is no STRESS.
    power |= {name: None for own in brought for name in own.metrics}
    measured = [m.info.name for m in metrics]
    for own in brought:
        if taken := [name for name in own.metrics if name in measured]:
            raise UsageError(
                f"{own.source}: there is a metric {taken[0]} already; rename the column"
            )
        measured += own.metrics
        scores = scores.merge(own.table, on=["reference", "distorted"], how="left")
    measured.sort()
    scores = scores[["dataset", "reference", "distorted", *measured]]
    parts = [part for dataset in datasets for part in dataset.judgements]
    found = evaluate(
        parts,
        scores,
        metrics=measured,
        stress_power=power,
        in_domain={
            name: found | {m for d in datasets if d.name == name for m in d.in_domain}
            for name, found in in_domain(
                names, {m.info.name: m.info.trained_on for m in metrics}
            ).items()
        },
        ranked_only=ranked_only,
    )
    table = found.table
    _explain(table, notes)
    result = Run(scores, table, pd.DataFrame(), parts, skipped, failures, found.comparisons)
    result.broken = {
        f"{name} on {dataset}": why
        for (dataset, name), why in notes.items()
        if why.startswith("failed")
    }
    result.assumed = [
        f"{m.info.name} takes {dataset.name} to be seen at {m.info.pixels_per_degree:g} px/deg"
        for m in metrics
        for dataset in datasets
        if m.info.pixels_per_degree and None in _by_resolution(dataset.judgements)
    ]
    result.provenance = _provenance(datasets, metrics, weights, options)
    result.board = board(result)
    result.provenance["command"] = command
    for own in brought:
        result.provenance["metrics"] |= {
            name: {"title": f"from {visible(own.source)}"} for name in own.metrics
        }
    if cost:
        _record_cost(result, metrics, options.device)
    if precision:
        result.provenance["rank_correlation_with_fp32"] = precision
    return result


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
) -> Iterator[tuple[str, "Outlook"]]:
    """What `run` would compute, a dataset and viewing resolution at a time; arguments as there."""
    from perceptbench.scoring.engine import prepare
    from perceptbench.scoring.outlook import outlook

    metrics, _, _ = build_metrics(infos, weights_dir)
    for dataset, resolution, table in _work(datasets):
        callables, identities, min_size = _scorable(metrics, resolution)
        job = prepare(
            table, dataset.load, callables, options, identities=identities, min_size=min_size
        )
        job.recall()
        at = f" at {resolution:g} px/deg" if resolution else ""
        yield f"{dataset.name}{at}", outlook(job)


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
) -> tuple[
    pd.DataFrame, pd.DataFrame, dict[tuple[str, str], str], dict[str, dict[str, float | None]]
]:
    """Scores of all datasets, each image of a dataset and resolution encoded once.

    Returns
    -------
    scores, failures, (dataset, metric) -> note, dataset -> metric -> correlation with fp32.
    """
    from perceptbench.scoring.engine import score

    tables, failures, notes, precision = [], [], {}, {}
    for dataset, resolution, table in _work(datasets):
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
        )
        found.table.insert(0, "dataset", dataset.name)
        found.failures.insert(0, "dataset", dataset.name)
        tables.append(found.table)
        failures.append(found.failures)
        notes.update({(dataset.name, name): why for name, why in found.notes.items()})
        if found.precision:
            precision[dataset.name] = found.precision
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
    import torch

    device = options.device
    on_gpu = device.startswith("cuda")
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
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "threads": torch.get_num_threads(),
        "precision": options.precision,
    }


def _record_cost(result: Run, metrics: Sequence[Metric], device: str) -> None:
    from perceptbench.scoring.cost import cost

    for m in metrics:
        # A metric that raises was named when it was to score.
        with suppress(Exception):
            result.provenance["metrics"][m.info.name]["cost"] = cost(m.at(None), device)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
