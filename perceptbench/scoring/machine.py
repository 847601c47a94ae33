"""What the machine grants: processors, memory."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import torch

from perceptbench.errors import UsageError, first_line
from perceptbench.metrics.memory import free

#: Share of the free memory that activations may take, where the user names no limit.
SHARE = 0.5
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def choose_device(name: str) -> str:
    """``auto`` -> the GPU where there is one; raises UsageError for one that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here ({first_line(error)})") from None
    return name


def processors() -> int:
    """Processors this process may use: its affinity, and the quota of its control group.

    A container often sees 64 processors and is granted 2; 64 threads then wait for each other.
    """
    available = getattr(os, "sched_getaffinity", None)
    count = len(available(0)) if available else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # "max 100000" where there is no quota
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        count = min(count, max(1, quota // period))
    return count


def use_processors() -> None:
    """Lets torch use no more threads than processors are granted; fewer stay fewer."""
    granted = processors()
    if torch.get_num_threads() > granted:
        torch.set_num_threads(granted)


def keep_freed_memory() -> None:
    """Lets the C library keep what is freed, for the next batch.

    glibc otherwise gives megabytes back to the system after every batch and asks for them again:
    the page faults take a tenth of the time. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest it takes


def memory(device: torch.device) -> int:
    """Bytes of activations that fit beside everything else on the device."""
    return int(SHARE * free(str(device)))
