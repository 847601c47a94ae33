"""MacAdam-OSA: how different 128 pairs of coloured tiles look.

MacAdam 1974, J. Opt. Soc. Am. 64:1691, doi:10.1364/JOSA.64.001691: 59 tiles under D65, 49 to 76
observers a pair, large differences (14 CIELAB units on average). Each tile is a uniform patch of
its chromaticity and luminance in sRGB. The figures are for the 10 degree observer and are shown
as if for the 2 degree one; the tiles outside the sRGB gamut (three pairs) are clipped to it.
"""

import pandas as pd
import torch

from perceptbench import colour
from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.stimuli import measured
from perceptbench.datasets.stimuli.display import patch
from perceptbench.errors import DataError

#: Pixels a side of a patch.
SIZE = 32


def macadam_osa() -> Dataset:
    """Reads the pairs: one rating table, ``impairment`` the perceived difference.

    What varies are the tiles. Which tile of a pair is called the reference means nothing.
    """
    pairs = measured("macadam_osa.csv")
    tiles = _tiles(pairs)
    table = pd.DataFrame(
        {
            "reference": "tile/" + pairs["tile1"],
            "distorted": "tile/" + pairs["tile2"],
            "impairment": pairs["difference"],
        }
    )

    def load(key: str) -> torch.Tensor:
        if key not in tiles:
            raise DataError(f"{key}: there is no such tile")
        return patch(colour.xyz_to_linear(tiles[key].view(3, 1, 1)), SIZE)

    judgements = Judgements(
        "macadam-osa",
        table,
        statistics=("srcc", "stress"),
        display=f"sRGB, uniform patches of {SIZE} x {SIZE} pixels, no viewing distance",
    )
    return Dataset("macadam-osa", (judgements,), load)


def _tiles(pairs: pd.DataFrame) -> dict[str, torch.Tensor]:
    """XYZ (3,) of every tile, the white having Y = 1."""
    found = {}
    for side in "12":
        for row in pairs.itertuples():
            x, y, luminance = (getattr(row, f"{what}{side}") for what in "xyY")
            xyz = torch.tensor([x / y, 1.0, (1 - x - y) / y], dtype=torch.float64)
            found[f"tile/{getattr(row, f'tile{side}')}"] = xyz * luminance / 100
    return found
