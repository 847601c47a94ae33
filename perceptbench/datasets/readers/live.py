"""LIVE (release 2) and LIVE Multiply Distorted: labels in MATLAB files.

LIVE: ``databaserelease2/`` with ``refimgs/``, five folders of ``img1.bmp`` ... and the scores of
all 982 images in this order of folders. 203 of them are copies of references (``orgs`` is 1):
dropped, which leaves 779. There are two label sets, both impairments: ``dmos`` of ``dmos.mat``
and, downloaded apart, ``dmos_new`` of ``dmos_realigned.mat``.

LIVE-MD: two parts, in whose folders some base names occur twice with different scores, so images
are named with their folder. Scores are impairments.
"""

from typing import Any

import numpy as np
import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.readers.listing import rated
from perceptbench.datasets.readers.matlab import variable
from perceptbench.errors import DataError

#: Folder -> number of images, in the order of the scores.
FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
#: slice -> file, its scores, their standard deviations.
LABELS = {
    "dmos": ("dmos.mat", "dmos", None),
    "realigned": ("dmos_realigned.mat", "dmos_new", "dmos_std"),
}
#: The variables that hold names of images.
NAMES = ("refnames_all", "distimgs")
PARTS = {"Part 1": "blurjpeg", "Part 2": "blurnoise"}


def live(files: Files) -> Dataset:
    """Reads LIVE release 2; one table for each label set that the copy has.

    Raises
    ------
    DataError : a file is missing or does not hold 982 values.
    """
    total = sum(FOLDERS.values())
    names = _read(files, "refnames_all.mat", "refnames_all", total)
    distorted = [f"{f}/img{i}.bmp" for f, n in FOLDERS.items() for i in range(1, n + 1)]
    images = pd.DataFrame(
        {
            "reference": [f"refimgs/{name}" for name in names],
            "distorted": distorted,
            "distortion": np.repeat(list(FOLDERS), list(FOLDERS.values())),
        }
    )
    tables = {}
    for slice, (name, scores, deviations) in LABELS.items():
        if not files.has(name):
            continue
        table = images.assign(impairment=_read(files, name, scores, total).astype(float))
        if deviations:
            table["std"] = _read(files, name, deviations, total).astype(float)
        is_reference = _read(files, name, "orgs", total) == 1
        tables[slice] = table[~is_reference].reset_index(drop=True)
    if not tables:
        raise DataError(f"dataset {files.dataset}: neither dmos.mat nor dmos_realigned.mat is here")
    return rated(files, tables)


def live_md(files: Files) -> Dataset:
    """Reads LIVE-MD, both parts.

    Raises
    ------
    DataError : a file is missing, or its lists differ in length.
    """
    parts = []
    for part, folder in PARTS.items():
        names = [str(name) for name in _read(files, f"{part}/Imagelists.mat", "distimgs")]
        scores = _read(files, f"{part}/Scores.mat", "DMOSscores", len(names)).astype(float)
        # `folder` keeps apart the base names that both parts use.
        where = f"{part}/{folder}"
        parts.append(
            pd.DataFrame(
                {
                    "reference": [f"{where}/{name.split('_')[0]}.bmp" for name in names],
                    "distorted": [f"{where}/{name}" for name in names],
                    "impairment": scores,
                    "distortion": [_distortions(name) for name in names],
                    "category": folder,
                }
            )
        )
    return rated(files, {"all": pd.concat(parts, ignore_index=True)})


def _distortions(name: str) -> str:
    """``blur1_noise3`` of ``baby_blur1_noise3.bmp`` without the levels: ``blur+noise``."""
    kinds = name.rsplit(".", 1)[0].split("_")[1:]
    return "+".join(kind.rstrip("0123456789") for kind in kinds)


def _read(files: Files, name: str, key: str, length: int | None = None) -> Any:
    """One variable of a MATLAB file, of so many values; scores as numbers, names as text."""
    path = files.path(name)
    values = variable(path, key)
    kind = "U" if key in NAMES else "iufb"
    if values.dtype.kind not in kind:
        raise DataError(f"{path}: {key} holds no {'names' if key in NAMES else 'numbers'}")
    if length is not None and len(values) != length:
        raise DataError(f"{path}: {key} has {len(values)} values, expected {length}")
    return values
