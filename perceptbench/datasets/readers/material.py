"""Material appearance (Lagunas et al. 2019): renderings of materials, judged in triplets.

The folder as published: ``answers_processed_test.json`` and a folder of 100 images, whose names
in sorted order are what the answers' indices count. ``answers[i] = [reference, a, b]``,
``agreement[i] = [votes for a, votes for b]``.
"""

import numpy as np
import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.records import numbers, read_json
from perceptbench.errors import DataError

ANSWERS = "answers_processed_test.json"
IMAGES = "havran1_ennis_298x298_LDR"


def material_appearance(files: Files) -> Dataset:
    """Reads the published test answers: 3,000 triplets over 100 images.

    Parameters
    ----------
    files : the copy: ANSWERS and the folder IMAGES.

    Raises
    ------
    DataError : a file is missing, or an answer names an image that is not there.
    """
    images = files.matching(f"{IMAGES}/*.jpg")
    if not images:
        raise DataError(f"{files.folder / IMAGES}: there are no .jpg images")
    path = files.path(ANSWERS)
    try:
        answers = read_json(path)
        triplets = numbers(answers, "answers", None, 3).astype(int)
        votes = numbers(answers, "agreement", len(triplets), 2)
        names = np.array(images)[triplets]
    except (ValueError, IndexError) as error:
        raise DataError(
            f"{path}: not the published answers for {len(images)} images ({error})"
        ) from None
    table = pd.DataFrame(names, columns=["reference", "a", "b"])
    with np.errstate(invalid="ignore"):  # a triplet without a vote has no share: `validate` says so
        table["p_b"] = votes[:, 1] / votes.sum(1)
    table["votes"] = votes.sum(1).astype(int)
    part = Judgements(files.dataset, table, statistics=("2afc",))
    return Dataset(files.dataset, (part,), FileLoader(files.folder), files.folder)
