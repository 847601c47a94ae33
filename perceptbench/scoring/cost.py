"""What a metric costs when it is asked alone: time per pair, parameters."""

import time
from collections.abc import Callable
from typing import Any

import torch

from perceptbench.losses.backbones import frozen_weights

#: Side of the square images, of noise, that are compared; calls of which the fastest counts.
SIDE, CALLS = 256, 3


def cost(metric: Callable[..., Any], device: str = "cpu") -> dict[str, float | int]:
    """Forward time of one pair of SIDE x SIDE pixels, and the parameters of the metric's networks.

    Parameters
    ----------
    metric : callable (reference, distorted) of batches (N, 3, H, W) -> (N,), or a module, which
        is moved to the device.
    device : where it is measured.

    Returns
    -------
    ``seconds_per_pair`` (three digits: more are noise) and ``parameters``.
    """
    parameters = 0
    if isinstance(metric, torch.nn.Module):
        metric = metric.to(device)
        tensors = [*metric.parameters(), *frozen_weights(metric).values()]
        parameters = sum(t.numel() for t in tensors if isinstance(t, torch.nn.Parameter))
    generator = torch.Generator().manual_seed(0)
    reference, noise = torch.rand(2, 1, 3, SIDE, SIDE, generator=generator).to(device)
    distorted = 0.9 * reference + 0.1 * noise
    times = []
    with torch.inference_mode():
        for _ in range(CALLS + 1):  # the first one warms up
            start = time.perf_counter()
            torch.as_tensor(metric(reference, distorted)).cpu()  # waits for the device
            times.append(time.perf_counter() - start)
    return {"seconds_per_pair": float(f"{min(times[1:]):.3g}"), "parameters": parameters}
