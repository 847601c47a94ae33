"""ST-LPIPS, the shift-tolerant LPIPS, from its authors' package, whose wheel holds the weights."""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from perceptbench.metrics.adapters.lpips import Packaged

#: What the package imports and does not use: module -> the name that it wants of it.
UNUSED = {"torchsummary": "summary", "IPython": "embed"}


class StLpips(Packaged):
    """ST-LPIPS distances of pairs (N, 3, H, W) in [-1, 1], (N,), by ``alex`` or ``vgg``."""

    def __init__(self, net: str) -> None:
        super().__init__(_package().LPIPS(net=net, variant="shift_tolerant", verbose=False))


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
