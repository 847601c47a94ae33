"""Images come in order, from worker processes too, and neither side outlives the other's death."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from perceptbench.errors import DataError
from perceptbench.scoring.loading import stream

KEYS = [str(number) for number in range(12)]
ORPHANS = """
import multiprocessing, os, signal, torch
from perceptbench.scoring.loading import stream
images = stream([str(n) for n in range(100)], lambda key: torch.zeros(3, 500, 500), workers=2)
next(images)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def grey(key):
    return torch.full((3, 8, 8), float(key))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_come_in_order_and_what_fails_as_its_reason(workers):
    def load(key):
        if key == "3":
            raise DataError("3 is not there")
        return grey(key)

    found = dict(stream(KEYS, load, workers))
    assert list(found) == KEYS and found["3"] == "3 is not there"
    assert all(torch.equal(found[key], grey(key)) for key in KEYS if key != "3")


def test_a_worker_that_is_killed_is_a_sentence():
    here = os.getpid()

    def load(key):
        if key == "5" and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return grey(key)

    with pytest.raises(DataError, match=r"loads images was killed .* --workers 0 does without"):
        list(stream(KEYS, load, workers=1))


@pytest.mark.slow
def test_workers_end_with_a_killed_parent():
    script = [sys.executable, "-c", ORPHANS]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
    pids = process.stdout.readline().split()
    assert process.wait(60) == -signal.SIGKILL and len(pids) == 2
    deadline = time.monotonic() + 30
    while [pid for pid in pids if alive(pid)] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if alive(pid)]


def alive(pid):
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # of a dead one empty until reaped
    except OSError:
        return False
