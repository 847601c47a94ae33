"""Finished primitives: computed once, shared, and never believed when damaged."""

import errno
import hashlib
import io
import multiprocessing
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perceptbench.errors import DataError, UsageError
from perceptbench.scoring.store import Store

PAIRS = pd.DataFrame({"reference": ["a", "a", "b"], "distorted": ["b", "c", "c"]})
VALUES = {"one": np.array([1.0, 2.0, 3.0]), "two": np.array([0.1, np.nan, 0.3])}


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    return Store(str(tmp_path / "store"), said.append)


def test_what_was_written_is_read_in_the_order_asked_for(store):
    store.write("group", "title", PAIRS, VALUES)
    asked = pd.DataFrame({"reference": ["b", "x", "a", "a"], "distorted": ["c", "x", "b", "c"]})
    found = store.read("group", asked, ["two", "one", "three"])
    np.testing.assert_array_equal(found["one"], [3, np.nan, 1, 2])
    np.testing.assert_array_equal(found["two"], [0.3, np.nan, 0.1, np.nan])
    assert found["three"].isna().all()


def test_files_that_overlap_complete_each_other(store):
    store.write("group", "title", PAIRS, VALUES)
    store.write("group", "title", PAIRS.iloc[1:], {"two": np.array([0.2, 0.3])})
    found = store.read("group", PAIRS, ["one", "two"])
    assert found["one"].tolist() == [1, 2, 3] and found["two"].tolist() == [0.1, 0.2, 0.3]


def test_an_empty_store_knows_nothing(store, said):
    assert store.read("group", PAIRS, ["one"]).isna().all(axis=None)
    assert store.info() == [] and store.prune() == 0 and said == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no Parquet"])
def test_a_damaged_file_is_said_removed_and_the_rest_kept(store, said, tmp_path, damage):
    store.write("group", "title", PAIRS.head(1), {"one": np.array([1.0])})
    store.write("group", "title", PAIRS.tail(2), {"one": np.array([2.0, 3.0])})
    first = sorted((tmp_path / "store" / "group").iterdir())[0]
    kept = 3 - pq.ParquetFile(first).metadata.num_rows
    content = first.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]
    damaged = {"truncated": content[:-20], "flipped": flipped, "no Parquet": b"nonsense"}
    first.write_bytes(damaged[damage])
    found = store.read("group", PAIRS, ["one"])
    assert found["one"].notna().sum() == kept
    assert len(said) == 1 and "is damaged" in said[0] and "computed anew" in said[0]
    assert not first.exists()


def test_files_of_another_version_are_left_alone(store, said, tmp_path):
    store.write("group", "title", PAIRS, VALUES)
    (file,) = (tmp_path / "store" / "group").iterdir()
    for version, kind in ((b"99", "a newer"), (b"0", "an older")):
        key = {b"perceptbench-store": version}
        file = rewritten(file, lambda table, key=key: table.replace_schema_metadata(key))
        for _ in range(2):
            assert store.read("group", PAIRS, ["one"]).isna().all(axis=None)
        assert f"{kind} version" in said.pop() and not said and file.exists()


def rewritten(file, change):
    """The only file of a group with another content, under the name that fits."""
    content = io.BytesIO()
    pq.write_table(change(pq.read_table(file)), content)
    file.unlink()
    file = file.with_stem(hashlib.sha256(content.getvalue()).hexdigest()[:32])
    file.write_bytes(content.getvalue())
    return file


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.replace_schema_metadata(None),
        lambda table: table.drop_columns("reference"),
        lambda table: table.set_column(0, "reference", pa.array([{"x": 1}] * 3)),
        lambda table: table.set_column(2, "one", pa.array(["x", "y", "z"])),
    ],
    ids=["no version", "no reference", "references of no name", "words for numbers"],
)
def test_a_file_of_another_form_is_as_good_as_damaged(store, said, tmp_path, change):
    store.write("group", "title", PAIRS, VALUES)
    file = rewritten(next((tmp_path / "store" / "group").iterdir()), change)
    assert store.read("group", PAIRS, ["one"]).isna().all(axis=None)
    assert len(said) == 1 and str(file) in said[0] and not file.exists()


def test_a_file_that_may_not_be_read_is_said_and_left(store, said, tmp_path, monkeypatch):
    store.write("group", "title", PAIRS, VALUES)
    (file,) = (tmp_path / "store" / "group").iterdir()

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(store.fs, "cat_file", refuse)
    assert store.read("group", PAIRS, ["one"]).isna().all(axis=None)
    assert f"{file} cannot be read (Permission denied)" in said[0] and file.exists()
    monkeypatch.setattr(store.fs, "rm_file", refuse)
    with pytest.raises(DataError, match=r"cannot be removed \(Permission denied; 0 files were"):
        store.prune()


def test_what_a_killed_run_left_goes_once_it_is_old(store, tmp_path):
    store.write("group", "title", PAIRS, VALUES)
    young, old = (tmp_path / "store" / "group" / name for name in (".young", ".old"))
    young.write_text("")
    old.write_text("")
    os.utime(old, (0, 0))
    assert store.read("group", PAIRS, ["one"]).notna().all(axis=None)
    assert young.exists() and not old.exists()


def test_a_store_that_cannot_be_written_to_is_said_once(tmp_path, said):
    (tmp_path / "file").write_text("in the way")
    store = Store(str(tmp_path / "file"), said.append)
    store.write("group", "title", PAIRS, VALUES)
    store.write("group", "title", PAIRS, VALUES)
    assert len(said) == 1 and "cannot be written to" in said[0]
    assert store.info() == [] and store.prune() == 0


def _write(url, start):
    for number in range(start, start + 20):
        pairs = pd.DataFrame({"reference": [f"r{number}"], "distorted": ["d"]})
        Store(url).write("group", "title", pairs, {"one": np.array([float(number)])})


def test_two_processes_share_a_store(store, tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=_write, args=(str(tmp_path / "store"), start)) for start in (0, 10)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    pairs = pd.DataFrame({"reference": [f"r{n}" for n in range(30)], "distorted": ["d"] * 30})
    assert store.read("group", pairs, ["one"])["one"].tolist() == list(range(30))
    assert not [p for p in (tmp_path / "store" / "group").iterdir() if p.name.startswith(".")]


def test_info_and_prune(store, tmp_path):
    store.write("old", "AlexNet", PAIRS, VALUES)
    store.write("new", "VGG16", PAIRS.head(2), {"one": np.array([1.0, 2.0])})
    groups = {group.name: group for group in store.info()}
    assert (groups["old"].title, groups["old"].pairs, groups["old"].primitives) == ("AlexNet", 3, 2)
    assert groups["new"].size > 0
    assert store.prune(["old"]) == 1
    assert store.read("old", PAIRS, ["one"]).isna().all(axis=None)
    assert store.read("new", PAIRS, ["one"])["one"].notna().sum() == 2
    assert store.prune(older_than=3600.0) == 0


def test_any_fsspec_url_will_do(said):
    store = Store("memory://stored", said.append)
    store.write("group", "title", PAIRS, VALUES)
    assert store.read("group", PAIRS, ["one"])["one"].tolist() == [1, 2, 3]
    assert len(Store("memory://stored", said.append).info()) == 1 and said == []


def test_an_unknown_kind_of_url_is_refused():
    with pytest.raises(UsageError, match="store abacus://x"):
        Store("abacus://x")
