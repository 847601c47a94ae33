"""The networks that activations are read from: a table of architectures, small ones of our own.

Any network of ``torchvision.models`` can be named; those in ARCHITECTURES are known in more
detail. Those of other libraries are named as in LIBRARIES, see `libraries`. A user's own is named
``module:callable``; the callable returns an ``nn.Module``, whose parts are its taps. It may name
taps of its own instead: an attribute ``taps``, and a ``forward(images, taps)`` that returns the
activations at those by name.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceptbench.errors import unknown
from perceptbench.losses import pyramid

#: How a network lays out its activations: channels second, channels last, or (N, tokens, C).
Kind = Literal["nchw", "nhwc", "tokens"]
#: Where torchvision publishes its weights.
SERVER = "https://download.pytorch.org/models"
#: What a network of a library is named with -> the package, also the extra that installs it.
LIBRARIES = {"timm": "timm", "hf": "transformers", "open_clip": "open_clip"}


@dataclass(frozen=True)
class Layout:
    """How a network lays out its activations.

    Attributes
    ----------
    kind : where the channels are. Of a network that gives maps and token sequences, those of its
        maps.
    prefix_tokens : class and register tokens, which come before those of the grid. None: not
        known; the grid is then the largest square that the last tokens make, for square images.
    grid : rows and columns of the tokens. None: as the sides of the image are to each other.
    """

    kind: Kind = "nchw"
    prefix_tokens: int | None = None
    grid: tuple[int, int] | None = None

    def __str__(self) -> str:
        """The kind alone where nothing else is known."""
        known = self.prefix_tokens is not None or self.grid is not None
        return repr(self) if known else self.kind


@dataclass(frozen=True)
class Architecture:
    """What is known of a network.

    Attributes
    ----------
    build : constructor in torchvision.models, or ``module:callable``.
    url : where torchvision publishes its ImageNet weights; None where there are none.
    aliases : name of a tap in the literature -> node of the network.
    layout : of its activations.
    normalised : whether it takes images normalised by the ImageNet mean and deviation.
    size : the only image side it takes, None where any.
    options : keyword arguments of `build` that a loss file may give, and their defaults; a
        network with options is a formula, which has no weights.
    """

    build: str
    url: str | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    layout: Kind = "nchw"
    normalised: bool = True
    size: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def library(self) -> str:
        """The key of LIBRARIES it comes from; empty for torchvision's, ours and a user's own."""
        head = self.build.partition(":")[0]
        return head if head in LIBRARIES else ""

    @property
    def own(self) -> bool:
        """Whether a callable builds it, ours or a user's."""
        return ":" in self.build and not self.library


class AlexNet(nn.Module):
    """AlexNet as torchvision has it: its names, its weights, and the same ones from a seed.

    Here because a run without weights needs no other network, and importing torchvision takes
    longer than such a run on stored scores. Krizhevsky 2014, arXiv:1404.5997.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, side, stride, pooled in [
            (3, 64, 11, 4, True), (64, 192, 5, 1, True), (192, 384, 3, 1, False),
            (384, 256, 3, 1, False), (256, 256, 3, 1, True),
        ]:  # fmt: skip
            padding = 2 if side > 3 else 1
            layers += [nn.Conv2d(inputs, outputs, side, stride, padding), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(3, 2)] if pooled else []
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), normalised -> scores of 1,000 classes."""
        found: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return found


def small_cnn() -> nn.Sequential:
    """Three 3 x 3 convolutions of 16, 32 and 64 channels, each followed by a ReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate([(3, 16), (16, 32), (32, 64)], start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
    return nn.Sequential(layers)


def small_discriminator() -> nn.Sequential:
    """Three 4 x 4 convolutions of stride 2 with 32, 64 and 128 channels, leaky ReLU of 0.2."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate([(3, 32), (32, 64), (64, 128)], start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
        layers[f"relu{number}"] = nn.LeakyReLU(0.2)
    return nn.Sequential(layers)


