"""Image files in: decoded once, to float32 RGB (3, H, W) in [0, 1], as stored (sRGB-coded).

Conventions
-----------
8-bit values are divided by 255, 16-bit values by 65535. Grey becomes three equal channels, palettes
and CMYK become RGB as Pillow does it, EXIF orientation is applied. An embedded colour profile that
is not sRGB is converted to sRGB (colorimetrically); one that cannot be is named, and ignored.
Transparent pixels are laid on white, in coded values, which is said once. Values without a known
range (floating point, 32-bit integers) are refused, so are high dynamic range (PQ, HLG), several
frames, and more than twice
``PIL.Image.MAX_IMAGE_PIXELS`` (about 179 million pixels: a decompression bomb).

All are decoded by Pillow. Of a 16-bit colour PNG Pillow by itself keeps 8 bits; here all 16 are
read.
"""

from __future__ import annotations

import hashlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from perceptbench.datasets.judgements.tables import spelled
from perceptbench.errors import DataError, first_line
from perceptbench.kinds import really

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
#: Raised when a change of the code changes the values of a decoded file.
DECODING = 2
#: Steps of 8 bits by which no colour may move, for a profile to count as sRGB.
SAME_COLOUR = 2
#: Before the transfer characteristics (ITU-T H.273) in PNG, and in AVIF two bytes later.
TRANSFER = {b"cICP": 1, b"colrnclx": 2}
#: Transfer characteristics of high dynamic range.
HDR = {16: "PQ", 18: "HLG"}
#: EXIF tag of the orientation; 1 is upright.
ORIENTATION = 0x0112


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
        return read_image(spelled(self.folder, key), self.size, self.kernel)

    def identify(self, key: str) -> str:
        """Digest of all that decides the image: the file's bytes and how it is read."""
        try:
            content = spelled(self.folder, key).read_bytes()
        except OSError as error:
            raise DataError(f"{self.folder / key}: cannot be read ({error.strerror})") from None
        digest = hashlib.sha256(f"{DECODING} {self.size} {self.kernel} ".encode())
        digest.update(content)
        return digest.hexdigest()[:32]


def read_image(path: Path, size: int | None = None, kernel: str = "bilinear") -> torch.Tensor:
    """The image in a file as a float32 tensor (3, H, W) in [0, 1].

    Parameters
    ----------
    path : the file.
    size : the shorter side is resized to it, the aspect ratio kept, the longer one rounded down
        as torchvision's ``Resize`` does; None: native size. Not of ``.npy``.
    kernel : one of KERNELS; 8-bit images are resized in 8 bits, as Pillow does it.

    Raises
    ------
    DataError : no such file, not an image, damaged, too large, or of an unknown range of values;
        names the path.
    """
    import torch

    try:
        if path.suffix.lower() == ".npy":
            return _from_array(path)
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            _refuse_more_than_an_image(path, data, image)
            array = _pixels(path, data, image)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image") from None
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds on damaged files
        # Its message has the buffer's address in it, where it does not know the format.
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = (really(path) or "no known format") if unknown else first_line(error)
        raise DataError(f"{path}: cannot be read as an image ({reason})") from None
    if size is not None:
        array = _resized(array, size, KERNELS[kernel])
    pixels = torch.from_numpy(array).permute(2, 0, 1)
    if pixels.dtype != torch.uint8:
        return pixels.contiguous()
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)


def _from_array(path: Path) -> torch.Tensor:
    """An image stored to the last bit: float32 (3, H, W) in [0, 1], as `export` writes it."""
    import torch

    array = np.load(path, allow_pickle=False)
    if array.ndim != 3 or array.shape[0] != 3 or array.dtype.kind != "f":
        raise DataError(f"{path}: holds {array.dtype} {array.shape}, not floats (3, H, W)")
    if not (array.size and array.min() >= 0.0 and array.max() <= 1.0):
        raise DataError(f"{path}: has values outside [0, 1]")
    return torch.from_numpy(array.astype(np.float32)).contiguous()


def _refuse_more_than_an_image(path: Path, data: bytes, image: Any) -> None:
    """Raises DataError for several frames and for high dynamic range."""
    # Not `n_frames`: counting those of an animation may take minutes. The further pictures of a
    # camera's MPO are previews and other eyes.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise DataError(f"{path}: holds several frames; save the one that is meant by itself")
    head = data[: 1 << 16]
    for mark, skipped in TRANSFER.items():
        place = head.find(mark)
        if place < 0 or image.format not in {"PNG", "AVIF"}:
            continue
        after = place + len(mark) + (skipped if mark == b"cICP" else skipped + 1)
        curve = HDR.get(head[after] if after < len(head) else 0)
        if curve:
            raise DataError(f"{path}: is of high dynamic range ({curve}); give it tone-mapped")


