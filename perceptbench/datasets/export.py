"""Any dataset -> CSV files of its judgements and the images in them, as a user brings their own.

Images that are files are copied as they are. Computed or resized ones have finer values than any
8-bit file: they are written as ``.npy``, float32 (3, H, W) in [0, 1], to the last bit.

A CSV carries the judgements, the viewing resolution (``pixels_per_degree``) and every other column.
The units that vary are found from the images that items share: a re-imported dataset has the same
intervals.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import PROTOCOLS
from perceptbench.datasets.judgements.tables import spelled
from perceptbench.errors import UsageError
from perceptbench.spreadsheet import to_csv
from perceptbench.writing import is_empty, together


def export(dataset: Dataset, out: Path, *, images: bool = True) -> list[Path]:
    """Writes a dataset to the folder `out`; returns the tables' paths.

    Parameters
    ----------
    dataset : what is written.
    out : does not exist or is empty.
    images : False leaves out images that are files; their keys then stay relative to the
        dataset's own folder.

    Raises
    ------
    UsageError : `out` is not empty, or images that are computed were to be left out.
    DataError : an image cannot be read, or `out` not be written to.
    """
    if not is_empty(out):
        raise UsageError(f"{out} is not empty; choose another folder")
    if not images and not _has_plain_files(dataset):
        raise UsageError(f"dataset {dataset.name}: its images are computed, so they are written")
    keys = {
        key
        for part in dataset.judgements
        for column in PROTOCOLS[part.protocol][1]
        for key in part.table[column]
    }
    written = []
    with together(out) as draft:
        names = {key: key for key in keys}
        if images:
            names = _write_images(dataset, sorted(keys), draft)
        for part in dataset.judgements:
            table = part.table.copy()
            for column in PROTOCOLS[part.protocol][1]:
                table[column] = table[column].map(names)
            if part.pixels_per_degree is not None:
                table["pixels_per_degree"] = part.pixels_per_degree
            words = [dataset.name, part.slice, part.protocol]
            if len(dataset.judgements) == 1:
                words = [dataset.name]
            name = f"{'-'.join(_plain(word) for word in words)}.csv"
            (draft / name).write_text(to_csv(table), encoding="utf-8", newline="")
            written.append(out / name)
    return written


def _has_plain_files(dataset: Dataset) -> bool:
    """Whether the images are the files themselves, not resized ones."""
    load = dataset.load
    return dataset.folder is not None and isinstance(load, FileLoader) and load.size is None


def _write_images(dataset: Dataset, keys: Iterable[str], out: Path) -> dict[str, str]:
    """Writes each image once; key -> path relative to `out`."""
    copied = _has_plain_files(dataset)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in tqdm(keys, desc=f"images of {dataset.name}", disable=None):
        stem, suffix = _plain(Path(key).stem), Path(key).suffix if copied else ".npy"
        name, number = f"images/{stem}{suffix}", 2
        while name.lower() in taken:  # not every file system tells cases apart
            name, number = f"images/{stem}-{number}{suffix}", number + 1
        taken.add(name.lower())
        names[key] = name
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if copied:
            assert dataset.folder is not None
            dataset.load(key)  # names an image that is missing or damaged
            shutil.copyfile(spelled(dataset.folder, key), out / name)
        else:
            np.save(out / name, dataset.load(key).numpy().astype(np.float32), allow_pickle=False)
    return names


def _plain(word: str) -> str:
    """What may stand in a file's name anywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", word).strip("_.") or "image"
