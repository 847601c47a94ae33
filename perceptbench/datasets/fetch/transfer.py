"""One file from one address: with progress, resumed where it broke off, tried again with patience.

Conventions
-----------
``NAME.part`` is what has arrived so far and ``NAME.part.json`` what it is a part of: address,
entity tag, date, length. A part is continued by an HTTP range only where the server confirms that
the file is still the same (``If-Range``, RFC 9110 section 13.1.5, or the same length where it gives
neither tag nor date); in every other case it starts afresh.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from perceptbench.datasets.fetch.lockfile import data_folder
from perceptbench.errors import DataError, first_line
from perceptbench.redirects import stay_encrypted

if TYPE_CHECKING:
    import requests

#: Read and written at once, bytes.
CHUNK = 1 << 18
#: Left free on the disk, bytes.
RESERVE = 64 << 20
#: HTTP answers that may be another one a moment later.
PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How often and how long an address is tried; times in seconds.

    Attributes
    ----------
    attempts : in a row without progress; where no connection comes about at all, two at most.
    pause, longest : before the second attempt, doubled from then on, up to `longest`.
    connect, read : how long a server may take to accept, and to send the next bytes.
    """

    attempts: int = 5
    pause: float = 1.0
    longest: float = 60.0
    connect: float = 10.0
    read: float = 30.0


class Refused(Exception):
    """This address will not give the file, now or later: the next one's turn."""


class _Broken(Exception):
    """The transfer stopped; it may go on in another attempt."""

    def __init__(self, why: str, *, connected: bool = True, wait: float | None = None) -> None:
        super().__init__(why)
        self.connected, self.wait = connected, wait


@dataclass(frozen=True)
class _Part:
    """What ``NAME.part`` is a part of."""

    url: str
    etag: str
    date: str
    total: int | None

    @property
    def validator(self) -> str:
        """For ``If-Range``: the entity tag unless it is a weak one, else the date."""
        return self.date if self.etag.startswith("W/") or not self.etag else self.etag


def transfer(url: str, part: Path, *, size: int | None, patience: Patience) -> None:
    """Brings the file at `url` to `part`, going on from what is there of it.

    Parameters
    ----------
    url : http or https.
    part : where it goes; beside it lies ``part.json`` as long as it is not complete.
    size : the bytes it should have, None where not known.
    patience : how often it is tried again.

    Raises
    ------
    Refused : this address does not give the file, or leads from https to http; says why.
    DataError : the disk has no room for it, or the folder cannot be written.
    """
    import requests

    failures, furthest = 0, _size(part)
    with requests.Session() as session:
        session.hooks["response"].append(stay_encrypted)
        while True:
            try:
                _attempt(session, url, part, size, patience)
                return
            except _Broken as broken:
                have = _size(part)
                # Only what was never reached before counts: a server may start over for ever.
                failures = 0 if have >= furthest + CHUNK else failures + 1
                furthest = max(furthest, have)
                if failures >= (patience.attempts if broken.connected else 2):
                    raise Refused(f"{broken} (tried {failures} times)") from None
                pause = min(patience.pause * 2 ** max(failures - 1, 0), patience.longest)
                time.sleep(pause if broken.wait is None else min(broken.wait, patience.longest))


def copy(source: Path, part: Path) -> None:
    """The same from a local file, a mirror folder's."""
    try:
        file = source.open("rb")
    except OSError as error:
        raise Refused(f"it cannot be read ({error.strerror})") from None
    size = source.stat().st_size
    _room(part, size)
    with file, data_folder(part.parent), _progress(source.name, 0, size) as bar:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as out:
            while chunk := file.read(CHUNK):
                out.write(chunk)
                bar.update(len(chunk))


def _attempt(
    session: requests.Session, url: str, part: Path, size: int | None, patience: Patience
) -> None:
    """One request: goes on where the part ends, or starts afresh."""
    import requests
    import urllib3

    known = _known_part(url, part)
    have = _size(part) if known else 0
    if known and known.total is not None and have == known.total:
        return
    # As stored: a server that compresses on the way would change length and bytes.
    headers = {"Accept-Encoding": "identity"}
    if known and have:
        headers["Range"] = f"bytes={have}-"
        if known.validator:
            headers["If-Range"] = known.validator
    try:
        with session.get(
            url, headers=headers, stream=True, timeout=(patience.connect, patience.read)
        ) as answer:
            _refuse(answer, part)
            if answer.status_code == 206:
                total = _continues(answer, known, have, part)
            else:
                have, total = 0, _number(answer.headers.get("Content-Length"))
            if size is not None and total is not None and total != size:
                part.unlink(missing_ok=True)
                raise Refused(f"it has {total:,} bytes there instead of {size:,}")
            _room(part, (total or size or 0) - have)
            if have == 0:
                _begin(url, answer, part, total)
            _receive(answer, part, have, total, size)
    except requests.exceptions.SSLError as error:
        raise Refused(f"no secure connection: {_plain(_cause(error))}") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise Refused(first_line(error)) from None
    except requests.exceptions.ConnectTimeout:
        raise _Broken("it does not answer", connected=False) from None
    except requests.exceptions.ConnectionError as error:
        never = isinstance(_cause(error), urllib3.exceptions.NewConnectionError)
        raise _Broken(_plain(_cause(error)), connected=not never) from None
    except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
        raise _Broken(f"it sent nothing for {patience.read:g} s") from None
    except urllib3.exceptions.ProtocolError:
        raise _Broken(f"the connection closed after {_size(part):,} bytes") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Broken(_plain(error)) from None


