"""Networks: all build and tap, weights are loaded or named, pooling and input handling."""

import math
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from perceptbench.errors import DataError, UsageError
from perceptbench.losses import Backbone, Input, load_network, small_cnn, small_discriminator
from perceptbench.losses.backbones import list_taps
from perceptbench.losses.networks import ARCHITECTURES, architecture
from perceptbench.losses.weights import find_weights

#: Network -> a shallow and a deep tap, and the shapes torchvision's own code gives there for a
#: batch of two 64 x 96 images (ViT-B/16 resizes to 224 x 224: 14 x 14 tokens of 768).
TAPS = {
    "alexnet": {"features.1": (64, 15, 23), "features.11": (256, 3, 5)},
    "squeezenet1_0": {"features.1": (96, 29, 45), "features.12": (512, 3, 5)},
    "squeezenet1_1": {"features.1": (64, 31, 47), "features.12": (512, 3, 5)},
    "vgg11": {"relu1_1": (64, 64, 96), "relu5_2": (512, 4, 6)},
    "vgg13_bn": {"bn1_2": (64, 64, 96), "pool5": (512, 2, 3)},
    "vgg16": {"relu3_3": (256, 16, 24), "relu5_3": (512, 4, 6)},
    "vgg19": {"conv3_4": (256, 16, 24), "relu4_4": (512, 8, 12)},
    "resnet18": {"layer1": (64, 16, 24), "layer4.1.relu_1": (512, 2, 3)},
    "resnet34": {"relu": (64, 32, 48), "layer3": (256, 4, 6)},
    "resnet50": {"layer1.0.relu": (64, 16, 24), "layer4": (2048, 2, 3)},
    "densenet121": {"features.relu0": (64, 32, 48), "features.denseblock3": (1024, 4, 6)},
    "mobilenet_v2": {"features.1": (16, 32, 48), "features.18": (1280, 2, 3)},
    "mobilenet_v3_small": {"features.0": (16, 32, 48), "features.12": (576, 2, 3)},
    "efficientnet_b0": {"features.2": (24, 16, 24), "features.8": (1280, 2, 3)},
    "convnext_tiny": {"features.1": (96, 16, 24), "features.7": (768, 2, 3)},
    "vit_b_16": {"encoder.layers.encoder_layer_2": (768, 14, 14), "image": (3, 224, 224)},
    "swin_t": {"features.1": (96, 16, 24), "features.7": (768, 2, 3)},
    "small-cnn": {"relu1": (16, 64, 96), "relu3": (64, 64, 96)},
    "small-discriminator": {"relu1": (32, 32, 48), "relu3": (128, 8, 12)},
}


#: One of each kind; the others of the table are among the slow tests.
SMALL = ("alexnet", "squeezenet1_1", "resnet18", "densenet121", "mobilenet_v3_small", "swin_t",
         "small-cnn", "small-discriminator")  # fmt: skip


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in SMALL)) for n in TAPS]
)
def test_every_network_gives_maps_at_its_taps(name):
    backbone = Backbone(load_network(name), list(TAPS[name]))
    with torch.no_grad():
        found = backbone(torch.rand(2, 3, 64, 96))
    assert {tap: tuple(a.shape[1:]) for tap, a in found.items()} == TAPS[name]
    assert all(len(a) == 2 for a in found.values())


def test_the_table_names_every_network_and_torchvision_the_others():
    assert {"vgg11_bn", "vgg19_bn", "mobilenet_v3_large"} <= set(ARCHITECTURES)
    assert architecture("resnet101").url.startswith("https://download.pytorch.org/")
    for name in torchvision.models.list_models(module=torchvision.models):
        published = next(iter(torchvision.models.get_model_weights(name)))
        assert architecture(name).url == published.url
    with pytest.raises(UsageError, match="did you mean resnet50"):
        architecture("resnet5")


