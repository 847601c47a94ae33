"""Run by `perceptbench.datasets.readers.matlab` as a process of its own, by its path.

The bytes of a MATLAB file come in on standard input, and its variables go out as JSON: name ->
flat list of numbers and texts.
"""

import io
import json
import sys
from contextlib import suppress
from typing import Any

#: Bytes that reading a file may take; label files have some hundred kB.
MEMORY = 4 << 30


def plain(value: Any) -> Any:
    """A number or a text, out of the arrays of one that MATLAB puts it in."""
    if isinstance(value, str | bool | int | float):
        return value
    return plain(value.item()) if getattr(value, "size", 0) == 1 else "no text or number"


def main() -> None:
    with suppress(ImportError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from numpy import ravel
    from scipy.io import loadmat

    found = loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True)
    flat = {k: [plain(v) for v in ravel(a)] for k, a in found.items() if not k.startswith("__")}
    json.dump(flat, sys.stdout)


if __name__ == "__main__":
    main()
