"""Where descents begin and end: references, and what they are degraded to.

Conventions
-----------
Images are uint8 arrays (size, size, 3), sRGB-coded. What is random comes from a seed and the
number of the image, so that more images change none of the first.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from perceptbench.datasets.images import read_image
from perceptbench.descent.dead_leaves import dead_leaves
from perceptbench.distortions import IMAGES, distort
from perceptbench.errors import DataError

#: Colours that are left by the start ``quantised``.
COLOURS = 8


#: Start -> (image, another image, generator of its noise) -> the degraded image.
STARTS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": lambda image, _, rng: distort(image, "noise", 4, rng),  # deviation 32 of 255
    "blur": lambda image, _, rng: distort(image, "blur", 3, rng),  # deviation 2.4 pixels
    "jpeg": lambda image, _, rng: distort(image, "jpeg", 4, rng),  # quality 10
    "quantised": lambda image, _, __: np.asarray(
        Image.fromarray(image).quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB")
    ),
    "grey": lambda image, _, rng: distort(image, "colour", 5, rng),  # its luma
    "other": lambda _, other, __: other,
}


def references(
    folder: Path | None, count: int, size: int, seed: int
) -> tuple[list[str], np.ndarray]:
    """Names and references (count, size, size, 3), two at least, since one start is another image.

    Of the images in a folder the first `count` by name are taken, the shorter side resized to
    `size` pixels, the centre cut out; without one, dead leaves with that seed.

    Raises
    ------
    DataError : the folder holds fewer than two images, or one cannot be read.
    """
    if folder is None:
        names = [f"leaves-{number}" for number in range(count)]
        rngs = [np.random.default_rng([seed, number]) for number in range(count)]
        return names, np.stack([dead_leaves(size, rng) for rng in rngs])
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES)[:count]
    if len(files) < 2:
        raise DataError(
            f"{folder}: holds {len(files)} images ({', '.join(IMAGES)}); descents need at least 2"
        )
    return [path.name for path in files], np.stack([_square(path, size) for path in files])


def _square(path: Path, size: int) -> np.ndarray:
    image = read_image(path, size, "bicubic")
    top, left = ((side - size) // 2 for side in image.shape[1:])
    return uint8(image[None, :, top : top + size, left : left + size])[0]


def degraded(images: np.ndarray, starts: Sequence[str], seed: int) -> np.ndarray:
    """Every start of every reference, (images * starts, size, size, 3), image by image."""
    found = []
    for number, image in enumerate(images):
        other = images[(number + 1) % len(images)]
        for start in starts:
            rng = np.random.default_rng([seed, number, *start.encode()])
            found.append(STARTS[start](image, other, rng))
    return np.stack(found)


def tensor(images: np.ndarray, device: str = "cpu") -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255


def uint8(images: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [0, 1] -> uint8 (N, H, W, 3)."""
    rounded = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).cpu().numpy()
