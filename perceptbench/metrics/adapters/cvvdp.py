"""ColorVideoVDP on still images, at the viewing distance of one of its display models."""

import importlib
from typing import Any

import torch
from torch import Tensor


class ColorVideoVdp:
    """Just-objectionable differences (JOD) of pairs (N, 3, H, W) in [0, 1], (N,); 10 = identical.

    Parameters
    ----------
    display : a display model of the package; its size, distance and luminance are what is
        modelled, whatever the judgements say of theirs.
    luminance : instead of `display`: peak in cd/m2 of an sRGB display with a perfect black, seen
        in the dark.
    pixels_per_degree : at which that one is seen.
    """

    def __init__(
        self,
        display: str | None = None,
        luminance: float | None = None,
        pixels_per_degree: float = 60.0,
    ) -> None:
        self.display, self.luminance = display, luminance
        self.pixels_per_degree = pixels_per_degree
        self._metrics: dict[torch.device, Any] = {}
        self._metric(torch.device("cpu"))

    def __call__(self, reference: Tensor, distorted: Tensor) -> Tensor:
        metric = self._metric(reference.device)
        values = [
            metric.predict(y, x, dim_order="CHW")[0]  # the test image comes first
            for x, y in zip(reference, distorted, strict=True)
        ]
        return torch.stack([torch.as_tensor(v).to(reference).reshape(()) for v in values])

    def _metric(self, device: torch.device) -> Any:
        if device not in self._metrics:
            package = importlib.import_module("pycvvdp")
            self._metrics[device] = package.cvvdp(quiet=True, device=device, **self._shown())
        return self._metrics[device]

    def _shown(self) -> dict[str, Any]:
        """The arguments that say what display it is."""
        if self.luminance is None:
            return {"display_name": self.display}
        models = importlib.import_module("pycvvdp.display_model")
        return {
            "display_photometry": models.vvdp_display_photo_eotf(
                self.luminance, contrast=float("inf"), source_colorspace="sRGB", E_ambient=0
            ),
            # The resolution only sets where the screen ends.
            "display_geometry": models.vvdp_display_geometry(
                [3840, 2160], ppd=self.pixels_per_degree
            ),
        }
