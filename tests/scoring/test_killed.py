"""Killed, interrupted or doubled at any moment: the tables of an undisturbed run, and no rest.

The set is fetched from a server on this machine: ratings as a file of their own, images in a zip.
Every run writes into a log when it enters which phase, and which shards it computes and keeps.
"""

import hashlib
import io
import os
import random
import signal
import time
import zipfile
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

PHASES = ("download", "unpack", "build", "score", "judge", "write")
#: Processes killed, at moments spread over the phases.
KILLS = 50
#: Processes that get a signal they can clean up after, of each kind.
SIGNALS = 12
TABLES = ("scores.parquet", "agreement.csv", "comparisons.csv", "leaderboard.csv")

MANIFEST = """
name = "noisy"
title = "Noisy"
reader = "perceptbench.datasets.readers.listing:ratings"
protocols = ["rating"]
images = "files"
citation = "Nobody 2026"
[[layout]]
name = "owner"
files = ["mos.txt"]
[[layout.read.table]]
labels = "mos.txt"
slice = "all"
columns = {{ reference = "reference", distorted = "distorted", quality = "quality" }}
[[archive]]
path = "mos.txt"
urls = ["{url}/mos.txt"]
sha256 = "{labels}"
[[archive]]
path = "noisy.zip"
urls = ["{url}/noisy.zip"]
sha256 = "{images}"
unpack = true
"""

SETUP = """
import os, pathlib, time
from perceptbench.datasets import manifest
from perceptbench.datasets.fetch import download
from perceptbench.reporting import run_folder
from perceptbench.scoring import job
import perceptbench.run

manifest.FOLDERS = (pathlib.Path({catalogue!r}),)
job.SHARD_IMAGES = 8
log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def say(*words):
    os.write(log, f"{{time.monotonic()}} {{' '.join(words)}}\\n".encode())

def before(place, name, speak):
    call = getattr(place, name)
    def spoken(*args, **options):
        say(*speak(*args))
        return call(*args, **options)
    setattr(place, name, spoken)

def enters(place, name, phase):
    before(place, name, lambda *args: ("phase", phase))

enters(download, "transfer", "download")
enters(download, "unpack", "unpack")
enters(perceptbench.run, "build_metrics", "build")
enters(job.Job, "compute", "score")
enters(perceptbench.run, "evaluate", "judge")
enters(run_folder, "together", "write")
before(job.Walk, "shard", lambda walk, pairs, *rest: ("starts", *pairs[0]))
keep, write = job.Job._keep, run_folder.write

def kept(work, rows, ids):
    keep(work, rows, ids)
    say("keeps", *work.rows[rows[0]])

def written(*args):
    write(*args)
    say("phase", "done")

job.Job._keep, run_folder.write = kept, written
"""


class Runs:
    """Runs of one command line, each in a process of its own."""

    def __init__(self, forked, server, folder):
        self.forked, self.server, self.folder = forked, server, folder
        files = _files()
        server.files |= files
        server.slow = 0.01
        digests = {k: hashlib.sha256(v).hexdigest() for k, v in files.items()}
        (folder / "catalogue").mkdir()
        (folder / "catalogue" / "noisy.toml").write_text(
            MANIFEST.format(url=server.url, labels=digests["mos.txt"], images=digests["noisy.zip"])
        )
        self.number = 0

    def start(self, place, out="out"):
        """Process id and log of a run whose data, store and output lie in the folder `place`."""
        self.number += 1
        (place / "data").mkdir(parents=True, exist_ok=True)
        log = self.folder / f"log {self.number}"
        pid = self.forked.start(
            "run", "noisy", "-m", "mse", "-m", "pyramid-l2", "--device", "cpu",
            "--data-dir", place / "data", "--store", place / "store",
            "-o", place / out,
            setup=SETUP.format(catalogue=str(self.folder / "catalogue"), log=str(log)),
        )  # fmt: skip
        return pid, log

    def whole(self, place, out="out"):
        """A run that nothing disturbs; its log."""
        pid, log = self.start(place, out)
        ended = self.forked.wait(pid)
        assert ended.code == 0, ended
        return read(log)

    def stopped(self, place, phase, how, lengths, moments):
        """A run that gets a signal at a random moment of a phase; how it ended, and its log.

        Of the next phase that it has, where the one before went on too far.
        """
        pid, log = self.start(place)
        deadline = time.monotonic() + 60
        later = PHASES[PHASES.index(phase) :]
        while not (entered := [(p, at) for p, at in phases(read(log)).items() if p in later]):
            assert time.monotonic() < deadline, read(log)
            time.sleep(0.0005)
        phase, at = entered[0]
        time.sleep(max(0, at + moments.uniform(0, lengths[phase]) - time.monotonic()))
        os.kill(pid, how)
        return self.forked.wait(pid), read(log)


