"""Whether a metric keeps the protocol, and how it behaves: what `perceptbench metrics check` shows.

Hard properties fail a metric (`Card.hard`); the rest is reported (`Card.note`).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from perceptbench.distortions import IMAGES, LEVELS, distort, natural_image
from perceptbench.errors import DataError, first_line
from perceptbench.metrics import memory
from perceptbench.metrics.foreign import Foreign
from perceptbench.metrics.program import ProgramMetric
from perceptbench.metrics.registry import Metric

LADDERS = ("noise", "blur", "jpeg", "shift")
#: Share of the largest distance on the ladders that counts as zero.
TOLERANCE = 1e-3


@dataclass
class Card:
    """What was found: rows (property, ``pass`` / ``fail`` / ``note``, detail)."""

    metric: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """The hard properties that do not hold."""
        return [f"{name}: {detail}" for name, verdict, detail in self.rows if verdict == "fail"]

    def hard(self, name: str, holds: bool, detail: str) -> None:
        self.rows.append((name, "pass" if holds else "fail", detail))

    def note(self, name: str, detail: str) -> None:
        self.rows.append((name, "note", detail))


def check(
    metric: Metric, images: Sequence[np.ndarray] = (), seed: int = 0, device: str = "cpu"
) -> Card:
    """Measures a metric on synthetic images, seeded, and on `images`, uint8 (H, W, 3)."""
    card = Card(metric.info.name)
    call = metric.at(None)
    if isinstance(call, torch.nn.Module):
        call.to(device)
    side = max(128, 16 * math.ceil(metric.info.min_size / 16))
    rng = np.random.default_rng(seed)
    bases = [natural_image(side, rng) for _ in range(2)] + list(images)
    try:
        with torch.no_grad():
            cost = _cost(call, device, side)  # before other work has set a higher peak
            _measure(card, metric, call, bases, rng, device)
            if not isinstance(call, ProgramMetric):  # its memory goes when it ends
                _leak(card, call, max(64, metric.info.min_size), device)
    except Exception as error:  # a foreign metric may raise anything
        card.hard("answers", False, f"{type(error).__name__}: {first_line(error)}")
        return card
    _gradient(card, metric, call, bases[0], rng, device)
    if isinstance(call, Foreign):
        changed = ", ".join(call.guard.offences)
        card.hard("leaves inputs and global state alone", not changed, changed)
    for name, detail in cost:
        card.note(name, detail)
    return card


def _measure(
    card: Card, metric: Metric, call: Any, bases: list[np.ndarray], rng: np.random.Generator,
    device: str,
) -> None:  # fmt: skip
    """Everything but gradient and cost; raises what the metric raises."""
    ladders: dict[str, list[list[float]]] = {}
    reference, distorted = [], []
    for base in bases:
        levels = range(1, LEVELS + 1)
        worse = [distort(base, ladder, level, rng) for ladder in LADDERS for level in levels]
        x = _tensor([base] * len(worse), device)
        y = _tensor(worse, device)
        values = call(x, y)
        if tuple(values.shape) != (len(worse),):
            raise ValueError(f"returned shape {tuple(values.shape)}, not ({len(worse)},)")
        for i, ladder in enumerate(LADDERS):
            found = values[i * LEVELS : (i + 1) * LEVELS].tolist()
            ladders.setdefault(ladder, []).append(found)
        reference.append(x)
        distorted.append(y)
    card.hard("answers with (N,)", True, f"{len(bases)} images, {len(LADDERS)} ladders")
    everything = [v for found in ladders.values() for row in found for v in row]
    finite = all(math.isfinite(v) for v in everything)
    card.hard("finite", finite, "" if finite else "NaN or infinity on distorted images")
    scale = max((abs(v) for v in everything if math.isfinite(v)), default=1.0) or 1.0
    x, y = reference[0], distorted[0]

    same = call(x[:1], x[:1]).item()
    known = not metric.info.higher_is_better or metric.info.identical is not None
    if known and math.isfinite(same):
        card.hard("identity", abs(same) <= TOLERANCE * scale, f"{same:.3g} for identical images")
    else:
        card.note("identity", f"{same:.3g} for identical images, whose number it does not say")
    if math.isfinite(same):
        lowest = min(everything)
        card.hard(
            "sign", lowest >= same - TOLERANCE * scale,
            f"smallest distance of a distorted image {lowest:.3g}",
        )  # fmt: skip

    both, alone = call(x, y), torch.cat([call(x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    apart = (both - alone).abs().max().item() / scale
    card.hard("independent of the batch", apart <= TOLERANCE, f"largest difference {apart:.1e}")
    if callable(getattr(call, "embed", None)) and callable(getattr(call, "compare", None)):
        apart = (both - call.compare(call.embed(x), call.embed(y))).abs().max().item() / scale
        card.hard("halves equal the whole", apart <= 1e-6, f"largest difference {apart:.1e}")
    apart = (both - call(x, y)).abs().max().item() / scale
    card.hard("deterministic", apart <= 1e-6, f"largest difference {apart:.1e}")

    apart = (both - call(y, x)).abs().max().item() / scale
    card.note("symmetric", f"swapping the images changes it by {apart:.1%} of its largest value")
    for ladder, rows in ladders.items():
        near = [1e-6 * max(map(abs, row)) for row in rows]  # within rounding
        rises = all(b >= a - e for row, e in zip(rows, near, strict=True) for a, b in pairwise(row))
        word = "monotone" if rises else "not monotone"
        means = ", ".join(f"{np.mean(column):.3g}" for column in zip(*rows, strict=True))
        card.note(f"ladder {ladder}", f"{word}: {means}")
    shift = float(np.mean([row[0] for row in ladders["shift"]]))
    noise = [float(np.mean(column)) for column in zip(*ladders["noise"], strict=True)]
    level = len([v for v in noise if v < shift])
    card.note(
        "one-pixel shift",
        f"{shift:.3g}, " + ("below noise level 1" if not level else f"above noise level {level}"),
    )


def _leak(card: Card, call: Callable[[Tensor, Tensor], Tensor], side: int, device: str) -> None:
    """Whether it holds more memory with every call."""
    rng = np.random.default_rng(0)
    base = natural_image(side, rng)
    x, y = (_tensor([image], device) for image in (base, distort(base, "noise", 1, rng)))
    grown = memory.leak(call, x, y)
    card.hard("no leak", not grown, grown and f"{grown} on the same images")


def _gradient(
    card: Card, metric: Metric, call: Callable[[Tensor, Tensor], Tensor], base: np.ndarray,
    rng: np.random.Generator, device: str,
) -> None:  # fmt: skip
    """Whether a finite gradient reaches the distorted image, also where the images are equal."""
    declared = metric.info.differentiable
    x = _tensor([base], device)
    found = []
    for y in (_tensor([distort(base, "noise", 3, rng)], device), x.clone()):
        y.requires_grad_(True)
        try:
            value = call(x, y).sum()
            if value.requires_grad:
                value.backward()
        except Exception as error:  # no gradient, or whatever a foreign metric raises
            found.append(f"none ({first_line(error)})")
            continue
        if y.grad is None:
            found.append("none")
        elif not torch.isfinite(y.grad).all():
            found.append("not finite")
        else:
            found.append("finite" if y.grad.abs().max() > 0 else "zero")
    detail = f"{found[0]} on noise, {found[1]} at identity"
    sound = found[0] == "finite" and found[1] in {"finite", "zero"}
    if declared or metric.info.loss is not None:
        card.hard("gradient", sound, detail)
    else:
        card.note("gradient", detail)


def _cost(
    call: Callable[[Tensor, Tensor], Tensor], device: str, side: int
) -> list[tuple[str, str]]:
    """Time of a pair, and how much memory it takes beyond what was in use, per megapixel."""
    side = max(512, side)
    x = _tensor([natural_image(side, np.random.default_rng(0))], device)
    y = (x + 0.05).clamp(0, 1)
    megapixels = side * side / 1e6
    call(x, y)  # what is loaded or compiled once is no cost of a pair
    before = memory.used(device)
    call(x, y)
    grown = max(0, memory.peak(device) - before) / megapixels / 2**20
    times = []
    for _ in range(2):
        began = time.perf_counter()
        call(x, y).sum().item()
        times.append(time.perf_counter() - began)
    return [
        ("speed", f"{min(times) / megapixels:.3g} s a megapixel, one pair on {device}"),
        ("memory", f"at least {grown:.0f} MiB a megapixel beyond the images, at its peak"),
    ]


def read_folder(folder: Path) -> list[np.ndarray]:
    """The images in a folder as uint8 (H, W, 3), at most 512 pixels a side of each (the centre).

    Raises
    ------
    DataError : there is none, or one cannot be read.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES)
    if not files:
        raise DataError(f"{folder}: holds no image ({', '.join(IMAGES)})")
    images = []
    for path in files:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow raises a dozen kinds
            raise DataError(f"{path}: cannot be read as an image ({first_line(error)})") from None
        top, left = (max(0, (side - 512) // 2) for side in pixels.shape[:2])
        images.append(pixels[top : top + 512, left : left + 512])
    return images


def _tensor(images: Sequence[np.ndarray], device: str) -> Tensor:
    stacked = torch.from_numpy(np.stack(list(images))).to(device)
    return stacked.permute(0, 3, 1, 2).float() / 255
