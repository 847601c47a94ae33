"""Several runs as one: their tables one below the other, their leaderboard made anew."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from perceptbench.errors import UsageError
from perceptbench.reporting import run_folder
from perceptbench.reporting.notes import NO_DEVICE
from perceptbench.reporting.result import Run, board

#: What makes a metric the same metric; its cost may differ from machine to machine.
IDENTITY = ("hash", "loss", "metric", "options", "published")


def read(folders: Sequence[Path]) -> Run:
    """The run in one folder, or those of several as one.

    Raises
    ------
    UsageError : no run in a folder; a dataset in two of them; one name for two metrics.
    DataError : a file of a run is missing or cannot be read.
    """
    runs = {str(folder): run_folder.read(folder) for folder in folders}
    if len(runs) == 1:
        return next(iter(runs.values()))
    _check(runs)
    return joined(list(runs.values()))


def joined(every: Sequence[Run]) -> Run:
    """Runs of distinct datasets as one; a metric's record is that of the first that has it."""
    if len(every) == 1:
        return every[0]
    merged = Run(
        scores=_stack(run.scores for run in every),
        agreement=_stack(run.agreement for run in every),
        board=pd.DataFrame(),
        judgements=[part for run in every for part in run.judgements],
        skipped={name: why for run in every for name, why in run.skipped.items()},
        failures=_stack(run.failures for run in every),
        comparisons=_stack(run.comparisons for run in every),
        broken={where: why for run in every for where, why in run.broken.items()},
        assumed=list(dict.fromkeys(what for run in every for what in run.assumed)),
        provenance=_provenance(every),
        pictures=_stack(run.pictures for run in every),
        curves=_stack(run.curves for run in every),
        alignment=_stack(run.alignment for run in every),
    )
    merged.board = board(merged)
    return merged


def _stack(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True)


def _check(runs: dict[str, Run]) -> None:
    datasets: dict[str, str] = {}
    metrics: dict[str, tuple[str, dict[str, Any]]] = {}
    for folder, run in runs.items():
        for name in dict.fromkeys(part.dataset for part in run.judgements):
            if (first := datasets.setdefault(name, folder)) != folder:
                raise UsageError(
                    f"dataset {name} is in {first} and in {folder}; "
                    "runs reported together need distinct datasets"
                )
        for name, record in run.provenance.get("metrics", {}).items():
            identity = {key: record[key] for key in IDENTITY if key in record}
            first, known = metrics.setdefault(name, (folder, identity))
            if known != identity:
                raise UsageError(
                    f"metric {name} of {first} is not metric {name} of {folder}: "
                    "one name for two configurations; rename one and run it again"
                )


def _provenance(runs: Sequence[Run]) -> dict[str, Any]:
    """Tables by name put together; the least margin; of everything else, the distinct values."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for run in runs for key in run.provenance):
        values = [run.provenance[key] for run in runs if key in run.provenance]
        if key == "device":  # of what was published, there was none
            values = [value for value in values if value != NO_DEVICE] or values
        if all(isinstance(value, dict) for value in values):
            merged[key] = {}
            for value in values:
                for name, entry in value.items():
                    known = merged[key].setdefault(name, entry)
                    if known != entry and isinstance(entry, str):
                        merged[key][name] = f"{known}, {entry}"
        elif key == "margin":
            merged[key] = min(values)
        else:
            distinct = [v for i, v in enumerate(values) if v not in values[:i]]
            words = all(isinstance(value, str) for value in distinct)
            joined = "; ".join(distinct) if words else distinct
            merged[key] = distinct[0] if len(distinct) == 1 else joined
    return merged
