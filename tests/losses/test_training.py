"""Losses at work: pixel, composite, adversarial and feature-matching terms, and that they fall."""

import pytest
import torch
from torch import nn

from perceptbench.errors import UsageError
from perceptbench.losses import (
    Adversarial,
    Backbone,
    Composite,
    FeatureLoss,
    FeatureMatching,
    PixelLoss,
    Term,
    load_network,
    small_discriminator,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 4, 3, 16, 16, generator=generator)


def perceptual():
    return FeatureLoss(
        Backbone(load_network("small-cnn", seed=1), ["relu1", "relu2"]),
        [Term("relu1", "l2"), Term("relu2", "l1")],
    )


def test_pixel_losses_are_their_formulas(batch):
    x, y = batch
    d = x - y
    torch.testing.assert_close(PixelLoss("l1")(x, y), d.abs().mean((1, 2, 3)))
    torch.testing.assert_close(PixelLoss("l2")(x, y), d.square().mean((1, 2, 3)))
    expected = ((d.double().square() + 1e-6).sqrt() - 1e-3).mean((1, 2, 3)).float()
    torch.testing.assert_close(PixelLoss("charbonnier")(x, y), expected)
    assert PixelLoss("charbonnier")(x, x).abs().max() < 1e-9


def test_a_composite_is_the_weighted_sum_of_its_terms(batch):
    x, y = batch
    parts = {"pixel": (1.0, PixelLoss("l1")), "perceptual": (0.3, perceptual())}
    loss = Composite(parts)
    expected = PixelLoss("l1")(x, y) + 0.3 * perceptual()(x, y)
    torch.testing.assert_close(loss(x, y), expected)
    assert set(loss.terms(x, y)) == {"pixel", "perceptual"}
    with pytest.raises(UsageError, match="negative weight"):
        Composite({"pixel": (-1.0, PixelLoss("l1"))})
    with pytest.raises(UsageError, match="at least one term"):
        Composite({})


def features_of(discriminator):
    def features(images):
        found = []
        for layer in discriminator:
            images = layer(images)
            if isinstance(layer, nn.LeakyReLU):
                found.append(images)
        return found

    return features


def test_feature_matching_over_pairs_and_over_the_batch(batch):
    x, y = batch
    features = features_of(small_discriminator())
    pair = FeatureMatching(features, [1.0, 0.5, 0.25], match="pair")
    expected = sum(
        w * (a - b).abs().mean((1, 2, 3))
        for w, a, b in zip((1.0, 0.5, 0.25), features(x), features(y), strict=True)
    )
    torch.testing.assert_close(pair(x, y), expected)
    means = [
        (a.mean((0, 2, 3)) - b.mean((0, 2, 3))).abs().mean()
        for a, b in zip(features(x), features(y), strict=True)
    ]
    whole = FeatureMatching(features)(x, y)
    torch.testing.assert_close(whole, torch.stack(means).sum().expand(4))
    assert FeatureMatching(features)(x, x.flip(0)).max() < 1e-6 < pair(x, x.flip(0)).min()


def test_feature_matching_reads_a_backbone_and_never_moves_the_real_side(batch):
    x, y = (images.clone().requires_grad_() for images in batch)
    backbone = Backbone(load_network("small-discriminator", seed=2), ["relu1", "relu3"])
    FeatureMatching(backbone)(x, y).sum().backward()
    assert y.grad is None and x.grad.abs().sum() > 0


def test_a_batch_of_one_is_warned_of(batch):
    x, y = batch[:, :1]
    with pytest.warns(UserWarning, match="match='pair'"):
        FeatureMatching(features_of(small_discriminator()))(x, y)
    with pytest.raises(UsageError, match="match must be"):
        FeatureMatching(features_of(small_discriminator()), match="all")


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares", "hinge"])
def test_the_adversarial_term_falls_as_the_discriminator_believes(kind, batch):
    def discriminator(images):
        return images.mean((1, 2, 3), keepdim=True) * 3

    loss = Adversarial(discriminator, kind)
    fake, real = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 1 / 3)
    assert (loss(fake, real) > loss(real, real)).all() and loss(fake, real).shape == (2,)
    with pytest.raises(UsageError, match="unknown adversarial loss"):
        Adversarial(discriminator, "wishful")


def test_an_image_is_optimised_towards_its_target(batch):
    target = batch[0][:1]
    image = torch.full_like(target, 0.5).requires_grad_()
    loss = Composite({"pixel": (1.0, PixelLoss("charbonnier")), "feature": (1.0, perceptual())})
    optimiser = torch.optim.Adam([image], lr=0.05)
    start = loss(image, target).item()
    for _ in range(30):
        optimiser.zero_grad()
        loss(image.clamp(0, 1), target).mean().backward()
        optimiser.step()
    assert loss(image.clamp(0, 1), target).item() < 0.3 * start


def test_a_tiny_generator_learns_under_pixel_perceptual_and_matching_terms(batch):
    """Denoising a fixed batch; the discriminator learns beside it."""
    torch.manual_seed(0)
    clean = batch[0][..., :4, :4].repeat_interleave(4, 2).repeat_interleave(4, 3)
    noisy = (clean + 0.2 * torch.randn_like(clean)).clamp(0, 1)
    generator = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1), nn.Sigmoid()
    )
    discriminator = small_discriminator()
    judge = nn.Sequential(discriminator, nn.Conv2d(128, 1, 1))
    objective = Composite(
        {
            "pixel": (1.0, PixelLoss("l1")),
            "perceptual": (1.0, perceptual()),
            "matching": (0.5, FeatureMatching(features_of(discriminator))),
            "adversarial": (0.01, Adversarial(judge, "least_squares")),
        }
    )
    steps = torch.optim.Adam(generator.parameters(), lr=0.01)
    judging = torch.optim.Adam(judge.parameters(), lr=0.001)
    history = []
    for _ in range(40):
        fake = generator(noisy)
        judging.zero_grad()
        real_error = (judge(clean) - 1).square().mean()
        (real_error + judge(fake.detach()).square().mean()).backward()
        judging.step()
        steps.zero_grad()
        terms = objective.terms(fake, clean)
        objective(fake, clean).mean().backward()
        steps.step()
        history.append({name: value.mean().item() for name, value in terms.items()})
    assert history[-1]["pixel"] < 0.7 * history[0]["pixel"]
    assert history[-1]["perceptual"] < 0.7 * history[0]["perceptual"]
