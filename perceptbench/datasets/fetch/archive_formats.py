"""How each kind of archive is read: zip, tar with any compression, rar, 7z.

Conventions
-----------
What an archive is, its first bytes tell, not its name. Every member goes to a sink
(`perceptbench.datasets.fetch.sink`), which decides whether and where it is written.

zip and tar need nothing else; rar needs the package ``rarfile`` and, where it is compressed, one of
TOOLS; 7z the package ``py7zr``; tar.zst ``backports.zstd`` (Python below 3.14). The three packages
are the extra ``perceptbench[archives]``.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from perceptbench.datasets.fetch.sink import CHUNK, Sink
from perceptbench.errors import DataError, Unavailable, first_line

#: First bytes -> kind of archive; a tar has none that is sure.
MARKS = {
    b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"Rar!\x1a\x07": "rar", b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b": "tar.gz", b"BZh": "tar.bz2", b"\xfd7zXZ\x00": "tar.xz", b"\x5d\x00\x00": "tar.xz",
    b"\x28\xb5\x2f\xfd": "tar.zst",
}  # fmt: skip
#: Bytes of a link's target, and of a header in a tar; longer ones are no honest archive's.
LONGEST_LINK = 4096
LONGEST_HEADER = 1 << 20
#: Types of tar members that are read into memory: long names, extended attributes.
HEADERS = {
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
}  # fmt: skip
#: Tools that write the content of a rar (or zip) to standard output, one file after the other;
#: {} is where the password goes.
TOOLS = {
    "unrar": ("p", "-inul", "-p{}"),
    "7zz": ("x", "-so", "-bd", "-p{}"),
    "7z": ("x", "-so", "-bd", "-p{}"),
    "bsdtar": ("-x", "-O", "-f"),
}


def kind(path: Path) -> str:
    """``zip``, ``rar``, ``7z``, ``tar`` or ``tar.gz`` and the like; empty for anything else."""
    with path.open("rb") as file:
        head = file.read(512)
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    try:  # by the checksum of its first header: old tars have no mark
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return ""
    return "tar"


def read(archive: Path, sink: Sink, password: str) -> None:
    """Sends every member of an archive to the sink.

    Raises
    ------
    DataError : it is encrypted and there is no password, or no archive of a known kind.
    Unavailable : a package or tool for its kind is missing; names it.
    """
    name = kind(archive)
    if not name:
        raise DataError(f"{archive}: is no zip, tar, rar or 7z archive")
    {"zip": _zip, "rar": _rar, "7z": _7z}.get(name, _tar)(archive, sink, password)


def _zip(archive: Path, sink: Sink, password: str) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        sink.expect(member.file_size for member in members)
        encrypted = any(member.flag_bits & 1 for member in members)
        if encrypted and not password:
            raise DataError(_ask(archive))
        # Deflate64 and AES are not Python's, and its decryption takes a second for 3 MB.
        foreign = any(member.compress_type not in {0, 8, 12, 14} for member in members)
        if foreign or (encrypted and (shutil.which("7zz") or shutil.which("7z"))):
            if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
                raise DataError(f"{archive}: refused, since it holds links and is encrypted")
            files = [(m.filename, m.file_size, m.CRC) for m in members if not m.is_dir()]
            _by_tool(archive, files, sink, password)
            return
        packed.setpassword(password.encode())
        for member in members:
            mode = member.external_attr >> 16
            if member.is_dir():
                sink.directory(member.filename)
            elif stat.S_ISLNK(mode):
                with packed.open(member) as stream:
                    sink.link(member.filename, stream.read(LONGEST_LINK).decode())
            elif stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
                raise sink.refuse(member.filename, "is a device or a pipe")
            else:
                with packed.open(member) as stream:
                    sink.copy(member.filename, stream)


class _StrictTar(tarfile.TarInfo):
    """A damaged header in the middle, which tarfile takes for the end, is an error here.

    So is a header of extended attributes or of a long name that would fill the memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictTar:
        info = super().frombuf(buf, encoding, errors)
        if info.type in HEADERS and info.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        return info

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _StrictTar:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"damaged or cut short: {first_line(error)}") from None


def _tar(archive: Path, sink: Sink, password: str) -> None:
    sink.expect([archive.stat().st_size])  # at the least
    with (
        _decompressed(archive) as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictTar) as packed,
    ):
        for member in packed:
            if member.isdir():
                sink.directory(member.name)
            elif member.issym():
                sink.link(member.name, member.linkname)
            elif member.islnk():
                sink.hard_link(member.name, member.linkname)
            elif member.isfile():
                content = packed.extractfile(member)
                assert content is not None
                sink.copy(member.name, content)
            else:
                raise sink.refuse(member.name, "is a device or a pipe")
        # The checksum of a compressed stream stands at its very end.
        while chunk := stream.read(CHUNK):
            sink.grow("(padding)", len(chunk))


@contextmanager
def _decompressed(archive: Path) -> Iterator[IO[bytes]]:
    """The tar in a file, whatever compresses it."""
    compression = kind(archive).removeprefix("tar").lstrip(".")
    if compression == "zst":
        module = "compression.zstd" if importlib.util.find_spec("compression") else "backports.zstd"
        opened = _package(module, "zstd archives").open(archive)
    else:
        openers: dict[str, Any]
        openers = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "": open}
        opened = openers[compression](archive, "rb")
    with opened as stream:
        yield stream


