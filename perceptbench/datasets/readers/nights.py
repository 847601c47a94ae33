"""NIGHTS (Fu et al. 2023): which of two synthetic variations looks more like the reference.

``data.csv`` is read by the names of its columns, whose order is not the same in every source:
``right_vote`` is the share of people who picked the right image, ``votes`` how many there were.
"""

import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements, numbers
from perceptbench.datasets.judgements.tables import read_table
from perceptbench.errors import DataError, UsageError

COLUMNS = ("ref_path", "left_path", "right_path", "right_vote", "votes", "split", "is_imagenet")


def nights(files: Files, min_votes: str = "6") -> Dataset:
    """Reads the triplets: a slice each for ``train``, ``val`` and ``test``.

    ``category`` tells the halves ``imagenet`` and ``no_imagenet``; the authors' figure of test is
    the mean of its halves weighted by length, which is the mean over test.

    Parameters
    ----------
    files : the copy.
    min_votes : triplets with fewer votes are left out, as the authors do (6: unanimous ones).

    Raises
    ------
    UsageError : `min_votes` is not a number.
    DataError : the table lacks a column.
    """
    if not min_votes.isdecimal():
        raise UsageError(
            f"dataset {files.dataset}: option min_votes is {min_votes!r}, not a number"
        )
    path = files.path("data.csv")
    raw, _ = read_table(path)
    missing = [column for column in COLUMNS if column not in raw]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}")
    raw["votes"] = numbers(raw["votes"], str(path))
    raw = raw[raw["votes"] >= int(min_votes)]
    table = pd.DataFrame(
        {
            "reference": raw["ref_path"],
            "a": raw["left_path"],
            "b": raw["right_path"],
            "p_b": raw["right_vote"],
            "votes": raw["votes"],
            "category": raw["is_imagenet"].astype(str).str.strip().str.lower().isin(["true", "1"]),
            "split": raw["split"].astype(str).str.strip(),
        }
    )
    table["category"] = table["category"].map({True: "imagenet", False: "no_imagenet"})
    slices = {name: table[table["split"] == name] for name in ("train", "val", "test")}
    parts = tuple(
        Judgements(
            files.dataset,
            part.reset_index(drop=True),
            slice=name,
            statistics=("2afc",) if name in ("val", "test") else (),
        )
        for name, part in slices.items()
        if len(part)
    )
    return Dataset(files.dataset, parts, FileLoader(files.folder), files.folder)
