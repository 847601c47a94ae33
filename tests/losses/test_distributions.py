"""Distances between distributions of activations, against others' code and formulas by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, wasserstein_distance

from perceptbench.losses import Backbone, FeatureLoss, Term, load_network
from perceptbench.losses.distances import DIRECTIONS, directions, distance

NAMES = ("wsd", "swd", "jsd", "skld")


def maps(seed=0, shape=(2, 5, 3, 4)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def compared(name, x, y):
    how = distance(name)
    return how.compare(how.embed(x), how.embed(y))[:, 0]


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def test_wsd_is_scipys_wasserstein_distance_of_each_channel():
    x, y = maps()
    for n, value in enumerate(compared("wsd", x, y)):
        channels = zip(x[n].flatten(1).numpy(), y[n].flatten(1).numpy(), strict=True)
        expected = np.mean([wasserstein_distance(a, b) for a, b in channels])
        assert value.item() == pytest.approx(expected, rel=1e-12)


def test_swd_is_the_formula_by_hand():
    x, y = maps()
    along = directions(5).double().numpy()
    assert along.shape == (5, 5) and np.allclose(np.linalg.norm(along, axis=1), 1)
    assert directions(400).shape == (DIRECTIONS, 400)
    assert torch.equal(directions(5), directions(5))
    for n, value in enumerate(compared("swd", x, y)):
        squares = []
        for direction in along:
            a, b = (np.sort(direction @ t[n].flatten(1).numpy()) for t in (x, y))
            squares.append(np.mean((a - b) ** 2))
        assert value.item() == pytest.approx(np.mean(squares), rel=1e-6)


def test_jsd_and_skld_are_scipys_of_the_softmax_at_each_location():
    x, y = maps()
    jsd, skld = compared("jsd", x, y), compared("skld", x, y)
    for n in range(len(x)):
        places = [
            (softmax(a), softmax(b))
            for a, b in zip(x[n].flatten(1).T.numpy(), y[n].flatten(1).T.numpy(), strict=True)
        ]
        expected = np.mean([jensenshannon(p, q) ** 2 for p, q in places])
        assert jsd[n].item() == pytest.approx(expected, rel=1e-9)
        expected = np.mean([(entropy(p, q) + entropy(q, p)) / 2 for p, q in places])
        assert skld[n].item() == pytest.approx(expected, rel=1e-12)


def test_by_hand():
    """Two channels at one place: p = (1/2, 1/2), q = (3/4, 1/4); m = (5/8, 3/8)."""
    x, y = torch.zeros(1, 2, 1, 1), torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1)
    jsd = 0.5 * (0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3))
    jsd += 0.5 * (0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3))
    assert compared("jsd", x, y).item() == pytest.approx(jsd, rel=1e-5)
    assert compared("skld", x, y).item() == pytest.approx(math.log(3) / 8, rel=1e-5)
    # One channel at three places: sorted 1 2 4 and 1 3 8.
    x, y = (torch.tensor(v).view(1, 1, 1, 3) for v in ([4.0, 1, 2], [3.0, 8, 1]))
    assert compared("wsd", x, y).item() == pytest.approx(5 / 3)
    assert compared("swd", x, y).item() == pytest.approx(17 / 3)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    x, y = maps(3, (1, 3, 2, 3))
    for inputs in ((x, y), (y, x), (10 * x, y)):
        given_ = [t.clone().requires_grad_() for t in inputs]
        assert torch.autograd.gradcheck(lambda a, b: compared(name, a, b), given_)


@given(st.integers(0, 10**6), st.sampled_from(NAMES), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_they_are_zero_for_the_same_symmetric_and_never_negative(seed, name, size):
    x, y = (size * t.float() for t in maps(seed))
    assert compared(name, x, x).tolist() == [0, 0]
    there, back = compared(name, x, y), compared(name, y, x)
    torch.testing.assert_close(there, back)
    assert (there >= 0).all() and there.isfinite().all()
    if name in ("wsd", "swd"):  # wherever a vector is
        rolled = x.roll((1, 2), (2, 3))
        torch.testing.assert_close(compared(name, rolled, y), there, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["jsd", "skld"])
def test_small_differences_keep_their_digits_in_single_precision(name):
    x, y = maps()
    y = x + 1e-3 * y
    single = compared(name, x.float(), y.float())
    torch.testing.assert_close(single.double(), compared(name, x, y), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_they_make_losses_that_can_be_trained_with(name):
    loss = FeatureLoss(Backbone(load_network("small-cnn"), ["relu2"]), [Term("relu2", name)])
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 3, 12, 14, generator=generator)
    image = torch.rand(1, 3, 12, 14, generator=generator).requires_grad_()
    before = loss(image, target)
    (step,) = torch.autograd.grad(before.sum(), image)
    step = 1e-3 * step / step.abs().max()
    assert 0 < loss((image - step).clamp(0, 1).detach(), target).item() < before.item()
    if name in ("jsd", "skld"):
        spatial = FeatureLoss(loss.backbone, loss.terms, spatial=True)
        places = spatial(image, target)
        assert places.shape == (1, 1, 12, 14)
        torch.testing.assert_close(places.mean((1, 2, 3)), before)
