"""Feature losses: published values, hand-worked formulas, gradients, invariants."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.datasets.images import read_image
from perceptbench.errors import UsageError
from perceptbench.losses import Backbone, FeatureLoss, Term, load_loss, load_network
from perceptbench.losses.distances import DISTANCES, FIXED, distance, points, unit

#: Networks are looked through when they are loaded: once for all tests, which leave them alone.
network = functools.cache(load_network)


@pytest.fixture(scope="module")
def random_losses():
    """One loss a distance, over a small random SqueezeNet."""
    taps = ["features.1", "features.4"]
    backbone = Backbone(network("squeezenet1_1"), taps)
    heads = {"features.1": torch.rand(64), "features.4": torch.rand(128)}
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


#: Distances in the strict sense; `contextual` is neither symmetric nor zero for equal images.
STRICT = [name for name in DISTANCES if name != "contextual"]


@pytest.mark.parametrize("name", STRICT)
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


SMALL = {"relu1": 16, "relu2": 32}


def small_loss(name, **options):
    """A loss over the small random network in float64."""
    backbone = Backbone(network("small-cnn", seed=2), list(SMALL))
    terms = [
        Term(tap, name, 0.5, torch.rand(c, generator=torch.Generator().manual_seed(c))
             if name == "unit_normalised" else None, p=2.5 if name == "lp" else None)
        for tap, c in SMALL.items()
    ]  # fmt: skip
    return FeatureLoss(backbone, terms, **options).double()


def small_pair(seed=0, n=2, side=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, n, 3, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_are_the_numerical_ones(name):
    x, y = small_pair(n=1, side=3)
    loss = small_loss(name)
    # Away from the ends of the range, which are checked.
    x, y = (0.1 + 0.8 * images for images in (x, y))
    leaves = x.requires_grad_(), y.requires_grad_()
    assert torch.autograd.gradcheck(loss, leaves, atol=1e-6, fast_mode=True)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(STRICT), st.integers(0, 2**31 - 1), st.integers(4, 12))
def test_a_pairs_distance_is_a_distance_and_its_own(name, seed, side):
    loss = small_loss(name)
    x, y = small_pair(seed, 3, side)
    both = loss(x, y)
    assert (both > 0).all() and (loss(x, x).abs() < 1e-12).all()
    torch.testing.assert_close(loss(y, x), both)
    alone = torch.cat([loss(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, both, rtol=1e-10, atol=0)
    other = torch.cat([y[:1], x[1:]])
    torch.testing.assert_close(loss(x, other)[0], both[0], rtol=1e-10, atol=0)


def test_reductions_are_what_they_say():
    x, y = small_pair()
    backbone = Backbone(network("small-cnn", seed=2), ["relu1"]).double()
    difference = (backbone(x)["relu1"] - backbone(y)["relu1"]).abs() ** 3
    for reduction, expected in {
        "mean": difference.mean((1, 2, 3)),
        "sum": difference.sum((1, 2, 3)),
        "spatial_mean_channel_sum": difference.mean((2, 3)).sum(1),
    }.items():
        loss = FeatureLoss(backbone, [Term("relu1", "lp", p=3, reduction=reduction)])
        torch.testing.assert_close(loss(x, y), expected)


def test_epsilon_is_added_to_the_lengths_and_one_weight_is_all_weights():
    x, y = small_pair()
    backbone = Backbone(network("small-cnn", seed=2), ["relu1"]).double()
    a, b = (backbone(i)["relu1"] for i in (x, y))
    u, v = (t / (t.norm(dim=1, keepdim=True) + 0.1) for t in (a, b))
    expected = (u - v).square().sum(1).mean((1, 2))
    for head, weight in ((torch.ones(16), 1.0), (torch.ones(1), 1.0), (None, 2.0)):
        name = "cosine" if head is None else "unit_normalised"
        term = Term("relu1", name, weight, head, epsilon=0.1)
        for options in ({}, {"spatial": True}):
            got = FeatureLoss(backbone, [term], **options)(x, y)
            torch.testing.assert_close(got.flatten(1).mean(1) if options else got, expected)
    with pytest.raises(UsageError, match="'gram' takes no `epsilon`"):
        FeatureLoss(backbone, [Term("relu1", "gram", epsilon=0.1)])


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-8, 1e-12, 1e-25, 0.0])
def test_gradients_of_faint_activations_are_those_of_the_written_out_distance(size):
    """In float32, with an epsilon above the activations: nothing may cancel."""
    generator = torch.Generator().manual_seed(0)
    x, y = size * torch.rand(2, 1, 12, 6, 5, generator=generator)
    how, weights = distance("unit_normalised", headed=True, epsilon=1e-3), torch.ones(12)
    found = []
    for value in (
        lambda t: how.fused(t, y, weights),
        lambda t: (how.compare(how.embed(t.double()), how.embed(y.double()))).sum(1),
    ):
        leaf = x.clone().requires_grad_()
        value(leaf).sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6 * float(found[1].abs().max()))


def test_structure_texture_by_the_formulas_of_dists():
    x, y = small_pair()
    backbone = Backbone(network("small-cnn", seed=2), ["relu1"]).double()
    a, b = (backbone(i)["relu1"].flatten(2) for i in (x, y))
    c = 1e-6
    l_term = (2 * a.mean(2) * b.mean(2) + c) / (a.mean(2) ** 2 + b.mean(2) ** 2 + c)
    covariance = (a * b).mean(2) - a.mean(2) * b.mean(2)
    s_term = (2 * covariance + c) / (a.var(2, correction=0) + b.var(2, correction=0) + c)
    expected = 1 - (l_term + s_term).mean(1) / 2
    loss = FeatureLoss(backbone, [Term("relu1", "structure_texture")])
    torch.testing.assert_close(loss(x, y), expected)


def test_mean_feature_sees_no_place_and_flat_cosine_no_scale():
    x, _ = small_pair()
    backbone = Backbone(network("small-cnn", seed=2), ["image"]).double()
    mean = FeatureLoss(backbone, [Term("image", "mean_feature")])
    assert mean(x, x.flip(3)).max() < 1e-12 < mean(x, 0.5 * x).min()
    flat = FeatureLoss(backbone, [Term("image", "cosine_flat")])
    assert flat(x, 0.5 * x).max() < 1e-12 < flat(x, x.flip(3)).min()
    expected = 1 - torch.nn.functional.cosine_similarity(x.flatten(1), x.flip(3).flatten(1))
    torch.testing.assert_close(flat(x, x.flip(3)), expected)


@pytest.mark.parametrize("name", ["l1", "l2", "lp", "cosine", "unit_normalised", "mean_feature"])
def test_the_mean_of_the_spatial_map_is_the_distance(name):
    x, y = small_pair()  # the small network keeps the size, so that nothing is interpolated
    places = small_loss(name, spatial=True)(x, y)
    assert places.shape == (2, 1, 8, 8)
    torch.testing.assert_close(places.mean((1, 2, 3)), small_loss(name)(x, y))


def test_there_is_no_map_of_a_gram_matrix():
    with pytest.raises(UsageError, match="'gram' has no spatial map"):
        small_loss("gram", spatial=True)


def test_the_mean_and_the_detached_target():
    x, y = small_pair()
    torch.testing.assert_close(small_loss("l2", mean=True)(x, y), small_loss("l2")(x, y).mean())
    x.requires_grad_()
    y.requires_grad_()
    small_loss("l2", mean=True, detach_target=True)(x, y).backward()
    assert x.grad.abs().sum() > 0 and y.grad is None


def kept(loss, x, y):
    """Bytes autograd keeps for the backward pass, and the gradient."""
    total = 0

    def pack(tensor):
        nonlocal total
        total += tensor.nbytes
        return tensor

    x = x.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(x, y)
    value.sum().backward()
    return total, x.grad


def test_checkpointing_keeps_less_and_changes_no_gradient():
    x, y = (images.float() for images in small_pair(side=48))
    options = {"detach_target": True}
    networks = {}
    for checkpointing in (False, True):
        backbone = Backbone(network("resnet18", seed=1), ["layer2"])
        loss = FeatureLoss(backbone, [Term("layer2", "l2")], checkpointing=checkpointing, **options)
        networks[checkpointing] = kept(loss, x, y)
    (plain, gradient), (less, same) = networks[False], networks[True]
    assert less < 0.2 * plain
    torch.testing.assert_close(same, gradient)


def test_autocast_takes_distances_in_float32():
    x, y = (images.float() for images in small_pair(side=32))
    for name in ("gram", "unit_normalised", "l2"):
        loss = small_loss(name).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = loss(x, y)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, loss(x, y), rtol=0.05, atol=1e-4)


def test_the_dtype_follows_the_module():
    x, y = small_pair()
    assert small_loss("l1")(x, y).dtype == torch.float64
    assert small_loss("l1").float()(x.float(), y.float()).dtype == torch.float32


def test_the_contextual_distance_by_its_formulas_in_a_loop():
    x, y = small_pair(n=1, side=4)
    a, b = (images[0].flatten(1).T for images in (x, y))  # 16 vectors of 3
    a, b = a - b.mean(0), b - b.mean(0)
    apart = [[1 - torch.dot(p, q) / (p.norm() * q.norm()) for q in b] for p in a]
    rows = []
    for row in apart:
        weights = [torch.exp((1 - d / (min(row) + 1e-5)) / 0.5) for d in row]
        rows.append([w / sum(weights) for w in weights])
    expected = -torch.stack([max(r[j] for r in rows) for j in range(16)]).mean().log()
    backbone = Backbone(network("small-cnn"), ["image"])
    got = FeatureLoss(backbone, [Term("image", "contextual")])(x, y)
    torch.testing.assert_close(got[0], expected)


def test_the_contextual_distance_ignores_places_and_keeps_within_memory():
    x, _ = small_pair(n=1, side=8)
    loss = FeatureLoss(Backbone(network("small-cnn"), ["image"]), [Term("image", "contextual")])
    assert max(loss(x, x), loss(x, x.flip(2))) < 1e-6 < loss(x, small_pair(1, n=1, side=8)[0])
    assert points(torch.rand(1, 3, 300, 200)).shape == (1, 3, 32 * 32)
