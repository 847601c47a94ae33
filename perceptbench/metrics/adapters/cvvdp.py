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
    """

    def __init__(self, display: str) -> None:
        self.display = display
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
            self._metrics[device] = package.cvvdp(
                display_name=self.display, quiet=True, device=device
            )
        return self._metrics[device]
