"""DreamSim, on images resized to the 224 x 224 pixels it was trained at."""

import importlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 224


class DreamSim(nn.Module):
    """DreamSim distances of pairs (N, 3, H, W) in [0, 1], (N,).

    The package resizes 8-bit images with Pillow; here the tensor is resized with the same kernel
    (bicubic, antialiased), which differs from that by the rounding to 8 bits.

    Parameters
    ----------
    kind : ``ensemble`` or one of the package's single models; ``..._patch`` uses patch features.
    """

    def __init__(self, kind: str = "ensemble") -> None:
        super().__init__()
        package = importlib.import_module("dreamsim")
        base = kind.removesuffix("_patch")
        self.inner, _ = package.dreamsim(
            pretrained=True,
            device="cpu",
            cache_dir=str(Path(torch.hub.get_dir()) / "dreamsim"),
            dreamsim_type=base,
            use_patch_model=base != kind,
        )
        if base == kind:  # patch features are not compared by a cosine
            self.embed, self.compare = self._embed, self._compare

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self.inner(_resized(reference), _resized(distorted)).reshape(len(reference))

    def _embed(self, images: Tensor) -> Tensor:
        """The package's embedding of each image, (N, D)."""
        return self.inner.embed(_resized(images)).reshape(len(images), -1)

    def _compare(self, x: Tensor, y: Tensor) -> Tensor:
        """1 minus the cosine of two embeddings, (N,)."""
        return 1 - functional.cosine_similarity(x, y, dim=-1)


def _resized(images: Tensor) -> Tensor:
    size = (SIDE, SIDE)
    return functional.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
