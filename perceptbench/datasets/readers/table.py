"""A user's own judgements: a CSV or Parquet file with image paths in it."""

from pathlib import Path

import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements import (
    Judgements,
    is_writable,
    protocol_of,
    read_table,
    validate,
)
from perceptbench.errors import DataError, UsageError

#: What goes on the leaderboard, by protocol.
STATISTICS = {"2afc": ("2afc",), "rating": ("srcc",), "same_different": ("jnd_ap",)}


def judgement_file(path: Path, images: Path | None = None) -> Dataset:
    """A dataset named after the file, its image paths relative to `images`.

    Parameters
    ----------
    path : table of one of the protocols of `perceptbench.datasets.judgements`; a column
        `pixels_per_degree`, the same in every row, says how the images were seen.
    images : folder of the images; default: the file's own.

    Raises
    ------
    UsageError : the file or the folder does not exist.
    DataError : the table is not one of judgements.
    """
    try:
        there = path.is_file()
    except OSError as error:  # a name that is too long, say
        raise UsageError(f"judgement file {path}: {error.strerror}") from None
    if not there:
        raise UsageError(f"judgement file {path} does not exist")
    folder = images or path.parent
    if not folder.is_dir():
        raise UsageError(f"image folder {folder} does not exist")
    if not is_writable(path.stem):
        raise DataError(f"{path}: its name is no UTF-8, and becomes that of a dataset; rename it")
    table = validate(read_table(path), str(path))
    statistics = STATISTICS[protocol_of(table, str(path))]
    part = Judgements(
        path.stem,
        table,
        statistics=statistics,
        pixels_per_degree=_resolution(table, str(path)),
    )
    return Dataset(path.stem, (part,), FileLoader(folder), folder)


def _resolution(table: pd.DataFrame, source: str) -> float | None:
    if "pixels_per_degree" not in table:
        return None
    values = pd.to_numeric(table["pixels_per_degree"], errors="coerce").unique()
    if len(values) != 1 or not 0 < values[0] < float("inf"):
        raise DataError(
            f"{source}: `pixels_per_degree` has to be one positive number in every row; "
            "give each viewing distance a file of its own"
        )
    return float(values[0])
