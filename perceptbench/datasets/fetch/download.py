"""Fetches a dataset: its archives from the owner or a mirror, verified, unpacked, once.

Conventions
-----------
The data folder (``home``) holds a folder for each dataset, named after it, the lock file
(`lockfile.py`) and a hidden folder with process locks and, for each unpacked
archive, the list of its files with their sha256. An archive is removed when it is unpacked, unless
it is to be kept. A file that is kept as it is remains a ``.part`` until all others are there: label
files alone would be taken for the whole set by who comes meanwhile, or after a killed process.
What is left of killed transfers and unpacking goes when the set is whole.

Nothing is taken on faith in silence: a file with a known checksum must match it; one without is
trusted on first use, which is said, and must from then on be what it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from perceptbench.datasets.fetch import lockfile
from perceptbench.datasets.fetch.archive_formats import kind, require
from perceptbench.datasets.fetch.lockfile import Pin
from perceptbench.datasets.fetch.transfer import (
    Patience,
    Refused,
    copy,
    done,
    forget,
    readable,
    transfer,
)
from perceptbench.datasets.fetch.unpack import Limits, clear, unpack
from perceptbench.datasets.records import read_json
from perceptbench.errors import DataError, Unavailable, UsageError
from perceptbench.toml import wrong_key


class Archive(BaseModel):
    """A file to fetch: an archive to unpack, or a file that is kept as it is.

    Attributes
    ----------
    path : file name, or relative path below the dataset's folder.
    urls : where these very bytes come from: the owner's address first, then mirrors; http only
        where the checksum is known. Empty where the owner hands it out by hand (a form, a share):
        the user brings it.
    source : archives of one source together make a whole copy of the dataset; other sources
        (a mirror that packed the set anew, so with other bytes) are tried in their order.
    size : bytes, None where not known.
    sha256, md5 : checksum, empty where none is known: then the first download is trusted and
        enforced from then on.
    vouched : who vouches for the checksum.
    unpack : whether it is an archive to unpack into `into`.
    into : folder below the dataset's folder; "" is that folder itself.
    password : the owner gives a password to those who ask; it comes from the user.
    verified : whether we saw ourselves that address and size are right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    urls: tuple[str, ...] = ()
    source: str = "owner"
    size: int | None = None
    sha256: str = ""
    md5: str = ""
    vouched: str = ""
    unpack: bool = False
    into: str = ""
    password: bool = False
    verified: bool = False

    @field_validator("path", "into")
    @classmethod
    def _stays_below_the_dataset(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError("must be a relative path without `..`")
        return path

    @field_validator("urls")
    @classmethod
    def _are_web_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if any(urlsplit(url).scheme not in {"http", "https"} for url in urls):
            raise ValueError("must be http or https addresses")
        return urls

    @model_validator(mode="after")
    def _are_encrypted_or_checked(self) -> Archive:
        plain = [url for url in self.urls if urlsplit(url).scheme == "http" and not _is_here(url)]
        if plain and not (self.sha256 or self.md5):
            raise ValueError(
                f"{plain[0]} is not encrypted: give an https address, or the sha256 or md5 of "
                f"{self.path}"
            )
        return self


def _is_here(url: str) -> bool:
    """Whether an address is on this very machine, so that nobody stands between."""
    return urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class How:
    """How a dataset is fetched; the defaults ask nobody, mirror and password may stand in the
    environment (PERCEPTBENCH_MIRROR, PERCEPTBENCH_PASSWORD).

    Attributes
    ----------
    accept : is shown the terms, says whether they are accepted.
    password : is given an archive's name, says its password.
    say : is told what the user should know.
    mirror : base address or folder that every file is taken from instead: as
        ``MIRROR/DATASET/PATH`` (as the data folder has it) or ``MIRROR/FILE``.
    source : only this one of the dataset's sources.
    keep : archives are kept when they are unpacked.
    patience, limits : of transfers and of unpacking.
    """

    accept: Callable[[str], bool] = lambda terms: False
    password: Callable[[str], str] = lambda archive: os.environ.get("PERCEPTBENCH_PASSWORD", "")
    say: Callable[[str], None] = _tell
    mirror: str = field(default_factory=lambda: os.environ.get("PERCEPTBENCH_MIRROR", ""))
    source: str = ""
    keep: bool = False
    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)


