"""Pretrained networks with named taps, frozen, stopped at the deepest tap that is read.

Conventions
-----------
Images are float tensors (N, 3, H, W) in [0, 1], sRGB-coded; a backbone normalises them
itself with the ImageNet mean and standard deviation. A tap is named by the node of
torchvision's network (``features.1``), for the VGGs also as in the literature (``relu3_3``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from perceptbench.errors import DataError, UsageError, unknown

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Architecture:
    """A torchvision network: its constructor, its ImageNet weights, the usual taps.

    Attributes
    ----------
    build : torchvision constructor, called with ``weights=None``.
    weights : torchvision's weights entry, which knows the URL.
    aliases : literature name of a tap -> torchvision node.
    """

    build: str
    weights: str
    aliases: dict[str, str]

    @property
    def url(self) -> str:
        """Where torchvision publishes the weights."""
        return torchvision.models.get_weight(self.weights).url


_VGG16_RELUS = {
    f"relu{block}_{layer}": f"features.{index}"
    for block, layers in enumerate(
        [(1, 3), (6, 8), (11, 13, 15), (18, 20, 22), (25, 27, 29)], start=1
    )
    for layer, index in enumerate(layers, start=1)
}

ARCHITECTURES = {
    "alexnet": Architecture("alexnet", "AlexNet_Weights.IMAGENET1K_V1", {}),
    "squeezenet1_1": Architecture("squeezenet1_1", "SqueezeNet1_1_Weights.IMAGENET1K_V1", {}),
    "vgg16": Architecture("vgg16", "VGG16_Weights.IMAGENET1K_V1", _VGG16_RELUS),
}


def architecture(name: str) -> Architecture:
    """The entry of ARCHITECTURES, or a UsageError that names the nearest ones."""
    if name not in ARCHITECTURES:
        raise unknown("backbone", name, ARCHITECTURES)
    return ARCHITECTURES[name]


def tap_index(backbone: str, tap: str) -> int:
    """Position of a tap in the network's ``features``; raises UsageError for an unknown tap."""
    node = architecture(backbone).aliases.get(tap, tap)
    prefix, _, index = node.partition(".")
    if prefix != "features" or not index.isdigit():
        known = ", ".join(architecture(backbone).aliases) or "features.0, features.1, ..."
        raise UsageError(f"backbone {backbone} has no tap {tap!r}; its taps are {known}")
    return int(index)


def load_trunk(
    backbone: str, depth: int, weights: Path | None = None, seed: int = 0
) -> nn.Sequential:
    """The first `depth` + 1 modules of a network's ``features``, frozen, in evaluation mode.

    Parameters
    ----------
    backbone : a key of ARCHITECTURES.
    depth : index of the deepest module needed.
    weights : a state dict that holds at least these modules' ``features.*``; None draws them
        at random with torchvision's own initialisation.
    seed : of that random initialisation; the global generator is left as it was.

    Raises
    ------
    UsageError : the network has no module of that index.
    DataError : the weights cannot be read or do not fit; names the file and the key.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = getattr(torchvision.models, architecture(backbone).build)(weights=None)
    if depth >= len(network.features):
        raise UsageError(
            f"backbone {backbone} has no tap 'features.{depth}': "
            f"its last is 'features.{len(network.features) - 1}'"
        )
    trunk = network.features[: depth + 1]
    if weights is not None:
        _load_features(trunk, weights)
    for module in trunk.modules():
        if isinstance(module, nn.ReLU):
            # A tap before a ReLU would otherwise be overwritten by it.
            module.inplace = False
    return trunk.eval().requires_grad_(False)


def _load_features(trunk: nn.Sequential, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        needed = {key: state[f"features.{key}"] for key in trunk.state_dict()}
        trunk.load_state_dict(needed)
    except KeyError as error:
        raise DataError(f"{path}: holds no {error}; is it the file of this network?") from None
    except Exception as error:  # torch raises many kinds for a file that is no state dict
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read as network weights ({reason})") from None


class Backbone(nn.Module):
    """Maps images to the activations at named taps.

    Parameters
    ----------
    name : a key of ARCHITECTURES.
    taps : names of the taps to read.
    trunk : the network's leading modules (`load_trunk`), at least up to the deepest tap. Two
        backbones may share one trunk; the scoring engine then runs it once for both.

    Examples
    --------
    >>> trunk = load_trunk("alexnet", depth=4)
    >>> backbone = Backbone("alexnet", ["features.1", "features.4"], trunk)
    >>> [tuple(a.shape) for a in backbone(torch.zeros(1, 3, 64, 64)).values()]
    [(1, 64, 15, 15), (1, 192, 7, 7)]
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, taps: Sequence[str], trunk: nn.Sequential) -> None:
        super().__init__()
        self.name = name
        self.taps = tuple(taps)
        self.indices = {tap: tap_index(name, tap) for tap in taps}
        self.trunk = trunk
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Activations by tap, each (N, C, H', W'), for images (N, 3, H, W) in [0, 1]."""
        x = (images - self.mean) / self.std
        wanted = set(self.indices.values())
        found = {}
        for index, module in enumerate(self.trunk[: max(wanted) + 1]):
            x = module(x)
            if index in wanted:
                found[index] = x
        return {tap: found[index] for tap, index in self.indices.items()}

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode: a frozen measure must not change while one trains."""
        return super().train(False)
