"""Descents on pixels: Adam from a degraded image toward its reference, one loss after another.

All images and starts of a loss are one batch. Adam's step does not depend on the size of the
gradient, so a pixel of one image goes the same way in any batch. A loss that is done lies in the
folder `descents`, named by all that decides it: a killed command goes on with the next one.
"""

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from perceptbench.descent.measures import invented
from perceptbench.descent.starts import degraded, tensor, uint8
from perceptbench.errors import DataError, Unavailable, first_line
from perceptbench.metrics.protocol import MetricInfo
from perceptbench.metrics.registry import Metric
from perceptbench.reporting.result import STRESS_POWER
from perceptbench.run import build_metrics
from perceptbench.writing import together

#: Adam's rate at the first step, in units of the value range; it falls to 0 as a half cosine.
RATE = 0.02
#: Where the way is looked at, in shares of the steps.
LOOKS = (0, 1 / 30, 1 / 10, 1 / 5, 2 / 5, 7 / 10, 1)
#: One metric of each kind, so that no family outvotes the others.
PANEL = (
    "mae", "ciede2000", "ssim", "gmsd", "vif", "nlpd", "watson-ahumada", "pyramid-unit",
    "lpips-alex", "lpips-squeeze",
)  # fmt: skip
#: Raised when a change of the code changes what is found.
CODE_VERSION = 1

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Member:
    """A metric of the panel: its distances are raised to `power`."""

    name: str
    call: Loss
    power: float
    identity: str | None


@dataclass(frozen=True)
class Descent:
    """What one loss does to N starts."""

    looks: np.ndarray  # steps after which the images were looked at, (K,)
    images: np.ndarray  # then, uint8 (K, N, H, W, 3)
    own: np.ndarray  # the loss itself after every step, (steps + 1, N)
    distances: np.ndarray  # of each metric of the panel (K, M, N), see `measures.removed`
    invented: np.ndarray  # see `measures.invented`, (K, N)
    seconds: float  # a step took, for one of the N


@dataclass
class Descents:
    """What every loss does."""

    names: list[str]  # of the images
    references: np.ndarray  # (n, H, W, 3)
    starts: tuple[str, ...]
    degraded: np.ndarray  # the starts, image by image, (n * starts, H, W, 3)
    panel: list[str]  # the metrics that judge
    found: dict[str, Descent]
    skipped: dict[str, str]  # loss or metric -> why it takes no part


def descend(
    loss: Loss,
    start: Tensor,
    reference: Tensor,
    steps: int,
    looks: Collection[int],
    *,
    also: Sequence[tuple[Tensor, float]] = (),
    step_done: Callable[[], object] = lambda: None,
) -> tuple[Tensor, np.ndarray]:
    """Adam from `start` toward `reference`, (N, 3, H, W) in [0, 1], at RATE falling to 0.

    Each image's loss is divided by its first value, so that Adam's epsilon is small beside it.

    Parameters
    ----------
    loss : (images, references) -> (N,), differentiable in the first.
    looks : steps whose images are kept; 0 is the start.
    also : what is trained with the pixels, and its rate; see `mistakes`, for it should not be.

    Returns
    -------
    the images (K, N, 3, H, W); the loss after every step (steps + 1, N).

    Raises
    ------
    DataError : the loss or its gradient is no number at some step.
    Unavailable : no gradient reaches the images.
    """
    x = start.clone().requires_grad_()
    groups = [(x, RATE), *also]
    trained = [variable for variable, _ in groups]
    adam = torch.optim.Adam([{"params": [variable]} for variable in trained])
    kept, values = [], []
    for step in range(steps + 1):
        if step in looks:
            kept.append(x.detach().clone())
        value = loss(x, reference)
        if not value.requires_grad:
            raise Unavailable("no gradient reaches the images")
        values.append(value.detach().cpu().numpy())
        _finite(value, "is", step)
        if step == steps:
            break
        scale = torch.from_numpy(np.abs(values[0])).to(value).clamp_min(1e-12)
        gradients = torch.autograd.grad((value / scale).sum(), trained)
        _finite(gradients[0], "has a gradient that is", step)
        for variable, gradient in zip(trained, gradients, strict=True):
            variable.grad = gradient
        for group, (_, rate) in zip(adam.param_groups, groups, strict=True):
            group["lr"] = rate * (1 + cos(pi * step / steps)) / 2
        adam.step()
        with torch.no_grad():
            x.clamp_(0, 1)
        step_done()
    return torch.stack(kept), np.stack(values)


def _finite(found: Tensor, what: str, step: int) -> None:
    """Raises DataError where a figure of an image, of `found` (N, ...), is no number."""
    bad = ~found.detach().reshape(len(found), -1).isfinite().all(1)
    if bool(bad.any()):
        where = f"for {int(bad.sum())} of {len(bad)} images"
        raise DataError(f"{what} no number {where}, {f'after {step} steps' if step else 'at once'}")


def objective(metric: Metric) -> Loss:
    """A metric as a loss of (image, reference): a loss file's target is its second argument."""
    call = metric.at(None)
    return call if metric.info.loss is not None else lambda x, y: call(y, x)


def judge(members: Sequence[Member], images: Tensor, reference: Tensor) -> np.ndarray:
    """Distances (M, N) of `images` from `reference` as each metric sees them, d_m of `measures`.

    Raises
    ------
    DataError : one is no number; names the metric.
    """
    found = []
    for member in members:
        with torch.no_grad():
            values = member.call(images, reference).clamp_min(0).double() ** member.power
        if not values.isfinite().all():
            raise DataError(f"the distance of {member.name} is no number")
        found.append(values.cpu().numpy())
    return np.stack(found)


