"""Distances of many images with one another: the same numbers as pair by pair."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench.losses import Backbone, FeatureLoss, Term, load_network
from perceptbench.scoring import crossed
from perceptbench.scoring.engine import score
from perceptbench.scoring.primitives import Comparison

CPU = torch.device("cpu")
TAPS = ["features.1", "features.4"]
KINDS = {
    **{kind: {} for kind in ("l1", "l2", "cosine", "cosine_flat", "gram", "wsd", "swd", "jsd")},
    "mean_feature": {},
    "lp": {"p": 3},
    "unit_normalised": {"head": torch.linspace(-0.2, 1, 64)},
    "structure_texture": {"head": torch.rand(128, generator=torch.Generator().manual_seed(0))},
}


def noise(names, size):
    generator = torch.Generator().manual_seed(len(names))
    return {name: torch.rand(3, *size, generator=generator) for name in names}


def all_pairs(names):
    pairs = list(itertools.permutations(names, 2))
    return pd.DataFrame(pairs, columns=["reference", "distorted"])


@pytest.fixture(scope="module")
def losses():
    network = load_network("squeezenet1_1")
    taps = {"unit_normalised": TAPS[:1], "structure_texture": TAPS[:1]}
    return {
        kind: FeatureLoss(
            Backbone(network, taps.get(kind, TAPS)),
            [Term(tap, kind, 0.5, **more) for tap in taps.get(kind, TAPS)],
        )
        for kind, more in KINDS.items()
    }


def test_all_pairs_have_the_distances_they_have_alone(losses, monkeypatch):
    """Of two sizes, an image twice under two names, one that cannot be read."""
    small, large = [f"s{n}" for n in range(17)], [f"l{n}" for n in range(5)]
    images = noise(small, (40, 48)) | noise(large, (64, 64))
    images["s16"] = images["s3"]
    pairs = pd.concat([all_pairs(small), all_pairs(large)], ignore_index=True)
    pairs.loc[len(pairs)] = ["s1", "gone"]
    pairs.loc[len(pairs)] = ["s1", "s1"]
    crossings = []
    cross = Comparison.cross

    def watch(self, batches, i, j):
        crossings.append(len(i))
        return cross(self, batches, i, j)

    monkeypatch.setattr(Comparison, "cross", watch)
    together = score(pairs, images.__getitem__, losses)
    assert crossings == [17 * 16 + 1, 5 * 4]
    monkeypatch.setattr(crossed, "IMAGES", 1000)
    apart = score(pairs, images.__getitem__, losses)
    assert len(crossings) == 2
    assert together.failures.equals(apart.failures) and len(together.failures) == 1
    pd.testing.assert_frame_equal(together.table, apart.table, rtol=2e-6)
    same = pairs.isin(["s3", "s16"]).all(axis=1) | (pairs.reference == pairs.distorted)
    assert same.sum() == 3 and (together.table.loc[same, list(losses)] == 0).all(axis=None)


@pytest.mark.parametrize("power", [1, 2])
def test_sums_are_those_written_out(power):
    x = torch.randn(6, 300, 40, generator=torch.Generator().manual_seed(1))
    found = crossed.sums([x[:4], x[4:]], [power])[0]
    pairs = [*itertools.combinations(range(6), 2), (5, 2), (4, 4)]
    expected = [(x[a].double() - x[b].double()).abs().pow(power).sum().item() for a, b in pairs]
    at = crossed.where([a for a, _ in pairs], [b for _, b in pairs], 6)
    np.testing.assert_allclose(found[at], expected, rtol=1e-6)


def test_it_pays_where_most_are_compared_with_most():
    triplets = [tuple(pair) for pair in itertools.combinations("abcdefghijklmnopqrst", 2)]
    assert crossed.pays(triplets[::2], CPU)
    assert not crossed.pays(triplets[::5], CPU)
    assert not crossed.pays(triplets[::5] * 3, CPU)  # the same pairs again
    assert not crossed.pays([("r", f"d{n}") for n in range(200)], CPU)
    assert not crossed.pays(triplets, torch.device("mps"))  # which has no float64
