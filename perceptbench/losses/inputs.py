"""What happens to an image before a network sees it; part of a loss's configuration."""

from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_serializer,
    model_validator,
)
from torch import Tensor
from torch.nn import functional as F

from perceptbench.tensors import constant

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Triple = tuple[float, float, float]
Positives = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
#: Pixels a side that an image is resized or cropped to at most, and the input scales there are:
#: what is beyond is a slip of the pen that would fill the memory.
LARGEST_SIDE, SCALES = 8192, (1 / 256, 16.0)
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Scale = Annotated[float, Field(ge=SCALES[0], le=SCALES[1])]
Size = tuple[Side, Side]


class Input(BaseModel):
    """Input handling: the keys of a loss file's ``[input]`` table, in the order they act.

    Attributes
    ----------
    resize : ``none``; a number: the shorter side in pixels; two numbers: height and width.
    kernel : of the resizing and of input scales, anti-aliased.
    crop : centred crop, height and width; None keeps all.
    multiple : each side is resized to the nearest multiple of this number of pixels, as a network
        of patches wants it; None leaves them.
    positions : of a network with an embedding for each place of the one image size it was trained
        at. ``fixed``: images must come in that size; ``interpolated``: in any, the embeddings are
        interpolated, for networks whose library can do that (timm, transformers). Then `resize`
        is ``none`` and `multiple` the side of a patch unless the file says otherwise.
    value_range : what [0, 1] is mapped to before normalising, as the network was trained.
    mean, std : per channel, subtracted and divided by, in `value_range`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    resize: Literal["none"] | Side | Size = "none"
    kernel: Literal["bilinear", "bicubic"] = "bilinear"
    crop: Size | None = None
    multiple: Side | None = None
    positions: Literal["fixed", "interpolated"] = "fixed"
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: Triple = IMAGENET_MEAN
    std: Positives = IMAGENET_STD

    @model_serializer(mode="wrap")
    def _said(self, dump: Any) -> dict[str, Any]:
        """Without what most networks have no use for: hashes of older files stay as they are."""
        usual = {"multiple": None, "positions": "fixed"}
        return {k: v for k, v in dump(self).items() if k not in usual or v != usual[k]}

    def fit(self, images: Tensor) -> Tensor:
        """Images (N, 1 or 3, H, W) in [0, 1], resized, cropped and as RGB, still in [0, 1]."""
        if self.resize != "none":
            images = self._resized(images, self._size(*_sides(images)))
        images = self._cropped(images)
        if self.multiple is not None:
            height, width = (
                max(1, round(side / self.multiple)) * self.multiple for side in _sides(images)
            )
            if (height, width) != _sides(images):
                images = self._resized(images, (height, width))
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images

    def fit_weight(self, weight: Tensor, scale: float) -> Tensor:
        """Weights (N, 1, H, W) of the places of images, brought where `scaled`, `fit` bring these.

        As means over areas.
        """
        if scale != 1:
            weight = F.interpolate(weight, self._at(weight, scale), mode="area")
        if self.resize != "none":
            weight = F.interpolate(weight, self._size(*_sides(weight)), mode="area")
        return self._cropped(weight)

    def _cropped(self, images: Tensor) -> Tensor:
        if self.crop is None:
            return images
        height, width = self.crop
        rows, columns = _sides(images)
        top, left = (rows - height) // 2, (columns - width) // 2
        if top < 0 or left < 0:
            raise ValueError(
                f"an image of {columns} x {rows} pixels is smaller than "
                f"the crop of {width} x {height}"
            )
        return images[..., top : top + height, left : left + width]

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] as the network takes them."""
        low, high = self.value_range
        # One multiplication and one addition: (low + (high - low) x - mean) / std.
        scale, shift = (
            constant(values, images).view(1, 3, 1, 1)
            for values in (
                tuple((high - low) / s for s in self.std),
                tuple((low - m) / s for m, s in zip(self.mean, self.std, strict=True)),
            )
        )
        return torch.addcmul(shift, images, scale)

    def scaled(self, images: Tensor, scale: float) -> Tensor:
        """Images (N, C, H, W) in [0, 1] at another resolution, each side times `scale`."""
        if scale == 1:
            return images
        return self._resized(images, self._at(images, scale))

    @staticmethod
    def _at(images: Tensor, scale: float) -> tuple[int, int]:
        height, width = (max(1, round(side * scale)) for side in _sides(images))
        return height, width

    def _resized(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        # Bicubic kernels overshoot.
        return F.interpolate(images, size, mode=self.kernel, antialias=True).clamp(0, 1)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.resize, int):
            scale = self.resize / min(height, width)
            return max(1, round(height * scale)), max(1, round(width * scale))
        assert isinstance(self.resize, tuple)
        return self.resize


class InputTable(Input):
    """A loss file's whole ``[input]`` table.

    Attributes
    ----------
    scales : the loss is the sum of what it gives for the images at these resolutions: 0.5 is
        half of each side. They are scaled before anything else is done to them.
    scale_weights : weight of each, default 1.
    """

    scales: tuple[Scale, ...] = (1.0,)
    scale_weights: tuple[NonNegativeFloat, ...] | None = None

    @model_validator(mode="after")
    def _one_weight_a_scale(self) -> "InputTable":
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise ValueError("`scales` needs one or more different numbers")
        if self.scale_weights is not None and len(self.scale_weights) != len(self.scales):
            raise ValueError(
                f"{len(self.scale_weights)} `scale_weights` for {len(self.scales)} `scales`"
            )
        return self

    def weighted_scales(self) -> list[tuple[float, float]]:
        """(scale, weight) of each."""
        weights = self.scale_weights or (1.0,) * len(self.scales)
        return list(zip(self.scales, weights, strict=True))


def _sides(images: Tensor) -> tuple[int, int]:
    """Height and width, which torch.jit.trace has tensors for."""
    return int(images.shape[-2]), int(images.shape[-1])


def default_input(normalised: bool, size: tuple[int, int] | None) -> Input:
    """Input handling of a network: ImageNet's statistics or none, its only size or any."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalised else ((0.0,) * 3, (1.0,) * 3)
    return Input(resize=size or "none", mean=mean, std=std)
