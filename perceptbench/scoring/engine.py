"""Walks the pairs once: loads and encodes each image once, compares, lets go.

Images stay encoded as long as pairs still need them and memory allows; the pairs come sorted by
reference, so that a reference lives only while its pairs last.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from perceptbench.errors import DataError
from perceptbench.scoring.plan import Plan, make_plan

#: Pairs handled together at most, and pixels of new images encoded in one batch.
CHUNK_PAIRS, CHUNK_PIXELS = 64, 2_000_000
#: Bytes of one operand above which pairs are compared one by one: beyond the cache, stacking
#: costs a CPU more than it saves.
STACK_BYTES = 1 << 20


@dataclass
class Scores:
    """What a walk found.

    Attributes
    ----------
    table : ``reference, distorted`` and one float64 column a metric; NaN where it has no value.
    failures : ``reference, distorted, reason``: pairs no metric could score.
    notes : metric -> why some or all of its values are missing.
    """

    table: pd.DataFrame
    failures: pd.DataFrame
    notes: dict[str, str] = field(default_factory=dict)


@dataclass
class _Encoded:
    """One image on the device: its pixels (1, 3, H, W) and each pass's embeddings of it."""

    pixels: Tensor
    features: list[dict[Any, Tensor]] = field(default_factory=list)

    def nbytes(self) -> int:
        return self.pixels.nbytes + sum(t.nbytes for f in self.features for t in f.values())


def score(
    pairs: pd.DataFrame,
    load: Callable[[str], Tensor],
    metrics: Mapping[str, Any],
    *,
    device: str | torch.device = "cpu",
    min_size: Mapping[str, int] | None = None,
    memory: int = 4 << 30,
    label: str = "pairs",
) -> Scores:
    """Scores every pair with every metric.

    Parameters
    ----------
    pairs : columns ``reference, distorted``, best sorted by reference.
    load : image key -> float32 tensor (3, H, W) in [0, 1]; a DataError makes its pairs fail.
    metrics : name -> FeatureLoss, or callable (reference, distorted) of batches
        (N, 3, H, W) -> (N,). Modules are moved to `device`.
    min_size : metric -> smallest image side in pixels it is defined for.
    memory : bytes of encoded images kept for later pairs.
    label : what the progress bar says.

    Examples
    --------
    >>> from perceptbench.metrics.pixel import mse
    >>> images = {"grey": torch.full((3, 8, 8), 0.5), "black": torch.zeros(3, 8, 8)}
    >>> pairs = pd.DataFrame({"reference": ["grey"], "distorted": ["black"]})
    >>> score(pairs, images.__getitem__, {"mse": mse}).table
      reference distorted   mse
    0      grey     black  0.25
    """
    for metric in metrics.values():
        if isinstance(metric, torch.nn.Module):
            metric.to(device)
    walk = _Walk(make_plan(metrics), load, torch.device(device), dict(min_size or {}), memory)
    # fp32 means fp32: cuDNN would otherwise round the convolutions' inputs to TF32.
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with (
            torch.inference_mode(),
            tqdm(total=len(pairs), desc=label, unit="pair", disable=None) as bar,
        ):
            walk.run(pairs, bar.update)
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    values = pd.DataFrame(walk.values, columns=list(metrics))
    table = pd.concat([pairs[["reference", "distorted"]].reset_index(drop=True), values], axis=1)
    failures = pd.DataFrame(walk.failures, columns=["reference", "distorted", "reason"])
    return Scores(table, failures, walk.notes)


