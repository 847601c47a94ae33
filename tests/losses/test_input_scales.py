"""Input scales: a sum over resolutions, whatever the network, and one pass for all of them."""

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from perceptbench.errors import UsageError
from perceptbench.losses import Backbone, FeatureLoss, Input, Term, load_network
from perceptbench.losses.backbones import at_scale, split_scale
from perceptbench.losses.config import Networks, build_loss, fingerprint, parse_loss, resolve
from perceptbench.losses.mistakes import mistakes
from perceptbench.scoring.engine import score
from perceptbench.scoring.plan import make_plan

#: Network -> a tap of it.
TAPS = {
    "alexnet": "features.1",
    "swin_t": "features.1",
    "vit_b_16": "encoder.layers.encoder_layer_0",
    "small-cnn": "relu1",
    "steerable-pyramid": "octave2",
}


def table(name="small-cnn", tap="relu1", **input):
    network = {"name": name} | ({} if name == "steerable-pyramid" else {"weights": "random"})
    rows = [{"layer": tap, "distance": "l2"}, {"layer": "image", "distance": "l1", "weight": 0.5}]
    return {"backbone": network, "tap": rows, "input": input}


def build(tables, networks=None):
    return build_loss(parse_loss(tables, "mine.toml"), networks or Networks())


def pair(side=(96, 64), dtype=torch.float32):
    return torch.rand(2, 2, 3, *side, generator=torch.Generator().manual_seed(0), dtype=dtype)


def halved(images, scale, kernel="bilinear"):
    size = [round(side * scale) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode=kernel, antialias=True).clamp(0, 1)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in ("vit_b_16", "swin_t"))) for n in TAPS],
)
def test_the_loss_is_the_weighted_sum_of_itself_on_scaled_images(name):
    networks = Networks()
    scales, weights = [1, 0.5, 0.375], [1.0, 2.0, 0.5]
    loss = build(table(name, TAPS[name], scales=scales, scale_weights=weights), networks)
    plain = build(table(name, TAPS[name]), networks)
    x, y = pair()
    expected = sum(
        w * plain(x, y) if s == 1 else w * plain(halved(x, s), halved(y, s))
        for s, w in zip(scales, weights, strict=True)
    )
    torch.testing.assert_close(loss(x, y), expected)
    equal = build(table(name, TAPS[name], scales=[1, 0.5]), networks)
    torch.testing.assert_close(equal(x, y), plain(x, y) + plain(halved(x, 0.5), halved(y, 0.5)))


def test_images_are_scaled_before_they_are_resized_and_cropped():
    x, y = pair()
    handling = {"resize": 32, "kernel": "bicubic", "crop": [24, 24]}
    loss = build(table(scales=[0.5], **handling))
    plain = build(table(**handling))
    expected = plain(halved(x, 0.5, "bicubic"), halved(y, 0.5, "bicubic"))
    torch.testing.assert_close(loss(x, y), expected)


def test_gradients_are_the_numerical_ones_and_maps_have_the_size_of_the_images():
    backbone = Backbone(load_network("small-cnn", seed=2), ["relu1", "relu1@0.5"])
    terms = [Term("relu1", "l2"), Term("relu1@0.5", "cosine", 0.5)]
    x, y = (0.1 + 0.8 * images[:1] for images in pair((6, 5), torch.float64))
    loss = FeatureLoss(backbone, terms).double()
    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), y), atol=1e-6)
    assert FeatureLoss(backbone, terms, spatial=True)(x, y).shape == (1, 1, 6, 5)


def test_the_plain_loss_shares_its_scale_and_all_score_as_they_do_alone():
    networks = Networks()
    losses = {
        "plain": build(table(), networks),
        "scaled": build(table(scales=[1, 0.5]), networks),
    }
    plan = make_plan(losses)
    assert [set(p.backbone.taps) for p in plan.passes] == [
        {"relu1", "image"}, {"relu1@0.5", "image@0.5"}
    ]  # fmt: skip
    assert len(plan.primitives) == 4
    assert {id_ for id_, _ in plan.metrics["plain"]} < {id_ for id_, _ in plan.metrics["scaled"]}
    ((_, stored),) = plan.groups.items()
    assert stored == plan.primitives
    images = dict(zip("abcd", torch.cat(list(pair((40, 32)))), strict=True))
    rows = pd.DataFrame({"reference": ["a", "b"], "distorted": ["c", "d"]})
    found = score(rows, images.__getitem__, losses).table
    for name, loss in losses.items():
        for row in found.itertuples():
            alone = float(loss(images[row.reference][None], images[row.distorted][None]))
            assert found.loc[row.Index, name] == pytest.approx(alone, rel=1e-5)


