"""A small run whose every figure can be worked out by hand."""

import copy
import functools
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from perceptbench.agreement import evaluate
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.reporting import curves
from perceptbench.reporting.result import FAILURE, PICTURE, Run, board

#: What a name may hold and a report must not take for markup.
NASTY = "<img src=x onerror=alert(1)>|*a*_`$%&\"'\\</script>"


def png(grey: float) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), int(255 * grey), np.uint8)).save(file, "PNG")
    return file.getvalue()


def build_run(datasets=("ratings", "choices"), worst="bad", skipped="absent", seed=0,
              command="perceptbench run `x` <y>") -> Run:  # fmt: skip
    """Metrics good > fair > worst on 24 ratings and 24 triplets of 12 references.

    `worst` is undefined on the ratings, `fair` was trained on the triplets. Evaluated once a
    process; every test has a copy of its own.
    """
    return copy.deepcopy(_built(tuple(datasets), worst, skipped, seed, command))


@functools.cache
def _built(datasets, worst, skipped, seed, command) -> Run:
    first, second = datasets
    rated, chosen, scores, found = _evaluated(seed)
    names = {"ratings": first, "choices": second, "bad": worst}

    def named(table):
        columns = [c for c in ("dataset", "metric", "a", "b") if c in table]
        table = table.assign(**{c: table[c].map(lambda n: names.get(n, n)) for c in columns})
        return table.rename(columns={"bad": worst})

    parts = [
        Judgements(first, rated, resample=("reference",), statistics=("srcc", "stress")),
        Judgements(second, chosen, resample=("reference",), statistics=("2afc",)),
    ]
    failures = pd.DataFrame([(first, "r0", worst, "no such image")], columns=list(FAILURE))
    run = Run(
        named(scores), named(found.table), pd.DataFrame(), parts, {skipped: "no weights"}, failures
    )
    run.comparisons = named(found.comparisons)
    run.board = board(run)
    run.curves = curves.curves(run)
    run.assumed = ["good takes ratings to be seen from afar"]
    run.provenance = {
        "created": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3.12", "torch": "2.9"},
        "datasets": {name: {"fingerprint": 64 * name[0], "folder": None} for name in datasets},
        "metrics": {
            "good": _loss("features.2", "l1", 0.002, 2_500_000),
            "fair": _loss("features.5", "l1", 0.0005, 2_500_000),
            worst: {"title": "the worst of all", "citation": "nobody"},
        },
        "weights_sha256": {"net.pth": 64 * "e"},
        "device": "cpu", "precision": "fp32",
        "command": command,
    }  # fmt: skip
    run.pictures = pd.DataFrame(
        [(second, f"{side}{i}", png(i / 24)) for i in range(24) for side in "ab"],
        columns=list(PICTURE),
    )
    return run


@functools.cache
def _evaluated(seed):
    """Ratings, choices, scores of three metrics, and how well these agree with people.

    Under plain names: whatever a table is called, it says the same.
    """
    rng = np.random.default_rng(seed)
    truth = np.linspace(0.1, 2, 24)
    rated = pd.DataFrame(
        {
            "reference": [f"r{i % 12}" for i in range(24)],
            "distorted": [f"d{i}" for i in range(24)],
            "impairment": truth,
            "distortion": ["blur", "noise"] * 12,
        }
    )
    p_b = np.tile([0.1, 0.9, 0.3, 0.8], 6)
    chosen = pd.DataFrame(
        {"reference": [f"r{i % 12}" for i in range(24)], "a": [f"a{i}" for i in range(24)],
         "b": [f"b{i}" for i in range(24)], "p_b": p_b}
    )  # fmt: skip
    parts = [
        Judgements("ratings", rated, resample=("reference",), statistics=("srcc", "stress")),
        Judgements("choices", chosen, resample=("reference",), statistics=("2afc",)),
    ]
    noise = rng.normal(0, 1, (2, 24))
    scores = pd.concat(
        [
            rated[["reference", "distorted"]].assign(
                dataset="ratings", good=truth, fair=truth + 0.5 * np.abs(noise[0]), bad=np.nan
            ),
            pd.DataFrame(
                {
                    "reference": np.repeat(chosen["reference"], 2),
                    "distorted": chosen[["a", "b"]].to_numpy().ravel(),
                    "dataset": "choices",
                    "good": np.stack([p_b, 1 - p_b], 1).ravel(),
                    "fair": np.stack([p_b + 0.4 * noise[1], 1 - p_b], 1).ravel() + 2,
                    "bad": np.stack([1 - p_b, p_b], 1).ravel(),
                }
            ),
        ]
    )
    metrics = ["good", "fair", "bad"]
    scores = scores[["dataset", "reference", "distorted", *metrics]]
    found = evaluate(parts, scores, metrics=metrics, in_domain={"choices": ["fair"]})
    return rated, chosen, scores, found


def _loss(layer, distance, seconds, parameters):
    return {
        "title": f"one layer of a net, {distance}",
        "hash": "0123456789abcdef",
        "loss": {"backbone": {"name": "net"}, "tap": [{"layer": layer, "distance": distance}]},
        "cost": {"seconds_per_pair": seconds, "parameters": parameters},
    }


@pytest.fixture(scope="session")
def make_run():
    """Builds such a run: dataset names, name of the worst metric and of a skipped one, seed."""
    return build_run


@pytest.fixture
def nasty() -> str:
    return NASTY


@pytest.fixture
def run() -> Run:
    return build_run()


@pytest.fixture
def nasty_run() -> Run:
    """Every name that a user or a file may bring holds markup."""
    return build_run((f"one {NASTY}", f"two {NASTY}"), worst=NASTY, skipped=f"not {NASTY}")
