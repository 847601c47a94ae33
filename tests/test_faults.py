"""Full disks, folders that refuse, files in the way: a sentence, an exit code, nothing lost.

Every command that writes is tried. A disk is full where the system lets no file grow beyond some
bytes (RLIMIT_FSIZE), and where it can be mounted, on a small disk of memory. Root may write
everywhere, so that children give up this privilege.
"""

import hashlib
import re
import subprocess
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from PIL import Image

UNPRIVILEGED = """
import ctypes, os
if os.geteuid() == 0:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # capabilities, version 3; of this process
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0  # none
"""
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
OWN_CATALOGUE = """
import pathlib
from perceptbench.datasets import manifest
manifest.FOLDERS = (pathlib.Path({!r}),)
"""
MANIFEST = """
name = "mine"
title = "Mine"
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
columns = { reference = "reference", distorted = "distorted", impairment = "impairment" }
[[archive]]
path = "mos.txt"
urls = ["https://owner.invalid/mos.txt"]
sha256 = "%s"
"""
STUDY = """
title = "Which is better?"
[[claim]]
text = "squares"
better = "mse"
worse = "mae"
"""
QUICK = ("--device", "cpu", "--workers", 0)

#: Command -> its arguments, where {0} is the folder of inputs and {1} what is written to.
COMMANDS = {
    "run": "run --judgements {0}/mos.csv -m mse -m mae --store none --no-pictures -o {1}",
    "report": "report {0}/run -o {1}",
    "agree": "agree --judgements {0}/mos.csv --scores {0}/scores.csv -o {1}",
    "sweep": "sweep steerable-pyramid --taps octave1 --distances l2 --judgements {0}/mos.csv "
    "--store none -o {1}",
    "study": "study {0}/study.toml --dataset macadam-osa --store none -o {1}",
    "fit": "fit --backbone steerable-pyramid --tap octave1 --tap octave2 --train {0}/mos.csv "
    "--store none -o {1}/fitted.toml",
    "prepare": "prepare {0}/photos --ladders noise -o {1}",
    "metrics new": "metrics new my-metric -o {1}",
    "datasets export": "datasets export macadam-osa -o {1}",
    "datasets download": "datasets download mine --mirror {0} --data-dir {1}",
    "datasets link": "datasets link mine {0} --data-dir {1}",
}
#: Those that want an empty folder, and those whose folder must exist.
FRESH, EXISTING = {"prepare", "datasets export"}, {"metrics new"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with everything the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = []
    for number in range(6):
        base = rng.uniform(60, 190, (32, 32, 3))
        for noise in range(4):
            pixels = np.clip(base + 15 * noise * rng.standard_normal(base.shape), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}-{noise}.png")
            if noise:
                rows.append((f"{number}-0.png", f"{number}-{noise}.png", noise + rng.uniform()))
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / "one.png")
    table = pd.DataFrame(rows, columns=["reference", "distorted", "impairment"])
    table.to_csv(folder / "mos.csv", index=False)
    table.to_csv(folder / "mos.txt", index=False)
    table.rename(columns={"impairment": "good"}).to_csv(folder / "scores.csv", index=False)
    (folder / "study.toml").write_text(STUDY)
    (folder / "catalogue").mkdir()
    digest = hashlib.sha256((folder / "mos.txt").read_bytes()).hexdigest()
    (folder / "catalogue" / "mine.toml").write_text(MANIFEST % digest)
    return folder


@pytest.fixture(scope="module")
def tried(forked, inputs):
    """Runs a command of COMMANDS in a child that first executes some code."""

    def call(name, out, setup=""):
        words = COMMANDS[name].format(inputs, out).split()
        if words[0] in ("run", "sweep", "study", "fit"):
            words += map(str, QUICK)
        if name in ("datasets download", "datasets link"):
            setup += OWN_CATALOGUE.format(str(inputs / "catalogue"))
        return forked.run(*words, setup=setup)

    ended = call("run", inputs / "run")
    assert ended.code == 0, ended
    return call


