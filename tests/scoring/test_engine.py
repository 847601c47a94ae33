"""The one-pass engine: the same numbers as pair by pair, each image encoded once."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench.errors import DataError
from perceptbench.losses import Backbone, FeatureLoss, Term, load_network
from perceptbench.metrics.pixel import mae, mse
from perceptbench.scoring import walk
from perceptbench.scoring.engine import Options, score

TAPS = ["features.1", "features.4"]


class Images:
    """Loads seeded noise by key, counting how often each image is asked for."""

    def __init__(self, sizes):
        self.sizes, self.loaded = sizes, Counter()

    def __call__(self, key):
        if key not in self.sizes:
            raise DataError(f"{key}: there is no such image")
        self.loaded[key] += 1
        generator = torch.Generator().manual_seed(sum(key.encode()))
        return torch.rand(3, *self.sizes[key], generator=generator)


@pytest.fixture(scope="module")
def losses():
    """Four losses over one network, with its forward passes counted image by image."""
    network = load_network("alexnet")
    network.images = 0

    def count(module, inputs):
        network.images += len(inputs[0])

    network.module.features[0].register_forward_pre_hook(count)
    heads = [torch.rand(64), torch.rand(192)]
    kinds = {"l2": [None] * 2, "l1": [None] * 2, "gram": [None] * 2, "unit_normalised": heads}
    made = {
        kind: FeatureLoss(
            Backbone(network, TAPS),
            [Term(t, kind, w, h) for t, w, h in zip(TAPS, (1.0, 0.3), heads, strict=True)],
        )
        for kind, heads in kinds.items()
    }
    return network, made


def all_pairs(keys):
    rows = [(a, b) for a in keys for b in keys if a != b]
    return pd.DataFrame(rows, columns=["reference", "distorted"])


def test_scores_are_those_of_the_losses_called_pair_by_pair(losses):
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcde"})
    pairs = all_pairs("abcde")
    table = score(pairs, images, {**metrics, "mse": mse}).table
    assert list(table.columns) == ["reference", "distorted", *metrics, "mse"]
    for name, metric in {**metrics, "mse": mse}.items():
        alone = [
            metric(images(r)[None], images(d)[None]).item()
            for r, d in zip(pairs.reference, pairs.distorted, strict=True)
        ]
        np.testing.assert_allclose(table[name], alone, rtol=1e-5)


def test_each_backbone_runs_once_per_unique_image(losses):
    network, metrics = losses
    images = Images({k: (40, 48) for k in "abcdefgh"})
    network.images = 0
    score(all_pairs("abcdefgh"), images, metrics)  # 56 pairs, four losses
    assert network.images == 8
    assert set(images.loaded.values()) == {1}


def test_little_memory_costs_passes_not_correctness(losses):
    network, metrics = losses
    images = Images({k: (40, 48) for k in "abcdef"})
    pairs = all_pairs("abcdef")
    roomy = score(pairs, images, metrics).table
    network.images = 0
    tight = score(pairs, images, metrics, Options(memory=1)).table
    np.testing.assert_allclose(tight[list(metrics)], roomy[list(metrics)], rtol=1e-6)


def test_images_are_let_go_when_no_pair_needs_them(losses, monkeypatch):
    _, metrics = losses
    monkeypatch.setattr(walk, "CPU_PIXELS_OF_SMALL", 1)  # one image a batch
    alive = []
    compare = walk._Shard._compare

    def watch(self, new):
        compare(self, new)
        alive.append(len(self.there))

    monkeypatch.setattr(walk._Shard, "_compare", watch)
    keys = {f"{r}{d}": (40, 48) for r in "xy" for d in range(6)} | {"x": (40, 48), "y": (40, 48)}
    rows = [(r, f"{r}{d}") for r in "xy" for d in range(6)]
    score(pd.DataFrame(rows, columns=["reference", "distorted"]), Images(keys), metrics)
    assert max(alive) == 1 and alive[-1] == 0


def test_a_pairs_score_does_not_depend_on_its_company(losses):
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcd"} | {k: (64, 64) for k in "pq"})
    rows = [("a", "b"), ("p", "q"), ("a", "c"), ("d", "b")]
    pairs = pd.DataFrame(rows, columns=["reference", "distorted"])
    together = score(pairs, images, metrics).table
    for i in range(len(pairs)):
        alone = score(pairs.iloc[[i]], images, metrics).table
        np.testing.assert_allclose(
            together.loc[i, list(metrics)].astype(float), alone.loc[0, list(metrics)].astype(float),
            rtol=1e-6,
        )  # fmt: skip


def test_an_unreadable_image_and_a_size_mismatch_fail_their_pairs_only(losses):
    _, metrics = losses
    images = Images({"a": (40, 48), "b": (40, 48), "wide": (40, 64)})
    rows = [("a", "b"), ("a", "missing"), ("a", "wide")]
    found = score(pd.DataFrame(rows, columns=["reference", "distorted"]), images, metrics)
    assert found.table[list(metrics)].notna().all(axis=1).tolist() == [True, False, False]
    reasons = found.failures.set_index("distorted")["reason"]
    assert reasons["missing"] == "missing: there is no such image"
    assert reasons["wide"] == "the images differ in size: 48 x 40 and 64 x 40 pixels"


def test_a_failing_metric_costs_its_own_column_only():
    def raises(x, y):
        raise RuntimeError("out of ideas\nmore")

    def wrong_shape(x, y):
        return (x - y).abs()

    def not_finite(x, y):
        return torch.full((len(x),), float("inf"))

    images = Images({k: (8, 8) for k in "ab"})
    metrics = {"raises": raises, "shape": wrong_shape, "inf": not_finite, "mae": mae}
    found = score(all_pairs("ab"), images, metrics, min_size={"mae": 4})
    assert found.table["mae"].notna().all()
    assert found.table[["raises", "shape", "inf"]].isna().all(axis=None)
    assert found.notes["raises"] == "failed: RuntimeError: out of ideas"
    assert "returned shape (2, 3, 8, 8), not (2,)" in found.notes["shape"]
    assert found.notes["inf"] == "gave no finite value for some pairs"


def test_a_metric_is_not_asked_about_images_it_is_not_defined_for():
    found = score(
        all_pairs("ab"), Images({k: (8, 8) for k in "ab"}), {"mse": mse}, min_size={"mse": 9}
    )
    assert found.table["mse"].isna().all()
    assert found.notes["mse"] == "needs images of at least 9 pixels a side"


def test_images_too_small_for_the_network_do_not_stop_the_walk(losses):
    _, metrics = losses
    found = score(all_pairs("ab"), Images({k: (4, 4) for k in "ab"}), {**metrics, "mse": mse})
    assert found.table["mse"].notna().all()
    assert found.table["l2"].isna().all() and found.notes["l2"].startswith("failed")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_the_gpu_gives_the_numbers_of_the_cpu(losses):
    _, metrics = losses
    images = Images({k: (64, 64) for k in "abcd"})
    cpu = score(all_pairs("abcd"), images, metrics).table
    gpu = score(all_pairs("abcd"), images, metrics, Options(device="cuda")).table
    np.testing.assert_allclose(gpu[list(metrics)], cpu[list(metrics)], rtol=1e-4)
