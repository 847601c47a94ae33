"""A dataset whose distorted images are changed a little, as no viewer would mind: is a loss robust?

Conventions
-----------
A change is what ``--perturb`` takes, and what stands behind the @ of a metric's name:

- ``shift=1px`` or ``shift=1%`` (of the width): reference and distorted image lose so many columns
  at opposite sides, so that nothing is made up at the border.
- ``scale=1.01`` or ``scale=1%``: enlarged, bilinear, and the centre cut out.
- ``rotate=1``: degrees clockwise about the centre, bilinear; the corners are black.
- ``resize=KERNEL``: both images are reduced to half their size, the reference with the bicubic
  kernel, the distorted image with KERNEL (`perceptbench.datasets.images.KERNELS`).
- ``jpeg=95``: coded by Pillow at this quality.
- ``bf16``: rounded to bfloat16.

All but ``shift`` and ``resize`` change the distorted image alone. The key of a changed image is
``KEY @ CHANGE``, of a changed reference ``KEY @ CHANGE reference``. After Ghildyal et al. 2025
(arXiv:2409.07650), whose scores of images shifted, scaled and turned by 1 % are published.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.images import KERNELS
from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements
from perceptbench.errors import UsageError

if TYPE_CHECKING:
    import torch

AT, REFERENCE = " @ ", " reference"
#: Raised when a change of the code changes what a change does.
VERSION = 1
#: What may be asked for: expression of the value, and how it is written.
FORMS = {
    "shift": (r"(\d+)px|(\d+(?:\.\d+)?)%", "shift=1px or shift=1%"),
    "scale": (r"(\d+(?:\.\d+)?)(%?)", "scale=1.01 or scale=1%"),
    "rotate": (r"(-?\d+(?:\.\d+)?)", "rotate=1"),
    "resize": ("|".join(KERNELS), "resize=bilinear"),
    "jpeg": (r"(100|[1-9]?\d)", "jpeg=95"),
    "bf16": ("", "bf16"),
}


def check_change(text: str) -> str:
    """The change as it was typed; raises UsageError where it is none of those above.

    >>> check_change("shift=1px")
    'shift=1px'
    """
    kind, _, value = text.partition("=")
    forms = ", ".join(form for _, form in FORMS.values())
    if kind not in FORMS or not re.fullmatch(FORMS[kind][0], value):
        raise UsageError(f"--perturb {text!r} is none of {forms}")
    if kind == "scale" and not 1 <= _factor(value) <= 2:
        raise UsageError(f"--perturb {text!r}: an image is enlarged by 1 to 2")
    return text


@dataclass(frozen=True)
class Perturbed:
    """A loader that also knows the changed images; can be sent to a worker where its own can."""

    load: Callable[[str], torch.Tensor]

    def __call__(self, key: str) -> torch.Tensor:
        base, at, change = key.rpartition(AT)
        if not at:
            return self.load(key)
        return changed(self.load(base), change.removesuffix(REFERENCE), change.endswith(REFERENCE))


@dataclass(frozen=True)
class PerturbedFiles(Perturbed):
    """The same of a loader that tells what decides an image without loading it."""

    def identify(self, key: str) -> str:
        """Digest of all that decides the image."""
        base, at, change = key.rpartition(AT)
        whole: Any = self.load
        known = str(whole.identify(base if at else key))
        if not at:
            return known
        return hashlib.sha256(f"{VERSION} {known} {change}".encode()).hexdigest()[:32]


def perturbed(dataset: Dataset, changes: Sequence[str]) -> Dataset:
    """The dataset with, for each change, its judgements again on changed images."""
    made = PerturbedFiles if hasattr(dataset.load, "identify") else Perturbed
    parts = [
        replace(part, table=_changed_keys(part, change))
        for change in changes
        for part in dataset.judgements
    ]
    return replace(dataset, judgements=(*dataset.judgements, *parts), load=made(dataset.load))


def _changed_keys(part: Judgements, change: str) -> pd.DataFrame:
    first, *others = PROTOCOLS[part.protocol][1]
    keys = {side: part.table[side] + AT + change for side in others}
    if change.startswith(("shift=", "resize=")):
        keys[first] = part.table[first] + AT + change + REFERENCE
    return part.table.assign(**keys)


def unperturbed(scores: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row a pair again: the scores of changed images as columns ``METRIC@CHANGE``."""
    split = scores["distorted"].str.rsplit(AT, n=1)
    change = split.str[1].fillna("")
    plain = scores[change == ""].reset_index(drop=True)
    for name in change[change != ""].unique():
        rows = scores[change == name].copy()
        rows["distorted"] = rows["distorted"].str.removesuffix(AT + name)
        rows["reference"] = rows["reference"].str.removesuffix(AT + name + REFERENCE)
        rows = rows.rename(columns={m: f"{m}@{name}" for m in metrics})
        plain = plain.merge(rows, on=["dataset", "reference", "distorted"], how="left")
    return plain


def changed(image: torch.Tensor, change: str, reference: bool = False) -> torch.Tensor:
    """An image (3, H, W) in [0, 1] after a change; the reference's share of it where that is one.

    Raises
    ------
    UsageError : the image is too small for it.
    """
    import torch
    from torch.nn import functional as F

    kind, _, value = change.partition("=")
    height, width = image.shape[1:]
    if kind == "shift":
        pixels = math.ceil(float(value[:-1]) / 100 * width) if "%" in value else int(value[:-2])
        if pixels >= width:
            raise UsageError(f"{change}: the image has {width} columns")
        return image[..., : width - pixels] if reference else image[..., pixels:]
    if kind == "scale":
        size = [max(side, round(side * _factor(value))) for side in (height, width)]
        large = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return large[:, top : top + height, left : left + width].contiguous()
    if kind == "rotate":
        return _rotated(image, math.radians(float(value)))
    if kind == "resize":
        goal = (max(1, width // 2), max(1, height // 2))
        kernel = KERNELS["bicubic" if reference else value]
        planes = [np.array(Image.fromarray(c).resize(goal, kernel)) for c in image.numpy()]
        return torch.from_numpy(np.stack(planes).clip(0, 1))
    if kind == "jpeg":
        pixels8 = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels8).save(buffer, "JPEG", quality=int(value))
        return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255
    return image.bfloat16().float()


def _factor(value: str) -> float:
    return 1 + float(value[:-1]) / 100 if value.endswith("%") else float(value)


def _rotated(image: torch.Tensor, angle: float) -> torch.Tensor:
    import torch
    from torch.nn import functional as F

    height, width = image.shape[1:]
    cos, sin = math.cos(angle), math.sin(angle)
    # The grid is in units of half a side: turning it needs the sides' ratio.
    turn = [[cos, sin * height / width, 0.0], [-sin * width / height, cos, 0.0]]
    grid = F.affine_grid(torch.tensor([turn]), [1, 3, height, width], align_corners=False)
    return F.grid_sample(image[None], grid, align_corners=False)[0].clamp(0, 1)
