"""A user's own judgements: a CSV, Excel or Parquet file with image paths in it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.own import odd, read_judgements
from perceptbench.datasets.judgements.protocols import (
    STATISTICS,
    Judgements,
    is_writable,
    protocol_of,
)
from perceptbench.datasets.judgements.votes import Mos
from perceptbench.errors import DataError, UsageError


def judgement_files(
    paths: Sequence[Path], images: Path | None = None, mos: Mos = "mean"
) -> list[Dataset]:
    """The dataset of each file; those of one name have that of their folder before it."""
    loaded = [judgement_file(path, images, mos) for path in paths]
    names = [dataset.name for dataset in loaded]
    for place, (dataset, path) in enumerate(zip(loaded, paths, strict=True)):
        if names.count(dataset.name) > 1:
            name = f"{path.resolve().parent.name}-{dataset.name}"
            parts = tuple(replace(part, dataset=name) for part in dataset.judgements)
            assumed = (*dataset.assumed, f"{path} is called {name}, as another file has its name")
            loaded[place] = replace(dataset, name=name, judgements=parts, assumed=assumed)
    return loaded


def judgement_file(path: Path, images: Path | None = None, mos: Mos = "mean") -> Dataset:
    """A dataset named after the file, its image paths relative to `images`.

    Parameters
    ----------
    path : table of one of the protocols of `perceptbench.datasets.judgements.protocols`; a column
        `pixels_per_degree`, the same in every row, says how the images were seen.
    images : folder of the images; default: the file's own.
    mos : how the ratings of single people (a column `rater`) become one.

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
    own = read_judgements(path, mos)
    part = Judgements(
        path.stem,
        own.table,
        statistics=STATISTICS[protocol_of(own.table, str(path))],
        pixels_per_degree=_resolution(own.table, str(path)),
        votes=own.votes,
    )
    asked = [question for question in odd(own.table, path.stem) if "?" in question]
    assumed = tuple(f"{path.name}: {sentence}" for sentence in [*own.assumed, *asked])
    return Dataset(path.stem, (part,), FileLoader(folder), folder, assumed=assumed)


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
