"""BAPPS (Zhang et al. 2018): patches judged in triplets (2AFC) and as the same or not (JND).

``2afc/{train,val}/SUBSET/{ref,p0,p1}/NNNNNN.png`` with ``judge/NNNNNN.npy``, the share of people
who found p1 closer, and ``jnd/val/SUBSET/{p0,p1}/NNNNNN.png`` with ``same/NNNNNN.npy``, the share
who said "the same". The folders above ``val`` differ between copies.

The patches are 64 x 64 pixels stored larger; published figures come from resizing them to 64
with a smoothing kernel (PIL's bilinear or bicubic), which is not the identity on them: hence the
option ``kernel``. Where the two patches of a triplet are the same, a metric gets one half.
"""

import re

import numpy as np
import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import DataError, first_line

#: Pixels a side at which the patches are compared, and the kernel value that keeps them as stored.
SIZE, AS_STORED = 64, "none"
#: People a judgement.
VOTES = {"train": 2, "val": 5, "same": 3}


def two_afc(files: Files, split: str, kernel: str = "bilinear") -> Dataset:
    """Reads the triplets of a split; the column ``category`` is the subset.

    Two figures of all subsets are usual, and differ: the mean over subsets, as the authors report
    it (``2afc_subset_mean``), and the mean over all triplets pooled (``2afc``).

    Parameters
    ----------
    files : the copy.
    split : ``train`` or ``val``.
    kernel : how patches are resized to 64 x 64 (`images.KERNELS`), or ``none``: not at all.

    Raises
    ------
    DataError : there are no judgements, or one of them cannot be read.
    """
    judged = _read(files, split, "judge")
    table = pd.DataFrame(
        {
            "reference": judged["where"] + "/ref/" + judged["image"],
            "a": judged["where"] + "/p0/" + judged["image"],
            "b": judged["where"] + "/p1/" + judged["image"],
            "p_b": judged["share"],
            "votes": VOTES[split],
            "category": judged["category"],
            "split": split,
        }
    )
    return _dataset(files, table, kernel, ("2afc_subset_mean", "2afc"))


def jnd(files: Files, kernel: str = "bilinear") -> Dataset:
    """Reads the pairs that people called the same or not; ``category`` is the subset.

    Raises
    ------
    DataError : as `two_afc`.
    """
    judged = _read(files, "val", "same")
    table = pd.DataFrame(
        {
            "a": judged["where"] + "/p0/" + judged["image"],
            "b": judged["where"] + "/p1/" + judged["image"],
            "p_same": judged["share"],
            "votes": VOTES["same"],
            "category": judged["category"],
        }
    )
    return _dataset(files, table, kernel, ("jnd_ap_subset_mean", "jnd_ap"))


def _dataset(
    files: Files, table: pd.DataFrame, kernel: str, statistics: tuple[str, ...]
) -> Dataset:
    stored = kernel == AS_STORED
    how = "as stored" if stored else f"resized to {SIZE} x {SIZE}, {kernel}"
    part = Judgements(files.dataset, table, statistics=statistics, display=f"sRGB patches {how}")
    load = FileLoader(files.folder) if stored else FileLoader(files.folder, SIZE, kernel)
    return Dataset(files.dataset, (part,), load, files.folder)


def _read(files: Files, split: str, kind: str) -> pd.DataFrame:
    """Every judgement of a split: where (folder), image, share, category, in file order."""
    found = files.matching(f"{split}/*/{kind}/*.npy")
    if not found:
        raise DataError(f"dataset {files.dataset}: no {split}/*/{kind}/*.npy below {files.folder}")
    sides = ("ref", "p0", "p1") if kind == "judge" else ("p0", "p1")
    for where in {path.rpartition("/")[0].rpartition("/")[0] for path in found}:
        for side in sides:
            if not files.has_folder(f"{where}/{side}"):
                raise DataError(f"dataset {files.dataset}: no {where}/{side} below {files.folder}")
    rows = []
    for path in found:
        where, _, name = path.rpartition("/")
        where = where.rpartition("/")[0]
        share = _share(files, path)
        rows.append((where, re.sub(r"\.npy$", ".png", name, flags=re.IGNORECASE), share))
    table = pd.DataFrame(rows, columns=["where", "image", "share"])
    return table.assign(category=table["where"].str.split("/").str[-1].str.lower())


def _share(files: Files, path: str) -> float:
    try:
        # Plain arrays; a pickle could run code and is refused.
        values = np.load(files.folder / path, allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python: a dozen kinds
        raise DataError(f"{files.folder / path}: not a judgement ({first_line(error)})") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf" or not values.size:
        raise DataError(f"{files.folder / path}: not a judgement (holds no number)")
    return float(values.flat[0])