def test_our_alexnet_is_torchvisions():
    torch.manual_seed(3)
    theirs = torchvision.models.alexnet(weights=None).eval()
    ours = load_network("alexnet", seed=3).module
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(t, theirs.state_dict()[k]) for k, t in ours.state_dict().items())
    images = torch.rand(1, 3, 96, 80)
    assert torch.equal(ours(images), theirs(images))


def test_vgg_names_of_the_literature_are_the_layers_they_say():
    for name, network in ARCHITECTURES.items():
        if not name.startswith("vgg") or name.endswith("19_bn"):
            continue
        with torch.device("meta"):  # nothing to initialise: only the layers' kinds matter
            features = getattr(torchvision.models, name)(weights=None).features
        kinds = {"conv": nn.Conv2d, "relu": nn.ReLU, "pool": nn.MaxPool2d, "bn": nn.BatchNorm2d}
        assert len(network.aliases) == len(features)
        for alias, node in network.aliases.items():
            layer = features[int(node.partition(".")[2])]
            assert isinstance(layer, kinds[alias.rstrip("_0123456789")]), alias


def test_activations_are_the_networks_own(weights):
    """A part gives what torchvision's modules give, taps before a ReLU included."""
    network = load_network("squeezenet1_1", weights / "squeezenet1_1_features.pth")
    images = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    x = (images - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(1, 3, 1, 1)
    first = network.module.features[0](x)
    found = Backbone(network, ["features.0", "features.3"])(images)
    # Channels lie side by side here, so that convolutions add up in another order.
    torch.testing.assert_close(found["features.0"], first, rtol=1e-5, atol=1e-4)
    fourth = network.module.features[:4](x)
    torch.testing.assert_close(found["features.3"], fourth, rtol=1e-5, atol=1e-4)
    assert (first < 0).any()


def test_the_forward_pass_stops_at_the_deepest_tap():
    network = load_network("resnet18")
    network.module.layer2.register_forward_pre_hook(lambda *_: pytest.fail("went on"))
    backbone = Backbone(network, ["layer1"])
    with pytest.raises(pytest.fail.Exception, match="went on"):
        Backbone(network, ["layer2"])(torch.rand(1, 3, 64, 64))
    backbone(torch.rand(1, 3, 64, 64))
    assert not any(key.startswith(("layer2", "fc")) for key in backbone.trunk.state_dict())


@pytest.mark.slow
def test_vit_and_swin_maps_hold_their_tokens_in_place():
    """A tap's map at (row, column) is the token of that patch, read as torchvision lays it out."""
    network = load_network("vit_b_16")
    images = torch.rand(1, 3, 224, 224)
    found = Backbone(network, ["encoder.layers.encoder_layer_0"])(images)
    grabbed = []
    layer = network.module.encoder.layers[0]
    handle = layer.register_forward_hook(lambda *args: grabbed.append(args[2]))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (network.default.mean,
                                                            network.default.std))  # fmt: skip
    network.module((images - mean) / std)
    handle.remove()
    tokens = grabbed[0][:, 1:]  # without the class token
    (tap,) = found.values()
    torch.testing.assert_close(tap[0, :, 3, 5], tokens[0, 3 * 14 + 5])


def test_random_weights_depend_on_the_seed_only():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (load_network("squeezenet1_1", seed=s).module for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.features[0].weight, again.features[0].weight)
    assert not torch.equal(first.features[0].weight, other.features[0].weight)


def test_a_file_with_only_the_leading_part_is_enough_for_taps_there(tmp_path):
    full = torchvision.models.resnet18(weights=None).state_dict()
    part = {k: v for k, v in full.items() if k.startswith(("conv1", "bn1", "layer1"))}
    torch.save(part, tmp_path / "part.pth")
    network = load_network("resnet18", tmp_path / "part.pth")
    found = Backbone(network, ["layer1"])(torch.rand(1, 3, 64, 64))
    assert found["layer1"].shape == (1, 64, 16, 16)
    with pytest.raises(DataError, match=r"part\.pth: holds no 'layer2"):
        Backbone(network, ["layer2"])


