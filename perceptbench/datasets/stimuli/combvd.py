"""COMBVD: how different 3,813 pairs of surface colours look, near threshold.

Four sets as compiled in Melgosa, Huertas, Berns 2008, J. Opt. Soc. Am. A 25:1828,
doi:10.1364/JOSAA.25.001828: BFD-P (Luo, Rigg 1986, under three illuminants), Leeds (Kim, Nobbs
1997), RIT-DuPont (Berns et al. 1991), Witt 1999. The scale of perceived difference of one set is
not quite that of another.

Each colour is shown as a uniform patch in sRGB that has, against the white of the display, the
CIELAB coordinates that the surface had against the white of its illuminant. The 3,334 pairs
inside the sRGB gamut are kept (a colour outside by less than TOLERANCE of the peak is clipped).
"""

from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from perceptbench import colour
from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.records import numbers, read_json
from perceptbench.datasets.stimuli.display import patch
from perceptbench.errors import DataError

#: Pixels a side of a patch, and what counts as inside the gamut, in linear light.
SIZE, TOLERANCE = 32, 5e-4
FILES = {
    "bfd-d65": "bfd_p/bfd-d65.json",
    "bfd-c": "bfd_p/bfd-c.json",
    "bfd-m": "bfd_p/bfd-m.json",
    "leeds": "leeds.json",
    "rit-dupont": "rit-dupont.json",
    "witt": "witt.json",
}


def combvd(files: Files) -> Dataset:
    """Reads the six tables and names each colour by its CIELAB coordinates.

    Two tables. ``rating``: ``impairment`` is the perceived difference of a pair. ``2afc``: two
    pairs of one set that share a colour and differ in perceived difference; ``p_b`` is 1 where
    ``b`` is the less different, else 0, for no judgements of single observers are public: there
    is no human ceiling.

    Parameters
    ----------
    files : the copy: FILES, each with ``reference_white`` (XYZ, Y = 100), ``xyz`` (colours),
        ``pairs`` (two indices each) and ``dv`` (perceived differences).

    Raises
    ------
    DataError : a file is missing or not of this form; names it.
    """
    pairs = pd.concat([_read(files.path(path), name) for name, path in FILES.items()])
    shown = {key: _in_gamut(_linear(key)) for key in {*pairs["reference"], *pairs["distorted"]}}
    pairs = pairs[pairs["reference"].map(shown) & pairs["distorted"].map(shown)]
    display = f"sRGB, uniform patches of {SIZE} x {SIZE} pixels, no viewing distance"
    tables = (
        Judgements(
            "combvd", _triplets(pairs), statistics=("2afc",),
            display=display,
        ),
        Judgements(
            "combvd", pairs.reset_index(drop=True),
            statistics=("srcc", "stress"), display=display,
        ),
    )  # fmt: skip

    def load(key: str) -> Tensor:
        if key not in shown:
            raise DataError(f"{key}: there is no such colour")
        return patch(_linear(key), SIZE)

    return Dataset("combvd", tables, load)


def _read(path: Path, name: str) -> pd.DataFrame:
    """Pairs of one file: reference, distorted (keys), impairment, category (the set)."""
    try:
        content = read_json(path)
        xyz = torch.from_numpy(numbers(content, "xyz", None, 3)).T[..., None]
        white = torch.from_numpy(numbers(content, "reference_white", 3)).view(3, 1, 1)
        lab = colour.xyz_to_lab(xyz, white)[..., 0].T.numpy()
        # + 0.0 turns a rounded -0.0 into 0.0.
        keys = np.array([",".join(f"{v + 0.0:.4f}" for v in row) for row in lab.round(4)])
        pairs = numbers(content, "pairs", None, 2).astype(int)
        one, other = keys[pairs.T]
        difference = numbers(content, "dv", len(pairs))
        return pd.DataFrame(
            {"reference": one, "distorted": other, "impairment": difference, "category": name}
        )
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: not a COMBVD table ({error})") from None


def _linear(key: str) -> Tensor:
    """Linear sRGB (3, 1, 1) of a colour named by its CIELAB coordinates."""
    lab = torch.tensor([float(v) for v in key.split(",")], dtype=torch.float64)
    white = colour.linear_to_xyz(torch.ones(3, 1, 1, dtype=torch.float64))
    return colour.xyz_to_linear(colour.lab_to_xyz(lab.view(3, 1, 1), white))


def _in_gamut(linear: Tensor) -> bool:
    return bool(((linear >= -TOLERANCE) & (linear <= 1 + TOLERANCE)).all())


def _triplets(pairs: pd.DataFrame) -> pd.DataFrame:
    """Every two pairs of one set that share one colour and are not equally different."""
    partners = defaultdict(list)
    for one, other, difference, category in pairs.itertuples(index=False):
        partners[category, one].append((other, difference))
        partners[category, other].append((one, difference))
    rows = [
        (reference, a, b, float(difference_b < difference_a), category)
        for (category, reference), others in partners.items()
        for (a, difference_a), (b, difference_b) in combinations(others, 2)
        if a != b and difference_a != difference_b
    ]
    return pd.DataFrame(rows, columns=["reference", "a", "b", "p_b", "category"])