def hash_of(tables):
    config = parse_loss(tables, "mine.toml")
    return fingerprint(resolve(config, build_loss(config, Networks())))


def test_the_hash_follows_the_scales_and_only_what_matters_of_them():
    plain, half = hash_of(table()), hash_of(table(scales=[1, 0.5]))
    assert plain == hash_of(table(scales=[1])) == hash_of(table(scales=[1.0], scale_weights=[1]))
    assert plain == hash_of(table(scales=[1, 0.5], scale_weights=[1, 0])) != half
    assert half == hash_of(table(scales=[0.5, 1], scale_weights=[1, 1]))
    rows = [{**row, "layer": row["layer"] + at} for row in table()["tap"] for at in ("", "@.5")]
    assert half == hash_of({**table(), "tap": rows})
    # The kernel matters as soon as something is resized.
    assert plain == hash_of(table(kernel="bicubic"))
    assert half != hash_of(table(scales=[1, 0.5], kernel="bicubic"))
    assert len({half, hash_of(table(scales=[1, 0.5], scale_weights=[1, 2]))}) == 2


@pytest.mark.parametrize(
    ("input", "message"),
    [
        ({"scales": []}, "`scales` needs one or more different numbers"),
        ({"scales": [0.5, 0.5]}, "`scales` needs one or more different numbers"),
        ({"scales": [0]}, "key `input.scales.0`"),
        ({"scales": [1, 0.5], "scale_weights": [1]}, "1 `scale_weights` for 2 `scales`"),
        ({"scales": [1], "scale_weights": [-1]}, "key `input.scale_weights.0`"),
        ({"scale": [1]}, "key `input.scale`"),
    ],
)
def test_wrong_scales_are_named(input, message):
    with pytest.raises(UsageError, match=message):
        parse_loss(table(**input), "mine.toml")


def test_a_tap_says_its_scale_after_an_at_sign():
    assert split_scale(at_scale("relu1@0.5", 0.5)) == ("relu1", 0.25)
    assert at_scale("relu1@0.5", 2.0) == "relu1"
    for tap in ("relu1@", "relu1@half", "relu1@-1", "relu1@0", "relu1@nan", "relu1@inf"):
        with pytest.raises(UsageError, match="after @ comes an input scale"):
            Backbone(load_network("small-cnn"), [tap])
    with pytest.raises(UsageError, match="has no tap 'relu9'; did you mean relu"):
        Backbone(load_network("small-cnn"), ["relu9@0.5"])


def test_heads_are_checked_and_mistakes_found_at_scales_too():
    deep = {"layer": "features.11", "distance": "unit_normalised", "head": [1.0] * 256}
    alex = {"name": "alexnet", "weights": "random"}
    config = {"backbone": alex, "tap": [deep], "input": {"scales": [0.25]}}
    assert build(config)(*pair((256, 256))).shape == (2,)
    wrong = {**config, "tap": [{**deep, "head": [1.0] * 3}]}
    with pytest.raises(UsageError, match="the head has 3 weights, 256 are needed there"):
        build(wrong)
    rows = [{"layer": "features.11@0.5", "distance": "l2"}]
    found = mistakes(parse_loss({**config, "tap": rows}, "mine.toml"))
    assert any(problem.startswith("tap: only deep ones") for problem in found)


def test_an_image_is_scaled_to_one_pixel_at_least():
    assert Input().scaled(torch.rand(1, 3, 3, 9), 0.1).shape == (1, 3, 1, 1)
    images = torch.rand(1, 3, 3, 9)
    assert Input().scaled(images, 1) is images
