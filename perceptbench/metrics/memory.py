"""Memory that is free, in use, and the most that was: on the processor and on GPUs.

In use is what the process holds after garbage collection, on a GPU what torch has given out there.
"""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

import torch

#: Taken for free where it cannot be told.
UNTOLD = 4 << 30


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