def fetch(
    name: str,
    archives: Sequence[Archive],
    home: Path,
    *,
    homepage: str = "",
    terms: str = "",
    how: How | None = None,
) -> Path:
    """Brings the whole dataset into ``home/name``; does nothing where it is there already.

    Two processes may ask for the same set: the second waits, and finds it there.

    Parameters
    ----------
    name : of the dataset.
    archives : its files, of one or several sources.
    home : the data folder.
    homepage : where people get what has no address.
    terms : shown and accepted before the first download; "" where there are none.
    how : what can be chosen.

    Returns
    -------
    The dataset's folder.

    Raises
    ------
    UsageError : terms that are not accepted, an unknown source.
    DataError : no source gives all files, or a file is not what it should be; names addresses.
    Unavailable : a program or package that unpacks it is missing.
    """
    how = how or How()
    folder = home / name
    sources = list(dict.fromkeys(archive.source for archive in archives))
    if how.source and how.source not in sources:
        known = ", ".join(sources) or "none"
        raise UsageError(f"dataset {name}: has no source {how.source!r}, it has {known}")
    with _alone(name, home, how):
        here = lockfile.entry(home, name).source
        whole = here in sources and not any(
            _missing(archive, name, home) for archive in archives if archive.source == here
        )
        if whole and how.source not in {"", here}:
            # Two copies in one folder would leave every image's name ambiguous.
            raise UsageError(
                f"dataset {name}: is in {folder} already, from {here}; remove that folder first"
            )
        if whole:
            return folder
        if terms:
            _agree(name, terms, home, how)
        reasons: list[str] = []
        for source in [how.source] if how.source else sorted(sources, key=lambda s: s != here):
            if reasons:
                how.say(f"dataset {name}: {reasons[-1]}; now from {source}")
            # First all, then unpacked: a source that lacks the last leaves no half copy.
            got: list[tuple[Archive, str]] = []
            try:
                for archive in archives:
                    if archive.source == source and (origin := _obtain(archive, name, home, how)):
                        got.append((archive, origin))
            except _Unobtainable as error:
                reasons.append(str(error))
                continue
            except Unavailable as error:
                others = " or ".join(f"--source {other}" for other in sources if other != source)
                hint = f"; or `perceptbench datasets download {name}` with {others}"
                raise Unavailable(f"dataset {name}: {error}{hint if others else ''}") from None
            with lockfile.changed(home, name) as entry:
                entry.begun, entry.source = True, ""
            for archive, origin in got:
                _finish(archive, origin, name, home, how)
            # What killed processes left, before the set is called whole: later calls end at once.
            for archive in archives:
                forget(_part(folder / archive.path))
                clear(folder / archive.path, folder / archive.into)
                if archive.source == source and archive.unpack and not how.keep:
                    (folder / archive.path).unlink(missing_ok=True)
            with lockfile.changed(home, name) as entry:
                entry.begun, entry.source = False, source
            return folder
    # The reasons of the sources before the last were said when the next one's turn came.
    reason = reasons[-1] if reasons else "nothing of it can be downloaded"
    by_hand = f"; see {homepage}" if homepage else ""
    raise DataError(
        f"dataset {name}: {reason}{by_hand}. A copy you have: `perceptbench datasets link {name} "
        "FOLDER`; archives you have: --mirror FOLDER"
    )


class _Unobtainable(Exception):
    """No address gives the file: the next source's turn."""


@contextmanager
def _alone(name: str, home: Path, how: How) -> Iterator[None]:
    """One process at a time fetches a dataset."""
    lock = FileLock(lockfile.hidden_folder(home) / f"{name}.lock")
    with lockfile.data_folder(home):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            how.say(f"dataset {name}: another process is fetching it; waiting")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _agree(name: str, terms: str, home: Path, how: How) -> None:
    """Asks once; raises UsageError where the terms are not accepted."""
    digest = hashlib.sha256(terms.encode()).hexdigest()
    if lockfile.entry(home, name).terms == digest:
        return
    if not how.accept(terms):
        raise UsageError(
            f"dataset {name}: its terms were not accepted: {terms!r}; accept them with "
            f"`perceptbench datasets download {name} --accept-terms`"
        )
    with lockfile.changed(home, name) as entry:
        entry.terms = digest


