"""Memory that is in use, and whether a metric holds more of it with every call.

A leak is told from a cache by going on: equal images are compared again and again, and what grows
in each of three rounds of calls, after rounds that may fill caches, will not stop. In use is what
the process holds after garbage collection (on a GPU: what torch has given out there), and Python's
tensors are counted besides, which no noise of an allocator hides.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Rounds of calls that may fill caches, and rounds after them; calls of a round at most, at least.
FIRST, ROUNDS, CALLS, FEWEST = 2, 3, 64, 4
#: Seconds all rounds may take, where FEWEST calls take no longer.
SECONDS = 1.0
#: Taken for free where it cannot be told.
UNTOLD = 4 << 30
#: Bytes a round, and bytes a call, below which growth is an allocator's noise.
NOISE, NOISE_A_CALL = 1 << 20, 16 << 10


def free(device: str) -> int:
    """Bytes that are free on a device, within the limit of this process's control group."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    found = UNTOLD
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(int(v.split()[1]) for v in lines if v.startswith("MemAvailable:")) * 1024
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        limit, now = (int((group / f"memory.{w}").read_text()) for w in ("max", "current"))
        found = min(found, max(0, limit - now))
    return found


def used(device: str) -> int:
    """Bytes in use; the peak that `peak` reads is counted anew from here on."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with suppress(OSError, AttributeError):  # glibc: what was freed is in use no more
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # Linux: see proc(5)
        Path("/proc/self/clear_refs").write_text("5")
        return _of_status("VmRSS")
    return peak(device)


def peak(device: str) -> int:
    """The most bytes in use at a time since `used` was asked; 0 where that cannot be told."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        return _of_status("VmHWM")
    with suppress(ImportError):  # Windows
        import resource

        # Kilobytes, but bytes on macOS; there the highest since the process began.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return 0


def _of_status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def leak(call: Callable[[Tensor, Tensor], Any], x: Tensor, y: Tensor) -> str:
    """What a metric holds more of with every call on images (N, 3, H, W); empty where nothing."""
    call(x, y)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        call(x, y)
        times.append(time.perf_counter() - began)
    took = min(times)
    calls = int(np.clip(SECONDS / took / (FIRST + ROUNDS), FEWEST, CALLS))
    found = []
    gc.collect()
    gc.freeze()  # what is there already is looked at no more
    try:
        for _ in range(FIRST + ROUNDS):
            for _ in range(calls):
                call(x, y)
            known = sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())
            found.append((used(str(x.device)), known))
    finally:
        gc.unfreeze()
    in_bytes, tensors = np.diff(found[FIRST - 1 :], axis=0).T
    if (tensors >= calls).all():
        return f"{tensors.mean() / calls:.3g} tensors more after each call"
    if (in_bytes > max(NOISE, NOISE_A_CALL * calls)).all():
        return f"{in_bytes.mean() / calls / 2**20:.2g} MiB more after each call"
    return ""