def convene(
    infos: Sequence[MetricInfo], size: int, device: str, weights_dir: Path | None
) -> tuple[list[Metric], list[Member], dict[str, str]]:
    """The metrics that can be had for images of this size, the panel of them, who is missing.

    A metric whose distance has an order but no size (decibels) descends, and judges nothing.
    """
    metrics, skipped, _ = build_metrics(infos, weights_dir)
    fitting = []
    for metric in metrics:
        if metric.info.min_size > size:
            skipped[metric.info.name] = f"needs images of {metric.info.min_size} pixels a side"
            continue
        if isinstance(call := metric.at(None), nn.Module):
            call.to(device)
        fitting.append(metric)
    members = []
    for metric in fitting:
        power = STRESS_POWER[metric.info.scale]
        if power is not None:
            name, identity = metric.info.name, metric.identity(None)
            members.append(Member(name, objective(metric), power, identity))
    return fitting, members, skipped


def run(
    losses: Sequence[MetricInfo],
    panel: Sequence[MetricInfo],
    names: Sequence[str],
    references: np.ndarray,
    starts: Sequence[str],
    *,
    steps: int,
    seed: int = 0,
    device: str = "cpu",
    weights_dir: Path | None = None,
    folder: Path | None = None,
) -> Descents:
    """Descends under every loss and lets the panel judge.

    Parameters
    ----------
    names, references : see `starts.references`.
    starts : keys of `starts.STARTS`, whose random part has the seed.
    folder : where what is done is kept; None: nothing is.

    Raises
    ------
    DataError : no loss, or no metric of the panel, can be had.
    """
    asked, judges = ({info.name: info for info in infos} for infos in (losses, panel))
    everyone = list((asked | judges).values())
    metrics, members, skipped = convene(everyone, references.shape[1], device, weights_dir)
    metrics = [metric for metric in metrics if metric.info.name in asked]
    worse = degraded(references, starts, seed)
    pair = tensor(worse, device), tensor(references.repeat(len(starts), 0), device)
    members = _fit([member for member in members if member.name in judges], *pair, skipped)
    result = Descents(
        list(names), references, tuple(starts), worse, [m.name for m in members], {}, skipped
    )
    looks = sorted({round(share * steps) for share in LOOKS})
    with tqdm(total=len(metrics) * steps, unit="step", disable=None) as bar:
        for metric in metrics:
            bar.set_description(metric.info.name)
            path = folder and folder / f"{_key(metric, members, result, steps)}.npz"
            known = metric.identity(None) and all(member.identity for member in members)
            done = _read(path) if path and known else None
            try:
                found = done or _descent(metric, members, *pair, looks, bar.update)
            except (Unavailable, DataError) as error:  # it is no objective
                skipped[metric.info.name] = str(error)
                continue
            except Exception as error:  # a metric may raise anything
                skipped[metric.info.name] = f"failed: {first_line(error)}"
                continue
            if done:
                bar.update(steps)
            elif path and known:
                with together(path.parent) as draft:
                    np.savez_compressed(draft / path.name, **vars(found))
            result.found[metric.info.name] = found
    if not result.found or not members:
        reasons = "; ".join(f"{name} {why}" for name, why in skipped.items())
        raise DataError(f"no loss is left to descend under, or none to judge ({reasons})")
    return result


def _fit(
    members: Sequence[Member], start: Tensor, reference: Tensor, skipped: dict[str, str]
) -> list[Member]:
    """Those that answer with numbers at the starts; why the others do not goes to `skipped`."""
    found = []
    for member in members:
        try:
            judge([member], start, reference)
        except Exception as error:  # a metric may raise anything
            skipped[member.name] = f"failed as a judge: {first_line(error)}"
        else:
            found.append(member)
    return found


def _descent(
    metric: Metric,
    members: Sequence[Member],
    start: Tensor,
    reference: Tensor,
    looks: Sequence[int],
    step_done: Callable[[], object],
) -> Descent:
    began = time.perf_counter()
    kept, own = descend(objective(metric), start, reference, looks[-1], looks, step_done=step_done)
    seconds = (time.perf_counter() - began) / looks[-1] / len(start)
    energy = [invented(*(t.cpu().numpy() for t in (reference, start, images))) for images in kept]
    return Descent(
        np.array(looks),
        np.stack([uint8(images) for images in kept]),
        own,
        np.stack([judge(members, images, reference) for images in kept]),
        np.stack(energy),
        seconds,
    )


def _key(metric: Metric, members: Sequence[Member], work: Descents, steps: int) -> str:
    """A digest of all that decides a descent."""
    said = [CODE_VERSION, metric.info.name, metric.identity(None), steps, RATE, LOOKS, work.starts]
    judges = [(member.name, member.identity) for member in members]
    digest = hashlib.sha256(json.dumps([said, judges]).encode())
    for images in (work.references, work.degraded):
        digest.update(str(images.shape).encode() + images.tobytes())
    return digest.hexdigest()[:24]


def _read(path: Path) -> Descent | None:
    """A descent that is done; None where there is none, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found: dict[str, Any] = {field.name: stored[field.name] for field in fields(Descent)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Descent(**{**found, "seconds": float(found["seconds"])})
