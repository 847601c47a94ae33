"""Images in the order they are needed, decoded in worker processes while the device computes."""

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from perceptbench.errors import DataError, first_line
from perceptbench.scoring.machine import processors

Load = Callable[[str], Tensor]
#: Fewer images than this are loaded faster than workers start.
WORTH_WORKERS = 200
#: Images each worker has ready at most.
AHEAD = 4


class _Images(Dataset[Any]):
    def __init__(self, keys: Sequence[str], load: Load) -> None:
        self.keys, self.load = keys, load

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Any:
        image = read(self.load, self.keys[number])
        # An array goes through a pipe; a tensor would need shared memory, which containers
        # are short of.
        return image.numpy() if isinstance(image, Tensor) else image


def read(load: Load, key: str) -> Tensor | str:
    """The image, or why it cannot be had."""
    try:
        return load(key)
    except DataError as error:
        return str(error)
    except Exception as error:  # a plugin's own loader
        return f"{key}: cannot be loaded ({type(error).__name__}: {first_line(error)})"


def stream(
    keys: Sequence[str],
    load: Load,
    workers: int | None = None,
    pin: bool = False,
    known: Mapping[str, Tensor] | None = None,
) -> Iterator[tuple[str, Tensor | str]]:
    """(key, image or why it cannot be had) of every key, in order.

    Parameters
    ----------
    keys : may repeat.
    load : image key -> float32 tensor (3, H, W).
    workers : processes that load; None chooses, 0 loads in this one.
    pin : whether images lie in memory that a GPU copies from by itself.
    known : images that are loaded already.
    """
    known = known or {}
    asked = [key for key in keys if key not in known]
    loaded = _loaded(asked, load, workers)
    for key in keys:
        image = known[key] if key in known else next(loaded)
        yield key, image.pin_memory() if pin and isinstance(image, Tensor) else image


def _loaded(keys: Sequence[str], load: Load, workers: int | None) -> Iterator[Tensor | str]:
    if workers is None:
        many = len(keys) >= WORTH_WORKERS and hasattr(load, "identify")
        workers = min(8, processors() // 2) if many else 0
    if workers and multiprocessing.get_start_method() != "fork" and not _can_be_sent(load):
        workers = 0
    if not workers:
        yield from (read(load, key) for key in keys)
        return
    loader = DataLoader(
        _Images(keys, load),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD,
        collate_fn=_as_it_is,
        worker_init_fn=_end_with_parent,
    )
    try:
        for image in loader:
            yield image if isinstance(image, str) else torch.from_numpy(image)
    except RuntimeError as error:  # `read` lets no other out
        raise DataError(
            f"a process that loads images was killed ({first_line(error)}); is memory short? "
            "--workers 0 does without; what is scored is kept"
        ) from None


def _end_with_parent(worker: int) -> None:
    """Ends a worker whose parent was killed; it would wait for ever to hand over its images."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _can_be_sent(load: Load) -> bool:
    try:
        pickle.dumps(load)
    except Exception:  # objects raise what they like
        return False
    return True


def _as_it_is(item: Any) -> Any:
    return item
