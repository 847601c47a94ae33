"""Walks over the pairs of a shard: each image loaded and encoded once, compared, let go.

Images are encoded in batches of equal size, whose number of images depends on that size alone,
so that a pair's numbers do not depend on its company. A pair is compared as soon as both of its
images are there, and a batch is let go when no pair needs it any more.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptbench.errors import first_line
from perceptbench.scoring import crossed
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.compiling import Compiler
from perceptbench.scoring.plan import Comparing, Embedding, Metric, Opaque, Plan
from perceptbench.scoring.primitives import (
    Comparison,
    Encoded,
    Kernel,
    places,
    row_values,
    row_values_in_pieces,
    steps,
)

#: Pixels that are encoded together: on a CPU, for each thread, few enough for its cache; more
#: of small images, whose activations matter less there than the layout of the weights.
CPU_PIXELS, CPU_PIXELS_OF_SMALL, GPU_PIXELS = 1 << 17, 1 << 18, 1 << 23
#: Pixels of a small image at most.
SMALL = 1 << 14
#: Pixels of one side of the pairs that an opaque metric is given together.
OPAQUE_PIXELS = {"cpu": 1 << 16, "cuda": 1 << 24}
#: Pixels of which a CPU makes an embedding at a time.
EMBED_PIXELS = 1 << 16
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

Pair = tuple[str, str]
#: Names of images, and for each pass what is compared.
Kept = tuple[list[str], list[Encoded | Exception | None]]
Stream = Iterator[tuple[str, Tensor | str]]


@dataclass
class Batch:
    """Encoded images of one size.

    Attributes
    ----------
    pixels : (M, 3, H, W).
    encoded : for each pass what is compared; None where it was not asked for, or why it failed.
    embedded : for each metric in two halves its embedding.
    """

    pixels: Tensor
    encoded: list[Encoded | Exception | None]
    embedded: dict[str, Embedding] = field(default_factory=dict)

    def nbytes(self) -> int:
        held = [t for e in self.encoded if isinstance(e, Encoded) for t in e.tensors()]
        held += [t for embedding in self.embedded.values() for t in _tensors(embedding)]
        return self.pixels.nbytes + sum(t.nbytes for t in held)


@dataclass
class Found:
    """What a shard gave.

    Attributes
    ----------
    values : id of a primitive -> (n,), NaN where it has no value.
    failures : row -> why no metric could say anything.
    notes : id of a primitive -> why some or all of its values are missing.
    """

    values: dict[str, NDArray[np.float64]]
    failures: dict[int, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


@dataclass
class Walk:
    """How shards are walked.

    Attributes
    ----------
    plan : what to compute.
    device : where.
    precision : of the networks: ``fp32``, ``tf32``, ``bf16``, ``fp16``.
    advance : told how many pairs and images are done.
    say : takes sentences for the user.
    clock : told what the time is spent on.
    smaller : how often the batch was halved for lack of memory.
    compiler : of what compares; None: nothing is compiled.
    """

    plan: Plan
    device: torch.device
    precision: str = "fp32"
    advance: Callable[[int, int], Any] = lambda pairs, images: None
    say: Callable[[str], Any] = print
    clock: Clock = field(default_factory=Clock)
    smaller: int = 0
    compiler: Compiler | None = None

    def __post_init__(self) -> None:
        self.kernel: Kernel = row_values_in_pieces
        if self.compiler is not None:
            self.kernel = self.compiler.compiled(row_values, row_values_in_pieces, dynamic=True)
        self._fused: dict[str, tuple[torch.Size, Comparing]] = {}

    def shard(self, rows: Sequence[Pair], ids: Iterable[str], images: Stream) -> Found:
        """Computes primitives of pairs.

        Parameters
        ----------
        rows : (reference, distorted).
        ids : the primitives wanted.
        images : every image of `rows` in the order of its first use, see `keys_of`.
        """
        wanted, together = set(ids), crossed.pays(rows, self.device)
        passes = [
            Comparison(some, self.kernel, together) if some else None
            for some in (
                {i: p for i, p in f.primitives.items() if i in wanted} for f in self.plan.passes
            )
        ]
        found = Found({id_: np.full(len(rows), np.nan) for id_ in sorted(wanted)})
        _Shard(self, rows, wanted, passes, found).run(images)
        return found

    def batch_size(self, height: int, width: int) -> int:
        """How many images of a size are encoded together."""
        pixels = height * width
        if self.device.type != "cpu":
            return max(1, (GPU_PIXELS >> self.smaller) // pixels)
        # Whole images a thread, or one image for all of them: a convolution adds up the same
        # numbers in another order when a batch is divided otherwise.
        most = CPU_PIXELS_OF_SMALL if pixels <= SMALL else CPU_PIXELS
        each = (most >> self.smaller) // pixels
        return max(1, each * torch.get_num_threads())

    def encode(
        self, pixels: Tensor, passes: Sequence[Comparison | None]
    ) -> list[Encoded | Exception | None]:
        """What each pass keeps of a batch (M, 3, H, W), or why it could not."""
        found: list[Encoded | Exception | None] = []
        for feature_pass, comparison in zip(self.plan.passes, passes, strict=True):
            try:
                if comparison is None:
                    found.append(None)
                    continue
                with self.clock.time("networks", "image"):
                    with self.autocast():
                        activations = feature_pass.backbone(pixels)
                    found.append(comparison.encode(activations))
            except Exception as error:  # a network may be a user's own
                if _out_of_memory(error):
                    raise
                found.append(error)
        return found

    def footprint(self, image: Tensor) -> int:
        """Bytes that one image (3, H, W) and all that is kept of it take."""
        with torch.inference_mode():
            pixels = image[None].to(self.device)
            comparisons = [Comparison(f.primitives, self.kernel) for f in self.plan.passes]
            embedded, _ = self.embed(pixels, self.plan.opaque)
            return Batch(pixels, self.encode(pixels, comparisons), embedded).nbytes()

    def embed(
        self, pixels: Tensor, metrics: Mapping[str, Opaque]
    ) -> tuple[dict[str, Embedding], dict[str, Exception]]:
        """Embeddings of a batch (M, 3, H, W) by metrics in two halves, and why some have none."""
        found, failed = {}, {}
        for id_, metric in metrics.items():
            if metric.halves is None or min(pixels.shape[2:]) < metric.min_size:
                continue
            try:
                # On a CPU one large image at a time, whose intermediate results are in its cache.
                step = max(1, EMBED_PIXELS // pixels[0, 0].numel()) if self.on_cpu else len(pixels)
                with self.clock.time(metric.title, "image", metric=True):
                    parts = [_embedding(metric.halves[0], some) for some in pixels.split(step)]
                    found[id_] = _joined(parts)
            except Exception as error:  # a plugin may raise anything
                if _out_of_memory(error):
                    raise
                failed[id_] = error
        return found, failed

    def comparing(self, id_: str, x: Embedding) -> Comparing:
        """What compares embeddings of a metric in two halves.

        Compiled where it is many small steps, for single pairs of one size: for each other one, a
        compiler would take its time again.
        """
        metric = self.plan.opaque[id_]
        assert metric.halves is not None
        compare, first = metric.halves[1], _tensors(x)[0]
        if self.compiler is None or not metric.fuses or len(first) > 1 or not self.on_cpu:
            return compare
        if id_ not in self._fused:
            fused = self.compiler.compiled(compare, compare, dynamic=False)
            self._fused[id_] = first.shape, fused
        shape, fused = self._fused[id_]
        return fused if first.shape == shape else compare

    @property
    def on_cpu(self) -> bool:
        return self.device.type == "cpu"

    def autocast(self) -> Any:
        if self.precision in AUTOCAST:
            return torch.autocast(self.device.type, dtype=AUTOCAST[self.precision])
        return nullcontext()


def _tensors(embedding: Embedding) -> tuple[Tensor, ...]:
    return embedding if isinstance(embedding, tuple) else (embedding,)


def _joined(parts: Sequence[Embedding]) -> Embedding:
    """One embedding of all images from embeddings of some each."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(tensors) for tensors in zip(*map(_tensors, parts), strict=True))
    return torch.cat([tensor for part in parts for tensor in _tensors(part)])


