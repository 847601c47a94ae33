"""Pairs to score by a plan: what is known of them, what is missing, and its computation in shards.

A shard is a group of pairs that need few images (`plan.tiles`). Shards follow from the pairs
alone and are computed each for itself, so that a run that was stopped goes on with the same
numbers it would have given.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from perceptbench.scoring import crossed, machine
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.compiling import Compiler
from perceptbench.scoring.loading import Load, read, stream
from perceptbench.scoring.options import Options
from perceptbench.scoring.plan import Plan, tiles
from perceptbench.scoring.store import Store, digest
from perceptbench.scoring.walk import Pair, Walk, keys_of

#: Images of a shard at most: what a killed run loses.
SHARD_IMAGES = 128
#: Bytes of activations compared above which compiling costs less time than it saves: about
#: 20 s once on a machine, 3 s in later runs, against 0.2 s saved a gigabyte.
WORTH_COMPILING = 100 << 30
#: Pixels of pairs above which compiling a metric of many small steps does: 10 to 40 s once on a
#: machine, 3 s in later runs, against 15 to 60 s saved a thousand million.
WORTH_FUSING = 1 << 28
#: What no network keeps more of an image than, in sizes of the image itself.
FOOTPRINT_AT_MOST = 1000

Values = dict[str, NDArray[np.float64]]
#: () -> metrics, identities, smallest sizes; see `score`.
Rebuild = Callable[[], tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, int]]]


class Job:
    """Pairs to score by a plan: what is known of them, what is missing, and its computation.

    Parameters
    ----------
    plan : what to compute.
    load : image key -> tensor.
    rows : the pairs.
    options : how.

    Attributes
    ----------
    values : id of a primitive -> (n,), NaN where it is not known.
    failures : row -> why it cannot be scored.
    """

    def __init__(self, plan: Plan, load: Load, rows: list[Pair], options: Options) -> None:
        self.plan, self.load, self.rows, self.options = plan, load, rows, options
        self.device = torch.device(options.device)
        self.values: Values = {id_: np.full(len(rows), np.nan) for id_ in plan.primitives}
        self.failures: dict[int, str] = {}
        self.primitive_notes: dict[str, str] = {}
        self.store = Store(options.store, say) if options.store is not None else None
        self.pairs = pd.DataFrame()
        self.clock = Clock()

    def recall(self) -> None:
        """Reads from the store what it has."""
        if self.store is None:
            return
        digests = {key: _identify(self.load, key) for key in keys_of(self.rows)}
        self.pairs = pd.DataFrame(
            [(digests[a], digests[b]) for a, b in self.rows], columns=["reference", "distorted"]
        )
        for group, ids in self.plan.groups.items():
            found = self.store.read(group, self.pairs, ids)
            self.values.update({id_: found[id_].to_numpy(float, copy=True) for id_ in ids})

    def missing(self) -> Iterator[tuple[list[int], list[str]]]:
        """Shards with what is missing of them: their rows, and the primitives to compute."""
        unknown = {id_: np.isnan(values) for id_, values in self.values.items()}
        for shard in tiles(self.rows, SHARD_IMAGES):
            ids = [id_ for id_, nan in unknown.items() if nan[shard].any()]
            rows = [n for n in shard if any(unknown[id_][n] for id_ in ids)]
            if rows:
                yield rows, ids

    def compute(self, label: str = "pairs") -> None:
        """Computes what is missing, shard by shard, and stores it; shows progress."""
        work = list(self.missing())
        if not work:
            return
        machine.use_processors()
        machine.keep_freed_memory()
        total = sum(len(rows) for rows, _ in work)
        with (
            torch.inference_mode(),
            _precision(self.options.precision),
            tqdm(total=total, desc=label, unit="pair", disable=None) as bar,
        ):
            seen = 0

            def advance(pairs: int, images: int) -> None:
                nonlocal seen
                seen += images
                bar.update(pairs)
                if images and bar.format_dict["elapsed"]:
                    rate = seen / bar.format_dict["elapsed"]
                    bar.set_postfix_str(f"{rate:.1f} images/s", refresh=False)

            walk = self.walk(advance)
            most = self._images_at_a_time(walk)
            cut = [
                [[rows[n] for n in tile] for tile in self._tiles(rows, most)] for rows, _ in work
            ]
            keys = [key for parts in cut for part in parts for key in self._keys(part)]
            on_gpu = self.device.type == "cuda"
            images = stream(keys, self.load, self.options.workers, on_gpu, self._first)
            for (rows, ids), parts in zip(work, cut, strict=True):
                for part in parts:
                    some = islice(images, len(self._keys(part)))
                    found = walk.shard([self.rows[n] for n in part], ids, some)
                    self.take(part, found.values, found.failures, found.notes)
                with self.clock.time("store"):
                    self._keep(rows, ids)

    def walk(self, advance: Callable[[int, int], Any] = lambda pairs, images: None) -> Walk:
        """What walks the shards."""
        compiler = Compiler(say) if self.compiles() else None
        precision, clock = self.options.precision, self.clock
        return Walk(self.plan, self.device, precision, advance, say, clock, compiler=compiler)

    def _keys(self, rows: Sequence[int]) -> list[str]:
        return keys_of(self.rows[n] for n in rows)

    def _tiles(self, rows: list[int], most: int) -> list[list[int]]:
        """A shard cut so that the activations held at a time fit the memory."""
        if len(self._keys(rows)) <= most:
            return [list(range(len(rows)))]
        return tiles([self.rows[n] for n in rows], most)

    def _images_at_a_time(self, walk: Walk) -> int:
        """How many images of the first one's size fit the memory."""
        limit = self.options.memory or machine.memory(self.device)
        if self._at_most(SHARD_IMAGES) < limit:
            return SHARD_IMAGES
        return max(2, limit // max(1, self.footprint))

    def compiles(self) -> bool:
        """Whether distances are compiled: not a matter of how much of the work is done already."""
        if self.options.compile is not None:
            return self.options.compile
        pixels = sum(image[0].numel() for image in self._first.values()) * len(self.rows)
        if pixels > WORTH_FUSING and any(metric.fuses for metric in self.plan.opaque.values()):
            return True
        if self._at_most(len(self.rows)) < WORTH_COMPILING:
            return False
        shards = ([self.rows[n] for n in shard] for shard in tiles(self.rows, SHARD_IMAGES))
        pairs = sum(len(rows) for rows in shards if not crossed.pays(rows, self.device))
        return pairs * self.footprint > WORTH_COMPILING

    def _at_most(self, images: int) -> int:
        """Bytes that so many images of the first one's size do not exceed, whatever is kept."""
        return sum(image.nbytes for image in self._first.values()) * FOOTPRINT_AT_MOST * images

    @cached_property
    def _first(self) -> dict[str, Tensor]:
        """The first image that can be read."""
        found = ((key, self.read(key)) for key in keys_of(self.rows))
        return next(({key: image} for key, image in found if image is not None), {})

    def read(self, key: str) -> Tensor | None:
        """An image, None where it cannot be read."""
        image = read(self.load, key)
        return image if isinstance(image, Tensor) else None

    @cached_property
    def footprint(self) -> int:
        """Bytes that the first image and all that is kept of it take."""
        walk = Walk(self.plan, self.device, self.options.precision)
        return sum(walk.footprint(image) for image in self._first.values())

    def take(
        self,
        rows: Sequence[int],
        values: Mapping[str, NDArray[np.float64]],
        failures: Mapping[int, str],
        notes: Mapping[str, str],
    ) -> None:
        """Takes in what was found of some rows, whose failures are counted from 0."""
        for id_, found in values.items():
            self.values[id_][rows] = found
        self.failures.update({rows[n]: why for n, why in failures.items()})
        for id_, why in notes.items():
            self.primitive_notes.setdefault(id_, why)

    def _keep(self, rows: list[int], ids: Sequence[str]) -> None:
        if self.store is None:
            return
        titles = {p.address: p.title for p in self.plan.passes}
        titles |= {id_: opaque.title for id_, opaque in self.plan.opaque.items()}
        for group, members in self.plan.groups.items():
            new = {id_: self.values[id_][rows] for id_ in members if id_ in ids}
            if any(np.isfinite(values).any() for values in new.values()):
                self.store.write(group, titles[group], self.pairs.iloc[rows], new)

    def notes(self) -> dict[str, str]:
        """Metric -> why some or all of its values are missing."""
        found: dict[str, str] = {}
        for id_, why in self.primitive_notes.items():
            for name in self.plan.users(id_):
                found.setdefault(name, why)
        return found


def say(sentence: str) -> None:
    """Tells the user something beside the progress bar."""
    tqdm.write(f"perceptbench: {sentence}", file=sys.stderr)


def _identify(load: Load, key: str) -> str:
    """Digest of an image's content; of its name where it cannot be had."""
    identify = getattr(load, "identify", None)
    if identify is not None:
        with suppress(Exception):  # a plugin's own; what is wrong is said when it is loaded
            return str(identify(key))
        return f"none {key}"
    image = read(load, key)
    if not isinstance(image, Tensor):
        return f"none {key}"
    return digest(f"{tuple(image.shape)}".encode() + image.contiguous().numpy().tobytes())


@contextmanager
def _precision(name: str) -> Iterator[None]:
    """fp32 means fp32: cuDNN would otherwise round the convolutions' inputs to TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    wanted = name == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
