"""Unpacks an archive without trusting it.

Conventions
-----------
Everything goes into a temporary folder first and from there into place, so that an interrupted or
refused archive leaves nothing behind. Refused are: absolute paths, ``..``, links that lead out of
the folder or to nothing, devices and pipes, and bombs (more bytes than `Limits` allow, altogether
or for the archive's own size). What macOS adds (``__MACOSX``, ``._*``, ``.DS_Store``) is left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tqdm import tqdm

from perceptbench.datasets.fetch import archive_formats
from perceptbench.datasets.fetch.lockfile import data_folder
from perceptbench.datasets.fetch.sink import Limits, Sink
from perceptbench.errors import DataError, PerceptbenchError, first_line


def unpack(
    archive: Path, folder: Path, *, password: str = "", limits: Limits | None = None
) -> dict[str, tuple[int, str]]:
    """Unpacks `archive` into `folder`, all of it or nothing.

    Parameters
    ----------
    archive : the file.
    folder : where its members go; made where it is missing, files of the same name replaced.
    password : for an encrypted archive; the user's, from the dataset's owner.
    limits : what it may grow to.

    Returns
    -------
    Path relative to `folder` -> (bytes, sha256), one for each file.

    Raises
    ------
    DataError : it is damaged, encrypted, or holds what is refused; names archive and member. Or
        the folder cannot be written to.
    Unavailable : a package or tool for its kind is missing; names it.
    """
    clear(archive, folder)
    draft = _draft(archive, folder)
    progress = tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True, disable=None)
    try:
        with data_folder(folder.parent), progress as bar:
            draft.mkdir(parents=True)
            sink = Sink(archive, draft, limits or Limits(), bar)
            archive_formats.read(archive, sink, password)
            sink.link_all()
            _move(draft, folder)
    except PerceptbenchError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds, damaged input further ones
        hint = "is the password right?" if password else "remove it to have it fetched again"
        raise DataError(f"{archive}: cannot be unpacked ({first_line(error)}); {hint}") from None
    finally:
        clear(archive, folder)
    return sink.files


def clear(archive: Path, folder: Path) -> None:
    """Removes what an interrupted `unpack` left."""
    shutil.rmtree(_draft(archive, folder), ignore_errors=True)


def _draft(archive: Path, folder: Path) -> Path:
    """Beside the goal, so that renaming suffices; a fixed name, so that it is found again."""
    return folder.parent / f".unpacking-{folder.name}-{archive.name}"


def _move(source: Path, goal: Path) -> None:
    """Renames what is in `source` to below `goal`; folders that are there already are joined."""
    if not goal.exists():
        source.rename(goal)
        return
    for entry in sorted(source.iterdir()):
        there = goal / entry.name
        if entry.is_dir() and not entry.is_symlink() and there.is_dir():
            _move(entry, there)
        else:
            entry.replace(there)