class _Walk:
    """The state of one walk over the pairs."""

    def __init__(
        self,
        plan: Plan,
        load: Callable[[str], Tensor],
        device: torch.device,
        min_size: dict[str, int],
        memory: int,
    ) -> None:
        self.plan, self.load, self.device = plan, load, device
        self.min_size, self.memory = min_size, memory
        self.images: dict[str, _Encoded] = {}
        self.unreadable: dict[str, str] = {}
        self.uses: Counter[str] = Counter()
        self.failures: list[tuple[str, str, str]] = []
        self.notes: dict[str, str] = {}
        self.values: dict[str, np.ndarray] = {}

    def run(self, pairs: pd.DataFrame, advance: Callable[[int], Any]) -> None:
        """Fills `values`, `failures` and `notes` for all pairs."""
        rows = list(zip(pairs["reference"], pairs["distorted"], strict=True))
        self.uses.update(key for row in rows for key in row)
        self.values = {name: np.full(len(rows), np.nan) for name in self.plan.metrics}
        for chunk in self._chunks(rows):
            self._encode({key for i in chunk for key in rows[i]})
            for group in self._by_size([i for i in chunk if self._sound(rows[i])], rows):
                self._compare(group, rows)
            self._release(key for i in chunk for key in rows[i])
            advance(len(chunk))

    def _chunks(self, rows: list[tuple[str, str]]) -> Iterator[list[int]]:
        """Row numbers handled together, their images loaded: few enough to encode at once."""
        chunk: list[int] = []
        pixels = 0
        for i, row in enumerate(rows):
            for key in row:
                if key not in self.images and key not in self.unreadable:
                    pixels += self._read(key)
            chunk.append(i)
            if pixels >= CHUNK_PIXELS or len(chunk) >= CHUNK_PAIRS:
                yield chunk
                chunk, pixels = [], 0
        if chunk:
            yield chunk

    def _read(self, key: str) -> int:
        """Loads an image; the number of its pixels, 0 if it cannot be read."""
        try:
            image = self.load(key).to(self.device)[None]
        except DataError as error:
            self.unreadable[key] = str(error)
            return 0
        self.images[key] = _Encoded(image)
        return image.shape[-2] * image.shape[-1]

    def _encode(self, keys: set[str]) -> None:
        """Runs every network over the images of the chunk that are not encoded yet."""
        new: dict[torch.Size, list[_Encoded]] = {}
        for key in sorted(keys & self.images.keys()):
            if not self.images[key].features:
                new.setdefault(self.images[key].pixels.shape, []).append(self.images[key])
        for encoded in new.values():
            batch = torch.cat([e.pixels for e in encoded])
            for feature_pass in self.plan.passes:
                features: dict[Any, Tensor] = {}
                with _Contained(list(feature_pass.losses), self.notes):
                    features = feature_pass.encode(batch)
                for row, e in enumerate(encoded):
                    # Cloned, so that letting go of one image frees its part of the batch.
                    e.features.append({k: v[row : row + 1].clone() for k, v in features.items()})

    def _sound(self, row: tuple[str, str]) -> bool:
        """Whether a pair can be scored at all; if not, it is among the failures."""
        for key in row:
            if key in self.unreadable:
                self.failures.append((*row, self.unreadable[key]))
                return False
        reference, distorted = (tuple(self.images[key].pixels.shape[2:]) for key in row)
        if reference != distorted:
            sizes = " and ".join(f"{w} x {h}" for h, w in (reference, distorted))
            self.failures.append((*row, f"the images differ in size: {sizes} pixels"))
            return False
        return True

    def _by_size(self, chunk: list[int], rows: list[tuple[str, str]]) -> list[list[int]]:
        groups: dict[torch.Size, list[int]] = {}
        for i in chunk:
            groups.setdefault(self.images[rows[i][0]].pixels.shape, []).append(i)
        return list(groups.values())

    def _compare(self, group: list[int], rows: list[tuple[str, str]]) -> None:
        """All metrics on pairs of one image size."""
        x = [self.images[rows[i][0]] for i in group]
        y = [self.images[rows[i][1]] for i in group]
        for number, feature_pass in enumerate(self.plan.passes):
            if not x[0].features[number] or not y[0].features[number]:
                continue
            names = list(feature_pass.losses)
            with _Contained(names, self.notes):
                fx = [e.features[number] for e in x]
                fy = [e.features[number] for e in y]
                parts = [
                    feature_pass.compare(_stack(fx[s]), _stack(fy[s])) for s in self._steps(fx)
                ]
                primitives = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
                for name, values in feature_pass.combine(primitives).items():
                    self._put(name, group, values)
        side = min(x[0].pixels.shape[2:])
        for name, metric in self.plan.opaque.items():
            if side < self.min_size.get(name, 1):
                self.notes.setdefault(
                    name, f"needs images of at least {self.min_size[name]} pixels a side"
                )
                continue
            with _Contained([name], self.notes):
                values = metric(_cat(x), _cat(y))
                if tuple(values.shape) != (len(group),):
                    raise ValueError(f"returned shape {tuple(values.shape)}, not ({len(group)},)")
                self._put(name, group, values)

    def _put(self, name: str, group: list[int], values: Tensor) -> None:
        array = values.double().cpu().numpy()
        bad = int((~np.isfinite(array)).sum())
        if bad:
            self.notes.setdefault(name, "gave no finite value for some pairs")
        self.values[name][group] = np.where(np.isfinite(array), array, np.nan)

    def _steps(self, features: list[dict[Any, Tensor]]) -> list[slice]:
        """How many pairs are stacked at a time."""
        largest = max(t.nbytes for t in features[0].values())
        step = len(features)
        if self.device.type == "cpu":
            step = max(1, STACK_BYTES // largest)
        return [slice(i, i + step) for i in range(0, len(features), step)]

    def _release(self, keys: Iterator[str]) -> None:
        """Lets go of images no pair needs any more, then of the oldest beyond the budget."""
        for key in keys:
            self.uses[key] -= 1
            if key in self.images:
                self.images[key] = self.images.pop(key)  # now the most recently used
            if not self.uses[key]:
                self.images.pop(key, None)
        used = sum(e.nbytes() for e in self.images.values())
        for key in list(self.images):
            if used <= self.memory:
                break
            used -= self.images.pop(key).nbytes()


class _Contained:
    """Turns what a metric raises into a note; interrupts and programming exits pass."""

    def __init__(self, names: list[str], notes: dict[str, str]) -> None:
        self.names, self.notes = names, notes

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        reason = (str(error).strip().splitlines() or [""])[0]
        for name in self.names:
            self.notes.setdefault(name, f"failed: {type(error).__name__}: {reason}")
        return True


def _stack(features: list[dict[Any, Tensor]]) -> dict[Any, Tensor]:
    if len(features) == 1:
        return features[0]
    return {key: torch.cat([f[key] for f in features]) for key in features[0]}


def _cat(images: list[_Encoded]) -> Tensor:
    return torch.cat([e.pixels for e in images])
