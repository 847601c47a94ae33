"""Fetching a dataset: verified, once, from whoever has it."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from perceptbench.datasets.fetch import lockfile
from perceptbench.datasets.fetch.download import Archive, How, fetch, verify
from perceptbench.datasets.fetch.transfer import Patience
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest, manifests
from perceptbench.errors import DataError, Unavailable, UsageError

TABLE = b"[1, 2, 3]"
SHA256 = hashlib.sha256(TABLE).hexdigest()
HASTY = Patience(attempts=2, pause=0.01, longest=0.02, connect=10.0, read=10.0)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def said():
    return []


@pytest.fixture
def get(home, said):
    """Fetches archives as dataset `d`; what is said goes to `said`."""

    def say(text):
        if ": fetching " not in text:
            said.append(text)

    def call(*archives, terms="", homepage="", **how):
        how = How(**{"patience": HASTY, "say": say, **how})
        return fetch("d", archives, home, terms=terms, homepage=homepage, how=how)

    return call


def zipped(tmp_path, **content):
    """The bytes of a zip; keyword ``a__b`` is the file ``a/b.txt``."""
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as packed:
        for name, text in content.items():
            packed.writestr(name.replace("__", "/") + ".txt", text)
    return (tmp_path / "made.zip").read_bytes()


def test_a_file_is_fetched_once_and_checked(server, get, home, said):
    server.files["t"] = TABLE
    archive = Archive(path="sub/t.json", urls=(f"{server.url}/t",), sha256=SHA256, size=9)
    for _ in range(2):
        assert (get(archive) / "sub" / "t.json").read_bytes() == TABLE
    assert len(server.requests) == 1 and not said
    assert verify("d", [archive], home) == []


@pytest.mark.parametrize("method", ["sha256", "md5"])
def test_a_wrong_checksum_is_refused_and_the_next_mirror_tried(server, get, home, method):
    digest = hashlib.new(method, TABLE).hexdigest().upper()
    server.files.update(bad=b"[1, 2, 4]", good=TABLE)
    urls = (f"{server.url}/none", f"{server.url}/bad", f"{server.url}/good")
    assert (get(Archive(path="t", urls=urls, **{method: digest})) / "t").read_bytes() == TABLE
    (home / "d" / "t").unlink()
    with pytest.raises(DataError) as caught:
        get(Archive(path="t", urls=urls[:2], **{method: digest}), homepage="https://owner")
    message = str(caught.value)
    assert f"{urls[0]}: HTTP 404" in message and f"{urls[1]}: its {method} is" in message
    assert "see https://owner" in message and "datasets link d FOLDER" in message
    assert list((home / "d").iterdir()) == []


def test_a_wrong_size_is_refused_before_it_is_fetched(server, get):
    server.files["t"] = TABLE
    with pytest.raises(DataError, match="it has 9 bytes there instead of 10"):
        get(Archive(path="t", urls=(f"{server.url}/t",), size=10))


def test_without_a_checksum_the_first_is_trusted_and_enforced(server, get, home, said):
    server.files["t"] = TABLE
    archive = Archive(path="t", urls=(f"{server.url}/t",))
    get(archive)
    (sentence,) = said
    assert "trusted on first use" in sentence and SHA256 in sentence and "enforced" in sentence
    pins = json.loads((home / "perceptbench-lock.json").read_text())["d"]["files"]
    assert pins["t"]["sha256"] == SHA256 and pins["t"]["url"] == f"{server.url}/t"
    (home / "d" / "t").unlink()
    server.files["t"] = b"[]"
    with pytest.raises(DataError, match=rf"its sha256 is .*, but on .* it was {SHA256}"):
        get(archive)
    server.files["t"] = TABLE
    get(archive)
    assert len(said) == 1
    (home / "d" / "t").write_bytes(b"[]")
    assert "it was" in verify("d", [archive], home)[0]


def test_another_source_is_taken_where_the_first_does_not_give_all(
    server, get, home, said, tmp_path
):
    server.files.update({"labels": b"owner", "d.zip": zipped(tmp_path, d__labels="mirror")})
    owner = [
        Archive(path="labels", urls=(f"{server.url}/labels",)),
        Archive(path="images", urls=(f"{server.url}/images",)),
    ]
    mirror = Archive(path="d.zip", urls=(f"{server.url}/d.zip",), source="mirror", unpack=True)
    folder = get(*owner, mirror)
    assert (folder / "d" / "labels.txt").read_text() == "mirror"
    assert lockfile.entry(home, "d").source == "mirror"
    assert "HTTP 404 Not Found); now from mirror" in said[0]
    assert [path.name for path in folder.iterdir()] == ["d"]
    get(*owner, mirror)
    assert server.gets("images") == [None]
    with pytest.raises(UsageError, match="already, from mirror; remove that folder first"):
        get(*owner, mirror, source="owner")
    with pytest.raises(UsageError, match="no source 'owners', it has owner, mirror"):
        get(*owner, mirror, source="owners")
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="images could not be downloaded"):
        get(*owner, mirror, source="owner")


def test_label_files_alone_are_never_taken_for_the_set(server, get, home, tmp_path):
    """Else who comes while the images are being fetched, or after that was killed, reads them."""
    server.files.update({"t": TABLE, "a.zip": zipped(tmp_path, a="1")})
    server.cut["a.zip"] = [20, 20]
    labels = Archive(path="t.json", urls=(f"{server.url}/t",))
    images = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True)
    with pytest.raises(DataError, match="connection closed"):
        get(labels, images)
    assert not (home / "d" / "t.json").exists()
    get(labels, images)
    assert sorted(os.listdir(home / "d")) == ["a.txt", "t.json"]
    assert server.gets("t") == [None] and verify("d", [labels, images], home) == []


def test_what_was_left_unfinished_goes_when_the_set_is_whole(server, get, home, tmp_path):
    server.files.update({"a.zip": zipped(tmp_path, a="1"), "b.zip": b"no end"})
    server.length["b.zip"] = 100
    first = Archive(path="b.zip", urls=(f"{server.url}/b.zip",), unpack=True, source="first")
    second = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True, source="second")
    (home / ".unpacking-d-b.zip").mkdir(parents=True)
    get(first, second)
    assert [p.name for p in (home / "d").iterdir()] == ["a.txt"]
    assert not (home / ".unpacking-d-b.zip").exists()


def test_a_full_disk_is_said_and_the_archive_kept(server, get, home, tmp_path, monkeypatch):
    server.files["a.zip"] = zipped(tmp_path, a="1")
    archive = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("perceptbench.datasets.fetch.sink._Member.write", full)
        with pytest.raises(DataError, match="No space left on device; free some or choose"):
            get(archive)
    get(archive)
    assert server.gets("a.zip") == [None] and (home / "d" / "a.txt").read_text() == "1"


def test_what_cannot_be_unpacked_here_is_not_fetched(server, get, monkeypatch):
    monkeypatch.setenv("PATH", "")
    archive = Archive(path="d.rar", urls=(f"{server.url}/d.rar",), unpack=True)
    mirror = Archive(path="d.zip", urls=(f"{server.url}/d.zip",), unpack=True, source="mirror")
    with pytest.raises(Unavailable, match=r"d\.rar: .* unrar.* with --source mirror"):
        get(archive, mirror)
    assert not server.requests


def test_an_archive_is_unpacked_listed_and_removed(server, get, home, tmp_path):
    server.files["a.zip"] = zipped(tmp_path, val__one="1", val__two="2")
    archive = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True, into="2afc")
    folder = get(archive)
    assert {p.name for p in (folder / "2afc" / "val").iterdir()} == {"one.txt", "two.txt"}
    assert not (folder / "a.zip").exists()
    get(archive)
    assert len(server.requests) == 1 and verify("d", [archive], home) == []
    (folder / "2afc/val/one.txt").unlink()
    (folder / "2afc/val/two.txt").write_text("3")
    problems = verify("d", [archive], home)
    assert problems == [
        f"{folder / '2afc/val/one.txt'}: is missing",
        f"{folder / '2afc/val/two.txt'}: has changed since it was unpacked",
    ]


def test_an_archive_can_be_kept_and_serve_as_a_mirror(server, get, home, tmp_path, said):
    server.files["a.zip"] = zipped(tmp_path, one="1")
    archive = Archive(path="sub/a.zip", urls=(f"{server.url}/a.zip",), unpack=True)
    get(archive, keep=True)
    assert (home / "d" / "sub" / "a.zip").is_file()
    other = fetch("d", [archive], tmp_path / "other", how=How(mirror=str(home), say=said.append))
    assert (other / "one.txt").read_text() == "1" and len(server.requests) == 1


@pytest.mark.parametrize("place", ["d/sub/a.zip", "a.zip", "owners name.zip"])
@pytest.mark.parametrize("kind", ["folder", "address", "environment"])
def test_a_mirror_stands_for_every_address(server, get, tmp_path, monkeypatch, place, kind):
    data = zipped(tmp_path, one="1")
    archive = Archive(path="sub/a.zip", urls=("https://owner.invalid/owners%20name.zip",))
    mirror = tmp_path / "mirror"
    if kind == "folder":
        (mirror / place).parent.mkdir(parents=True)
        (mirror / place).write_bytes(data)
        get(archive, mirror=str(mirror))
    else:
        server.files[f"base/{place.replace(' ', '%20')}"] = data
        monkeypatch.setenv("PERCEPTBENCH_MIRROR", f"{server.url}/base/")
        get(archive, **({"mirror": f"{server.url}/base"} if kind == "address" else {}))


def test_a_mirror_that_lacks_a_file_or_gives_another_is_named(get, tmp_path):
    archive = Archive(path="t", urls=("https://owner.invalid/t",), sha256=SHA256)
    (tmp_path / "mirror").mkdir()
    with pytest.raises(DataError, match=r"mirror has no d/t and no t"):
        get(archive, mirror=str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "t").write_bytes(b"other")
    with pytest.raises(DataError, match="its sha256 is"):
        get(archive, mirror=str(tmp_path / "mirror"))
    with pytest.raises(UsageError, match="no http address and no folder"):
        get(archive, mirror=str(tmp_path / "none"))


def test_terms_are_asked_for_once_before_anything_is_fetched(server, get, said):
    server.files["t"] = TABLE
    archive = Archive(path="t", urls=(f"{server.url}/t",))
    with pytest.raises(UsageError, match=r"'Be kind\.'; accept them with .* --accept-terms"):
        get(archive, terms="Be kind.")
    assert not server.requests
    asked = []
    get(archive, terms="Be kind.", accept=lambda terms: asked.append(terms) or True)
    get(archive, terms="Be kind.")
    assert asked == ["Be kind."]


def test_new_terms_are_asked_for_again(server, get, home):
    server.files["t"] = TABLE
    archive = Archive(path="t", urls=(f"{server.url}/t",))
    get(archive, terms="Be kind.", accept=lambda terms: True)
    (home / "d" / "t").unlink()
    with pytest.raises(UsageError, match="Be very kind"):
        get(archive, terms="Be very kind.")


def test_the_owners_password_comes_from_the_user(server, get, tmp_path, monkeypatch):
    server.files["a.zip"] = zipped(tmp_path, one="1")
    archive = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True, password=True)
    monkeypatch.delenv("PERCEPTBENCH_PASSWORD", raising=False)
    with pytest.raises(DataError, match=r"a\.zip needs the password that its owner gives"):
        get(archive)
    assert not server.requests
    monkeypatch.setenv("PERCEPTBENCH_PASSWORD", "geheim")
    get(archive)


def test_what_the_owner_hands_out_is_brought_by_the_user(get, home, tmp_path, said):
    archive = Archive(path="a.zip", unpack=True)
    with pytest.raises(DataError, match=r"there is no address.*see https://owner"):
        get(archive, homepage="https://owner")
    (home / "d").mkdir()
    (home / "d" / "a.zip").write_bytes(zipped(tmp_path, one="1"))
    assert (get(archive) / "one.txt").read_text() == "1" and "trusted on first use" in said[0]


def test_a_present_file_that_is_another_is_named_and_left(get, home):
    (home / "d").mkdir(parents=True)
    (home / "d" / "t").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"d/t: its sha256 is .*; remove it to have it fetched"):
        get(Archive(path="t", urls=("https://owner.invalid/t",), sha256=SHA256))
    assert (home / "d" / "t").read_bytes() == b"mine"


def test_a_page_that_should_be_an_archive_is_never_trusted(server, get, home):
    server.files["a.zip"] = b"<html>log in</html>"
    archive = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True)
    with pytest.raises(DataError, match="it is no archive"):
        get(archive)
    assert not lockfile.entry(home, "d").files


def test_a_cut_archive_is_not_pinned(server, get, home, tmp_path):
    server.files["a.zip"] = zipped(tmp_path, one="1" * 1000)[:500]
    archive = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True)
    with pytest.raises(DataError, match=r"cannot be unpacked .*remove it to have it fetched again"):
        get(archive)
    assert not lockfile.entry(home, "d").files


def test_a_process_killed_between_two_steps_is_taken_up(server, get, home, tmp_path, monkeypatch):
    """After each step that leaves a trace: the archive is fetched, unpacked, pinned, listed."""
    server.files["a.zip"] = zipped(tmp_path, one="1")
    archive = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True)
    for step in ("unpack", "_pin", "_list"):
        with monkeypatch.context() as patch:
            patch.setattr(f"perceptbench.datasets.fetch.download.{step}", lambda *a, **k: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                get(archive)
    assert (get(archive) / "one.txt").read_text() == "1"
    assert server.gets("a.zip") == [None] and lockfile.entry(home, "d").files["a.zip"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_killed_at_any_step_is_taken_up(server, get, home, tmp_path, stride):
    """Killed before the first file that it moves or removes, before the second, and so on."""
    server.files.update({"a.zip": zipped(tmp_path, one="1", two="2"), "t.json": TABLE})
    images = Archive(path="a.zip", urls=(f"{server.url}/a.zip",), unpack=True)
    labels = Archive(path="t.json", urls=(f"{server.url}/t.json",))

    def killed_at(step):
        """A process that fetches the set and dies at a step; whether it came so far."""
        if (child := os.fork()) == 0:
            left = iter(range(step))

            def dies_at(call):
                return lambda *a, **k: os._exit(9) if next(left, None) is None else call(*a, **k)

            for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
                setattr(os, name, dies_at(getattr(os, name)))
            get(images, labels)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    steps = 0
    while killed_at(steps):
        folder = get(images, labels)
        assert {p.name for p in folder.iterdir()} == {"one.txt", "two.txt", "t.json"}, steps
        assert {p.name for p in home.iterdir()} == {"d", ".perceptbench", lockfile.NAME}, steps
        assert verify("d", [images, labels], home) == [], steps
        shutil.rmtree(home)
        steps += stride
    assert steps > 20


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(get, home):
    home.mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"home: cannot be written \(Permission denied"):
        get(Archive(path="t", urls=("https://owner.invalid/t",)))


def test_a_file_in_the_way_is_named(get, home):
    home.write_text("no folder")
    with pytest.raises(DataError, match=r"home: cannot be written \("):
        get(Archive(path="t", urls=("https://owner.invalid/t",)))


def test_the_files_of_a_set_are_told_apart_by_their_paths():
    for manifest in manifests().values():
        paths = [archive.path for archive in manifest.archive]
        assert len(set(paths)) == len(paths), manifest.name


PROCESS = """
import sys
from pathlib import Path
from perceptbench.datasets.fetch.download import *
archive = Archive(path="a.zip", urls=(sys.argv[1],), unpack=True)
folder = fetch("d", [archive], Path(sys.argv[2]))
print(len(list(folder.rglob("*.txt"))))
"""


def test_two_processes_fetch_a_set_once(server, home, tmp_path):
    server.files["a.zip"] = zipped(tmp_path, **{f"f{i}": "x" * 10_000 for i in range(40)})
    server.slow = 0.1
    command = [sys.executable, "-c", PROCESS, f"{server.url}/a.zip", str(home)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in both]
    assert [out.strip() for out, _ in answers] == ["40", "40"], answers
    assert server.gets("a.zip") == [None]
    assert sum("trusted on first use" in errors for _, errors in answers) == 1


def test_who_must_wait_is_told(server, get, home, said):
    server.files["t"] = TABLE
    archive = Archive(path="t", urls=(f"{server.url}/t",), sha256=SHA256)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(lockfile.hidden_folder(home) / "d.lock"):
            waiting = pool.submit(get, archive)
            deadline = time.monotonic() + 60
            while not said and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not server.requests
        waiting.result(60)
    assert said == ["dataset d: another process is fetching it; waiting"]


def test_processes_do_not_lose_each_others_entries(home):
    children = []
    for name in "ab":
        if (child := os.fork()) == 0:
            for i in range(20):
                with lockfile.changed(home, f"{name}{i}") as entry:
                    entry.link = "x"
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(lockfile.read(home)) == 40


def test_a_torn_lock_file_is_named(home):
    home.mkdir()
    for text in ("{", "[]", '{"d": {"files": 3}}'):
        (home / lockfile.NAME).write_text(text)
        with pytest.raises(DataError, match=r"perceptbench-lock\.json: .*mend or remove it"):
            lockfile.read(home)


@pytest.mark.parametrize(
    "wrong", [{"path": "../x"}, {"path": "/x"}, {"into": "a/../.."}, {"urls": ("ftp://x/y",)}]
)
def test_an_archive_stays_below_its_dataset_and_comes_from_the_web(wrong):
    with pytest.raises(ValueError, match="must be"):
        Archive(**{"path": "x", **wrong})


def test_a_dataset_that_lies_nowhere_is_fetched_into_the_cache(server, tmp_path):
    server.files["table.json"] = b"[]"
    path = "rit-dupont.json"
    remote = (Archive(path=path, urls=(f"{server.url}/table.json",)),)
    manifest = find_manifest("combvd").model_copy(update={"archive": remote})
    with pytest.raises(DataError, match=r"bfd-d65\.json is nowhere below"):
        load_dataset(manifest, None, tmp_path / "cache")
    assert (tmp_path / "cache" / "datasets" / "combvd" / path).read_text() == "[]"
