"""Images at the edge: values and gradients stay finite, in float32 and under bfloat16 autocast.

What a training run meets sooner or later: uniform images, an output equal to its target, black
against white, a single pixel, values of the smallest and largest size.
"""

import functools
import math
import warnings
from importlib import resources

import pytest
import torch

from perceptbench.errors import Unavailable
from perceptbench.losses import (
    NLPD,
    Backbone,
    Composite,
    FeatureLoss,
    PixelLoss,
    Term,
    load_network,
    presets,
)
from perceptbench.losses.config import Networks, build_loss, read_loss
from perceptbench.losses.distances import DISTANCES
from perceptbench.losses.pixel import KINDS
from perceptbench.metrics.registry import build, catalogue

SIDE = 40
PRESETS = sorted(p.name[:-5] for p in resources.files(presets).iterdir() if p.suffix == ".toml")  # type: ignore[attr-defined]


def pairs(side=SIDE):
    """Name -> (image, target), each (1, 3, side, side)."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, side, side, generator=rng)
    black, white = torch.zeros_like(noise), torch.ones_like(noise)
    grey = torch.full_like(noise, 0.5)
    one = black.clone()
    one[..., side // 2, side // 2] = 1.0
    return {
        "identical": (noise, noise.clone()), "identical black": (black, black.clone()),
        "identical white": (white, white.clone()), "identical grey": (grey, grey.clone()),
        "black to white": (black, white), "grey to noise": (grey, noise),
        "noise to grey": (noise, grey), "one pixel": (one, black), "to one pixel": (black, one),
        "denormal": (torch.full_like(noise, 1e-42), black), "faint": (noise * 1e-6, black),
        "a step of 8 bits": (grey, grey + 1 / 255), "red": (white * torch.eye(3)[0][:, None, None],
                                                            black),
    }  # fmt: skip


def check(loss, side=SIDE, size=None, chosen=None, bfloat=None):
    """That a loss and its gradient are finite for every pair, or those chosen; in bfloat16, too,
    or of those in `bfloat` only: most CPUs take it seventy times as long as float32."""
    every = pairs(side)
    height, width = size or (side, side)
    chosen = list(chosen or every)
    for names, bf16 in ((chosen, False), (chosen if bfloat is None else list(bfloat), True)):
        sides = zip(*(every[name] for name in names), strict=True)
        x, y = (torch.cat(images)[..., :height, :width].clone() for images in sides)
        x.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss(x, y)
        assert value.dtype in (torch.float32, torch.float64) and value.shape == (len(names),)
        value.sum().backward()
        for name, said, gradient in zip(names, value.tolist(), x.grad, strict=True):
            assert math.isfinite(said), f"{name}, bf16 {bf16}: {said}"
            assert torch.isfinite(gradient).all(), f"{name}, bf16 {bf16}: gradient"


@pytest.fixture(scope="module")
def networks():
    return Networks(None)


def random_loss(name, networks):
    """A preset whose network has random weights."""
    config, folder = read_loss(name)
    if config.backbone is not None and config.backbone.name != "steerable-pyramid":
        backbone = config.backbone.model_copy(update={"weights": "random"})
        config = config.model_copy(update={"backbone": backbone})
    try:
        return build_loss(config, networks, folder, name)
    except Unavailable as error:
        pytest.skip(str(error))


#: Presets whose networks take seconds an image: slow tests, of the pairs that differ most, and one
#: preset a network, for `test_every_distance` has their distances.
LARGE = ("vgg", "dists", "clip", "dino", "convnext")
OF_LARGE = ("dists", "vgg-cosine", "convnext-cosine", "clip-cosine", "clip-embedding",
            "dinov1-embedding", "dinov2-cosine", "dinov3-cosine")  # fmt: skip
FEW = ("identical grey", "black to white", "grey to noise", "one pixel", "denormal")


#: One preset a small network and one without; the others, whose distances are those of
#: `test_every_distance`, are slow tests, as are the pairs in bfloat16 that differ little.
QUICK = ("lpips-alex", "lpips-squeeze", "nlpd", "pyramid-unit", "visible-contrast")


@pytest.mark.parametrize("name", QUICK)
def test_a_preset_of_every_small_network(name, networks):
    check(random_loss(name, networks), bfloat=FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", [p for p in PRESETS if not any(word in p for word in LARGE)])
def test_every_preset(name, networks):
    check(random_loss(name, networks))


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_LARGE)
def test_every_large_network(name, networks):
    check(random_loss(name, networks), side=64, chosen=FEW, bfloat=["grey to noise"])


@functools.cache
def backbone_of(network):
    return Backbone(load_network(network), TAPS[network])


def loss_of(name, network):
    backbone = backbone_of(network)
    taps = [Term(tap, name, p=2.5 if name == "lp" else None, head=HEAD.get(name))
            for tap in TAPS[network]]  # fmt: skip
    return FeatureLoss(backbone, taps)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("network", ["squeezenet1_1", "steerable-pyramid"])
def test_every_distance(name, network):
    check(loss_of(name, network), bfloat=FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("network", ["squeezenet1_1", "steerable-pyramid"])
def test_every_distance_of_every_pair_in_bfloat16(name, network):
    check(loss_of(name, network))


TAPS = {"squeezenet1_1": ["features.1", "features.12"], "steerable-pyramid": ["octave2", "octave4"]}
HEAD = {"unit_normalised": torch.ones(1)}


@pytest.mark.parametrize("module", [
    *(PixelLoss(kind) for kind in KINDS), NLPD(),
    Composite({"l1": (1.0, PixelLoss("l1")), "l2": (0.0, PixelLoss("l2"))}),
], ids=repr)  # fmt: skip
def test_every_module(module):
    check(module)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 2)])
def test_pixel_losses_of_slivers(kind, size):
    check(PixelLoss(kind), size=size)


@pytest.mark.parametrize("name", ["mse", "mae", "psnr", "ssim", "ms-ssim", "gmsd", "fsim", "vif",
                                  "ciede2000", "watson-ahumada"])  # fmt: skip
def test_every_classical_metric(name):
    info = catalogue().metrics[name]
    metric = build(info, None).at(None)
    side = max(SIDE, info.min_size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for what, (x, y) in pairs(side).items():
            value = metric(x, y)
            assert torch.isfinite(value).all(), f"{what}: {value.tolist()}"
