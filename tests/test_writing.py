"""Files come all together or not at all, and the system's refusals are sentences."""

import errno
import multiprocessing
import os
import time

import pytest

from perceptbench.errors import DataError
from perceptbench.writing import UNFINISHED, is_empty, together, writable


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_was_there_stays_until_all_is_there(tmp_path):
    (tmp_path / "a").write_text("old")
    with together(tmp_path) as draft:
        (draft / "sub").mkdir()
        for name in ("a", "sub/b", "run.json"):
            (draft / name).write_text("new")
        assert (tmp_path / "a").read_text() == "old" and not (tmp_path / "sub").exists()
    assert names(tmp_path) == ["a", "run.json", "sub", "sub/b"]
    assert (tmp_path / "a").read_text() == "new"


def test_run_json_is_moved_last(tmp_path, monkeypatch):
    moved = []
    with together(tmp_path) as draft:
        for name in ("a", "run.json", "z"):
            (draft / name).write_text("")
        monkeypatch.setattr("pathlib.Path.replace", lambda path, goal: moved.append(path.name))
    assert moved == ["a", "z", "run.json"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_folder_as_it_was(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises((DataError, KeyboardInterrupt)), together(tmp_path) as draft:
        (draft / "a").write_text("new")
        raise error
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_what_a_killed_process_left_goes_with_the_next(tmp_path):
    assert is_empty(tmp_path / "nowhere") and is_empty(tmp_path)
    (tmp_path / UNFINISHED).mkdir()
    (tmp_path / UNFINISHED / "half").write_text("")
    assert is_empty(tmp_path)
    with together(tmp_path) as draft:
        assert names(draft) == []
    assert names(tmp_path) == []


def test_errors_about_other_files_pass(tmp_path):
    with pytest.raises(FileNotFoundError), writable(tmp_path):
        (tmp_path.parent / "other").read_text()
    full = r"No space left on device; free some or choose another folder with -o\)$"
    with pytest.raises(DataError, match=full), writable(tmp_path, "-o"):
        raise OSError(errno.ENOSPC, "other words")
    sentence = r"cannot be written \(No such file .*; choose another folder with -o"
    with pytest.raises(DataError, match=sentence), writable(tmp_path, "-o"):
        (tmp_path / "none" / "file").write_text("")


def _write(folder, text):
    for _ in range(10):
        with together(folder) as draft:
            for name in "abcd":
                (draft / name).write_text(text)
                time.sleep(0.001)


def test_processes_take_turns(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, text)) for text in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len({(tmp_path / name).read_text() for name in "abcd"}) == 1
    assert sorted(os.listdir(tmp_path)) == list("abcd")
