"""Feature losses: published values, hand-worked formulas, gradients, invariants."""

import math

import lpips
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.datasets.dataset import read_image
from perceptbench.errors import UsageError
from perceptbench.losses import Backbone, FeatureLoss, Term, load_loss, load_network
from perceptbench.losses.distances import DISTANCES, FIXED, unit

NETWORKS = {"alexnet": ["features.1", "features.4"], "squeezenet1_1": ["features.1", "features.4"]}


@pytest.fixture(scope="module")
def random_losses():
    """One loss a distance, over a small random AlexNet."""
    taps = NETWORKS["alexnet"]
    backbone = Backbone(load_network("alexnet"), taps)
    heads = {"features.1": torch.rand(64), "features.4": torch.rand(192)}
    return {
        name: FeatureLoss(
            backbone,
            [
                Term(
                    t,
                    name,
                    1.0,
                    heads[t] if name == "unit_normalised" else None,
                    p=3.0 if name == "lp" else None,
                )
                for t in taps
            ],
        )
        for name in DISTANCES
    }


@pytest.mark.parametrize(
    ("preset", "p0", "p1"),
    [("lpips-alex", 0.721881, 0.137566), ("lpips-squeeze", 0.711048, 0.147902)],
)
def test_lpips_gives_the_published_values_of_its_authors_example(shared, weights, preset, p0, p1):
    ref, a, b = (
        read_image(shared / f"lpips-example/ex_{n}.png")[None] for n in ("ref", "p0", "p1")
    )
    loss = load_loss(preset, weights)
    assert loss(ref, a).item() == pytest.approx(p0, abs=1e-5)
    assert loss(ref, b).item() == pytest.approx(p1, abs=1e-5)


@pytest.mark.parametrize(("preset", "net"), [("lpips-alex", "alex"), ("lpips-squeeze", "squeeze")])
def test_lpips_equals_the_lpips_package_on_random_images(weights, preset, net):
    ours = load_loss(preset, weights)
    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    features = ours.backbone.network.module.features
    for name, parameter in theirs.net.named_parameters():
        parameter.data.copy_(features.get_parameter(name.partition(".")[2]).data)
    x, y = torch.rand(2, 2, 3, 80, 64, generator=torch.Generator().manual_seed(1))
    expected = theirs(x, y, normalize=True).flatten()
    torch.testing.assert_close(ours(x, y), expected, rtol=1e-5, atol=1e-7)


def test_l1_l2_cosine_and_gram_are_their_formulas(random_losses):
    x, y = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    fx, fy = (random_losses["l2"].backbone(i) for i in (x, y))
    wanted = dict.fromkeys(["l1", "l2", "cosine", "gram"], torch.zeros(3))
    for tap in fx:
        a, b = fx[tap], fy[tap]
        chw = math.prod(a.shape[1:])
        ga, gb = (torch.einsum("ncij,ndij->ncd", f, f) / chw for f in (a, b))
        wanted["l1"] = wanted["l1"] + (a - b).abs().sum((1, 2, 3)) / chw
        wanted["l2"] = wanted["l2"] + ((a - b) ** 2).sum((1, 2, 3)) / chw
        similarity = torch.nn.functional.cosine_similarity(a, b, dim=1)
        wanted["cosine"] = wanted["cosine"] + (1 - similarity).mean((1, 2))
        wanted["gram"] = wanted["gram"] + ((ga - gb) ** 2).sum((1, 2))
    for name, expected in wanted.items():
        torch.testing.assert_close(random_losses[name](x, y), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", DISTANCES)
def test_identity_symmetry_and_finite_gradient(random_losses, name):
    loss = random_losses[name]
    x, y = torch.rand(2, 2, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    assert torch.equal(loss(x, x), torch.zeros(2))
    torch.testing.assert_close(loss(x, y), loss(y, x))
    assert (loss(x, y) > 0).all()
    for other in (y, x.clone()):  # also at the minimum, where a root would have no derivative
        x.grad = None
        x.requires_grad_(True)
        loss(x, other).sum().backward()
        assert torch.isfinite(x.grad).all()
        x = x.detach()


def test_gradient_steps_bring_an_image_nearer(random_losses):
    generator = torch.Generator().manual_seed(4)
    target = torch.rand(1, 3, 48, 48, generator=generator)
    image = torch.rand(1, 3, 48, 48, generator=generator).requires_grad_(True)
    optimiser = torch.optim.Adam([image], lr=0.02)
    start = random_losses["l2"](image, target).item()
    for _ in range(15):
        optimiser.zero_grad()
        random_losses["l2"](image.clamp(0, 1), target).sum().backward()
        optimiser.step()
    assert random_losses["l2"](image.clamp(0, 1), target).item() < 0.7 * start


def test_the_network_is_frozen_also_while_training(random_losses):
    loss = random_losses["l2"].train()
    assert not loss.backbone.trunk.training
    assert not any(p.requires_grad for p in loss.parameters())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(1e-3, 1e3))
def test_unit_has_length_one_whatever_the_scale(seed, scale):
    x = torch.rand(1, 5, 3, 4, generator=torch.Generator().manual_seed(seed)) * scale + scale
    torch.testing.assert_close(unit(x).square().sum(1), torch.ones(1, 3, 4))


def test_zero_activations_are_identical_to_themselves():
    cosine = FIXED["cosine"]
    zero = cosine.embed(torch.zeros(1, 4, 2, 2))
    assert cosine.compare(zero, zero).sum() == 0


def test_wrong_input_says_what_is_wrong(random_losses):
    x = torch.rand(1, 3, 48, 48)
    with pytest.raises(ValueError, match=r"\[-1, 1\]: pass \(x \+ 1\) / 2"):
        random_losses["l2"](x, 2 * x - 1)
    with pytest.raises(ValueError, match="same shape"):
        random_losses["l2"](x, x[:, :, :-1])
    with pytest.raises(UsageError, match="needs a per-channel head"):
        FeatureLoss(random_losses["l2"].backbone, [Term("features.1", "unit_normalised")])
    with pytest.raises(UsageError, match="takes no per-channel head"):
        FeatureLoss(random_losses["l2"].backbone, [Term("features.1", "l2", 1.0, torch.ones(64))])
