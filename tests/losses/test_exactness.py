"""Our losses against other libraries on the same tensors and the same random weights.

The libraries build their VGG16 with ImageNet weights, which are not at hand: their constructor
is given the network of ours instead.
"""

import contextlib
import copy
import functools

import lpips
import piq
import pytest
import torch
from torch import nn

from perceptbench.losses import Backbone, FeatureLoss, Term, load_network
from perceptbench.losses.config import Networks, build_loss, parse_loss
from perceptbench.losses.weights import lpips_heads

LPIPS_TAPS = {
    "alex": ("alexnet", [f"features.{i}" for i in (1, 4, 7, 9, 11)]),
    "squeeze": ("squeezenet1_1", [f"features.{i}" for i in (1, 4, 7, 9, 10, 11, 12)]),
    "vgg": ("vgg16", ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]),
}


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 64, 48, generator=generator)
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


@contextlib.contextmanager
def undrawn():
    """Networks are built without drawing numbers of which nothing is used: VGG's classifier, or all
    of a library's AlexNet and SqueezeNet, which are given those of ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("kaiming_uniform_", "normal_"):
            patch.setattr(nn.init, name, lambda tensor, *args, **options: tensor)
        yield


@functools.cache
def vgg16(pooling="max"):
    """VGG16 without its classifier: nine tenths of its numbers, and no part of a loss."""
    with undrawn():
        network = load_network("vgg16", seed=3, pooling=pooling)
    network.module.classifier = nn.Identity()
    return network


@pytest.fixture(scope="module")
def vgg():
    return vgg16()


@functools.cache
def small(name):
    """AlexNet or SqueezeNet with random weights, made once and left as it is."""
    return load_network(name, seed=5)


@pytest.fixture
def others_take_our_vgg(vgg, monkeypatch):
    """A fresh copy of the network each time: libraries change what they are given."""

    def build(*args, **kwargs):
        return copy.deepcopy(vgg.module)

    monkeypatch.setattr("piq.perceptual.vgg16", build)
    monkeypatch.setattr("torchvision.models.vgg16", build)


def our_lpips(net, network, **options):
    _, taps = LPIPS_TAPS[net]
    terms = [
        Term(t, "unit_normalised", 1.0, h) for t, h in zip(taps, lpips_heads(net), strict=True)
    ]
    return FeatureLoss(Backbone(network, taps), terms, **options)


def their_lpips(net, network, **options):
    with undrawn():
        theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False, **options)
    features = network.module.features
    for name, parameter in theirs.net.named_parameters():
        parameter.data.copy_(features.get_parameter(name.partition(".")[2]).data)
    return theirs


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("net", "spatial"), [("alex", False), ("alex", True), ("squeeze", False), ("vgg", True)]
)
def test_lpips_is_the_lpips_packages(net, spatial, images, vgg):
    network = vgg if net == "vgg" else small(LPIPS_TAPS[net][0])
    expected = their_lpips(net, network, spatial=spatial)(*images, normalize=True)
    got = our_lpips(net, network, spatial=spatial)(*images)
    assert got.shape == ((2, 1, 64, 48) if spatial else (2,))
    torch.testing.assert_close(got, expected.view_as(got), rtol=1e-5, atol=1e-8)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_with_real_weights_is_the_lpips_packages(net, images, weights):
    name = LPIPS_TAPS[net][0]
    network = load_network(name, weights / f"{name}_features.pth")
    expected = their_lpips(net, network)(*images, normalize=True).flatten()
    torch.testing.assert_close(our_lpips(net, network)(*images), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lpips_v0_0_is_the_lpips_packages(images):
    """It takes [-1, 1] as it is: the package normalises from v0.1 on."""
    network = small("alexnet")
    expected = their_lpips("alex", network, version="0.0")(*images, normalize=True).flatten()
    _, taps = LPIPS_TAPS["alex"]
    table = {
        "backbone": {"name": "alexnet", "weights": "random", "seed": 5},
        "input": {"value_range": [-1, 1], "mean": [0, 0, 0], "std": [1, 1, 1]},
        "tap": [
            {"layer": t, "distance": "unit_normalised", "head": f"lpips-v0.0:alex:{i}"}
            for i, t in enumerate(taps)
        ],
    }
    got = build_loss(parse_loss(table, "v0.0"), Networks())(*images)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_is_torchmetrics(net, images):
    functional = pytest.importorskip("torchmetrics.functional.image.lpips")
    network = small(LPIPS_TAPS[net][0])
    with undrawn():
        theirs = functional._LPIPS(net=net, pretrained=True, pnet_rand=True)
    both = zip(theirs.net.parameters(), network.module.features.parameters(), strict=True)
    for theirs_weight, weight in both:
        theirs_weight.data.copy_(weight.data)
    expected = theirs(*images, normalize=True).flatten()
    torch.testing.assert_close(our_lpips(net, network)(*images), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("distance", "name", "pooling"), [("l2", "mse", "max"), ("l1", "mae", "average")]
)
def test_the_content_loss_is_piqs(distance, name, pooling, images, others_take_our_vgg):
    taps, weights = ["relu1_2", "relu3_3"], [0.7, 0.3]
    theirs = piq.ContentLoss(
        layers=taps, weights=weights, distance=name, replace_pooling=pooling == "average",
        reduction="none",
    )  # fmt: skip
    network = vgg16(pooling)
    terms = [Term(t, distance, w, reduction="spatial_mean_channel_sum")
             for t, w in zip(taps, weights, strict=True)]  # fmt: skip
    got = FeatureLoss(Backbone(network, taps), terms)(*images)
    torch.testing.assert_close(got, theirs(*images), rtol=1e-5, atol=1e-8)


def test_the_style_loss_is_piqs(images, vgg, others_take_our_vgg):
    """piq divides the Gram matrix by nothing and takes the mean square; ours by CHW, the sum."""
    tap, channels = "relu2_2", 128
    theirs = piq.StyleLoss(layers=[tap], weights=[1.0], reduction="none")
    got = FeatureLoss(Backbone(vgg, [tap]), [Term(tap, "gram")])(*images)
    size = channels * (64 // 2) * (48 // 2)
    torch.testing.assert_close(got * (size / channels) ** 2, theirs(*images), rtol=1e-5, atol=0)


def dists(network, alpha, beta):
    taps = ["image", "relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]
    channels = [3, 64, 128, 256, 512, 512]
    total = alpha.sum() + beta.sum()
    split = zip(alpha.flatten().split(channels), beta.flatten().split(channels), strict=True)
    heads = [torch.cat(both) / total for both in split]
    terms = [Term(t, "structure_texture", 1.0, h) for t, h in zip(taps, heads, strict=True)]
    return FeatureLoss(Backbone(network, taps), terms)


def test_dists_is_the_dists_packages(images, others_take_our_vgg):
    package = pytest.importorskip("DISTS_pytorch.DISTS_pt")
    torch.manual_seed(1)
    theirs = package.DISTS(load_weights=False)
    network = vgg16("l2")
    got = dists(network, theirs.alpha.data, theirs.beta.data)(*images)
    torch.testing.assert_close(got, theirs(*images), rtol=1e-5, atol=1e-6)


def test_dists_is_piqs(images, others_take_our_vgg, monkeypatch):
    torch.manual_seed(1)
    alpha, beta = torch.rand(2, 1475)
    alpha, beta = alpha / (alpha + beta).sum(), beta / (alpha + beta).sum()  # piq's are divided
    state = {"alpha": alpha.view(1, -1, 1, 1), "beta": beta.view(1, -1, 1, 1)}
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *a, **k: state)
    theirs = piq.DISTS(reduction="none")
    network = vgg16("l2")
    expected = theirs(*images)
    torch.testing.assert_close(dists(network, alpha, beta)(*images), expected, rtol=1e-5, atol=1e-6)


def test_max_pooling_taps_are_kept_apart_from_swapped_ones(vgg):
    swapped = vgg16("average")
    assert any(isinstance(m, nn.MaxPool2d) for m in vgg.module.modules())
    first, second = (n.module.features[0].weight for n in (vgg, swapped))
    assert torch.equal(first, second)


def test_lpips_is_piqs(images, vgg, others_take_our_vgg, monkeypatch):
    heads = [h.view(1, -1, 1, 1) for h in lpips_heads("vgg")]
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *a, **k: heads)
    expected = piq.LPIPS(reduction="none")(*images)
    torch.testing.assert_close(our_lpips("vgg", vgg)(*images), expected, rtol=1e-5, atol=1e-8)
