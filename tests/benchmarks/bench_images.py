"""Reading an image file: Pillow, torchvision.io and `read_image` side by side; do they agree?

    python tests/benchmarks/bench_images.py [--repeats 30]

Each does the whole way from a file to float32 (3, H, W) in [0, 1], on one thread, on smooth images
with a little noise. `equal` tells whether torchvision gives the values of Pillow, bit for bit.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file

from perceptbench.datasets.images import read_image
from perceptbench.reporting.leaderboard import format_table

SIZES = ((64, 64), (256, 256), (512, 384), (1920, 1080))
FORMATS = {
    "PNG": (".png", {}),
    "JPEG 4:2:0": (".jpg", {"quality": 90}),
    "JPEG 4:4:4": (".jpg", {"quality": 95, "subsampling": 0}),
    "WebP": (".webp", {"quality": 90}),
    "BMP": (".bmp", {}),
}


def pillow(path: Path) -> Tensor:
    with Image.open(path) as image:
        array = np.array(image.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).contiguous().to(torch.float32).div_(255)


def torchvision(path: Path) -> Tensor:
    pixels = decode_image(read_file(str(path)), ImageReadMode.RGB)
    return pixels.to(torch.float32).div_(255)


def milliseconds(read: Callable[[Path], Tensor], path: Path, repeats: int) -> float:
    """The least of several times: the machine's other work only ever adds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        read(path)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (suffix, options) in FORMATS.items():
            for width, height in SIZES:
                smooth = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
                pixels = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC))
                noisy = np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
                path = Path(folder) / f"image{suffix}"
                Image.fromarray(noisy).save(path, **options)
                try:
                    equal = "yes" if torch.equal(pillow(path), torchvision(path)) else "no"
                    theirs = milliseconds(torchvision, path, repeats)
                except RuntimeError:  # a format it does not read
                    equal, theirs = "-", float("nan")
                base = milliseconds(pillow, path, repeats)
                ours = milliseconds(read_image, path, repeats)
                rows.append((
                    name, f"{width} x {height}", equal, f"{base:.2f}", f"{theirs:.2f}",
                    f"{ours:.2f}", f"{theirs / base:.2f}", f"{ours / base:.2f}",
                ))  # fmt: skip
    header = ("format", "size", "equal", "Pillow ms", "torchvision ms", "read_image ms",
              "torchvision / Pillow", "read_image / Pillow")  # fmt: skip
    print(format_table(header, rows), end="")


if __name__ == "__main__":
    main()