def _files():
    """The set: six references, each with four noisy versions; the zip has about a megabyte."""
    rng = np.random.default_rng(0)
    content, rows = io.BytesIO(), ["reference,distorted,quality"]
    with zipfile.ZipFile(content, "w") as packed:
        for number in range(6):
            base = rng.uniform(60, 190, (64, 64, 3))
            for noise in range(5):
                pixels = np.clip(base + 15 * noise * rng.standard_normal(base.shape), 0, 255)
                picture = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(picture, "png")
                name = f"{number}-{noise}.png"
                packed.writestr(f"images/{name}", picture.getvalue())
                if noise:
                    rows.append(f"{number}-0.png,{name},{5 - noise + rng.uniform(0, 0.9)}")
    return {"mos.txt": "\n".join(rows).encode(), "noisy.zip": content.getvalue()}


def read(log):
    """Lines of a log: time and words."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [(float(line.split()[0]), *line.split()[1:]) for line in lines]


def phases(lines):
    """Phase -> when it was entered, in their order."""
    entered = {}
    for at, *what in lines:
        if what[0] == "phase":
            entered.setdefault(what[1], at)
    return entered


def lengths(lines):
    """Phase -> how long it lasts, in seconds."""
    entered = phases(lines)
    ends = list(entered.values())[1:]
    return {phase: end - at for (phase, at), end in zip(entered.items(), ends, strict=False)}


def shards(lines, word):
    return [tuple(what[1:]) for _, *what in lines if what[0] == word]


def tree(folder):
    """Every file below a folder, but for the locks of downloads."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix != ".lock"}


def distances(store):
    """The files of a store but those of what metrics cost, which every run measures for itself."""
    return {path for path in tree(store) if not path.startswith("cost/")}


def assert_same(place, calm, out="out"):
    """The same tables, and the same files and no other."""
    for name in TABLES:
        assert (place / out / name).read_bytes() == (calm / "out" / name).read_bytes(), name
    assert tree(place / out) == tree(calm / "out")
    assert tree(place / "data") == tree(calm / "data")
    left = {path for path in tree(place / "store") if "/." in path}
    assert distances(place / "store") - left == distances(calm / "store")
    return [place / "store" / path for path in left]


@pytest.fixture
def runs(forked, server, tmp_path):
    return Runs(forked, server, tmp_path)


@pytest.fixture
def calm(runs, tmp_path):
    """Where an undisturbed run has been, and how long its phases took."""
    lines = runs.whole(tmp_path / "calm")
    scores = pd.read_parquet(tmp_path / "calm" / "out" / "scores.parquet")
    assert len(scores) == 24 and scores.notna().all(axis=None)
    assert len(shards(lines, "starts")) == len(shards(lines, "keeps")) == 6
    return tmp_path / "calm", lengths(lines)


@pytest.mark.slow
def test_a_run_killed_fifty_times_ends_like_an_undisturbed_one(runs, calm, tmp_path):
    calm, lengths = calm
    moments, hit, number = random.Random(0), Counter(), 0
    while sum(hit.values()) < KILLS:
        number += 1
        place = tmp_path / f"place {number}"
        kept = set()
        for phase in PHASES:
            ended, lines = runs.stopped(place, phase, signal.SIGKILL, lengths, moments)
            assert ended.code in (-signal.SIGKILL, 0), ended
            if ended.code:
                hit[[*phases(lines)][-1]] += 1
            started = shards(lines, "starts")
            assert not kept & set(started), "computed again, though stored"
            assert len(set(started) - set(shards(lines, "keeps"))) <= 1, (
                "more than the last is lost"
            )
            kept |= set(shards(lines, "keeps"))
        lines = runs.whole(place)
        assert not kept & set(shards(lines, "starts"))
        left = assert_same(place, calm)
        for path in left:
            os.utime(path, (0, 0))
        if left:
            runs.whole(place)
            assert assert_same(place, calm) == []
    assert set(PHASES) <= set(hit), hit
    assert any(runs.server.gets("noisy.zip")), "no download was continued"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_run_that_is_stopped_says_so_and_leaves_nothing(runs, calm, tmp_path, how, code, word):
    calm, lengths = calm
    moments, hit = random.Random(how), Counter()
    place = tmp_path / "place"
    for number in range(SIGNALS):
        phase = PHASES[number % len(PHASES)]
        if phase == PHASES[0]:
            place = tmp_path / f"place {number}"
        ended, lines = runs.stopped(place, phase, how, lengths, moments)
        assert ended.code in (code, 0) and "Traceback" not in ended.err, ended
        if ended.code:
            hit[[*phases(lines)][-1]] += 1
            assert ended.err.endswith(f"perceptbench: {word}\n"), ended
    assert sum(hit.values()) >= SIGNALS // 2, hit
    runs.whole(place)
    assert assert_same(place, calm) == []


@pytest.mark.slow
@pytest.mark.parametrize("outs", [("out", "out 2"), ("out", "out")], ids=["two folders", "one"])
def test_two_runs_share_data_store_and_folder(runs, calm, tmp_path, outs):
    calm, place = calm[0], tmp_path / "shared"
    runs.server.requests.clear()
    both = [runs.start(place, out)[0] for out in outs]
    ended = [runs.forked.wait(pid) for pid in both]
    assert [end.code for end in ended] == [0, 0], ended
    assert runs.server.gets("noisy.zip") == runs.server.gets("mos.txt") == [None]
    for out in outs:
        assert assert_same(place, calm, out) == []
