"""JSON files and lists of numbers from anybody: as they should be, or one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceptbench.errors import DataError, first_line


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises
    ------
    FileNotFoundError : there is none.
    DataError : it cannot be read, or holds something else; names the file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise DataError(f"{path}: is not valid JSON (it is nested too deeply)") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not valid JSON ({first_line(error)})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds a {type(found).__name__} instead of an object")
    return found


def numbers(record: dict[str, Any], key: str, *shape: int | None) -> NDArray[np.float64]:
    """The finite numbers below a key of a JSON object, as an array.

    Parameters
    ----------
    record : the object.
    key : of lists of numbers, of lists of these, and so on.
    shape : of the array; None: any length.

    Raises
    ------
    ValueError : there is no such key, or it is not of that shape; says what it should be.
    """
    try:
        found = np.array(record[key])
    except (KeyError, ValueError, OverflowError):
        found = np.array(None)
    fits = found.ndim == len(shape) and all(
        n in (None, length) for n, length in zip(shape, found.shape, strict=False)
    )
    if found.dtype.kind not in "iuf" or not fits or not np.isfinite(found).all():
        size = " x ".join("n" if n is None else str(n) for n in shape)
        raise ValueError(f"`{key}` is not {size} finite numbers")
    return found.astype(float)
