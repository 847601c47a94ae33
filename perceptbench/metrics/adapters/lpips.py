"""The lpips package itself, its networks' weights from where all of ours come from."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perceptbench.errors import DataError
from perceptbench.losses.weights import find_weights

#: The package's name of a network -> torchvision's.
BACKBONES = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}


class Packaged(nn.Module):
    """A package's own LPIPS on batches (N, 3, H, W) in [-1, 1], (N,), and in two halves."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner: Any = inner

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self.inner(reference, distorted).flatten(1).squeeze(1)

    def embed(self, images: Tensor) -> tuple[Tensor, ...]:
        """Activations at the taps, of unit length over the channels."""
        unit = importlib.import_module("lpips").normalize_tensor
        seen = self.inner.scaling_layer(images) if self.inner.version == "0.1" else images
        return tuple(unit(at) for at in self.inner.net(seen))

    def compare(self, x: tuple[Tensor, ...], y: tuple[Tensor, ...]) -> Tensor:
        """Distances (N,), as `forward` gives them."""
        squares = [(a - b).square() for a, b in zip(x, y, strict=True)]
        if self.inner.lpips:
            squares = [head(s) for head, s in zip(self.inner.lins, squares, strict=True)]
        return torch.stack([s.sum(1).mean((1, 2)) for s in squares]).sum(0)


class Lpips(Packaged):
    """``lpips.LPIPS`` on batches (N, 3, H, W) in [-1, 1], (N,).

    Parameters
    ----------
    net : a key of BACKBONES, whose weights are looked for in `weights_dir` first.
    version, lpips : of the heads, ``0.1`` or ``0.0``; whether there are any.

    Raises
    ------
    Unavailable : the weights cannot be had.
    """

    def __init__(
        self, net: str, version: str = "0.1", lpips: bool = True, weights_dir: Path | None = None
    ) -> None:
        package = importlib.import_module("lpips")
        with warnings.catch_warnings():  # of torchvision, about how the package calls it
            warnings.simplefilter("ignore")
            inner = package.LPIPS(
                net=net, version=version, lpips=lpips, pnet_rand=True, verbose=False
            )
        super().__init__(inner)
        _fill(self.inner.net, find_weights(BACKBONES[net], weights_dir))


def _fill(network: nn.Module, path: Path) -> None:
    """torchvision's ``features.I...`` into a network that keeps them as ``sliceK.I...``."""
    given = torch.load(path, map_location="cpu", weights_only=True)
    state = {}
    for key in network.state_dict():
        name = f"features.{key.partition('.')[2]}"
        if name not in given:
            raise DataError(f"{path}: holds no {name!r}")
        state[key] = given[name]
    network.load_state_dict(state)
