"""Where the members of an archive pass on their way to disk, and what is refused there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from perceptbench.datasets.fetch.transfer import readable
from perceptbench.errors import DataError

#: Copied at once, bytes.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to.

    Attributes
    ----------
    ratio : unpacked bytes for each byte of the archive; looked at beyond `free` bytes.
    free : bytes that no archive is refused for.
    total : unpacked bytes altogether (the largest set known has 289 GB).
    members : files, folders and links.
    """

    ratio: float = 200.0
    free: int = 64 << 20
    total: int = 500 * 10**9
    members: int = 5_000_000


@dataclass
class Sink:
    """The temporary folder: everything passes here, and is checked here."""

    archive: Path
    folder: Path
    limits: Limits
    bar: tqdm
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    links: list[tuple[Path, str]] = field(default_factory=list)
    members: int = 0
    total: int = 0

    def refuse(self, name: str, why: str) -> DataError:
        return DataError(f"{self.archive}: refused, since member {name!r} {why}")

    def place(self, name: str) -> Path | None:
        """Where a member goes; None for what is left out."""
        self.members += 1
        if self.members > self.limits.members:
            raise self.refuse(name, f"is one more than the {self.limits.members:,} allowed")
        # A zip made on Windows may have backslashes; a drive is as absolute as a slash.
        plain = name.replace("\\", "/")
        if plain.startswith("/") or plain[1:2] == ":" or "\0" in plain:
            raise self.refuse(name, "has an absolute path")
        parts = [part for part in plain.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise self.refuse(name, "leads out of the folder")
        junk = {"__MACOSX", ".DS_Store"} & set(parts) or any(p.startswith("._") for p in parts)
        return self.folder.joinpath(*parts) if parts and not junk else None

    def directory(self, name: str) -> None:
        if place := self.place(name):
            place.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def file(self, name: str) -> Iterator[_Member | None]:
        """Where the bytes of a file go; None for what is left out."""
        place = self.place(name)
        if place is None:
            yield None
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as out:
            member = _Member(self, name, out)
            yield member
        relative = place.relative_to(self.folder).as_posix()
        self.files[relative] = (member.size, member.digest.hexdigest())

    def copy(self, name: str, stream: IO[bytes]) -> None:
        with self.file(name) as out:
            while out and (chunk := stream.read(CHUNK)):
                out.write(chunk)

    def grow(self, name: str, count: int) -> None:
        """Counts bytes before they are written."""
        self.total += count
        self.bar.update(count)
        self.check(name, self.total)

    def check(self, name: str, total: int) -> None:
        if total > self.limits.total:
            raise self.refuse(name, f"brings it beyond {self.limits.total:,} bytes")
        size = self.archive.stat().st_size
        if total > max(self.limits.free, self.limits.ratio * size):
            times = f"{self.limits.ratio:g} times its own size"
            raise self.refuse(name, f"brings it to more than {times}")

    def expect(self, sizes: Iterable[int]) -> None:
        """Refuses, before anything is written, what is too much or would not fit."""
        total = sum(sizes)
        self.check("(all)", total)
        free = shutil.disk_usage(self.folder).free
        if total > free:
            raise DataError(
                f"{self.archive}: unpacked it needs {readable(total)}, "
                f"the disk has {readable(free)} left"
            )

    def link(self, name: str, target: str) -> None:
        """A symbolic link, made when all files are there: nothing is written through it."""
        if place := self.place(name):
            self.links.append((place, target))

    def hard_link(self, name: str, target: str) -> None:
        """Another name of a file that came before."""
        source, place = self.place(target), self.place(name)
        if source is None or place is None:
            return
        relative = source.relative_to(self.folder).as_posix()
        if relative not in self.files:
            raise self.refuse(name, f"is a link to {target!r}, which is not in it")
        with source.open("rb") as stream:
            self.copy(name, stream)

    def link_all(self) -> None:
        inside = self.folder.resolve()
        for place, target in self.links:
            name = place.relative_to(self.folder).as_posix()
            parent = inside.joinpath(*place.relative_to(self.folder).parts[:-1])
            if os.path.isabs(target) or os.path.lexists(place) or parent.resolve() != parent:
                # The last: a link made just before would lead elsewhere.
                raise self.refuse(name, f"is a link to {target!r}")
            parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
        for place, target in self.links:
            name = place.relative_to(self.folder).as_posix()
            try:
                found = place.resolve(strict=True)
            except (OSError, RuntimeError):  # to nothing, or round in a circle
                raise self.refuse(name, f"is a link to {target!r}, which is not in it") from None
            if not found.is_relative_to(inside):
                raise self.refuse(name, f"is a link out of the folder, to {target!r}")


@dataclass
class _Member:
    """A file being written: counted, hashed."""

    sink: Sink
    name: str
    out: IO[bytes]
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def write(self, chunk: bytes) -> int:
        self.sink.grow(self.name, len(chunk))
        self.size += len(chunk)
        self.digest.update(chunk)
        return self.out.write(chunk)
