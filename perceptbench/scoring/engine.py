"""Scores pairs with metrics: what is stored is read, the rest computed and stored by shards."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch

from perceptbench.scoring import cluster, machine
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.job import Job, Rebuild
from perceptbench.scoring.loading import Load
from perceptbench.scoring.options import DEFAULT, Options
from perceptbench.scoring.plan import make_plan

#: Pairs scored again in fp32, to tell what a lower precision changes.
SAMPLE = 64


@dataclass
class Scores:
    """What was found.

    Attributes
    ----------
    table : ``reference, distorted`` and one float64 column a metric; NaN where it has no value.
    failures : ``reference, distorted, reason``: pairs no metric could score.
    notes : metric -> why some or all of its values are missing.
    precision : metric -> rank correlation with its fp32 scores on a sample, below fp32 only;
        None where it is undefined.
    """

    table: pd.DataFrame
    failures: pd.DataFrame
    notes: dict[str, str] = field(default_factory=dict)
    precision: dict[str, float | None] = field(default_factory=dict)


def score(
    pairs: pd.DataFrame,
    load: Load,
    metrics: Mapping[str, Any],
    options: Options = DEFAULT,
    *,
    identities: Mapping[str, str] | None = None,
    min_size: Mapping[str, int] | None = None,
    label: str = "pairs",
    rebuild: Rebuild | None = None,
    clock: Clock | None = None,
) -> Scores:
    """Scores every pair with every metric.

    Parameters
    ----------
    pairs : columns ``reference, distorted``.
    load : image key -> float32 tensor (3, H, W) in [0, 1]; a DataError makes its pairs fail. An
        attribute ``identify``, key -> digest of the content, spares loading what is stored.
    metrics : name -> FeatureLoss, Composite, or callable (reference, distorted) of batches
        (N, 3, H, W) -> (N,). Modules are moved to the device.
    options : see `perceptbench.scoring.options`.
    identities : metric that is no FeatureLoss -> what decides its values, if that is known;
        others are not stored.
    min_size : metric -> smallest image side in pixels it is defined for.
    label : what the progress bar says.
    rebuild : makes the arguments `metrics`, `identities` and `min_size` again, on another
        machine; the engine ``ray`` needs it.
    clock : told what the time is spent on.

    Examples
    --------
    >>> from perceptbench.metrics.pixel import mse
    >>> images = {"grey": torch.full((3, 8, 8), 0.5), "black": torch.zeros(3, 8, 8)}
    >>> pairs = pd.DataFrame({"reference": ["grey"], "distorted": ["black"]})
    >>> score(pairs, images.__getitem__, {"mse": mse}).table
      reference distorted   mse
    0      grey     black  0.25
    """
    job = prepare(pairs, load, metrics, options, identities=identities, min_size=min_size)
    options = job.options
    job.clock = clock or job.clock
    with job.clock.time("store"):
        job.recall()
    if options.engine == "ray":
        cluster.compute(job, rebuild, label)
    else:
        job.compute(label)
    table = pd.DataFrame(job.plan.combine(job.values), columns=list(metrics))
    table = pd.concat([pairs[["reference", "distorted"]].reset_index(drop=True), table], axis=1)
    failed = [(*job.rows[n], why) for n, why in sorted(job.failures.items())]
    result = Scores(
        table, pd.DataFrame(failed, columns=["reference", "distorted", "reason"]), job.notes()
    )
    if options.precision != "fp32":
        result.precision = _against_fp32(result.table, load, metrics, options)
    return result


def prepare(
    pairs: pd.DataFrame,
    load: Load,
    metrics: Mapping[str, Any],
    options: Options = DEFAULT,
    *,
    identities: Mapping[str, str] | None = None,
    min_size: Mapping[str, int] | None = None,
) -> Job:
    """What `score` computes with these arguments, not computed yet."""
    options = replace(options, device=machine.choose_device(options.device))
    for metric in metrics.values():
        if isinstance(metric, torch.nn.Module):
            metric.to(options.device)
    plan = make_plan(metrics, identities=identities, min_size=min_size, precision=options.precision)
    rows = list(zip(pairs["reference"], pairs["distorted"], strict=True))
    return Job(plan, load, rows, options)


def _against_fp32(
    table: pd.DataFrame, load: Load, metrics: Mapping[str, Any], options: Options
) -> dict[str, float | None]:
    """Rank correlation of each metric's scores with its fp32 scores, on a sample of the pairs."""
    step = max(1, len(table) // SAMPLE)
    sample = table.iloc[::step].head(SAMPLE).reset_index(drop=True)
    plain = replace(options, precision="fp32", store=None, engine="local")
    exact = score(sample[["reference", "distorted"]], load, metrics, plain, label="fp32 sample")
    found = {}
    for name in metrics:
        pair = pd.DataFrame({"lower": sample[name], "exact": exact.table[name]}).dropna()
        varied = len(pair) > 1 and (pair.nunique() > 1).all()
        found[name] = float(pair["lower"].corr(pair["exact"], "spearman")) if varied else None
    return found
