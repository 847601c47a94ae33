"""Unpacking: every kind of archive comes out whole, every hostile one is refused."""

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.datasets.fetch import unpack as module
from perceptbench.datasets.fetch.archive_formats import kind, require
from perceptbench.datasets.fetch.unpack import Limits, unpack
from perceptbench.errors import DataError, Unavailable

CONTENT = {"set/labels.txt": b"5.5 I01.bmp\n", "set/images/I01.bmp": os.urandom(70_000)}


def tar_bytes(members=(), content=CONTENT, **options):
    """A tar of `content`, then of `members`, (name, type, link target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as packed:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
        for name, type_, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, target
            packed.addfile(info)
    return out.getvalue()


def zip_bytes(members=(), content=CONTENT):
    """A zip of `content`, then of `members`, (name, file type, data)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content.items():
            packed.writestr(name, data)
        for name, type_, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (type_ | 0o644) << 16
            packed.writestr(info, data)
    return out.getvalue()


def vint(number):
    parts = [(number >> shift) & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([part | 128 for part in parts[:-1]] + parts[-1:])


def rar_bytes(content=CONTENT, method=0, link=None):
    """A RAR 5 archive after its published format; `method` 0 is stored, `link` a symbolic one."""

    def block(type_, body, data=b"", extra=b""):
        flags = (1 if extra else 0) | (2 if data else 0)
        head = vint(type_) + vint(flags) + (vint(len(extra)) if extra else b"")
        head += (vint(len(data)) if data else b"") + body + extra
        head = vint(len(head)) + head
        return struct.pack("<I", zlib.crc32(head)) + head + data

    out = b"Rar!\x1a\x07\x01\x00" + block(1, vint(0))
    for name, data in content.items():
        body = vint(4) + vint(len(data)) + vint(0o100644) + struct.pack("<I", zlib.crc32(data))
        body += vint(method << 7) + vint(1) + vint(len(name)) + name.encode()
        extra = b""
        if link and name in link:
            record = vint(5) + vint(1) + vint(0) + vint(len(link[name])) + link[name].encode()
            extra = vint(len(record)) + record
        out += block(2, body, data, extra)
    return out + block(5, vint(0))


def seven_zip_bytes(content=CONTENT, password=None):
    py7zr = pytest.importorskip("py7zr")
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w", password=password) as packed:
        for name, data in content.items():
            packed.writestr(data, name)
    return out.getvalue()


def zstd(data):
    library = pytest.importorskip("backports.zstd")
    return library.compress(data, options={library.CompressionParameter.checksum_flag: 1})


@pytest.fixture
def archive(tmp_path):
    """Writes bytes to a file whose name tells nothing."""

    def write(data):
        path = tmp_path / "download"
        path.write_bytes(data)
        return path

    return write


def content_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


KINDS = {
    "zip": zip_bytes,
    "tar": tar_bytes,
    "tar.gz": lambda: gzip.compress(tar_bytes()),
    "tar.bz2": lambda: bz2.compress(tar_bytes()),
    "tar.xz": lambda: lzma.compress(tar_bytes()),
    "tar.zst": lambda: zstd(tar_bytes()),
    "rar": rar_bytes,
    "7z": seven_zip_bytes,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_known_by_its_bytes_and_comes_out_whole(archive, tmp_path, name):
    if name == "rar":
        pytest.importorskip("rarfile")
    path = archive(KINDS[name]())
    assert kind(path) == name
    files = unpack(path, tmp_path / "out")
    assert content_of(tmp_path / "out") == CONTENT
    expected = {k: (len(v), hashlib.sha256(v).hexdigest()) for k, v in CONTENT.items()}
    assert files == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["download", "out"]


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_archive_leaves_nothing(archive, tmp_path, name):
    data = KINDS[name]()
    if name == "rar":
        pytest.importorskip("rarfile")
    for broken in (data[: len(data) // 2], data[:30_000] + bytes(200) + data[30_200:]):
        if name == "tar" and len(broken) == len(data):
            continue  # a plain tar has no checksum of its content
        with pytest.raises(DataError, match=r"download: cannot be unpacked"):
            unpack(archive(broken), tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == ["download"]


def test_a_tar_that_ends_between_two_members_is_damaged(archive, tmp_path):
    data = tar_bytes()
    for broken in (data[:1024], data[:1024] + b"\x01" * 512 + data[1536:]):
        with pytest.raises(DataError, match=r"damaged or cut short|cannot be unpacked"):
            unpack(archive(broken), tmp_path / "out")


ESCAPES = ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "C:evil"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("make", [zip_bytes, tar_bytes, rar_bytes, seven_zip_bytes])
def test_a_path_out_of_the_folder_is_refused(archive, tmp_path, make, name):
    if make is rar_bytes:
        pytest.importorskip("rarfile")
    content = {**CONTENT, name: b"x"}
    if make is seven_zip_bytes:  # py7zr writes no such name itself: the same length, replaced
        py7zr = pytest.importorskip("py7zr")
        stand_in = "x" * len(name)
        out = io.BytesIO()
        with py7zr.SevenZipFile(out, "w") as packed:
            packed.set_encoded_header_mode(False)
            packed.writestr(b"x", stand_in)
        data = patched_7z(out.getvalue(), stand_in, name)
    else:
        data = make(content=content)
    with pytest.raises(DataError, match=r"refused, since member .* (absolute path|leads out)"):
        unpack(archive(data), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "deep" / "out").exists()


def patched_7z(data, old, new):
    """The same archive with another name in its (plain) header, the header's checksums mended."""
    offset, size = struct.unpack("<QQ", data[12:28])
    header = data[32 + offset : 32 + offset + size]
    assert old.encode("utf-16-le") in header
    header = header.replace(old.encode("utf-16-le"), new.encode("utf-16-le"))
    start = struct.pack("<QQI", offset, size, zlib.crc32(header))
    return data[:8] + struct.pack("<I", zlib.crc32(start)) + start + data[32 : 32 + offset] + header


SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("l", SYM, "/etc/passwd")],
        [("l", SYM, "../../outside")],
        [("set/l", SYM, "../..")],
        [("l", SYM, "nothing")],
        [("l", SYM, "l")],
        [("a/b/c/l", SYM, "../../../set"), ("m", SYM, "a/b/c/l/../../outside")],
        [("l", HARD, "/etc/passwd")],
        [("l", HARD, "../outside")],
        [("l", HARD, "nothing")],
        [("set/labels.txt", SYM, "../set/images")],
    ],
)
def test_a_link_that_leaves_the_folder_is_refused(archive, tmp_path, members):
    (tmp_path / "outside").write_text("secret")
    with pytest.raises(DataError, match="refused, since member"):
        unpack(archive(tar_bytes(members)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("second", [
    ("l/evil", tarfile.REGTYPE, ""), ("l/evil", tarfile.DIRTYPE, ""), ("l/evil", SYM, "set"),
    ("l/evil/deeper", SYM, "set"), ("l/evil", HARD, "set/labels.txt"),
])  # fmt: skip
@pytest.mark.parametrize("target", ["..", "../..", "set"])
def test_nothing_is_written_through_a_link(archive, tmp_path, second, target):
    members = [("l", SYM, target), second]
    with pytest.raises(DataError):
        unpack(archive(tar_bytes(members)), tmp_path / "deep" / "out")
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["deep", "download"]


def test_a_header_that_would_fill_the_memory_is_refused(archive, tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 10**9
    with pytest.raises(DataError, match=r"a header of 1,000,000,000 bytes"):
        unpack(archive(info.tobuf() + bytes(10_000)), tmp_path / "out")


PIECES = st.lists(st.sampled_from(["..", ".", "a", "b", "c", "outside"]), min_size=1, max_size=4)
PATHS = PIECES.map("/".join) | PIECES.map(lambda parts: "/" + "/".join(parts))
TYPES = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, SYM, HARD])


@given(st.lists(st.tuples(PATHS, TYPES, PATHS), max_size=6))
@settings(max_examples=60, deadline=None)
def test_whatever_a_tar_says_nothing_outside_is_touched_or_reached(members):
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder).resolve()
        (top / "outside").write_text("secret")
        (top / "deep").mkdir()
        (top / "download").write_bytes(tar_bytes(members, content={"a.txt": b"a"}))
        with contextlib.suppress(DataError):
            unpack(top / "download", top / "deep" / "out")
        assert sorted(p.name for p in top.iterdir()) == ["deep", "download", "outside"]
        assert (top / "outside").read_text() == "secret"
        assert {p.name for p in (top / "deep").iterdir()} <= {"out"}
        for path in (top / "deep").rglob("*"):
            assert path.resolve(strict=True).is_relative_to(top / "deep" / "out")


def test_links_that_stay_are_kept(archive, tmp_path):
    members = [("set/again", HARD, "set/labels.txt"), ("set/by.name", SYM, "images/I01.bmp")]
    files = unpack(archive(tar_bytes(members)), tmp_path / "out")
    assert (tmp_path / "out/set/again").read_bytes() == CONTENT["set/labels.txt"]
    assert (tmp_path / "out/set/by.name").read_bytes() == CONTENT["set/images/I01.bmp"]
    assert files["set/again"] == files["set/labels.txt"] and "set/by.name" not in files


@pytest.mark.parametrize("type_", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused_in_a_tar(archive, tmp_path, type_):
    with pytest.raises(DataError, match="'dev' is a device or a pipe"):
        unpack(archive(tar_bytes([("dev", type_, "")])), tmp_path / "out")


@pytest.mark.parametrize(
    ("type_", "data", "why"),
    [
        (stat.S_IFLNK, "/etc/passwd", "is a link"),
        (stat.S_IFLNK, "../../outside", "is a link"),
        (stat.S_IFCHR, "", "is a device or a pipe"),
        (stat.S_IFIFO, "", "is a device or a pipe"),
        (stat.S_IFSOCK, "", "is a device or a pipe"),
    ],
)
def test_links_and_devices_are_refused_in_a_zip(archive, tmp_path, type_, data, why):
    (tmp_path / "outside").write_text("secret")
    with pytest.raises(DataError, match=f"'l' {why}"):
        unpack(archive(zip_bytes([("l", type_, data)])), tmp_path / "out")


def test_links_are_refused_in_rar_and_7z(archive, tmp_path):
    pytest.importorskip("rarfile")
    py7zr = pytest.importorskip("py7zr")
    link = rar_bytes({"l": b""}, link={"l": "/etc/passwd"})
    with pytest.raises(DataError, match="'l' is a link or a device"):
        unpack(archive(link), tmp_path / "out")
    (tmp_path / "l").symlink_to("/etc/passwd")
    with py7zr.SevenZipFile(tmp_path / "download", "w") as packed:
        packed.write(tmp_path / "l", "l")
    with pytest.raises(DataError, match="'l' is a link or a device"):
        unpack(tmp_path / "download", tmp_path / "out")


BOMBS = {
    "zip": lambda: zip_bytes(content={"zeros.bmp": bytes(3_000_000)}),
    "tar.gz": lambda: gzip.compress(tar_bytes(content={"zeros.bmp": bytes(3_000_000)})),
    "tar.bz2": lambda: bz2.compress(tar_bytes(content={"zeros.bmp": bytes(3_000_000)})),
    "tar.xz": lambda: lzma.compress(tar_bytes(content={"zeros.bmp": bytes(3_000_000)})),
    "tar.zst": lambda: zstd(tar_bytes(content={"zeros.bmp": bytes(3_000_000)})),
    "7z": lambda: seven_zip_bytes({"zeros.bmp": bytes(3_000_000)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(archive, tmp_path, name):
    path = archive(BOMBS[name]())
    with pytest.raises(DataError, match="to more than 200 times its own size"):
        unpack(path, tmp_path / "out", limits=Limits(free=1_000_000))
    with pytest.raises(DataError, match="brings it beyond 2,000,000 bytes"):
        unpack(path, tmp_path / "out", limits=Limits(total=2_000_000))
    assert not (tmp_path / "out").exists()
    assert unpack(path, tmp_path / "out")["zeros.bmp"][0] == 3_000_000


def test_a_zip_that_lies_about_its_sizes_is_found_out(archive, tmp_path):
    data = bytearray(zip_bytes(content={"zeros.bmp": bytes(3_000_000)}))
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(mark) + at
        data[place : place + 4] = struct.pack("<I", 100)
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(archive(bytes(data)), tmp_path / "out")


def test_too_many_members_are_refused(archive, tmp_path):
    path = archive(zip_bytes(content={f"{i}.txt": b"" for i in range(11)}))
    with pytest.raises(DataError, match="one more than the 10 allowed"):
        unpack(path, tmp_path / "out", limits=Limits(members=10))


def test_a_disk_without_room_is_said_first(archive, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"unpacked it needs 70\.0 kB, the disk has 10\.0 kB left"):
        unpack(archive(zip_bytes()), tmp_path / "out")


def test_a_tar_of_before_1988_is_known(archive, tmp_path):
    info = tarfile.TarInfo("old.txt")
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT)[:512])
    header[257:] = bytes(255)  # no mark, no owner's name
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    assert list(unpack(archive(bytes(header) + bytes(1024)), tmp_path / "out")) == ["old.txt"]


def test_leftovers_of_macos_are_left_out(archive, tmp_path):
    junk = {"__MACOSX/set/._I01.png": b"1", "set/._I01.png": b"2", "set/.DS_Store": b"3"}
    assert set(unpack(archive(tar_bytes(content={**CONTENT, **junk})), tmp_path / "out")) == set(
        CONTENT
    )


def test_two_archives_of_a_set_share_a_folder(archive, tmp_path):
    out = tmp_path / "out"
    unpack(archive(zip_bytes(content={"2afc/val/1.png": b"1", "readme.txt": b"a"})), out)
    unpack(archive(zip_bytes(content={"2afc/train/2.png": b"2", "readme.txt": b"b"})), out)
    found = {"2afc/val/1.png": b"1", "2afc/train/2.png": b"2", "readme.txt": b"b"}
    assert content_of(out) == found


def test_what_a_killed_process_left_is_cleared_away(archive, tmp_path):
    draft = tmp_path / ".unpacking-out-download"
    draft.mkdir()
    (draft / "half.png").touch()
    unpack(archive(zip_bytes()), tmp_path / "out")
    assert content_of(tmp_path / "out") == CONTENT and not draft.exists()


@pytest.mark.parametrize("name", ["no archive", ""])
def test_what_is_no_archive_is_named(archive, tmp_path, name):
    with pytest.raises(DataError, match=r"download: is no zip, tar, rar or 7z archive"):
        unpack(archive(name.encode()), tmp_path / "out")


def encrypted_zip(password):
    """The traditional encryption (APPNOTE 6.1): three keys, updated with each byte."""
    data = CONTENT["set/labels.txt"]
    crc = zlib.crc32(data)
    keys = [0x12345678, 0x23456789, 0x34567890]

    def step(k, byte):
        return ~zlib.crc32(bytes([byte]), ~k & 0xFFFFFFFF) & 0xFFFFFFFF

    def update(byte):
        keys[0] = step(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = step(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    secret = bytearray()
    for byte in bytes(11) + bytes([crc >> 24]) + data:
        mask = (keys[2] | 2) & 0xFFFF
        secret.append(byte ^ (mask * (mask ^ 1) >> 8 & 255))
        update(byte)
    name = b"set/labels.txt"
    common = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 33, crc, len(secret), len(data), len(name), 0)
    local = b"PK\x03\x04" + common + name + bytes(secret)
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common
    central += struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\x05\x06" + struct.pack(
        "<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0
    )  # fmt: skip


@pytest.fixture
def no_tool(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.mark.usefixtures("no_tool")
@pytest.mark.parametrize("make", [encrypted_zip, lambda p: seven_zip_bytes(password=p.decode())])
def test_an_encrypted_archive_asks_for_the_owners_password(archive, tmp_path, make):
    path = archive(make(b"geheim"))
    with pytest.raises(DataError, match=r"is encrypted; ask its owner .*PERCEPTBENCH_PASSWORD"):
        unpack(path, tmp_path / "out")
    with pytest.raises(DataError, match=r"is the password right\?"):
        unpack(path, tmp_path / "out", password="falsch")
    unpack(path, tmp_path / "out", password="geheim")
    labels = tmp_path / "out/set/labels.txt"
    assert labels.read_bytes() == CONTENT["set/labels.txt"]


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Puts a program on the PATH, alone, that writes what it is given to its output."""

    def write(name, output):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.bytes").write_bytes(output)
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport pathlib, sys\n"
            f"pathlib.Path({str(folder / 'arguments')!r}).write_text(' '.join(sys.argv[1:]))\n"
            f"sys.stdout.buffer.write(pathlib.Path(__file__ + '.bytes').read_bytes())\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return write


def test_a_compressed_rar_is_unpacked_by_a_tool_in_one_go(archive, tmp_path, tool):
    pytest.importorskip("rarfile")
    packed = archive(rar_bytes(method=3))
    tool("unrar", b"not what is listed")
    folder = tool("bsdtar", b"".join(CONTENT.values()))
    unpack(packed, tmp_path / "out")
    assert content_of(tmp_path / "out") == CONTENT
    assert (folder / "arguments").read_text() == f"-x -O -f {packed}"


def test_a_tool_decrypts_a_zip_faster_than_python(archive, tmp_path, tool):
    packed = archive(encrypted_zip(b"geheim"))
    folder = tool("7zz", CONTENT["set/labels.txt"])
    unpack(packed, tmp_path / "out", password="geheim")
    assert (tmp_path / "out/set/labels.txt").read_bytes() == CONTENT["set/labels.txt"]
    assert (folder / "arguments").read_text() == f"x -so -bd -pgeheim {packed}"
    tool("7zz", b"what a wrong password gives")
    with pytest.raises(DataError, match=r"by 7zz: .*; is the password right\?"):
        unpack(packed, tmp_path / "out", password="falsch")


def test_a_tool_that_fails_or_is_missing_is_named(archive, tmp_path, tool, monkeypatch):
    pytest.importorskip("rarfile")
    packed = archive(rar_bytes(method=3))
    tool("7zz", b"".join(CONTENT.values())[:-1])
    with pytest.raises(DataError, match=r"unpacked by 7zz: set/images/I01.bmp is damaged"):
        unpack(packed, tmp_path / "out")
    monkeypatch.setenv("PATH", "")
    for call in (lambda: unpack(packed, tmp_path / "out"), lambda: require("SET.RAR")):
        with pytest.raises(Unavailable, match="needs one of the programs unrar, 7zz, 7z, bsdtar"):
            call()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "package"), [("rar", "rarfile"), ("7z", "py7zr")])
def test_a_missing_package_is_named(archive, tmp_path, monkeypatch, name, package):
    path = archive(KINDS[name]())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unavailable, match=rf"{package}: pip install 'perceptbench\[archives\]'"):
        unpack(path, tmp_path / "out")


def test_python_and_the_systems_tar_agree(archive, tmp_path):
    """A tar that GNU tar made, with its own header format and a long name."""
    long = f"{'n' * 120}/{'m' * 120}.txt"
    (tmp_path / "in" / long).parent.mkdir(parents=True)
    (tmp_path / "in" / long).write_bytes(b"long")
    command = ["tar", "-czf", tmp_path / "download", "-C", tmp_path / "in", "."]
    subprocess.run(command, check=True)
    unpack(tmp_path / "download", tmp_path / "out")
    assert content_of(tmp_path / "out") == {long: b"long"}