def _obtain(archive: Archive, name: str, home: Path, how: How) -> str:
    """Fetches one archive; returns where it came from, "" where all of it is done already."""
    target = home / name / archive.path
    if not _missing(archive, name, home):
        return ""
    if archive.unpack:
        require(archive.path)
    if archive.password and not how.password(archive.path):
        raise _Unobtainable(
            f"{archive.path} needs the password that its owner gives to those who ask "
            "(--password or PERCEPTBENCH_PASSWORD)"
        )
    pin = lockfile.entry(home, name).files.get(archive.path)
    if not target.is_file():
        return _download(archive, pin, name, home, how)
    if problem := _problem(archive, target, pin):
        raise DataError(f"{target}: {problem}; remove it to have it fetched again")
    # Put there by the user, or by a process that was killed before it was unpacked.
    return pin.url if pin else str(target)


def _finish(archive: Archive, origin: str, name: str, home: Path, how: How) -> None:
    """Unpacks an archive that is there, and pins it: only then is it known to be whole."""
    target = home / name / archive.path
    if not target.is_file():
        done(_part(target), target)
    if archive.unpack:
        password = how.password(archive.path) if archive.password else ""
        files = unpack(target, home / name / archive.into, password=password, limits=how.limits)
    if archive.path not in lockfile.entry(home, name).files:
        _pin(archive, origin, name, home, how)
    if archive.unpack:
        _list(archive, files, name, home)
        if not how.keep:
            target.unlink()


def _pin(archive: Archive, origin: str, name: str, home: Path, how: How) -> None:
    target = home / name / archive.path
    digest = archive.sha256.lower() or _digest(target, "sha256")
    if not archive.sha256 and not archive.md5:
        unsafe = ", over a connection that is not encrypted" if origin.startswith("http:") else ""
        how.say(
            f"dataset {name}: no checksum is known for {archive.path} (from {origin}{unsafe}): "
            f"trusted on first use, sha256 {digest} is kept in {home / lockfile.NAME} and "
            "enforced from now on"
        )
    with lockfile.changed(home, name) as entry:
        entry.files[archive.path] = Pin(
            sha256=digest,
            size=target.stat().st_size,
            url=origin,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )


class Listing(BaseModel):
    """What was unpacked from an archive: path -> (bytes, sha256), below a folder."""

    into: str
    files: dict[str, tuple[int, str]]


def _missing(archive: Archive, name: str, home: Path) -> bool:
    """Whether a file, or any file that was unpacked from an archive, is not there as it was."""
    if not archive.unpack:
        trusted = archive.path in lockfile.entry(home, name).files
        return not (trusted and (home / name / archive.path).is_file())
    try:
        files = _unpacked(archive, name, home)
        return any(path.stat().st_size != size for path, (size, _) in files.items())
    except FileNotFoundError:
        return True


def _unpacked(archive: Archive, name: str, home: Path) -> dict[Path, tuple[int, str]]:
    """What was unpacked from an archive, with bytes and sha256 (`_list`)."""
    path = _listing(archive, name, home)
    try:
        listing = Listing.model_validate(read_json(path))
    except ValidationError as error:
        raise DataError(f"{path}: {wrong_key(error)}; remove it, and fetch it again") from None
    folder = home / name / listing.into
    return {folder / path: entry for path, entry in listing.files.items()}


def _listing(archive: Archive, name: str, home: Path) -> Path:
    """Where the list of an archive's unpacked files lies; written when all of them are there."""
    return home / lockfile.HIDDEN / name / f"{quote(archive.path, safe='')}.json"


def _list(archive: Archive, files: dict[str, tuple[int, str]], name: str, home: Path) -> None:
    path = _listing(archive, name, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"into": archive.into, "files": files}), encoding="utf-8")
    draft.replace(path)


