"""The same inputs give the same bytes, however the work is done; elsewhere, stated tolerances.

Undisturbed is one run; every other run changes something that must not matter: the order of what
is asked for, workers, the engine, what is stored already, the seed of hashes, what memory held
before. Other numbers of threads (and so batches of other sizes), other kernels and other devices
add up in another order: there scores move by TOLERANCE at most, and no tier changes.
"""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

#: Largest change of a score, as a share of it, or of the metric's median where it is smaller.
TOLERANCE = 1e-5
DATASETS = ("edge-in-noise", "macadam-osa")
METRICS = ("gmsd", "mse", "pyramid-unit", "random-alex-l2", "ssim")
TABLES = ("scores.parquet", "agreement.csv", "comparisons.csv", "leaderboard.csv")


def run(out, *more, datasets=DATASETS, metrics=METRICS, store="none", **environment):
    named = [word for metric in metrics for word in ("-m", metric)]
    subprocess.run(
        [
            sys.executable, "-m", "perceptbench", "run", *datasets, *named, "-o", out,
            "--device", "cpu", "--no-pictures", "--store", store, *more,
        ],
        check=True, capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """An undisturbed run and its store."""
    folder = tmp_path_factory.mktemp("calm")
    return run(folder / "out", store=folder / "store"), folder / "store"


def same_bytes(one, other):
    for name in TABLES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"datasets": DATASETS[::-1], "metrics": METRICS[::-1], "PYTHONHASHSEED": "1"},
        {"more": ("--workers", "2"), "PYTHONHASHSEED": "2", "MALLOC_PERTURB_": "77"},
        {"more": ("--engine", "ray"), "needs": "ray"},
    ],
    ids=["order", "workers", "ray"],
)
def test_the_same_bytes_however_it_is_done(calm, tmp_path, other):
    other = dict(other)
    if needs := other.pop("needs", None):
        pytest.importorskip(needs, reason=f"{needs} is not installed")
    more = other.pop("more", ())
    store = tmp_path / "store" if "ray" in more else "none"
    same_bytes(calm[0], run(tmp_path / "out", *more, store=store, **other))


@pytest.mark.slow
def test_the_same_bytes_resumed(calm, tmp_path):
    """From a store that lacks half of its files, chosen by name."""
    out, store = calm
    shards = sorted(path for path in store.rglob("*") if path.is_file())
    kept = tmp_path / "store"
    for path in shards[::2]:
        target = kept / path.relative_to(store)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert len(shards) > 4
    same_bytes(out, run(tmp_path / "out", store=kept))


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"OMP_NUM_THREADS": "3"},
        {"more": ("--compile",)},
        pytest.param(
            {"more": ("--device", "cuda")},
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
        ),
    ],
    ids=["threads", "compiled", "cuda"],
)
def test_other_batches_kernels_and_devices_stay_within_the_tolerance(calm, tmp_path, other):
    other = dict(other)
    out = run(tmp_path / "out", *other.pop("more", ()), **other)
    one, two = (pd.read_parquet(folder / "scores.parquet") for folder in (calm[0], out))
    for metric in METRICS:
        size = np.maximum(one[metric].abs(), one[metric].abs().median())
        assert (np.abs(one[metric] - two[metric]) <= TOLERANCE * size).all(), metric
    one, two = (pd.read_csv(folder / "agreement.csv") for folder in (calm[0], out))
    key = ["dataset", "slice", "metric", "statistic", "tier"]
    pd.testing.assert_frame_equal(one[key], two[key])
