"""A dataset: judgement tables, and what turns the image keys in them into tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from perceptbench.datasets.judgements import PROTOCOLS, Judgements
from perceptbench.errors import DataError, first_line

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dataset:
    """Judgements and images under one name.

    Attributes
    ----------
    name : what the user calls it and what stands in every table.
    judgements : one or more tables; their image keys mean the same to `load`.
    load : image key -> float32 tensor (3, H, W) in [0, 1], sRGB-coded; raises DataError
        where there is no such image.
    folder : where the keys are relative paths of image files; None for computed images.
    """

    name: str
    judgements: tuple[Judgements, ...]
    load: Callable[[str], torch.Tensor]
    folder: Path | None = None

    def fingerprint(self) -> str:
        """sha256 over the judgements and, where images are files, over their bytes.

        Computed images are covered by the judgements and the display they are computed for.
        """
        digest = hashlib.sha256()
        keys: set[str] = set()
        for part in self.judgements:
            digest.update(f"{part.dataset} {part.slice} {part.display}\n".encode())
            digest.update(part.table.to_csv(index=False).encode())
            for column in PROTOCOLS[part.protocol][1]:
                keys.update(part.table[column])
        if self.folder is not None:
            for key in sorted(keys):
                path = self.folder / key
                digest.update(f"{key}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"")
        return digest.hexdigest()


def file_loader(folder: Path) -> Callable[[str], torch.Tensor]:
    """A loader of image files below `folder` (an absolute path in a key is taken as it is).

    8-bit and 16-bit grey, palette and colour images become float32 RGB in [0, 1]; an alpha
    channel is refused, since what lies behind it is not known.
    """

    def load(key: str) -> torch.Tensor:
        return read_image(folder / key)

    return load


def read_image(path: Path) -> torch.Tensor:
    """The image in a file as a float32 tensor (3, H, W) in [0, 1].

    Raises
    ------
    DataError : no such file, not an image, or transparent pixels; names the path.
    """
    import torch

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
                array = np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = first_line(error)
        raise DataError(f"{path}: cannot be read as an image ({reason})") from None
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def _least_alpha(image: Image.Image) -> int:
    return int(np.asarray(image.convert("RGBA"))[..., 3].min())
