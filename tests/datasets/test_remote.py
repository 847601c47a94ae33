"""Data at a URL: copied once, only what is asked for."""

import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from perceptbench.datasets.fetch.remote import local_copy
from perceptbench.errors import DataError, UsageError


@pytest.fixture
def bucket():
    fs = fsspec.filesystem("memory")
    files = {"/data/one/a.png": b"a", "/data/one/in/b.png": b"bb", "/data/two/c.png": b"ccc"}
    for path, content in files.items():
        fs.pipe_file(path, content)
    yield fs
    fs.rm("/data", recursive=True)


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_only_the_datasets_asked_for_are_copied_and_only_once(bucket, tmp_path, monkeypatch):
    folder = local_copy("memory://data", ["one"], tmp_path)
    assert names(folder) == ["one/a.png", "one/in/b.png"]
    assert (folder / "one" / "in" / "b.png").read_bytes() == b"bb"
    bucket.pipe_file("/data/one/a.png", b"longer")
    copied = []
    get_file = type(bucket).get_file
    monkeypatch.setattr(
        type(bucket), "get_file", lambda fs, p, to: copied.append(p) or get_file(fs, p, to)
    )
    assert local_copy("memory://data", ["one"], tmp_path) == folder
    assert copied == ["/data/one/a.png"] and (folder / "one/a.png").read_bytes() == b"longer"


def test_processes_copy_once_and_what_a_killed_one_left_goes(bucket, tmp_path, monkeypatch):
    folder = local_copy("memory://data/two", [], tmp_path)
    (folder / "c.png").rename(folder / ".c.png.part")  # as a process killed before the end
    copied = []
    get_file = type(bucket).get_file

    def slow(fs, path, to):
        copied.append(path)
        time.sleep(0.2)
        get_file(fs, path, to)

    monkeypatch.setattr(type(bucket), "get_file", slow)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(local_copy, "memory://data/two", [], tmp_path) for _ in range(2)]
        assert [job.result(60) for job in both] == [folder, folder]
    assert copied == ["/data/two/c.png"] and names(folder) == ["c.png"]


def test_a_datasets_own_folder_is_copied_whole(bucket, tmp_path):
    assert names(local_copy("memory://data/two", ["one"], tmp_path)) == ["c.png"]


def test_what_is_not_there_or_not_known_is_said(bucket, tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        local_copy("memory://nowhere", ["one"], tmp_path)
    with pytest.raises(UsageError, match="data at abacus://x"):
        local_copy("abacus://x", ["one"], tmp_path)


def test_a_file_that_cannot_be_read_names_the_url(bucket, tmp_path, monkeypatch):
    def broken(fs, path, to):
        raise OSError("the line is cut")

    monkeypatch.setattr(type(bucket), "get_file", broken)
    with pytest.raises(DataError, match=r"memory://data: cannot be copied \(the line is cut\)"):
        local_copy("memory://data", ["one"], tmp_path)
