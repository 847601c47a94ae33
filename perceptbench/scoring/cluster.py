"""The same shards as tasks of a Ray cluster, one processor or one GPU each.

A task makes the metrics itself (once a process), reads from the store what is there, computes the
rest of its shard and stores it; Ray gives the shard of a lost worker to another. The store, the
images and the weights must lie where every machine of the cluster can read them.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

from tqdm import tqdm

from perceptbench.errors import UsageError, first_line
from perceptbench.scoring.job import Job, Rebuild, Values
from perceptbench.scoring.loading import Load
from perceptbench.scoring.machine import choose_device
from perceptbench.scoring.options import Options
from perceptbench.scoring.plan import Plan, make_plan
from perceptbench.scoring.walk import Pair

#: How often Ray starts a task again whose worker was lost.
RETRIES = 3
#: Plans already made in this process: key of a run -> plan.
_plans: dict[str, Plan] = {}

Outcome = tuple[Values, dict[int, str], dict[str, str]]


def compute(job: Job, rebuild: Rebuild | None, label: str) -> None:
    """Computes what is missing of a job on the cluster.

    Raises
    ------
    UsageError : Ray is not installed, the cluster cannot be reached, or nothing can be rebuilt.
    """
    if rebuild is None:
        raise UsageError("the engine `ray` needs metrics that can be made anew on other machines")
    work = list(job.missing())
    if not work:
        return
    ray = _started(job.options.ray_address)
    wants_gpu = job.options.device.startswith("cuda") or ray.cluster_resources().get("GPU", 0) > 0
    # A machine of the cluster may have a GPU where this one has none, and the other way round.
    options = replace(job.options, device="auto", compile=job.compiles(), engine="local", workers=0)
    shard = ray.remote(_shard).options(
        num_cpus=1, num_gpus=1 if wants_gpu else 0, max_retries=RETRIES
    )
    common = ray.put((uuid4().hex, os.getcwd(), rebuild, job.load, options))
    pending = {shard.remote(common, [job.rows[n] for n in rows]): rows for rows, _ in work}
    total = sum(len(rows) for rows in pending.values())
    with tqdm(total=total, desc=label, unit="pair", disable=None) as bar:
        while pending:
            done, _ = ray.wait(list(pending))
            for task in done:
                rows = pending.pop(task)
                job.take(rows, *ray.get(task))
                bar.update(len(rows))


def _started(address: str | None) -> Any:
    """Ray, connected to a cluster."""
    try:
        import ray
    except ImportError:
        raise UsageError(
            "the engine `ray` is not installed: pip install 'perceptbench[ray]'"
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = address or "on this machine"
            raise UsageError(f"ray cluster {where}: {first_line(error)}") from None
    return ray


def _shard(common: tuple[str, str, Rebuild, Load, Options], rows: Sequence[Pair]) -> Outcome:
    """One shard, on whatever machine Ray runs it."""
    key, folder, rebuild, load, options = common
    with suppress(OSError):
        os.chdir(folder)  # relative paths mean what they mean where the run was started
    options = replace(options, device=choose_device(options.device))
    if key not in _plans:
        metrics, identities, min_size = rebuild()
        for metric in metrics.values():
            if hasattr(metric, "to"):
                metric.to(options.device)
        _plans[key] = make_plan(
            metrics, identities=identities, min_size=min_size, precision=options.precision
        )
    job = Job(_plans[key], load, list(rows), options)
    job.recall()
    job.compute()
    return job.values, job.failures, job.primitive_notes
