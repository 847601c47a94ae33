"""The standard distortion ladders: one image made worse step by step, seven ways.

Conventions
-----------
Images are uint8 arrays (H, W, 3), sRGB-coded; so are the results, of the same size. A ladder has
LEVELS steps, of which level 1 is just visible to most people and the last severe. Whatever is drawn
comes from the generator given, so that a seed decides the result.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

LEVELS = 5
#: Endings of the files that count as images in a folder.
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
#: Ladder -> what its steps are set to, and the unit.
STEPS: dict[str, tuple[tuple[float, ...], str]] = {
    "noise": ((4, 8, 16, 32, 64), "standard deviation of white noise, 8-bit steps"),
    "blur": ((0.6, 1.2, 2.4, 4.8, 9.6), "standard deviation of a Gaussian, pixels"),
    "jpeg": ((75, 40, 20, 10, 4), "quality of Pillow's JPEG"),
    "webp": ((75, 40, 20, 8, 0), "quality of Pillow's lossy WebP"),
    "resize": ((0.75, 0.5, 0.33, 0.2, 0.1), "factor down and back up, bicubic"),
    "shift": ((1, 2, 4, 8, 16), "pixels to the right, the border repeated"),
    "colour": ((0.85, 0.65, 0.45, 0.2, 0.0), "factor of the chroma (Rec. 601)"),
}


def distort(image: np.ndarray, ladder: str, level: int, rng: np.random.Generator) -> np.ndarray:
    """An image at one step of a ladder.

    Parameters
    ----------
    image : uint8 (H, W, 3).
    ladder : a key of STEPS.
    level : 1 to LEVELS.
    rng : of the noise; the other ladders draw nothing.

    >>> grey = np.full((8, 8, 3), 100, np.uint8)
    >>> distort(grey, "noise", 1, np.random.default_rng(0)).shape
    (8, 8, 3)
    """
    step = STEPS[ladder][0][level - 1]
    if ladder == "noise":
        return _uint8(image + step * rng.standard_normal(image.shape))
    return _LADDERS[ladder](image, step)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return _uint8(ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="reflect"))


def _jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    return _coded(image, "JPEG", quality)


def _webp(image: np.ndarray, quality: float) -> np.ndarray:
    return _coded(image, "WEBP", quality)


def _coded(image: np.ndarray, codec: str, quality: float) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, codec, quality=int(quality))
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert("RGB"))


def _resize(image: np.ndarray, factor: float) -> np.ndarray:
    whole = Image.fromarray(image)
    small = whole.resize(
        [max(1, round(side * factor)) for side in whole.size], Image.Resampling.BICUBIC
    )
    return np.asarray(small.resize(whole.size, Image.Resampling.BICUBIC))


def _shift(image: np.ndarray, pixels: float) -> np.ndarray:
    steps = min(int(pixels), image.shape[1] - 1)
    return np.pad(image, ((0, 0), (steps, 0), (0, 0)), mode="edge")[:, : image.shape[1]]


def _colour(image: np.ndarray, factor: float) -> np.ndarray:
    luma = image @ np.array([0.299, 0.587, 0.114])
    return _uint8(luma[..., None] + factor * (image - luma[..., None]))


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_LADDERS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "blur": _blur, "jpeg": _jpeg, "webp": _webp, "resize": _resize, "shift": _shift,
    "colour": _colour,
}  # fmt: skip


def natural_image(size: int, rng: np.random.Generator) -> np.ndarray:
    """A synthetic image (size, size, 3) with the 1/f amplitude spectrum of natural scenes.

    Its channels share most of their structure, as those of photographs do (Field 1987,
    doi:10.1364/JOSAA.4.002379, for the spectrum).
    """
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(rng.standard_normal((4, size, size))) / frequency
    planes = np.fft.irfft2(waves, s=(size, size))
    planes /= planes.std((1, 2), keepdims=True)
    channels = np.moveaxis(planes[:1] + 0.4 * planes[1:], 0, 2)
    return _uint8(120 + 42 * channels / channels.std())
