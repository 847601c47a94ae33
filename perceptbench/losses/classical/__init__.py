"""Classical losses as differentiable modules in two halves, see `halves.Halves`; equal to piq's.

>>> from perceptbench.losses import load_loss
>>> loss = load_loss("ms-ssim")  # x, y: (N, 3, H, W) in [0, 1]
>>> loss(x, y).mean().backward()  # doctest: +SKIP
"""

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