def _rar(archive: Path, sink: Sink, password: str) -> None:
    rarfile = _package("rarfile", "rar archives")
    with rarfile.RarFile(archive) as packed:
        if packed.needs_password() and not password:
            raise DataError(_ask(archive))
        packed.setpassword(password or None)
        members = packed.infolist()
        sink.expect(member.file_size for member in members)
        for member in members:
            if member.is_dir():
                sink.directory(member.filename)
            elif member.is_symlink() or not member.is_file():
                raise sink.refuse(member.filename, "is a link or a device")
        files = [m for m in members if m.is_file()]
        if any(member.compress_type != rarfile.RAR_M0 for member in files) or password:
            # All in one go: a tool for each would unpack a solid archive from its beginning for
            # every file. The checksums of encrypted members are not those of their bytes.
            listed = [(m.filename, m.file_size, None if password else m.CRC) for m in files]
            _by_tool(archive, listed, sink, password)
            return
        for member in files:
            with packed.open(member) as stream:
                sink.copy(member.filename, stream)


def _by_tool(
    archive: Path, files: Sequence[tuple[str, int, int | None]], sink: Sink, password: str
) -> None:
    """Has a tool write all files to its standard output, and tells them apart by their sizes.

    Parameters
    ----------
    files : name, bytes and CRC-32 (None or 0 where the archive has none), in the archive's order.
    """
    reasons, before = [], sink.total
    for tool, options in TOOLS.items():
        program = shutil.which(tool)
        if program is None or (tool == "bsdtar" and password):
            continue
        sink.total = before
        arguments = [option.format(password or "-") for option in options]
        with (
            tempfile.TemporaryFile() as complaint,
            subprocess.Popen(
                [program, *arguments, str(archive)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaint,
            ) as process,
        ):  # fmt: skip
            assert process.stdout is not None
            try:
                wrong = _split(process.stdout, files, sink)
            finally:
                process.kill()
        if not wrong:
            return
        reasons.append(f"{tool}: {wrong}")
    if reasons:
        hint = "is the password right?" if password else "unrar knows every kind of rar"
        raise DataError(f"{archive}: cannot be unpacked by {'; '.join(reasons)}; {hint}")
    raise Unavailable(f"{archive}: {_NO_TOOL}")


_NO_TOOL = (
    f"needs one of the programs {', '.join(TOOLS)}; install one "
    "(package unrar, 7zip or libarchive-tools) and ask again"
)


def require(name: str) -> None:
    """Raises Unavailable where an archive of this name could not be unpacked, before it is fetched.

    >>> require("tid2013.zip")
    """
    if name.lower().endswith(".7z"):
        _package("py7zr", f"{name}: 7z archives")
    if name.lower().endswith(".rar"):
        _package("rarfile", f"{name}: rar archives")
        if not any(map(shutil.which, TOOLS)):
            raise Unavailable(f"{name}: {_NO_TOOL}")


def _split(stream: IO[bytes], files: Sequence[tuple[str, int, int | None]], sink: Sink) -> str:
    """Cuts a stream into files; says what is wrong with the first that is not as listed."""
    for name, size, expected in files:
        crc, left = 0, size
        with sink.file(name) as out:
            while left and (chunk := stream.read(min(CHUNK, left))):
                crc, left = zlib.crc32(chunk, crc), left - len(chunk)
                if out:
                    out.write(chunk)
        if left or (expected and crc != expected):
            return f"{name} is damaged, encrypted or of an unknown method"
    return ""


def _7z(archive: Path, sink: Sink, password: str) -> None:
    py7zr = _package("py7zr", "7z archives")
    with archive.open("rb") as file:
        try:
            # Given a file instead of a path, py7zr unpacks in one thread.
            packed = py7zr.SevenZipFile(file, password=password or None)
        except py7zr.PasswordRequired:  # its very list is encrypted
            raise DataError(_ask(archive)) from None
        if packed.needs_password() and not password:
            raise DataError(_ask(archive))
        sink.expect([packed.archiveinfo().uncompressed])
        for member in packed.files:
            if member.is_symlink or member.is_junction or member.is_socket:
                raise sink.refuse(member.filename, "is a link or a device")
            if member.is_directory:
                sink.directory(member.filename)
            else:
                sink.place(member.filename)
        packed.extractall(factory=_SevenZipFiles(sink))


@dataclass
class _SevenZipFiles:
    """py7zr asks this for a place to write each file to."""

    sink: Sink

    def create(self, name: str) -> _SevenZipMember:
        return _SevenZipMember(self.sink, name)


class _SevenZipMember:
    """One file, as py7zr wants it: written once, from beginning to end."""

    def __init__(self, sink: Sink, name: str) -> None:
        self.context = sink.file(name)
        self.out = self.context.__enter__()

    def write(self, chunk: bytes) -> int:
        return self.out.write(chunk) if self.out else len(chunk)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None: ...

    def size(self) -> int:
        return self.out.size if self.out else 0

    def close(self) -> None:
        self.context.__exit__(None, None, None)


def _package(name: str, purpose: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Unavailable(
            f"{purpose} need the package {name}: pip install 'perceptbench[archives]'"
        ) from None


def _ask(archive: Path) -> str:
    return (
        f"{archive}: is encrypted; ask its owner for the password and give it with --password "
        "or PERCEPTBENCH_PASSWORD"
    )