#: Networks of torchvision -> the first digits of the sha256 of their weights.
_DIGESTS = {
    "squeezenet1_0": "b66bff10",
    "squeezenet1_1": "b8a52dc0",
    "resnet18": "f37072fd",
    "resnet34": "b627a593",
    "resnet50": "0676ba61",
    "densenet121": "a639ec97",
    "mobilenet_v2": "b0353104",
    "mobilenet_v3_small": "047dcff4",
    "mobilenet_v3_large": "8738ca79",
    "convnext_tiny": "983f1562",
    "vgg11": "8a719046",
    "vgg11_bn": "6002323d",
    "vgg13": "19584684",
    "vgg13_bn": "abd245e5",
    "vgg16": "397923af",
    "vgg16_bn": "6c64b313",
    "vgg19": "dcbb9e9d",
    "vgg19_bn": "c79401a0",
}
#: Convolutions in each block of a VGG.
_BLOCKS = {
    "vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4),
}  # fmt: skip


def _vgg_aliases(network: str) -> dict[str, str]:
    """``relu3_3`` and the like of a VGG: block, then layer in it, both counted from 1."""
    kinds = ["conv", "bn", "relu"] if network.endswith("_bn") else ["conv", "relu"]
    names = []
    for block, count in enumerate(_BLOCKS[network.removesuffix("_bn")], start=1):
        names += [f"{kind}{block}_{layer}" for layer in range(1, count + 1) for kind in kinds]
        names.append(f"pool{block}")
    return {name: f"features.{index}" for index, name in enumerate(names)}


ARCHITECTURES = {
    "alexnet": Architecture(f"{__name__}:AlexNet", f"{SERVER}/alexnet-owt-7be5be79.pth"),
    **{
        name: Architecture(
            name,
            f"{SERVER}/{name}-{digest}.pth",
            _vgg_aliases(name) if name.startswith("vgg") else {},
        )
        for name, digest in _DIGESTS.items()
    },
    "efficientnet_b0": Architecture(
        "efficientnet_b0", f"{SERVER}/efficientnet_b0_rwightman-7f5810bc.pth"
    ),
    "vit_b_16": Architecture(
        "vit_b_16", f"{SERVER}/vit_b_16-c867db91.pth", layout="tokens", size=224
    ),
    "swin_t": Architecture("swin_t", f"{SERVER}/swin_t-704ceda3.pth", layout="nhwc"),
    "steerable-pyramid": Architecture(
        f"{pyramid.__name__}:SteerablePyramid", normalised=False, options=pyramid.OPTIONS
    ),
    "small-cnn": Architecture(f"{__name__}:small_cnn", normalised=False),
    "small-discriminator": Architecture(f"{__name__}:small_discriminator", normalised=False),
}


def architecture(name: str) -> Architecture:
    """The entry of ARCHITECTURES, another of torchvision's, a library's, or a user's own.

    Raises
    ------
    UsageError : an unknown name; names the nearest ones.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if ":" in name:
        return Architecture(name, normalised=False)
    from torchvision import models  # see AlexNet

    others = models.list_models(module=models)
    if name not in others:
        raise unknown("backbone", name, {*ARCHITECTURES, *others}, "metrics taps")
    return Architecture(name, next(iter(models.get_model_weights(name))).url)


class L2Pool(nn.Module):
    """Anti-aliased pooling: the root of the Hanning-weighted mean square, stride 2.

    Henaff and Simoncelli 2016, as in DISTS (Ding et al. 2020). 5 x 5 window, padding 2.
    """

    window: Tensor

    def __init__(self, kernel_size: int = 5, stride: int = 2) -> None:
        super().__init__()
        self.stride, self.padding = stride, (kernel_size - 2) // 2
        hanning = torch.hann_window(kernel_size, periodic=False)[1:-1]
        window = torch.outer(hanning, hanning)
        self.register_buffer("window", (window / window.sum())[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, about H / 2, about W / 2)."""
        channels = x.shape[1]
        window = self.window.to(x.dtype).expand(channels, 1, -1, -1)
        square = F.conv2d(x * x, window, stride=self.stride, padding=self.padding, groups=channels)
        # The floor keeps the root's derivative finite where nothing is active.
        return (square + 1e-12).sqrt()


def swap_pooling(model: nn.Module, pooling: str) -> None:
    """Replaces every max pooling by ``average`` pooling, or by ``l2`` (`L2Pool`), in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.MaxPool2d) and pooling != "max":
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], _pool_like(module, pooling))


def _pool_like(pool: nn.MaxPool2d, pooling: str) -> nn.Module:
    if pooling == "l2":
        return L2Pool(stride=int(pool.stride if isinstance(pool.stride, int) else pool.stride[0]))
    return nn.AvgPool2d(
        pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, count_include_pad=False
    )
