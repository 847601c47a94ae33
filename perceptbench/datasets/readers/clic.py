"""CLIC perceptual metric track: which of two decodings A, B is closer to the original O.

``oracle.csv`` has no header: rows ``O,A,B,T``, T is 1 where B was found closer. Rows occur twice,
some with both answers. The track's own score keeps one row a triplet, the last.
"""

import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import DataError, first_line


def clic(files: Files, labels: str) -> Dataset:
    """Reads the answers: slice ``all`` as the track scores them, ``rows`` every row as it stands.

    Parameters
    ----------
    files : the copy.
    labels : name of the csv of rows ``O,A,B,T``.

    Raises
    ------
    DataError : the file is not of this form.
    """
    path = files.path(labels)
    try:
        rows = pd.read_csv(path, header=None, dtype=str, skipinitialspace=True)
        rows = rows.set_axis(["reference", "a", "b", "p_b"], axis=1)
        rows["p_b"] = rows["p_b"].astype(float)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not rows of O,A,B,T ({first_line(error)})") from None
    last = rows.drop_duplicates(["reference", "a", "b"], keep="last").reset_index(drop=True)
    parts = tuple(
        Judgements(files.dataset, table, name, ("reference",), statistics=statistics)
        for name, table, statistics in (("all", last, ("2afc",)), ("rows", rows, ()))
    )
    return Dataset(files.dataset, parts, FileLoader(files.folder), files.folder)
