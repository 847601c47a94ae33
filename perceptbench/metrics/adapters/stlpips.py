"""ST-LPIPS, the shift-tolerant LPIPS, from its authors' package, whose wheel holds the weights."""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

#: What the package imports and does not use: module -> the name that it wants of it.
UNUSED = {"torchsummary": "summary", "IPython": "embed"}


class StLpips(nn.Module):
    """ST-LPIPS distances of pairs (N, 3, H, W) in [-1, 1], (N,).

    Parameters
    ----------
    net : ``alex`` or ``vgg``.
    """

    def __init__(self, net: str) -> None:
        super().__init__()
        self.inner = _package().LPIPS(net=net, variant="shift_tolerant", verbose=False)

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self.inner(reference, distorted).flatten(1).squeeze(1)

    def embed(self, images: Tensor) -> tuple[Tensor, ...]:
        """Activations at the taps, of unit length over the channels."""
        unit = importlib.import_module("stlpips_pytorch.utils").normalize_tensor
        return tuple(unit(at) for at in self.inner.net(self.inner.scaling_layer(images)))

    def compare(self, x: tuple[Tensor, ...], y: tuple[Tensor, ...]) -> Tensor:
        """Distances (N,), as `forward` gives them."""
        heads = zip(self.inner.lins, x, y, strict=True)
        return torch.stack([head((a - b).square()).mean((1, 2, 3)) for head, a, b in heads]).sum(0)


def _package() -> Any:
    """The package's module; what it does not use need not be installed."""
    stood_in = [name for name in UNUSED if importlib.util.find_spec(name) is None]
    for name in stood_in:
        module = ModuleType(name)
        setattr(module, UNUSED[name], None)
        sys.modules[name] = module
    try:
        return importlib.import_module("stlpips_pytorch.stlpips")
    finally:
        for name in stood_in:
            del sys.modules[name]
