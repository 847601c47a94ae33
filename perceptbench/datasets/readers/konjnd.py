"""KonJND-1k (Lin et al. 2022): the JPEG quality at which each observer first saw a difference.

``subjective_ratings.csv``: ``image_id, Compression type, No. of ratings, mean, std, ratings``;
``ratings`` lists the observers' thresholds in units of the encoder's quality. Thresholds are no
opinion scores. They say of a source and its version at quality q what share of the observers sees
no difference: those whose threshold lies below q.
"""

import json

import numpy as np
import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.judgements.tables import read_table
from perceptbench.datasets.records import numbers
from perceptbench.errors import DataError

#: The qualities shown of each source: these quantiles of its thresholds.
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
LOWEST, HIGHEST = 1, 100


def konjnd(files: Files) -> Dataset:
    """Reads the JPEG half as a same_different table, derived as described above.

    Raises
    ------
    DataError : the table is not of this form.
    """
    path = files.path("subjective_ratings.csv")
    raw, _ = read_table(path)
    missing = [c for c in ("image_id", "Compression type", "ratings") if c not in raw]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}")
    rows = []
    for image, kind, ratings in zip(
        raw["image_id"], raw["Compression type"], raw["ratings"], strict=True
    ):
        if str(kind).strip().upper() != "JPEG":
            continue
        try:
            thresholds = numbers({"ratings": json.loads(ratings)}, "ratings", None)
            shown = np.quantile(thresholds, QUANTILES)
        except (ValueError, TypeError, IndexError, RecursionError):
            raise DataError(f"{path}: the ratings of {image} are not a list of numbers") from None
        stem = str(image).rsplit(".", 1)[0]
        for quality in sorted({int(q) for q in np.clip(np.rint(shown), LOWEST, HIGHEST)}):
            same = float((thresholds < quality).mean())
            rows.append((f"source_image/{stem}.png", f"jpeg/{stem}_JPEG_{quality:03d}.jpg",
                         same, len(thresholds), quality))  # fmt: skip
    if not rows:
        raise DataError(f"{path}: has no rows of compression type JPEG")
    table = pd.DataFrame(rows, columns=["a", "b", "p_same", "votes", "level"])
    part = Judgements(files.dataset, table, "jpeg", ("a",), statistics=("jnd_ap",))
    return Dataset(files.dataset, (part,), FileLoader(files.folder), files.folder)
