"""TOML files that people write: a table, or one sentence on what is wrong with the file."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perceptbench.errors import PerceptbenchError, UsageError


def read(
    path: Path, kind: str = "loss", error: type[PerceptbenchError] = UsageError
) -> dict[str, Any]:
    """The tables of a file.

    Parameters
    ----------
    path : the file.
    kind : what it describes, for the error.
    error : raised where there is no such file, or it is not TOML; names the file and the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: there is no such {kind} file") from None
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror})") from None
    except RecursionError:
        raise error(f"{path}: is not valid TOML (it is nested too deeply)") from None
    except ValueError as reason:  # also bytes that are no UTF-8, numbers of thousands of digits
        raise error(f"{path}: is not valid TOML ({reason})") from None


def wrong_key(error: ValidationError) -> str:
    """``key `a.b`: what is wrong with it``, of the first wrong key of a file."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"]
    own = message.removeprefix("Value error, ")  # a sentence of ours
    said = own if own != message else message[0].lower() + message[1:]
    return f"key `{key}`: {said}" if key else said
