"""SIGKILL at any moment, then the same command again: the numbers of an undisturbed run."""

import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

#: Kills before the run is let through, seconds after its start; numbers drawn once.
KILLS = 5


def command(out, store):
    return [
        sys.executable, "-m", "perceptbench", "run", "edge-in-noise",
        "-m", "random-alex-l2", "-m", "mse", "-m", "ssim", "--store", store,
        "-o", out, "--device", "cpu", "--resamples", "100", "--no-pictures",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_ends_like_an_undisturbed_one(tmp_path):
    start = time.monotonic()
    calm = tmp_path / "calm"
    subprocess.run(command(calm, tmp_path / "store 1"), check=True, capture_output=True)
    length = time.monotonic() - start
    moments = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(tmp_path / "out", tmp_path / "store 2"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(moments.uniform(0.2, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    assert killed
    subprocess.run(command(tmp_path / "out", tmp_path / "store 2"), check=True, capture_output=True)
    for name in ("scores.parquet", "agreement.csv", "leaderboard.csv"):
        assert (calm / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    scores = pd.read_parquet(calm / "scores.parquet")
    assert scores.notna().all(axis=None)
