"""Files that come all together or not at all; what the system refuses, in one sentence.

Conventions
-----------
Files are first written to the hidden folder UNFINISHED of the folder they are meant for, and moved
from there when all of them are whole: a full disk or a killed process leaves what was there before.
Processes that write to one folder take turns, so that its files are those of one of them. What a
killed one left goes with the next that writes there.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perceptbench.errors import DataError

UNFINISHED = ".perceptbench-unfinished"
#: Moved into place after all others: whoever finds it finds the others, too.
LAST = "run.json"
#: Errors of a disk that is full, or of an account that may not fill it further.
FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def together(folder: Path) -> Iterator[Path]:
    """A folder to write to, whose files replace those of `folder` when the block ends.

    Raises
    ------
    DataError : the system refuses to write, now or while the block writes; `folder` is as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with together(Path(folder)) as draft:
    ...         _ = (draft / "a.txt").write_text("whole")
    ...     sorted(os.listdir(folder))
    ['a.txt']
    """
    draft = folder / UNFINISHED
    with writable(folder, "-o"):
        folder.mkdir(parents=True, exist_ok=True)
        with _turn(folder):
            shutil.rmtree(draft, ignore_errors=True)
            try:
                draft.mkdir()
                yield draft
                _move(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)


def is_empty(folder: Path) -> bool:
    """Whether there is no such folder, or nothing in it but what a killed process left."""
    return not folder.is_dir() or all(path.name == UNFINISHED for path in folder.iterdir())


@contextmanager
def writable(folder: Path, option: str = "") -> Iterator[None]:
    """Turns the system's refusal to write to `folder` into a DataError.

    Parameters
    ----------
    folder : what is written to; errors about other files pass.
    option : of the command line, that names another folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not _concerns(error, folder):
            raise
        # The system's own words: pyarrow has others.
        why = f"{os.strerror(error.errno)}; {'free some or ' * (error.errno in FULL)}"
        choice = f"choose another folder{option and f' with {option}'}"
        raise DataError(f"{folder}: cannot be written ({why}{choice})") from None


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether an error names a file in `folder`, or none, as errors of writing to an open one."""
    named = [Path(os.fsdecode(p)) for p in (error.filename, error.filename2) if _is_path(p)]
    return not named or any(folder in (path, *path.parents) for path in named)


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One process at a time, where the system can lock a folder."""
    handle = None
    with suppress(ImportError, OSError):
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _move(source: Path, goal: Path) -> None:
    files = [path.relative_to(source) for path in source.rglob("*") if not path.is_dir()]
    for path in sorted(files, key=lambda p: (p.name == LAST, p)):
        (goal / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).replace(goal / path)
