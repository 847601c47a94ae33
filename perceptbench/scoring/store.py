"""Finished primitives on disk, so that nothing is computed twice.

A folder a group (a network with its input handling, or an opaque metric), named by the digest of
all that decides its numbers; in it one Parquet file a shard: ``reference, distorted`` (digests of
the images' contents) and one float64 column a primitive, named by its id. A file is named by the
digest of its bytes, written beside its place, moved there, and never changed: a killed run leaves
whole files only, and runs may share a store. A file that is not what its name says is damaged: it
is said, removed and computed anew. What a killed run was just writing has a name that begins with
a dot; a run that reads the group later than ABANDONED removes it.

A store lies in a folder, or at any URL that fsspec knows.
"""

import hashlib
import io
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from perceptbench.errors import DataError, UsageError, first_line

#: Of the layout; files of a newer one are left alone, of an older one not read.
VERSION = 1
#: Seconds after which a temporary file, the work of moments, belongs to nobody.
ABANDONED = 3600
#: Columns that say of which pair a row is.
KEYS = ["reference", "distorted"]
_VERSION_KEY, _TITLE_KEY = b"perceptbench-store", b"title"


class Store:
    """Primitives by group, pair and id.

    Parameters
    ----------
    url : a folder or an fsspec URL; made when first written to.
    say : takes sentences for the user, each said once.

    Raises
    ------
    UsageError : no such kind of URL.
    """

    def __init__(self, url: str, say: Callable[[str], Any] = print) -> None:
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise UsageError(f"store {url}: {first_line(error)}") from None
        self._say, self._said = say, set[str]()
        self.url = url

    def read(self, group: str, pairs: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
        """The values of `ids` for pairs of image digests; NaN where there is none.

        Parameters
        ----------
        group : name of the folder.
        pairs : ``reference, distorted``.
        ids : the columns wanted.

        Returns
        -------
        float64, the columns `ids`, one row a pair in the order of `pairs`.
        """
        tables = [self._table(path, ids) for path in self._files(group)]
        held = [table for table in tables if table is not None]
        if not held:
            return pd.DataFrame(np.nan, index=range(len(pairs)), columns=list(ids))
        together = pa.concat_tables(held, promote_options="default")
        known = together.to_pandas().set_index(KEYS)
        if not known.index.is_unique:  # shards overlap: the first value of each column is taken
            known = known.groupby(level=[0, 1], sort=False).first()
        wanted = pd.MultiIndex.from_frame(pairs[KEYS])
        return known.reindex(index=wanted, columns=list(ids)).reset_index(drop=True)

    def write(
        self,
        group: str,
        title: str,
        pairs: pd.DataFrame,
        values: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Keeps the values of pairs; says once where that cannot be done, and goes on.

        Parameters
        ----------
        group, title : name of the folder, and what it is for people.
        pairs : ``reference, distorted`` digests.
        values : id -> (n,); NaN is not kept.
        """
        columns = {k: pa.array(v, mask=np.isnan(v)) for k, v in sorted(values.items())}
        arrays = {name: pa.array(pairs[name]) for name in KEYS} | columns
        table = pa.table(arrays).replace_schema_metadata(
            {_VERSION_KEY: str(VERSION), _TITLE_KEY: title}
        )
        content = io.BytesIO()
        pq.write_table(table, content, compression="zstd")
        target = f"{self.root}/{group}/{digest(content.getvalue())}.parquet"
        temporary = f"{self.root}/{group}/.{uuid.uuid4().hex}"
        try:
            self.fs.makedirs(f"{self.root}/{group}", exist_ok=True)
            with self.fs.open(temporary, "wb") as stream:
                stream.write(content.getvalue())
            if isinstance(self.fs, LocalFileSystem):
                os.replace(temporary, target)
            else:
                self.fs.mv(temporary, target)
        except OSError as error:
            self._once(f"store {self.url}: cannot be written to ({_why(error)}); going on without")
            self._remove(temporary)
        except BaseException:  # Ctrl-C
            self._remove(temporary)
            raise

    def _files(self, group: str) -> list[str]:
        folder = f"{self.root}/{group}"
        self.fs.invalidate_cache(folder)  # what another run has just written must be seen
        try:
            listed = self.fs.ls(folder, detail=False)
        except OSError:
            return []
        found = []
        for path in map(str, listed):
            if path.rpartition("/")[2].startswith("."):
                self._remove_abandoned(path)
            elif path.endswith(".parquet"):
                found.append(path)
        return sorted(found)

    def _remove_abandoned(self, path: str) -> bool:
        """Removes a temporary file that no run can be writing any more; whether it did."""
        if time.time() - _modified(self.fs, path) <= ABANDONED:
            return False
        self._remove(path)
        return True

    def _table(self, path: str, ids: Sequence[str]) -> pa.Table | None:
        """The wanted columns of a file, and its pairs; None where it has none of them."""
        try:
            content = self.fs.cat_file(path)
        except FileNotFoundError:
            return None  # pruned meanwhile
        except OSError as error:
            self._once(f"store {self.url}: {path} cannot be read ({_why(error)}); computed anew")
            return None
        try:
            if digest(content) not in path:
                raise ValueError("its bytes are not those its name stands for")
            file = pq.ParquetFile(io.BytesIO(content))
            version = int((file.schema_arrow.metadata or {})[_VERSION_KEY])
            if version != VERSION:
                newer = "a newer" if version > VERSION else "an older"
                self._once(
                    f"store {self.url}: holds files of {newer} version of perceptbench, such as "
                    f"{path}; they are left alone, and what is in them is computed anew",
                    newer,
                )
                return None
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise ValueError("a column of it stands there twice")
            columns = [id_ for id_ in ids if id_ in names]
            if not columns or not file.metadata.num_rows:
                return None
            kinds = {"reference": pa.string(), "distorted": pa.string()}
            kinds |= dict.fromkeys(columns, pa.float64())
            return file.read([*KEYS, *columns]).select(list(kinds)).cast(pa.schema(kinds))
        except Exception as error:  # pyarrow raises many kinds for what is no Parquet file
            self._once(
                f"store {self.url}: {path} is damaged ({first_line(error)}); "
                "it is removed and computed anew"
            )
            self._remove(path)
            return None

    def _remove(self, path: str) -> None:
        with suppress(OSError, NotImplementedError):
            self.fs.rm_file(path)

    def _once(self, sentence: str, about: str = "") -> None:
        """Says a sentence, if none like it (about the same) was said before."""
        if (about or sentence) not in self._said:
            self._said.add(about or sentence)
            self._say(sentence)

    def info(self) -> list["Group"]:
        """What the store holds, a group a row."""
        found = []
        for group in self._groups():
            title, pairs, primitives, size, last = "", 0, set[str](), 0, 0.0
            for path in self._files(group):
                size += int(self.fs.size(path) or 0)
                last = max(last, _modified(self.fs, path))
                try:
                    with self.fs.open(path, "rb") as stream:
                        file = pq.ParquetFile(stream)
                        title = (file.schema_arrow.metadata or {})[_TITLE_KEY].decode()
                        primitives |= set(file.schema_arrow.names[2:])
                        pairs += file.metadata.num_rows
                except Exception as error:  # as in _table
                    self._once(f"store {self.url}: {path} is damaged ({first_line(error)})")
            found.append(Group(group, title, pairs, len(primitives), size, last))
        return found

    def prune(self, groups: Sequence[str] = (), older_than: float | None = None) -> int:
        """Removes groups, files older than some seconds, and what killed runs left.

        Parameters
        ----------
        groups : names of the groups to remove from; none: all.
        older_than : seconds since a file was written; None: whatever its age.

        Returns
        -------
        The number of files removed.

        Raises
        ------
        DataError : a file cannot be removed.
        """
        now, removed = time.time(), self.tidy()
        for group in groups or self._groups():
            for path in self._files(group):
                if older_than is None or now - _modified(self.fs, path) > older_than:
                    try:
                        self.fs.rm_file(path)
                    except OSError as error:
                        why = f"{_why(error)}; {removed} files were removed"
                        raise DataError(
                            f"store {self.url}: {path} cannot be removed ({why})"
                        ) from None
                    removed += 1
        return removed

    def tidy(self) -> int:
        """Removes temporary files that no run can be writing any more; how many they were."""
        return sum(
            self._remove_abandoned(str(path))
            for group in self._groups()
            for path in self.fs.ls(f"{self.root}/{group}", detail=False)
            if str(path).rpartition("/")[2].startswith(".")
        )

    def _groups(self) -> list[str]:
        try:
            found = self.fs.ls(self.root, detail=True)
        except OSError:
            return []
        names = (str(e["name"]).rstrip("/") for e in found if e["type"] == "directory")
        return sorted(name.rpartition("/")[2] for name in names)


@dataclass(frozen=True)
class Group:
    """A row of `Store.info`: its name and title, pairs, primitives, bytes, time last written."""

    name: str
    title: str
    pairs: int
    primitives: int
    size: int
    written: float


def digest(content: bytes) -> str:
    """What a file or an image is named by."""
    return hashlib.sha256(content).hexdigest()[:32]


def _modified(fs: Any, path: str) -> float:
    try:
        return float(fs.modified(path).timestamp())
    except (OSError, NotImplementedError):
        return time.time()


def _why(error: OSError) -> str:
    return error.strerror or first_line(error)
