"""PieAPP (Prashnani et al. 2018): pairwise preferences, and scores of the test images.

``labels/SPLIT/ref_N_pairwise_labels.csv`` has in its columns, whose names carry leading spaces:
reference, A, B, the share of people who prefer A, and for train and val a fifth column, that share
with the pairs nobody judged filled in by maximum likelihood, which is the one used. In test the
reference itself is one of the images. ``ref_N_per_image_score.csv`` (test only) is an impairment.
"""

import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import DataError, first_line

#: Which column holds the share of people who prefer A.
PREFERENCE = {"train": 4, "val": 4, "test": 3}


def pieapp(files: Files) -> Dataset:
    """Reads the splits whose labels are there; test has a 2afc and a rating table.

    Raises
    ------
    DataError : no labels, or a file that is not of this form.
    """
    parts = []
    for split, column in PREFERENCE.items():
        pairs = _read(files, f"labels/{split}/*_pairwise_labels.csv", [0, 1, 2, column])
        if pairs is not None:
            reference, a, b, prefers_a = (pairs[c] for c in pairs.columns)
            table = pd.DataFrame(
                {
                    "reference": _paths(reference, reference, split),
                    "a": _paths(a, reference, split),
                    "b": _paths(b, reference, split),
                    "p_b": 1 - prefers_a.astype(float),
                    "split": split,
                }
            )
            statistics = ("2afc",) if split == "test" else ()
            parts.append(
                Judgements(files.dataset, table, split, ("reference",), statistics=statistics)
            )
    scores = _read(files, "labels/test/*_per_image_score.csv", [0, 1, 2])
    if scores is not None:
        reference, distorted, score = (scores[c] for c in scores.columns)
        table = pd.DataFrame(
            {
                "reference": _paths(reference, reference, "test"),
                "distorted": _paths(distorted, reference, "test"),
                "impairment": score.astype(float),
                "split": "test",
            }
        )
        # The reference scores 0 against itself by construction: no judgement.
        table = table[table["reference"] != table["distorted"]]
        table = table.drop_duplicates().reset_index(drop=True)
        parts.append(Judgements(files.dataset, table, "test", ("reference",), statistics=("srcc",)))
    if not parts:
        raise DataError(f"dataset {files.dataset}: no labels/*/*.csv below {files.folder}")
    return Dataset(files.dataset, tuple(parts), FileLoader(files.folder), files.folder)


def _read(files: Files, pattern: str, columns: list[int]) -> pd.DataFrame | None:
    """Some columns, by position, of all files of a pattern; None where there is no file."""
    tables = []
    for path in files.matching(pattern):
        try:
            table = pd.read_csv(files.folder / path, skipinitialspace=True).iloc[:, columns]
            for column in table.columns[:-1]:
                table[column] = table[column].astype(str).str.strip()
            table[table.columns[-1]].astype(float)
        except (OSError, ValueError, IndexError) as error:
            raise DataError(
                f"{files.folder / path}: not a PieAPP label file ({first_line(error)})"
            ) from None
        tables.append(table.set_axis(range(len(columns)), axis=1))
    return pd.concat(tables, ignore_index=True) if tables else None


def _paths(names: pd.Series, references: pd.Series, split: str) -> pd.Series:
    """Paths of images: references lie in another folder than what is compared with them."""
    folder = references.str.rsplit(".", n=1).str[0]
    distorted = f"distorted_images/{split}/" + folder + "/" + names
    return distorted.where(names != references, f"reference_images/{split}/" + names)