def _known_part(url: str, part: Path) -> _Part | None:
    """What is there of `url`; None where nothing is, or a part of something else."""
    try:
        found = _Part(**json.loads(_note(part).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    # Without a tag, a date or a length nothing could tell whether the file has changed.
    if not all(isinstance(word, str) for word in (found.url, found.etag, found.date)):
        return None
    certain = bool(found.validator) or found.total is not None
    return found if found.url == url and certain and part.exists() else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def forget(part: Path) -> None:
    """Removes a part and what is known of it."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def done(part: Path, target: Path) -> None:
    """A complete part gets its name."""
    part.replace(target)
    _note(part).unlink(missing_ok=True)


def _refuse(answer: requests.Response, part: Path) -> None:
    """Raises where the answer is not the file."""
    status = answer.status_code
    if status == 416:  # the part is longer than the file, which so has changed
        forget(part)
        raise _Broken("the file has changed", wait=0)
    if status in PASSING:
        wait = _number(answer.headers.get("Retry-After"))
        raise _Broken(f"HTTP {status} {answer.reason}", wait=wait)
    if status not in {200, 206}:
        raise Refused(f"HTTP {status} {answer.reason}")
    is_page = answer.headers.get("Content-Type", "").startswith("text/html")
    if is_page and not part.name.lower().endswith((".html.part", ".htm.part")):
        raise Refused("it answers with a web page instead of the file")


def _continues(answer: requests.Response, known: _Part | None, have: int, part: Path) -> int | None:
    """The whole length, where a partial answer goes on exactly where the part ends."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    start, total = (int(found[1]), _number(found[2])) if found else (None, None)
    tag = answer.headers.get("ETag", "")
    if known is not None and start == have and tag in {known.etag, ""}:
        whole = total or known.total
        if known.total in {None, whole}:
            return whole
    forget(part)
    raise _Broken("the file has changed", wait=0)


def _begin(url: str, answer: requests.Response, part: Path, total: int | None) -> None:
    """Empties the part, then writes what it will be a part of."""
    headers = answer.headers
    note = _Part(url, headers.get("ETag", ""), headers.get("Last-Modified", ""), total)
    with data_folder(part.parent):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"")
        _note(part).write_text(json.dumps(asdict(note)))


def _receive(
    answer: requests.Response, part: Path, have: int, total: int | None, size: int | None
) -> None:
    """Appends the body to the part."""
    end = total if total is not None else size
    name = part.name.removesuffix(".part")
    with data_folder(part.parent), part.open("ab") as file, _progress(name, have, end) as bar:
        for chunk in answer.raw.stream(CHUNK, decode_content=False):
            file.write(chunk)
            bar.update(len(chunk))
            have += len(chunk)
            if end is not None and have > end:
                file.truncate(0)
                raise Refused(f"it sends more than the {end:,} bytes it should have")
    if total is not None and have < total:
        raise _Broken(f"the connection closed after {have:,} of {total:,} bytes")


def _room(part: Path, needed: int) -> None:
    """Raises DataError where the disk has no room for `needed` bytes more."""
    folder = next(p for p in part.absolute().parents if p.is_dir())
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise DataError(
            f"{folder}: {part.name.removesuffix('.part')} needs {readable(needed)}, the disk has "
            f"{readable(free)} left; choose another folder with --data-dir"
        )


def _progress(name: str, have: int, total: int | None) -> tqdm:
    return tqdm(
        desc=name, initial=have, total=total, unit="B", unit_scale=True, unit_divisor=1024,
        disable=None,
    )  # fmt: skip


def readable(size: int) -> str:
    """A number of bytes for people.

    >>> readable(3_067_408_471), readable(512)
    ('3.1 GB', '512 B')
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _cause(error: BaseException) -> BaseException:
    """What urllib3 had to say, which requests wraps."""
    inner = error.args[0] if error.args else error
    return getattr(inner, "reason", None) or error


def _plain(error: BaseException) -> str:
    """What broke, without the objects and numbers that the libraries print into it."""
    text = re.sub(
        r"<[^>]*>:? ?|\w+Connection(Pool)?\([^)]*\):? ?|\[Errno -?\d+\] ", "", first_line(error)
    )
    return text or type(error).__name__