def _embedding(embed: Callable[[Tensor], Embedding], images: Tensor) -> Embedding:
    """An embedding of some images; raises ValueError where it is none."""
    found = embed(images)
    for tensor in _tensors(found):
        if not isinstance(tensor, Tensor) or tensor.shape[:1] != (len(images),):
            what = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"embed returned {what}, not ({len(images)}, ...)")
    return found


def keys_of(rows: Iterable[Pair]) -> list[str]:
    """The images of pairs, each once, in the order of their first use."""
    return list(dict.fromkeys(key for row in rows for key in row))


class _Shard:
    """The state of a walk over one shard."""

    def __init__(
        self,
        walk: Walk,
        rows: Sequence[Pair],
        wanted: set[str],
        passes: list[Comparison | None],
        found: Found,
    ) -> None:
        self.walk, self.rows, self.passes, self.found = walk, rows, passes, found
        self.opaque = {i: o for i, o in walk.plan.opaque.items() if i in wanted}
        self.uses = Counter(key for row in rows for key in set(row))
        self.rows_of: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            for key in dict.fromkeys(row):
                self.rows_of.setdefault(key, []).append(number)
        self.there: dict[str, tuple[Batch, int]] = {}
        self.unreadable: dict[str, str] = {}
        self.waiting: dict[tuple[int, int], list[tuple[str, Tensor]]] = {}
        self.pending: list[tuple[list[int], dict[str, Tensor]]] = []
        self.kept: dict[torch.Size, list[Kept]] = {}

    def run(self, images: Stream) -> None:
        while True:
            with self.walk.clock.time("images", "image"):
                key, image = next(images, ("", None))
            if image is None:
                break
            if isinstance(image, str):
                self.unreadable[key] = image
                self._compare([key])
                continue
            size = (image.shape[-2], image.shape[-1])
            queue = self.waiting.setdefault(size, [])
            queue.append((key, image))
            if len(queue) >= self.walk.batch_size(*size):
                self._encode(self.waiting.pop(size))
        while self.waiting:
            self._encode(self.waiting.pop(next(iter(self.waiting))))
        for batches in self.kept.values():
            self._cross(batches)
        self._collect()

    def _encode(self, queue: list[tuple[str, Tensor]]) -> None:
        """Runs every network over a batch, then compares what has become comparable."""
        keys = [key for key, _ in queue]
        full = self.walk.batch_size(*queue[0][1].shape[-2:])
        images = [image for _, image in queue]
        if self.walk.device.type == "cpu":
            # The last batch is filled up, so that its numbers are those of a full one.
            images += [images[-1]] * (-len(images) % torch.get_num_threads() if full > 1 else 0)
        try:
            pixels = torch.stack(images).to(self.walk.device, non_blocking=True)
            encoded = self.walk.encode(pixels, self.passes)
            embedded, failed = self.walk.embed(pixels[: len(keys)], self.opaque)
        except Exception as error:
            if not _out_of_memory(error) or len(queue) == 1:
                raise
            self._halve()
            middle = len(queue) // 2
            self._encode(queue[:middle])
            self._encode(queue[middle:])
            return
        for comparison, outcome in zip(self.passes, encoded, strict=True):
            if comparison is not None and isinstance(outcome, Exception):
                self._note(comparison.ids, outcome)
        for id_, why in failed.items():
            self._note([id_], why)
        batch = Batch(pixels, encoded, embedded)
        for number, key in enumerate(keys):
            self.there[key] = (batch, number)
        if any(comparison is not None and comparison.crosses for comparison in self.passes):
            some = [e.first(len(keys)) if isinstance(e, Encoded) else e for e in encoded]
            self.kept.setdefault(pixels.shape[2:], []).append((keys, some))
        self.walk.advance(0, len(keys))
        self._compare(keys)

    def _halve(self) -> None:
        self.walk.smaller += 1
        if self.walk.device.type == "cuda":
            torch.cuda.empty_cache()
        self.walk.say("out of memory: going on with half as many images at a time")

    def _note(self, ids: Iterable[str], error: Exception) -> None:
        for id_ in ids:
            reason = f"failed: {type(error).__name__}: {first_line(error)}"
            self.found.notes.setdefault(id_, reason)

    def _compare(self, new: list[str]) -> None:
        """Compares the pairs that a batch of new images completes, and lets go of images."""
        ready = [n for n in sorted({n for k in new for n in self.rows_of[k]}) if self._ready(n)]
        groups: dict[tuple[int, int], list[int]] = {}
        for number in ready:
            if self._sound(number):
                x, y = (self.there[key][0] for key in self.rows[number])
                groups.setdefault((id(x), id(y)), []).append(number)
        for group in groups.values():
            self._features(group)
        if self.opaque:
            for group in groups.values():
                self._halves(group)
            by_size: dict[torch.Size, list[int]] = {}
            for number in (n for group in groups.values() for n in group):
                size = self.there[self.rows[number][0]][0].pixels.shape[2:]
                by_size.setdefault(size, []).append(number)
            for size, group in by_size.items():
                self._opaque(size, group)
        for number in ready:
            for key in set(self.rows[number]):
                self.uses[key] -= 1
                if not self.uses[key]:
                    self.there.pop(key, None)
        self.walk.advance(len(ready), 0)

    def _ready(self, number: int) -> bool:
        return all(key in self.there or key in self.unreadable for key in self.rows[number])

    def _sound(self, number: int) -> bool:
        """Whether a pair can be scored at all; if not, it is among the failures."""
        row = self.rows[number]
        for key in row:
            if key in self.unreadable:
                self.found.failures[number] = self.unreadable[key]
                return False
        reference, distorted = (tuple(self.there[key][0].pixels.shape[2:]) for key in row)
        if reference != distorted:
            sizes = " and ".join(f"{w} x {h}" for h, w in (reference, distorted))
            self.found.failures[number] = f"the images differ in size: {sizes} pixels"
            return False
        return True

    def _features(self, group: list[int]) -> None:
        """All primitives of pairs between two batches."""
        x, y = (self.there[key][0] for key in self.rows[group[0]])
        i, j = ([self.there[self.rows[n][side]][1] for n in group] for side in (0, 1))
        for comparison, at_x, at_y in zip(self.passes, x.encoded, y.encoded, strict=True):
            if not isinstance(at_x, Encoded) or not isinstance(at_y, Encoded):
                continue
            assert comparison is not None
            try:
                with self.walk.clock.time("distances", "pair"):
                    self.pending.append((group, comparison.compare(at_x, i, at_y, j)))
            except Exception as error:
                if _out_of_memory(error):
                    raise
                self._note(comparison.ids, error)
        if len(self.pending) > 64:
            self._collect()

    def _cross(self, batches: Sequence[Kept]) -> None:
        """What is taken of all pairs of images of one size together."""
        for number, comparison in enumerate(self.passes):
            if comparison is None or not comparison.crosses:
                continue
            sound: list[Encoded] = []
            keys: list[str] = []
            for names, encoded in batches:
                if isinstance(found := encoded[number], Encoded):
                    sound.append(found)
                    keys += names
            at = {key: n for n, key in enumerate(keys)}
            group = [n for n, (a, b) in enumerate(self.rows) if a in at and b in at]
            if not group:
                continue
            i, j = ([at[self.rows[n][side]] for n in group] for side in (0, 1))
            with self.walk.clock.time("distances", "pair"):
                self.pending.append((group, comparison.cross(sound, i, j)))

    def _halves(self, group: list[int]) -> None:
        """Metrics in two halves, of pairs between two batches."""
        x, y = (self.there[key][0] for key in self.rows[group[0]])
        for id_ in (id_ for id_ in x.embedded if id_ in y.embedded):
            ask = partial(self._by_halves, id_)
            largest = max(_tensors(x.embedded[id_]), key=lambda tensor: tensor[:1].nbytes)
            for part in steps([largest], len(group)):
                self._ask(id_, ask, group[part])

    def _by_halves(self, id_: str, some: list[int]) -> Tensor:
        x, y = (self._embedding(id_, side, some) for side in (0, 1))
        return self.walk.comparing(id_, x)(x, y)

    def _embedding(self, id_: str, side: int, some: list[int]) -> Embedding:
        """Embeddings of one side of pairs that have it in one batch."""
        batch = self.there[self.rows[some[0]][side]][0]
        which = places([self.there[self.rows[n][side]][1] for n in some], self.walk.device)
        embedding = batch.embedded[id_]
        if isinstance(embedding, tuple):
            return tuple(tensor[which] for tensor in embedding)
        return embedding[which]

    def _opaque(self, size: torch.Size, group: list[int]) -> None:
        """What opaque metrics say of pairs of one size."""
        height, width = size
        limit = OPAQUE_PIXELS.get(self.walk.device.type, 1 << 22)
        step = max(1, limit // (height * width))
        for id_, opaque in self.opaque.items():
            if min(height, width) < opaque.min_size:
                reason = f"needs images of at least {opaque.min_size} pixels a side"
                self.found.notes.setdefault(id_, reason)
                continue
            if opaque.halves is not None:
                continue
            for start in range(0, len(group), step):
                ask = partial(self._by_pixels, opaque.call)
                self._ask(id_, ask, group[start : start + step])

    def _by_pixels(self, call: Metric, some: list[int]) -> Tensor:
        return call(*(self._pixels([self.rows[n][side] for n in some]) for side in (0, 1)))

    def _ask(self, id_: str, ask: Callable[[list[int]], Tensor], group: list[int]) -> None:
        """What one metric says of pairs of one size, half of them at a time if need be."""
        try:
            with self.walk.clock.time(self.opaque[id_].title, "pair", metric=True):
                values = ask(group)
            if tuple(values.shape) != (len(group),):
                raise ValueError(f"returned shape {tuple(values.shape)}, not ({len(group)},)")
            self.pending.append((group, {id_: values.detach()}))
        except Exception as error:  # a plugin may raise anything
            if not _out_of_memory(error) or len(group) == 1:
                self._note([id_], error)
                return
            middle = len(group) // 2
            self._ask(id_, ask, group[:middle])
            self._ask(id_, ask, group[middle:])

    def _pixels(self, keys: list[str]) -> Tensor:
        batches = {id(self.there[key][0]) for key in keys}
        if len(batches) == 1:
            numbers = [self.there[key][1] for key in keys]
            return self.there[keys[0]][0].pixels[places(numbers, self.walk.device)]
        return torch.stack([self.there[k][0].pixels[self.there[k][1]] for k in keys])

    def _collect(self) -> None:
        """Brings what was computed from the device."""
        for group, values in self.pending:
            for id_, value in values.items():
                with self.walk.clock.time("distances", "pair"):  # a GPU is waited for
                    array = value.cpu().double().numpy()
                if not np.isfinite(array).all():
                    half = self.walk.precision in AUTOCAST  # what float32 holds may overflow
                    how = f" in {self.walk.precision}" if half else ""
                    self.found.notes.setdefault(id_, f"gave no finite value for some pairs{how}")
                self.found.values[id_][group] = np.where(np.isfinite(array), array, np.nan)
        self.pending.clear()


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error is torch's for lack of memory, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
