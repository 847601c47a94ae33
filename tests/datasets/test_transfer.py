"""One file from one address: what is resumed, what starts afresh, what is given up."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from perceptbench.datasets.fetch import transfer as module
from perceptbench.datasets.fetch.transfer import CHUNK, Patience, Refused, done, transfer
from perceptbench.errors import DataError

BODY = os.urandom(3 * CHUNK + 12345)
HASTY = Patience(attempts=3, pause=0.01, longest=0.05, connect=10.0, read=10.0)


@pytest.fixture
def get(server, tmp_path):
    """Serves BODY as `file` and fetches it; returns the bytes that arrived."""
    server.files["file"] = BODY
    part = tmp_path / "in" / "file.part"

    def call(size=None):
        transfer(f"{server.url}/file", part, size=size, patience=HASTY)
        return part.read_bytes()

    call.part = part
    return call


def interrupted(server, get, after):
    """What a transfer leaves that broke off after so many bytes."""
    server.cut["file"] = [after, *[0] * 10]
    with pytest.raises(Refused, match=r"closed|broken|Incomplete"):
        get()
    assert get.part.stat().st_size == after
    server.cut.clear()
    server.requests.clear()


def test_a_file_arrives_and_its_note_goes_when_it_gets_its_name(get):
    assert get(len(BODY)) == BODY
    done(get.part, get.part.with_name("file"))
    assert [path.name for path in get.part.parent.iterdir()] == ["file"]


def test_dropped_connections_are_resumed_where_they_broke_off(server, get):
    server.cut["file"] = [CHUNK + 7, CHUNK, 100]
    assert get() == BODY
    ranges = [None, f"bytes={CHUNK + 7}-", f"bytes={2 * CHUNK + 7}-", f"bytes={2 * CHUNK + 107}-"]
    assert server.gets("file") == ranges


@pytest.mark.parametrize("seed", range(5))
def test_wherever_it_breaks_off_the_bytes_are_the_same(server, get, seed):
    rng = random.Random(seed)
    server.cut["file"] = [rng.choice([0, 1, rng.randrange(len(BODY))]) for _ in range(6)]
    server.etags["file"] = rng.choice(['"one"', 'W/"one"', None])
    server.ranges = seed != 4
    transfer(f"{server.url}/file", get.part, size=None, patience=replace(HASTY, attempts=9))
    assert get.part.read_bytes() == BODY


def test_patience_counts_attempts_without_progress(server, get):
    server.cut["file"] = [CHUNK, 0, 0, CHUNK]
    assert get() == BODY
    get.part.unlink()
    server.cut["file"] = [100, 0, 0]
    with pytest.raises(Refused, match="tried 3 times"):
        get()


@pytest.mark.parametrize("etag", ['"one"', 'W/"one"', None])
def test_a_later_call_goes_on_where_an_earlier_one_stopped(server, get, etag):
    server.etags["file"] = etag
    interrupted(server, get, CHUNK + 1)
    assert get() == BODY
    assert server.gets("file") == [f"bytes={CHUNK + 1}-"]


def test_a_part_of_something_else_is_not_continued(server, get):
    interrupted(server, get, CHUNK)
    server.files["other"] = BODY[::-1]
    transfer(f"{server.url}/other", get.part, size=None, patience=HASTY)
    assert get.part.read_bytes() == BODY[::-1] and server.gets("other") == [None]
    get.part.with_name("file.part.json").write_text("{torn")
    assert get() == BODY and server.gets("file") == [None]


def test_a_server_without_ranges_starts_afresh(server, get):
    interrupted(server, get, CHUNK)
    server.ranges = False
    assert get() == BODY


@pytest.mark.parametrize("honest", [True, False])
@pytest.mark.parametrize("length", [len(BODY), len(BODY) + 5, CHUNK - 5])
def test_a_file_that_changed_between_two_tries_is_fetched_afresh(server, get, honest, length):
    """An honest server heeds If-Range; the other sends the rest of the new file."""
    server.etags["file"] = '"one"'
    interrupted(server, get, CHUNK)
    server.etags["file"], server.files["file"] = '"two"', os.urandom(length)
    server.ignore_condition = not honest
    assert get() == server.files["file"]
    assert server.gets("file")[0] == f"bytes={CHUNK}-"


def test_without_tag_and_date_the_length_decides(server, get):
    server.dates["file"] = None
    interrupted(server, get, CHUNK)
    assert get() == BODY and server.gets("file") == [f"bytes={CHUNK}-"]
    get.part.unlink()
    interrupted(server, get, CHUNK)
    server.files["file"] = BODY + b"more"
    assert get() == BODY + b"more" and server.gets("file") == [f"bytes={CHUNK}-", None]


def test_a_part_that_is_complete_is_not_asked_for_again(server, get):
    get()
    server.requests.clear()
    assert get() == BODY and not server.requests


def test_a_range_other_than_the_one_asked_for_is_not_taken(server, get):
    interrupted(server, get, CHUNK)
    server.headers["file"] = {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
    server.status["file"] = [206]
    assert get() == BODY


def test_servers_in_trouble_are_asked_again(server, get):
    server.status["file"] = [503, 429]
    assert get() == BODY and len(server.requests) == 3
    get.part.unlink()
    server.status["file"] = [500] * 9
    with pytest.raises(Refused, match=r"HTTP 500 .*tried 3 times"):
        get()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server, get, status):
    server.status["file"] = [status] * 9
    with pytest.raises(Refused, match=f"HTTP {status}"):
        get()
    assert len(server.requests) == 1


def test_lies_about_the_length_are_found(server, get):
    server.length["file"] = len(BODY) + 10
    with pytest.raises(Refused, match=r"changed|closed|broken|Incomplete"):
        get()
    assert len(server.requests) < 10
    server.length["file"] = len(BODY) - 10
    with pytest.raises(Refused, match=r"has 798,767 bytes there instead of 798,777"):
        get(len(BODY))
    server.length["file"] = None
    with pytest.raises(Refused, match="sends more than the 798,770 bytes"):
        get(len(BODY) - 7)
    assert get() == BODY


def test_a_web_page_is_not_taken_for_a_file(server, get):
    server.headers["file"] = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(Refused, match="web page"):
        get()


def test_what_never_answers_is_given_up_soon(server, get, tmp_path):
    server.slow = 0.6
    start = time.monotonic()
    impatient = replace(HASTY, read=0.1)
    with pytest.raises(Refused, match=r"it sent nothing for 0\.1 s \(tried 3 times\)"):
        transfer(f"{server.url}/file", get.part, size=None, patience=impatient)
    with pytest.raises(Refused, match=r"refused.*tried 2 times"):
        transfer("http://127.0.0.1:9/x", tmp_path / "x.part", size=None, patience=HASTY)
    with pytest.raises(Refused):
        transfer("http://", tmp_path / "x.part", size=None, patience=HASTY)
    assert time.monotonic() - start < 20


def test_a_disk_without_room_is_said_before_anything_is_written(server, get, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(DataError, match=r"file needs 798\.8 kB, the disk has 1\.0 MB left"):
        get()
    assert not get.part.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_what_the_next_one_continues(server, get, how):
    server.slow = 0.05
    code = (
        "from pathlib import Path; from perceptbench.datasets.fetch.transfer import *\n"
        f"transfer({server.url + '/file'!r}, Path({str(get.part)!r}), size=None, "
        "patience=Patience())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (get.part.exists() and get.part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    process.wait(60)
    have = get.part.stat().st_size
    assert 0 < have < len(BODY)
    server.slow = 0
    assert get() == BODY and server.gets("file")[1] == f"bytes={have}-"
