"""Image files in: decoded once, to float32 RGB (3, H, W) in [0, 1], as stored (sRGB-coded)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from perceptbench.errors import DataError, UsageError, first_line

if TYPE_CHECKING:
    import torch

#: Resizing kernels by name; all but nearest widen with the reduction (antialias), as Pillow's do.
KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class FileLoader:
    """Image key -> tensor, for image files below a folder; can be sent to a worker process.

    Attributes
    ----------
    folder : what keys are relative to (an absolute path in a key is taken as it is).
    size, kernel : as in `read_image`.
    """

    folder: Path
    size: int | None = None
    kernel: str = "bilinear"

    def __call__(self, key: str) -> torch.Tensor:
        return read_image(self.folder / key, self.size, self.kernel)


def read_image(path: Path, size: int | None = None, kernel: str = "bilinear") -> torch.Tensor:
    """The image in a file as a float32 tensor (3, H, W) in [0, 1].

    Parameters
    ----------
    path : the file.
    size : the shorter side is resized to it, the aspect ratio kept; None: native size.
    kernel : one of KERNELS, applied to 8-bit values as Pillow does it.

    Raises
    ------
    DataError : no such file, not an image, or transparent pixels; names the path.
    UsageError : no such kernel.
    """
    import torch

    if kernel not in KERNELS:
        raise UsageError(f"there is no resizing kernel {kernel!r}; there are {', '.join(KERNELS)}")
    try:
        with Image.open(path) as image:
            image.load()
            if image.has_transparency_data and _least_alpha(image) < 255:
                raise DataError(f"{path}: has transparent pixels; flatten it onto a background")
            if image.mode.startswith("I"):
                grey = np.asarray(image, dtype=np.float32) / 65535.0
                array = np.repeat(grey[:, :, None], 3, axis=2)
            elif image.mode == "F":
                raise DataError(f"{path}: floating-point images have no known value range")
            else:
                rgb = image.convert("RGB")
                if size is not None:
                    width, height = (round(s * size / min(rgb.size)) for s in rgb.size)
                    rgb = rgb.resize((width, height), KERNELS[kernel])
                array = np.asarray(rgb, dtype=np.float32) / 255.0
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = first_line(error)
        raise DataError(f"{path}: cannot be read as an image ({reason})") from None
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def _least_alpha(image: Image.Image) -> int:
    return int(np.asarray(image.convert("RGBA"))[..., 3].min())