@pytest.mark.usefixtures("undrawn")
def test_a_file_that_is_no_weights_file_is_named(tmp_path):
    garbage = tmp_path / "alexnet.pth"
    garbage.write_bytes(b"not a state dict")
    with pytest.raises(DataError, match=r"alexnet.pth: cannot be read as network weights"):
        load_network("alexnet", garbage)
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, garbage)
    with pytest.raises(DataError, match=r"holds no 'features.0.bias'"):
        Backbone(load_network("alexnet", garbage), ["features.1"])
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, garbage)
    with pytest.raises(DataError, match=r"features\.0\.weight"):
        load_network("alexnet", garbage)


@pytest.mark.usefixtures("undrawn")
def test_code_hidden_in_a_weights_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "alexnet.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError):
        load_network("alexnet", tmp_path / "alexnet.pth")
    assert not (tmp_path / "ran").exists()


class Branching(nn.Module):
    """Has no modules, and its path depends on a value."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


def no_module():
    return 3


def test_a_users_own_network_is_named_by_module_and_callable():
    backbone = Backbone(load_network("torchvision.models:resnet18", seed=1), ["layer1"])
    assert backbone(torch.rand(1, 3, 32, 32))["layer1"].shape == (1, 64, 8, 8)
    assert backbone.input.std == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision.models:nothing", "cannot be built .AttributeError"),
        ("no_such_module:x", "cannot be built .ModuleNotFoundError"),
        ("builtins:list", "gives list, not a torch.nn.Module"),
    ],
)
def test_a_network_that_cannot_be_had_is_named(name, message):
    with pytest.raises(UsageError, match=message):
        load_network(name)


def test_a_network_without_modules_is_named(monkeypatch):
    import sys
    import types

    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Branching=Branching))
    with pytest.raises(UsageError, match="backbone mine:Branching has no modules to read"):
        load_network("mine:Branching")


class Tapped(nn.Module):
    """Has no modules either, but names its own taps."""

    taps = ("half", "sign")

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, images, taps):
        found = {"half": self.scale * images, "sign": images if images.sum() > 0 else -images}
        return {tap: found[tap] for tap in taps}


def test_a_network_that_names_its_taps_needs_no_modules(monkeypatch, tmp_path):
    import sys
    import types

    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Tapped=Tapped))
    network = load_network("mine:Tapped")
    images = torch.rand(2, 3, 8, 6)
    found = Backbone(network, ["half", "image"])(images)
    torch.testing.assert_close(found["half"], 0.5 * images)
    assert [node for _, node, _ in list_taps(network)] == ["image", "half", "sign"]
    with pytest.raises(UsageError, match="has no tap 'haf'; did you mean half"):
        Backbone(network, ["haf"])
    torch.save({"scale": torch.tensor(0.25)}, tmp_path / "own.pth")
    quarter = Backbone(load_network("mine:Tapped", tmp_path / "own.pth"), ["half"])
    torch.testing.assert_close(quarter(images)["half"], 0.25 * images)
    torch.save({"other": torch.tensor(0.25)}, tmp_path / "own.pth")
    with pytest.raises(DataError, match="holds no 'scale'"):
        Backbone(load_network("mine:Tapped", tmp_path / "own.pth"), ["half"])


def test_a_tap_that_is_no_map_is_refused():
    network = load_network("small-cnn")
    network.module.conv1.register_forward_hook(lambda module, given, output: output.flatten(2))
    with pytest.raises(UsageError, match="gives no map of activations"):
        Backbone(network, ["conv1"])(torch.rand(3, 3, 64, 64))


def test_average_pooling_takes_the_place_of_every_maximum():
    images = torch.rand(1, 3, 32, 32)
    network = load_network("squeezenet1_1", pooling="average")
    found = Backbone(network, ["features.1", "features.2"])(images)
    expected = nn.functional.avg_pool2d(found["features.1"], 3, 2, ceil_mode=True)
    torch.testing.assert_close(found["features.2"], expected)
    assert not any(isinstance(m, nn.MaxPool2d) for m in network.module.modules())


def test_l2_pooling_of_a_constant_is_the_constant_and_keeps_energy_in_between():
    found = Backbone(load_network("squeezenet1_1", pooling="l2"), ["features.1", "features.2"])(
        torch.full((1, 3, 67, 67), 0.3)
    )
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    constant = found["features.1"][..., ::2, ::2][..., :17, :17]
    torch.testing.assert_close(found["features.2"][inner], constant[inner])


def test_the_small_networks_are_those_of_the_literature():
    cnn, discriminator = small_cnn(), small_discriminator()
    convolutions = [m for m in cnn if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size) for c in convolutions] == [
        (16, (3, 3)), (32, (3, 3)), (64, (3, 3)),
    ]  # fmt: skip
    convolutions = [m for m in discriminator if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (32, (4, 4), (2, 2)), (64, (4, 4), (2, 2)), (128, (4, 4), (2, 2)),
    ]  # fmt: skip
    assert all(m.negative_slope == 0.2 for m in discriminator if isinstance(m, nn.LeakyReLU))


def test_input_handling_acts_in_its_order():
    images = torch.rand(1, 3, 40, 60)
    assert Input(resize=20).fit(images).shape == (1, 3, 20, 30)
    assert Input(resize=(16, 24)).fit(images).shape == (1, 3, 16, 24)
    cropped = Input(crop=(10, 20)).fit(images)
    torch.testing.assert_close(cropped, images[..., 15:25, 20:40])
    assert Input(resize=20, crop=(8, 8)).fit(images).shape == (1, 3, 8, 8)
    bicubic = Input(resize=13, kernel="bicubic").fit(images)
    assert bicubic.min() >= 0 and bicubic.max() <= 1
    with pytest.raises(ValueError, match="smaller than the crop of 20 x 80"):
        Input(crop=(80, 20)).fit(images)


def test_resizing_is_torchvisions_antialiased_one():
    images = torch.rand(1, 3, 41, 63, generator=torch.Generator().manual_seed(0))
    for kernel in ("bilinear", "bicubic"):
        mode = torchvision.transforms.InterpolationMode(kernel)
        expected = torchvision.transforms.functional.resize(images, [20, 31], mode, antialias=True)
        got = Input(resize=(20, 31), kernel=kernel).fit(images)
        torch.testing.assert_close(got, expected.clamp(0, 1))


def test_the_value_range_comes_before_mean_and_deviation():
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    handling = Input(value_range=(-1, 1), mean=(0.1, 0.1, 0.1), std=(2, 2, 2))
    expected = torch.tensor([-1.1, -0.1, 0.9]) / 2
    torch.testing.assert_close(handling.normalise(x)[0, 0, 0], expected)
    lpips = Input(value_range=(-1, 1), mean=(-0.03, -0.088, -0.188), std=(0.458, 0.448, 0.45))
    torch.testing.assert_close(lpips.normalise(x), Input().normalise(x), atol=1e-6, rtol=0)


def test_grey_images_are_taken_as_rgb():
    backbone = Backbone(load_network("small-cnn"), ["relu1"])
    grey = torch.rand(2, 1, 16, 16)
    (one,), (three,) = (backbone(i).values() for i in (grey, grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(one, three)


def test_a_network_without_imagenet_weights_says_so():
    with pytest.raises(UsageError, match="small-cnn has no ImageNet weights"):
        find_weights("small-cnn")


def test_an_unfrozen_network_trains_and_a_frozen_one_does_not():
    network = load_network("resnet18")
    frozen = Backbone(network, ["layer1"]).train()
    assert not frozen.training and not any(p.requires_grad for p in frozen.parameters())
    before = network.module.bn1.running_mean.clone()
    frozen(torch.rand(2, 3, 32, 32))
    assert torch.equal(network.module.bn1.running_mean, before)
    free = Backbone(load_network("resnet18"), ["layer1"], frozen=False).train()
    assert free.training and all(p.requires_grad for p in free.parameters())
    (out,) = free(torch.rand(2, 3, 32, 32)).values()
    out.mean().backward()
    assert math.isfinite(next(free.parameters()).grad.norm())
