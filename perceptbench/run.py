"""The main job: judgements -> scores -> agreement -> leaderboard."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from perceptbench.agreement import evaluate
from perceptbench.agreement.ranking import in_domain
from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements import Judgements, pairs
from perceptbench.errors import DataError, Unavailable, UsageError
from perceptbench.metrics.registry import Metric, MetricInfo, build
from perceptbench.reporting.leaderboard import leaderboard
from perceptbench.reporting.run_folder import STRESS_POWER, Run

#: Packages whose versions can move a number.
PACKAGES = ("perceptbench", "torch", "torchvision", "numpy", "scipy", "pandas", "piq", "lpips")
#: What is recorded of a metric.
RECORDED = {"title", "loss", "metric", "options", "scale", "citation", "trained_on"}


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


def choose_device(name: str) -> str:
    """``auto`` -> the GPU where there is one; raises UsageError for one that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used here ({reason})") from None
    return name


def run(
    datasets: Sequence[Dataset],
    infos: Sequence[MetricInfo],
    *,
    weights_dir: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    resamples: int = 2000,
    command: str = "",
) -> Run:
    """Scores the datasets with the metrics and ranks the metrics by agreement with people.

    Parameters
    ----------
    datasets : what people judged, under distinct names.
    infos : the metrics to rank; those that cannot be had are skipped and named.
    weights_dir : folder with network weights.
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    seed : of the bootstrap.
    resamples : of the bootstrap.
    command : what the user typed, for the record.

    Raises
    ------
    UsageError : no dataset, two of one name, an unusable device.
    DataError : no metric is left, or not one pair could be scored.
    """
    names = [dataset.name for dataset in datasets]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"datasets need distinct names, got {', '.join(names) or 'none'}")
    device = choose_device(device)
    metrics, skipped, weights = build_metrics(infos, weights_dir)
    if not metrics:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        raise DataError(f"no metric is left to rank ({reasons})")
    scores, failures, notes = _score_all(datasets, metrics, device)
    power = {info.name: STRESS_POWER[info.scale] for info in infos}
    measured = [m.info.name for m in metrics]
    parts = [part for dataset in datasets for part in dataset.judgements]
    found = evaluate(
        parts,
        scores,
        metrics=measured,
        resamples=resamples,
        seed=seed,
        stress_power=power,
        in_domain=in_domain(names, {m.info.name: m.info.trained_on for m in metrics}),
    )
    table = found.table
    _explain(table, notes)
    result = Run(scores, table, pd.DataFrame(), parts, skipped, failures, found.comparisons)
    result.board = leaderboard(table, result.columns, found.samples)
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
    result.provenance = _provenance(datasets, metrics, weights, device, seed, resamples)
    result.provenance["command"] = command
    return result


def _score_all(
    datasets: Sequence[Dataset], metrics: Sequence[Metric], device: str
) -> tuple[pd.DataFrame, pd.DataFrame, dict[tuple[str, str], str]]:
    """Scores of all datasets, each image of a dataset and resolution encoded once."""
    from perceptbench.scoring.engine import score

    tables, failures, notes = [], [], {}
    min_size = {m.info.name: m.info.min_size for m in metrics}
    for dataset in datasets:
        for resolution, parts in _by_resolution(dataset.judgements).items():
            found = score(
                pd.concat([pairs(part.table) for part in parts]).drop_duplicates(),
                dataset.load,
                {m.info.name: m.at(resolution) for m in metrics},
                device=device,
                min_size=min_size,
                label=dataset.name,
            )
            found.table.insert(0, "dataset", dataset.name)
            found.failures.insert(0, "dataset", dataset.name)
            tables.append(found.table)
            failures.append(found.failures)
            notes.update({(dataset.name, name): why for name, why in found.notes.items()})
    lost = pd.concat(failures, ignore_index=True)
    scores = pd.concat(tables, ignore_index=True)
    if len(lost) == len(scores):
        raise DataError(f"not one pair could be scored; the first: {lost['reason'].iloc[0]}")
    return scores, lost, notes


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
    device: str,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    import torch

    on_gpu = device.startswith("cuda")
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "datasets": {
            d.name: {
                "fingerprint": d.fingerprint(),
                "folder": None if d.folder is None else str(d.folder),
            }
            for d in datasets
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
        "precision": "fp32",
        "seed": seed,
        "resamples": resamples,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
