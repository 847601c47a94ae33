"""A folder of images -> a list of pairs ready to be judged: every image on every distortion ladder.

What is written: ``images/`` with the references and the distorted versions as 8-bit PNG, and one
table to fill in. ``rating``: ``pairs.csv`` with an empty column ``quality``. ``2afc``:
``triplets.csv`` with an empty column ``p_b``; a triplet has two distorted versions of one
reference, whose ladders differ. The order of the rows is shuffled, as people should see them.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from perceptbench.datasets.judgements.protocols import is_writable
from perceptbench.distortions import IMAGES, LEVELS, STEPS, distort
from perceptbench.errors import DataError, UsageError, first_line, unknown
from perceptbench.spreadsheet import to_csv
from perceptbench.writing import is_empty, together

#: Protocol -> the table's file.
TABLES = {"rating": "pairs.csv", "2afc": "triplets.csv"}


def prepare(
    folder: Path,
    out: Path,
    ladders: Sequence[str] = tuple(STEPS),
    protocol: str = "rating",
    triplets: int = 20,
    seed: int = 0,
) -> Path:
    """Writes the images and the table to `out`; returns the table's path.

    Parameters
    ----------
    folder : of images; those below it are not looked at.
    out : a folder that does not exist or is empty.
    ladders : keys of `perceptbench.distortions.STEPS`.
    protocol : ``rating`` or ``2afc``.
    triplets : of each reference, for ``2afc``.
    seed : of the noise, the choice of triplets, their sides, and the order of the rows.

    Raises
    ------
    UsageError : `out` is not empty, or there is no such ladder, or too few for triplets.
    DataError : no image is there, two differ in their endings only, or one cannot be read; `out`
        cannot be written to.
    """
    for ladder in ladders:
        if ladder not in STEPS:
            raise unknown("ladder", ladder, STEPS, "prepare -h")
    if protocol == "2afc" and len(set(ladders)) < 2:
        raise UsageError("2afc compares two distortions: at least two ladders are needed")
    if not is_empty(out):
        raise UsageError(f"{out} is not empty; choose another folder")
    files = _files(folder)
    with together(out) as draft:
        pairs = pd.DataFrame(
            _write_images(files, dict.fromkeys(ladders), seed, draft),
            columns=["reference", "distorted", "distortion", "level"],
        )
        rng = np.random.default_rng(seed)
        table = (
            pairs.assign(quality="") if protocol == "rating" else _triplets(pairs, triplets, rng)
        )
        table = table.iloc[rng.permutation(len(table))]
        (draft / TABLES[protocol]).write_text(to_csv(table), encoding="utf-8", newline="")
    return out / TABLES[protocol]


def _write_images(
    files: Sequence[Path], ladders: Iterable[str], seed: int, out: Path
) -> list[tuple[str, str, str, int]]:
    """Writes each image and its distorted versions: reference, distorted, ladder, level."""
    (out / "images").mkdir()
    rows = []
    for path in files:
        image = _read(path)
        reference = f"images/{path.stem}.png"
        Image.fromarray(image).save(out / reference)
        for ladder in ladders:
            for level in range(1, LEVELS + 1):
                # By name, so that adding an image changes none of the others' noise.
                key = [seed, level, *f"{path.name}/{ladder}".encode()]
                worse = distort(image, ladder, level, np.random.default_rng(key))
                distorted = f"images/{path.stem}-{ladder}-{level}.png"
                Image.fromarray(worse).save(out / distorted)
                rows.append((reference, distorted, ladder, level))
    return rows


def _triplets(pairs: pd.DataFrame, count: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for reference, group in pairs.groupby("reference", sort=False):
        versions = list(zip(group["distorted"], group["distortion"], strict=True))
        possible = [(a, b) for a, b in combinations(versions, 2) if a[1] != b[1]]
        chosen = rng.permutation(len(possible))[:count]
        for i in chosen:
            sides = possible[i] if rng.random() < 0.5 else possible[i][::-1]
            (a, kind_a), (b, kind_b) = sides
            rows.append((reference, a, b, "", f"{kind_a} {kind_b}"))
    return pd.DataFrame(rows, columns=["reference", "a", "b", "p_b", "category"])


def _files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES)
    if not files:
        raise DataError(f"{folder}: holds no image ({', '.join(IMAGES)})")
    stems: dict[str, Path] = {}
    for path in files:
        if not is_writable(path.name):
            raise DataError(
                f"{path}: its name is no UTF-8, and would stand in the table; rename it"
            )
        if path.stem in stems:
            raise DataError(
                f"{path} and {stems[path.stem].name} differ in their endings only; rename one"
            )
        stems[path.stem] = path
    return files


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.has_transparency_data:
                raise DataError(f"{path}: is transparent; flatten it onto a background")
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds
        raise DataError(f"{path}: cannot be read as an image ({first_line(error)})") from None