def content(folder):
    """Path -> bytes of every file below a folder."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def old(folder, name):
    """A folder that a command of this name once wrote to, and what is in it."""
    folder.mkdir()
    if name not in FRESH:
        for file in ("leaderboard.csv", "run.json", "leaderboard.html", "fitted.toml"):
            (folder / file).write_text("old")
    return content(folder)


def assert_sentence(ended, *words):
    """One sentence about what was refused, no traceback, the right code."""
    assert ended.code in (1, 2), ended
    assert "Traceback" not in ended.err, ended
    sentence = ended.err.splitlines()[-1]
    assert sentence.startswith(("perceptbench: ", "Error: ")), ended
    for word in words:
        assert re.search(word, sentence), (word, sentence)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_works_where_nothing_is_wrong(tried, tmp_path, name):
    """Else the tests below would show nothing."""
    before = old(tmp_path / "out", name)
    ended = tried(name, tmp_path / "out")
    assert ended.code == 0 and "Traceback" not in ended.err, ended
    assert content(tmp_path / "out") != before


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_in_the_way(tried, tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert_sentence(tried(name, out), "file")
    assert content(tmp_path) == {
        p.relative_to(tmp_path): b"in the way" for p in tmp_path.glob("f*")
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_may_not_be_written_to(tried, tmp_path, name):
    before = old(tmp_path / "out", name)
    (tmp_path / "out").chmod(0o555)
    assert_sentence(tried(name, tmp_path / "out", UNPRIVILEGED), "out")
    (tmp_path / "out").chmod(0o755)
    assert content(tmp_path / "out") == before
    if name not in EXISTING:
        tmp_path.chmod(0o555)
        assert_sentence(tried(name, tmp_path / "new", UNPRIVILEGED), "new")
        tmp_path.chmod(0o755)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 60])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_gets_full(tried, tmp_path, name, size):
    before = old(tmp_path / "out", name)
    assert_sentence(tried(name, tmp_path / "out", FULL.format(size)), "out", "File too large")
    after = content(tmp_path / "out")
    assert before.items() <= after.items()
    if name not in ("datasets download", "datasets link"):  # which leave locks, and parts
        assert after == before
    assert tried(name, tmp_path / "out").code == 0, "it goes on where there is room again"


@contextmanager
def disk(folder, size):
    """A disk of memory, of some KiB, in a folder; skips where none may be mounted."""
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size}k", "none", folder)
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here ({error})")
    try:
        yield
    finally:
        subprocess.run(("umount", folder), check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_real_disk_that_is_full_or_read_only(tried, tmp_path, name):
    out = tmp_path / "disk" / "out"
    with disk(tmp_path / "disk", 64):
        before = old(out, name)
        much = tmp_path / "disk" / "much"
        with pytest.raises(OSError, match="No space left"), much.open("wb") as stream:
            while True:
                stream.write(b"0" * 4096)
        assert_sentence(tried(name, out), "out", "No space left on device|has 0 B left")
        assert before.items() <= content(out).items()
        much.unlink()
        read_only = ("mount", "-o", "remount,ro", tmp_path / "disk")
        subprocess.run(read_only, check=True, capture_output=True)
        assert_sentence(tried(name, out), "out", "cannot be written|Read-only file system")
        assert before.items() <= content(out).items()


RUN = ("run", "macadam-osa", "-m", "mse", "-m", "pyramid-l2", *QUICK, "--no-pictures")
SMALL_SHARDS = """
from perceptbench.scoring import job
job.SHARD_IMAGES = 16
"""
NO_SHARDS = """
def shard(*args):
    raise AssertionError("computed again")
job.Walk.shard = shard
"""
COUNTED = """
import sys
walk = job.Walk.shard
def shard(*args):
    print("a shard", file=sys.stderr)
    return walk(*args)
job.Walk.shard = shard
"""


@pytest.mark.slow
def test_scores_are_kept_where_the_disk_gets_full_at_the_reports(forked, tmp_path):
    run = (*RUN, "--store", tmp_path / "store", "-o", tmp_path / "out")
    ended = forked.run(*run, setup=SMALL_SHARDS + FULL.format(30_000))
    assert_sentence(ended, "out: cannot be written")
    assert "| mse" in ended.out and content(tmp_path / "out") == {}
    ended = forked.run(*run, setup=SMALL_SHARDS + NO_SHARDS)
    assert ended.code == 0 and (tmp_path / "out" / "leaderboard.html").exists(), ended


@pytest.mark.slow
def test_a_store_that_refuses_costs_nothing_but_itself(forked, tmp_path):
    store = tmp_path / "store"
    store.mkdir(mode=0o555)
    calm = forked.run(*RUN, "--store", "none", "-o", tmp_path / "calm")
    ended = forked.run(*RUN, "--store", store, "-o", tmp_path / "out", setup=UNPRIVILEGED)
    assert calm.code == ended.code == 0
    assert ended.err.count("cannot be written to (Permission denied); going on without") == 1
    same_tables(tmp_path / "calm", tmp_path / "out")
    assert forked.run(*RUN, "--store", store, "-o", tmp_path / "out").code == 0
    for folder in store.iterdir():
        folder.chmod(0o555)
    ended = forked.run("store", "prune", "--all", "--store", store, setup=UNPRIVILEGED)
    assert_sentence(ended, r"\.parquet cannot be removed \(Permission denied; 0 files were")
    for file in store.rglob("*.parquet"):
        file.chmod(0)
    ended = forked.run(*RUN, "--store", store, "-o", tmp_path / "out", setup=UNPRIVILEGED)
    assert ended.code == 0 and ended.err.count("cannot be read (Permission denied)") == 2
    same_tables(tmp_path / "calm", tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
def test_a_damaged_shard_is_computed_anew_and_no_other(forked, tmp_path, damage):
    run = (*RUN, "--store", tmp_path / "store")
    first = forked.run(*run, "-o", tmp_path / "calm", setup=SMALL_SHARDS + COUNTED)
    assert first.err.count("a shard") > 4
    file = sorted((tmp_path / "store").rglob("*.parquet"))[2]
    sound = file.read_bytes()
    wrong = {
        "flipped": sound[:700] + bytes([sound[700] ^ 1]) + sound[701:],
        "truncated": sound[:-1],
        "emptied": b"",
    }
    file.write_bytes(wrong[damage])
    again = forked.run(*run, "-o", tmp_path / "out", setup=SMALL_SHARDS + COUNTED)
    assert again.code == 0 and again.err.count("a shard") == 1
    assert again.err.count(f"{file} is damaged") == 1
    assert file.read_bytes() == sound
    same_tables(tmp_path / "calm", tmp_path / "out")


def same_tables(one, other):
    for name in ("scores.parquet", "agreement.csv", "comparisons.csv", "leaderboard.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.slow
def test_output_that_cannot_be_written_costs_no_result(forked, tmp_path):
    full = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    assert_sentence(forked.run("datasets", "list", setup=full), "No space left on device")
    run = (*RUN, "--store", "none", "-o", tmp_path / "out")
    assert_sentence(forked.run(*run, setup=full), "No space left on device")
    assert (tmp_path / "out" / "run.json").exists()
