"""Small pictures of what is disputed, taken while the images are at hand.

A run stores them; a report, which never sees an image, shows them.
"""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from perceptbench.datasets.dataset import Dataset
from perceptbench.errors import DataError
from perceptbench.reporting.disputed import disputed, judged
from perceptbench.reporting.result import PICTURE, Run
from perceptbench.reporting.strips import DISPUTED

#: Longer side in pixels.
SIDE = 144
#: A PNG, which loses nothing, unless it takes more bytes than this; then JPEG at QUALITY.
MOST_BYTES, QUALITY = 6000, 88
#: A dataset of at most this many images is stored whole, so that any two metrics' disputes show.
ALL_IMAGES = 128


def pictures(run: Run, datasets: Sequence[Dataset]) -> pd.DataFrame:
    """``dataset, image, picture`` of the images in the most disputed items of a run.

    Of datasets with few images, all of them. An image that cannot be read is left out: the run
    has already named it.
    """
    wanted: dict[str, dict[str, None]] = {}
    for items in judged(run, run.metrics):
        shown = dict.fromkeys(items.images.to_numpy().ravel())
        if len(shown) > ALL_IMAGES:
            rows = items.images.iloc[disputed(items, DISPUTED)]
            shown = dict.fromkeys(rows.to_numpy().ravel())
        wanted.setdefault(items.part.dataset, {}).update(shown)
    found = []
    for dataset in datasets:
        for key in wanted.get(dataset.name, ()):
            try:
                image = dataset.load(key)
            except DataError:
                continue
            found.append((dataset.name, key, picture(image.permute(1, 2, 0).numpy())))
    return pd.DataFrame(found, columns=list(PICTURE))


def picture(pixels: NDArray[np.float32]) -> bytes:
    """An image (H, W, 3) in [0, 1], made to fit SIDE, as the bytes of a PNG or JPEG file."""
    image = Image.fromarray(np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    if np.ptp(pixels, axis=2).max() == 0:
        image = image.convert("L")  # grey takes a third
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG")
    if file.tell() > MOST_BYTES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()