def _download(archive: Archive, pin: Pin | None, name: str, home: Path, how: How) -> str:
    """The archive from the first address that gives the right bytes; returns the address."""
    target = home / name / archive.path
    part = _part(target)
    reasons = []
    for place in _places(archive, name, how.mirror):
        size = f" ({readable(archive.size)})" if archive.size else ""
        how.say(f"dataset {name}: fetching {archive.path}{size} from {place}")
        try:
            if isinstance(place, Path):
                copy(place, part)
            else:
                transfer(place, part, size=archive.size, patience=how.patience)
        except Refused as why:
            reasons.append(f"{place}: {why}")
            continue
        if problem := _problem(archive, part, pin):
            forget(part)
            reasons.append(f"{place}: {problem}")
            continue
        if archive.unpack:
            done(part, target)
        return str(place)
    if not reasons and how.mirror:
        reasons = [f"{how.mirror} has no {name}/{archive.path} and no {Path(archive.path).name}"]
    where = "; ".join(reasons) or "its owner gives it to those who ask, there is no address"
    raise _Unobtainable(f"{archive.path} could not be downloaded ({where})")


def _part(target: Path) -> Path:
    """Where a file arrives."""
    return target.with_name(target.name + ".part")


def _places(archive: Archive, name: str, mirror: str) -> list[str | Path]:
    """Where the file may be had, in the order in which it is tried."""
    if not mirror:
        return list(archive.urls)
    named = dict.fromkeys(
        [
            f"{name}/{archive.path}",
            Path(archive.path).name,
            *(unquote(urlsplit(url).path.rpartition("/")[2]) for url in archive.urls),
        ]
    )
    if urlsplit(mirror).scheme in {"http", "https"}:
        return [f"{mirror.rstrip('/')}/{quote(path)}" for path in named]
    base = Path(mirror.removeprefix("file://")).expanduser()
    if not base.is_dir():
        raise UsageError(f"mirror {mirror}: is no http address and no folder")
    return [base / path for path in named if (base / path).is_file()]


def _problem(archive: Archive, path: Path, pin: Pin | None) -> str:
    """What is wrong with a fetched file; empty where nothing is."""
    size = path.stat().st_size
    if archive.size is not None and size != archive.size:
        return f"it has {size:,} bytes instead of {archive.size:,}"
    for method in ("sha256", "md5"):
        expected = getattr(archive, method).lower()
        if expected and (found := _digest(path, method)) != expected:
            return f"its {method} is {found} instead of {expected}"
    if pin and (found := _digest(path, "sha256")) != pin.sha256:
        return (
            f"its sha256 is {found}, but on {pin.date} it was {pin.sha256} (from {pin.url}; if its "
            f"owner has changed it, remove it from {lockfile.NAME})"
        )
    if archive.unpack and not kind(path):
        return "it is no archive"
    return ""


def _digest(path: Path, method: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, method).hexdigest()


def verify(name: str, archives: Sequence[Archive], home: Path) -> list[str]:
    """Compares what was fetched into the data folder, byte for byte, with what it should be.

    Returns
    -------
    What is missing or wrong, by name, one sentence each; empty where all is well, and where
    nothing was fetched into `home`.
    """
    source = lockfile.entry(home, name).source
    wanted = [archive for archive in archives if archive.source == source]
    return [problem for archive in wanted for problem in _problems(archive, name, home)]


def _problems(archive: Archive, name: str, home: Path) -> Iterator[str]:
    target = home / name / archive.path
    pin = lockfile.entry(home, name).files.get(archive.path)
    if target.is_file():
        if problem := _problem(archive, target, pin):
            yield f"{target}: {problem}"
    elif not archive.unpack:
        yield f"{target}: is missing"
    if archive.unpack:
        for path, (size, digest) in _unpacked(archive, name, home).items():
            if not path.is_file():
                yield f"{path}: is missing"
            elif path.stat().st_size != size or _digest(path, "sha256") != digest:
                yield f"{path}: has changed since it was unpacked"
