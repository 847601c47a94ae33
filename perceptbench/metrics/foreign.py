"""Other people's metric as one of ours: fed what it asks for, guarded, turned into a distance."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from perceptbench import colour
from perceptbench.metrics.guard import Guard
from perceptbench.metrics.protocol import MetricInfo

#: Rec. 601, the luma of JPEG, of SSIM's authors and of most quality metrics.
LUMA = (0.299, 0.587, 0.114)


def luma(coded: Tensor) -> Tensor:
    """sRGB-coded values -> their Rec. 601 luma, (..., 1, H, W)."""
    weights = torch.tensor(LUMA, dtype=coded.dtype, device=coded.device)
    return (coded * weights.view(3, 1, 1)).sum(-3, keepdim=True)


def lab(coded: Tensor) -> Tensor:
    """sRGB-coded values -> CIELAB of D65."""
    white = colour.linear_to_xyz(coded.new_ones(3, 1, 1))
    return colour.xyz_to_lab(colour.linear_to_xyz(colour.srgb_decode(coded)), white)


#: Colour space -> what brings sRGB-coded values there.
COLOUR_SPACES: dict[str, Callable[[Tensor], Tensor]] = {
    "srgb": lambda coded: coded,
    "linear": colour.srgb_decode,
    "luma": luma,
    "lab": lab,
}


class Foreign(nn.Module):
    """Batches (N, 3, H, W) in [0, 1], sRGB-coded, reference first -> distances (N,).

    Has `embed` and `compare` where the metric has both, and then does without its being callable.

    Parameters
    ----------
    call, info : the metric as its author wrote it; what it needs, which way its number points.

    Attributes
    ----------
    guard : see `perceptbench.metrics.guard.Guard`.
    """

    def __init__(self, call: Any, info: MetricInfo) -> None:
        super().__init__()
        if isinstance(call, nn.Module):
            call.eval().requires_grad_(False)
        self.inner = call  # a module among them is moved to the device with this one
        self.info = info
        if all(callable(getattr(call, half, None)) for half in ("embed", "compare")):
            self.embed, self.compare = self._embed, self._compare
            if not callable(call):
                call = self._whole
        self.guard = Guard(call, info.name, info.timeout)

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Distances (N,); raises whatever the metric does, and where its answer is no (N,)."""
        value = self.guard(self._prepared(reference), self._prepared(distorted))
        return self._distances(value, len(reference))

    def _whole(self, x: Tensor, y: Tensor) -> Any:
        return self.inner.compare(self.inner.embed(x), self.inner.embed(y))

    def _embed(self, images: Tensor) -> Any:
        """What is compared of images (N, 3, H, W); raises whatever the metric does."""
        return self.guard.ask(self.inner.embed, self._prepared(images))

    def _compare(self, reference: Any, distorted: Any) -> Tensor:
        """Distances (N,) of two embeddings, a tensor each or a tuple; raises as `forward`."""
        if isinstance(reference, Tensor):
            value = self.guard.ask(self.inner.compare, reference, distorted)
            return self._distances(value, len(reference))
        half = len(reference)
        value = self.guard.ask(
            lambda *both: self.inner.compare(both[:half], both[half:]), *reference, *distorted
        )
        return self._distances(value, len(reference[0]))

    def _distances(self, value: Any, count: int) -> Tensor:
        if not isinstance(value, Tensor):
            raise TypeError(f"returned {type(value).__name__}, not a tensor")
        if tuple(value.shape) != (count,):
            raise ValueError(f"returned shape {tuple(value.shape)}, not ({count},)")
        identical = self.info.identical or 0.0
        return identical - value if self.info.higher_is_better else value - identical

    def _prepared(self, images: Tensor) -> Tensor:
        images = COLOUR_SPACES[self.info.colour_space](images)
        low, high = self.info.value_range
        if self.info.colour_space == "lab" or (low, high) == (0.0, 1.0):
            return images
        return images * (high - low) + low
