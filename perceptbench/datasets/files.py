"""The files of a dataset's copy, found by base name whatever case, separators or folders it has.

Mirrors rename: ``I01.BMP`` becomes ``i01.bmp``, ``Part 1`` becomes ``Part_1``, folders come and
go. A name from a label file is looked up by its base name, without case and with a space and an
underscore the same; where several files have it, by as many of the folders before it as agree.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from perceptbench.datasets.judgements.protocols import is_writable
from perceptbench.errors import DataError

#: Leftovers of macOS in archives: ``._x.png`` is no image.
JUNK = ("._", ".DS_Store", "__MACOSX")


class Files:
    """Every file below a folder, by base name.

    Attributes
    ----------
    folder : where the copy lies.
    dataset : the dataset's name, for messages.
    """

    def __init__(self, folder: Path, dataset: str) -> None:
        self.folder, self.dataset = folder, dataset
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._folders: set[str] = set()
        seen: set[tuple[int, int]] = set()  # a link to a folder above would have no end
        for where, folders, names in os.walk(folder, followlinks=True):
            identity = os.stat(where)
            if (identity.st_dev, identity.st_ino) in seen:
                folders.clear()
                continue
            seen.add((identity.st_dev, identity.st_ino))
            folders[:] = sorted(f for f in folders if not f.startswith(JUNK))
            below = Path(where).relative_to(folder).as_posix()
            self._folders.add(_fold(below))
            above = "" if below == "." else f"{below}/"
            for name in sorted(names):
                if not name.startswith(JUNK):
                    self._by_name[_fold(name)].append(above + name)
                    self._by_path[_fold(above + name)].append(above + name)

    def candidates(self, name: str, agreeing: int = 1) -> list[str]:
        """The files that `name` may mean: relative paths, several where it is ambiguous.

        Parameters
        ----------
        name : base name, or with folders before it. Where the copy has these very folders, only
            files in them are meant; otherwise those with the most equal folders.
        agreeing : how many parts of the name, from its end, must be equal at least.
        """
        return self._named(self._candidates(name, agreeing))

    def _named(self, paths: list[str]) -> list[str]:
        """The same paths; raises DataError where a table could not hold one."""
        for path in paths:
            if not is_writable(path):
                raise DataError(f"{self.folder / path}: its name is no UTF-8; rename it")
        return paths

    def _candidates(self, name: str, agreeing: int) -> list[str]:
        path = _fold(name)
        folder, _, base = path.rpartition("/")
        if folder and folder in self._folders:
            return self._by_path.get(path, [])
        found = self._by_name.get(base, [])
        wanted = [*folder.split("/"), base] if folder else [base]
        agree = [_agreement(wanted, path) for path in found]
        best = max(agree, default=0)
        if best < agreeing:
            return []
        return [path for path, n in zip(found, agree, strict=True) if n == best]

    def has_folder(self, path: str) -> bool:
        """Whether there is a folder of this relative path."""
        return _fold(path) in self._folders

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, or of this pattern (see `matching`)."""
        return bool(self.matching(name) if "*" in name or "/" in name else self.candidates(name))

    def path(self, name: str) -> Path:
        """The file of this name or pattern; raises DataError where there is none, or several."""
        found = self.matching(name) if "*" in name else self.candidates(name)
        if len(found) == 1:
            return self.folder / found[0]
        what = f"{len(found)} times: {', '.join(found[:3])}" if found else "nowhere"
        raise DataError(f"dataset {self.dataset}: {name} is {what} below {self.folder}")

    def matching(self, pattern: str) -> list[str]:
        """Relative paths, sorted, whose last parts match a pattern such as ``labels/*.csv``."""
        parts = [_fold(part) for part in pattern.split("/")]
        found = (
            path
            for name, paths in self._by_name.items()
            if fnmatchcase(name, parts[-1])
            for path in paths
            if _matches(path, parts)
        )
        return self._named(sorted(found))


def _fold(part: str) -> str:
    return part.casefold().replace(" ", "_").replace("\\", "/")


def _agreement(wanted: list[str], path: str) -> int:
    """How many parts, from the end, `path` shares with what was asked for."""
    parts = [_fold(part) for part in path.split("/")]
    n = 0
    for one, other in zip(reversed(wanted), reversed(parts), strict=False):
        if one != other:
            break
        n += 1
    return n


def _matches(path: str, parts: list[str]) -> bool:
    tail = [_fold(part) for part in path.split("/")][-len(parts) :]
    return len(tail) == len(parts) and all(map(fnmatchcase, tail, parts))


def resolve(
    table: pd.DataFrame, columns: Iterable[str], files: Files
) -> tuple[pd.DataFrame, list[str]]:
    """Turns image names into relative paths of the files they mean.

    Parameters
    ----------
    table : judgements whose image columns hold names as the labels spell them.
    columns : the image columns.
    files : the copy.

    Returns
    -------
    The rows all of whose images were found, with their index, and the images that were not: each
    by name, with the files it may mean where there is more than one.
    """
    columns = list(columns)
    names = [str(n) for n in pd.unique(pd.concat([table[c] for c in columns]))]
    needed = _distinguishing(names)
    found = {name: files.candidates(name, needed[name]) for name in names}
    paths = {name: paths[0] for name, paths in found.items() if len(paths) == 1}
    unresolved = [
        f"{name} ({len(found[name])} files: {', '.join(found[name][:3])})" if found[name] else name
        for name in names
        if name not in paths
    ]
    resolved = table.assign(**{column: table[column].map(paths) for column in columns})
    return resolved.dropna(subset=columns), unresolved


def _distinguishing(names: list[str]) -> dict[str, int]:
    """How many parts, from the end, tell a name from all others.

    Sets use base names again in another folder (``jp2k/img1.bmp``, ``jpeg/img1.bmp``): a copy
    that lacks the one must not pass the other off for it.
    """
    by_base: dict[str, set[str]] = defaultdict(set)
    for name in names:
        folded = _fold(name)
        by_base[folded.rpartition("/")[2]].add(folded)
    needed: dict[str, int] = {}
    for same_base in by_base.values():
        parts = {folded: folded.split("/") for folded in same_base}
        longest = max(map(len, parts.values()))
        left, n = set(same_base), 1
        while left:
            count: dict[tuple[str, ...], int] = defaultdict(int)
            for folded in same_base:
                count[tuple(parts[folded][-n:])] += 1
            alone = {f for f in left if n >= longest or count[tuple(parts[f][-n:])] == 1}
            needed.update(dict.fromkeys(alone, n))
            left -= alone
            n += 1
    return {name: needed[_fold(name)] for name in names}