def _as_srgb(path: Path, image: Image.Image) -> Image.Image:
    """An 8-bit image whose colours are those of its profile, in sRGB."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        if image.mode in {"P", "PA", "LA", "1"}:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = "RGBA" if image.mode == "RGBA" else "RGB"
        change = _conversion(source, image.mode, target)
        colour = "RGB" if target == "RGBA" else image.mode
        if colour == "RGB" and _is_srgb(_conversion(source, "RGB", "RGB")):
            return image
        converted = ImageCms.applyTransform(image, change)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        _say_once(f"{path} has a colour profile that is of no use ({error}): taken for sRGB")
        return image
    assert converted is not None
    return converted


def _conversion(source: Any, mode: str, target: str) -> Any:
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, target, intent)


def _is_srgb(change: Any) -> bool:
    """Whether a conversion from RGB leaves all colours where they are, about."""
    steps = np.linspace(0, 255, 6, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 6, 3)
    moved = np.array(ImageCms.applyTransform(Image.fromarray(lattice), change))
    return int(np.abs(moved.astype(int) - lattice).max()) <= SAME_COLOUR


def _pixels(path: Path, data: bytes, image: Image.Image) -> np.ndarray:
    """(H, W, 3): uint8, or float32 in [0, 1] where 8 bits are not enough."""
    if image.mode == "F" or (image.mode.startswith("I") and not _is_16_bit(image)):
        kind = "floating-point" if image.mode == "F" else "32-bit integer"
        raise DataError(f"{path}: {kind} images have no known value range")
    if _is_16_bit(image):
        if image.info.get("icc_profile"):
            _say_once(f"{path} has a colour profile, which is ignored in images of 16 bits")
        deep = _deep(path, data, image)
        return _upright(_on_white(path, deep[..., :3], deep[..., 3:]), image)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _as_srgb(path, image)
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    layers = np.array(image.convert("RGBA"))
    if layers[..., 3].min() == 255:
        return np.ascontiguousarray(layers[..., :3])
    layers = layers.astype(np.float32) / 255.0
    return _on_white(path, layers[..., :3], layers[..., 3:])


def _raw_mode(image: Any) -> str:
    """How Pillow's decoder finds the samples in the file, ``RGB;16B`` say."""
    args = image.tile[0][3] if getattr(image, "tile", None) else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _is_16_bit(image: Image.Image) -> bool:
    # Before version 11 Pillow called a 16-bit grey PNG "I".
    grey_png = image.mode == "I" and image.format == "PNG"
    return ";16" in _raw_mode(image) or image.mode.startswith("I;16") or grey_png


def _deep(path: Path, data: bytes, image: Any) -> np.ndarray:
    """16 bits a channel: float32 (H, W, 3 or 4) in [0, 1].

    Pillow keeps the upper byte of each sample only. So it decodes twice: as it is, and taking the
    bytes for the other order, which gives the lower ones. Grey with alpha is decoded once, its four
    bytes taken for four channels.
    """
    raw, key = _raw_mode(image), image.info.get("transparency")
    if image.mode.startswith("I"):
        image.load()
        values = np.array(image, dtype=np.float32)[..., None].repeat(3, axis=2)
    elif image.format != "PNG" or raw not in {"RGB;16B", "RGBA;16B", "LA;16B"}:
        raise DataError(f"{path}: 16 bits a channel are read from PNG only; save it as one")
    elif raw == "LA;16B":
        upper_lower = _decoded(image, "RGBA").astype(np.float32)
        pair = upper_lower[..., [0, 2]] * 256 + upper_lower[..., [1, 3]]
        values = pair[..., [0, 0, 0, 1]]
    else:
        lower = _decoded(Image.open(io.BytesIO(data)), raw.replace("16B", "16L"))
        values = _decoded(image, raw).astype(np.float32) * 256 + lower
    if key is not None and values.shape[2] == 3:
        opaque = (values != np.asarray(key, dtype=np.float32)).any(axis=2, keepdims=True)
        values = np.concatenate([values, opaque * 65535.0], axis=2)
    return (values / 65535.0).astype(np.float32)


def _decoded(image: Any, raw: str) -> np.ndarray:
    """The bytes that Pillow's decoder gives when it takes the samples for those of `raw`."""
    codec, extents, offset, _ = image.tile[0]
    image.tile = [type(image.tile[0])(codec, extents, offset, raw)]
    image.info.pop("transparency", None)
    image.load()
    return np.array(image)


def _on_white(path: Path, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lays colours on white where an alpha channel is given; all in [0, 1]."""
    if not alpha.size or alpha.min() >= 1:
        return np.ascontiguousarray(colours)
    _say_once(f"{path} has transparent pixels: laid on white, as in every such image")
    return colours * alpha + (1 - alpha)


_said: set[str] = set()


def _say_once(text: str) -> None:
    """Says what is true of many images of the first one only."""
    kind = text.partition(" has ")[2]
    if kind not in _said:
        _said.add(kind)
        print(f"perceptbench: {text}", file=sys.stderr)


def _upright(array: np.ndarray, image: Image.Image) -> np.ndarray:
    """Applies the EXIF orientation to an array, as ``ImageOps.exif_transpose`` does to an image."""
    turn = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }.get(image.getexif().get(ORIENTATION, 1))
    return np.ascontiguousarray(turn(array)) if turn else array


def _resized(array: np.ndarray, size: int, kernel: Image.Resampling) -> np.ndarray:
    height, width = array.shape[:2]
    short = min(height, width)
    goal = (size * width // short, size * height // short)
    if array.dtype == np.uint8:
        return np.array(Image.fromarray(array).resize(goal, kernel))
    channels = [Image.fromarray(np.ascontiguousarray(c)) for c in np.moveaxis(array, 2, 0)]
    resized = [np.array(channel.resize(goal, kernel)) for channel in channels]
    # Bicubic and Lanczos overshoot at edges; in 8 bits Pillow clips that, too.
    return np.stack(resized, axis=2).clip(0.0, 1.0)
