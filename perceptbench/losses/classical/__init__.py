"""Classical losses as differentiable modules in two halves, see `halves.Halves`; equal to piq's.

>>> from perceptbench.losses.classical import load
>>> loss = load("ms-ssim")  # x, y: (N, 3, H, W) in [0, 1]
>>> loss(x, y).mean().backward()  # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

#: Name of a loss -> its module here and its class.
LOSSES = {
    "ciede2000": "colours:CIEDE2000",
    "fsim": "phase:FSIM",
    "gmsd": "gradients:GMSD",
    "haarpsi": "wavelets:HaarPSI",
    "mdsi": "gradients:MDSI",
    "ms-ssim": "structural:MSSSIM",
    "ssim": "structural:SSIM",
    "vif": "information:VIF",
    "vsi": "saliency:VSI",
    "watson-ahumada": "detection:WatsonAhumada",
}


def load(name: str, **options: Any) -> Any:
    """The loss of a name in LOSSES, made with keyword arguments of its class."""
    module, _, cls = LOSSES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), cls)(**options)
