"""What a metric costs when it is asked alone: a pair, a training step, memory, parameters."""

import gc
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import torch

from perceptbench.losses.backbones import frozen_weights
from perceptbench.metrics import memory
from perceptbench.scoring.options import Options
from perceptbench.scoring.store import Store, digest

#: Side of the square images, of noise, that are compared.
SIDE = 256
#: Calls of which the fastest counts, and seconds after which there are no more: what takes longer
#: varies by little. The first call warms up, and counts only where it took LONG.
CALLS, PATIENCE, LONG = 3, 0.05, 1.0
#: The group of the store that keeps what was measured: a row a metric and machine.
GROUP, TITLE = "cost", "what metrics cost on a machine"
FIGURES = ("seconds_per_pair", "seconds_per_step", "step_bytes", "parameters")

Cost = dict[str, float | int]


def costs(
    metrics: Mapping[str, Callable[..., Any]], identities: Mapping[str, str], options: Options
) -> dict[str, Cost]:
    """`cost` of each metric; measured once on a machine, where there is a store to keep it.

    Parameters
    ----------
    metrics : name -> as `cost` takes it; one that raises is left out.
    identities : metric -> what decides its values, where that is known; others are measured anew.
    options : the device and the store.
    """
    machine = (
        f"{platform.node()} {options.device} {torch.get_num_threads()} {torch.__version__} {SIDE}"
    )
    names = [name for name in metrics if name in identities]
    keys = pd.DataFrame(
        {
            "reference": [digest(identities[name].encode()) for name in names],
            "distorted": digest(machine.encode()),
        }
    )
    # What is wrong with the store was said when distances were sought there.
    store = Store(options.store, lambda _: None) if options.store is not None else None
    known = np.full((len(names), len(FIGURES)), np.nan)
    if store:
        known = store.read(GROUP, keys, FIGURES).to_numpy()
    found = {name: _cost(row) for name, row in zip(names, known, strict=True) if row[0] > 0}
    missing = {name: metric for name, metric in metrics.items() if name not in found}
    gc.freeze()  # measuring memory collects garbage: not each time among all that a run holds
    for name, metric in missing.items():
        with suppress(Exception):
            found[name] = cost(metric, options.device)
    gc.unfreeze()
    new = [n for n, name in enumerate(names) if name in missing and name in found]
    if store and new:
        rows = [[found[names[n]].get(figure, np.nan) for figure in FIGURES] for n in new]
        values = dict(zip(FIGURES, np.array(rows, dtype=float).T, strict=True))
        store.write(GROUP, TITLE, keys.iloc[new], values)
    return found


def _cost(row: Any) -> Cost:
    """A row of FIGURES as `cost` gives it."""
    known = {name: value for name, value in zip(FIGURES, row.tolist(), strict=True) if value >= 0}
    return {n: v if n.startswith("seconds") else int(v) for n, v in known.items()}


def cost(metric: Callable[..., Any], device: str = "cpu") -> Cost:
    """What one pair of SIDE x SIDE pixels takes, and the parameters of the metric's networks.

    Parameters
    ----------
    metric : callable (reference, distorted) of batches (N, 3, H, W) -> (N,), or a module, which
        is moved to the device.
    device : where it is measured.

    Returns
    -------
    ``seconds_per_pair`` of the forward pass; ``seconds_per_step`` of a training step, forward and
    backward to the distorted image, and ``step_bytes``, what it takes of memory at its peak (0
    where that is too little to be told), both left out where there is no gradient;
    ``parameters``. Times have three digits: more are noise.
    """
    parameters = 0
    if isinstance(metric, torch.nn.Module):
        metric = metric.to(device)
        tensors = [*metric.parameters(), *frozen_weights(metric).values()]
        parameters = sum(t.numel() for t in tensors if isinstance(t, torch.nn.Parameter))
    generator = torch.Generator().manual_seed(0)
    reference, noise = torch.rand(2, 1, 3, SIDE, SIDE, generator=generator).to(device)
    distorted = 0.9 * reference + 0.1 * noise

    def forward() -> None:
        torch.as_tensor(metric(reference, distorted)).cpu()  # waits for the device

    def step() -> None:
        image = distorted.clone().requires_grad_(True)
        value = metric(reference, image).sum()
        value.backward()
        value.detach().cpu()
        assert image.grad is not None
        image.grad.sum().cpu()

    found: Cost = {}
    with suppress(Exception), torch.enable_grad():  # no gradient, or whatever a foreign one raises
        before = memory.used(device)
        first = _seconds(step)
        held = max(0, memory.peak(device) - before)
        found = {"seconds_per_step": _fastest(step, first), "step_bytes": held}
    with torch.inference_mode():
        found["seconds_per_pair"] = _fastest(forward, _seconds(forward))
    return found | {"parameters": parameters}


def _fastest(call: Callable[[], None], first: float) -> float:
    """Seconds of the fastest call after the first; of the first where it took LONG."""
    times = [first] if first > LONG else []
    while not times or (sum(times) < PATIENCE and len(times) < CALLS):
        times.append(_seconds(call))
    return float(f"{min(times):.3g}")


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
