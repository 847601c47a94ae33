"""What a metric costs when it is asked alone: a pair, a training step, memory, parameters."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from perceptbench.losses.backbones import frozen_weights
from perceptbench.metrics import memory

#: Side of the square images, of noise, that are compared.
SIDE = 256
#: Calls of which the fastest counts, and seconds after which there are no more: what takes longer
#: varies by little. The first call warms up, and counts only where it took LONG.
CALLS, PATIENCE, LONG = 3, 0.05, 1.0


def cost(metric: Callable[..., Any], device: str = "cpu") -> dict[str, float | int]:
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

    found: dict[str, float | int] = {}
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
