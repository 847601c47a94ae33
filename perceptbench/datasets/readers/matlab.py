"""Variables of MATLAB files (``.mat``, before v7.3), read by scipy in a process of its own.

scipy's reader is compiled code that a damaged file crashes, and the program with it. Objects and
functions of MATLAB are data to it; nothing of a file is run.
"""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from perceptbench.errors import DataError, first_line

#: Seconds that reading a file may take.
PATIENCE = 60.0
#: By its path and with -P: the modules beside it have names that others have, too.
CHILD = [sys.executable, "-P", str(Path(__file__).with_name("matlab_child.py"))]


def variable(path: Path, name: str) -> Any:
    """One variable as a flat array; cells of text become text.

    Raises
    ------
    DataError : there is none of this name, or the file cannot be read; names both.
    """
    try:
        found = _variables(path.read_bytes())
        if name not in found:
            raise ValueError(f"it has {', '.join(found) or 'none'}")
        return np.array(found[name])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no variable {name} can be read ({first_line(error)})") from None


@lru_cache(maxsize=8)  # a reader asks for several variables of one file
def _variables(content: bytes) -> dict[str, list[Any]]:
    """Every variable of a file; raises ValueError where it is none."""
    try:
        child = subprocess.run(CHILD, input=content, capture_output=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise ValueError(f"it takes more than {PATIENCE:g} s") from None
    if child.returncode < 0:
        raise ValueError("it is damaged in such a way that its reader crashes")
    if child.returncode:
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(lines[-1] if lines else "it cannot be read")
    return dict(json.loads(child.stdout))
