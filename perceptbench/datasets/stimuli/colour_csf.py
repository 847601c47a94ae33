"""Colour contrast sensitivity: which of two faint coloured Gabors people see the better.

Wuerger, Ashraf, Kim, Martinovic, Perez-Ortiz, Mantiuk 2020, J. Vision 20(4):23,
doi:10.1167/jov.20.4.23: each observer's own detection thresholds (four alternatives, forced choice)
for Gabors in three colour directions on a grey of 20 cd/m2. The preferences are derived: nobody was
asked which of two Gabors is closer to the grey field.

Used are areas up to 3.2 deg2 and conditions of at least MIN observers: 36 stimuli, all shown at one
cone contrast, and the 630 pairs of them that at least MIN people have both thresholds of.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from torch import Tensor

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.stimuli import measured
from perceptbench.datasets.stimuli.display import FROM_LMS, Display
from perceptbench.errors import DataError

SIZE, PIXELS_PER_DEGREE = 384, 60
#: Cone contrast of every Gabor, `cone_contrast` at its peak.
CONTRAST = 0.03
#: Fewest observers of a pair of stimuli.
MIN = 8
#: Cone responses L, M, S of the background at 20 cd/m2, and the direction of each modulation.
BACKGROUND = np.array([13.737238, 6.262762, 0.477576])
DIRECTIONS = {
    "achromatic": (0.904788, 0.419896, 0.071027),
    "red-green": (0.762860, -0.646494, -0.009444),
    "yellow-violet": (0.450450, 0.274891, 0.849429),
}
BLANK = "blank"


def cone_contrast(change: np.ndarray) -> float:
    """Root mean square over L, M, S of a change (3,) relative to the background."""
    return float(np.sqrt(np.mean((change / BACKGROUND) ** 2)))


def _sensitivities() -> pd.DataFrame:
    """1 / cone contrast at threshold: one row a stimulus, one column an observer; or NaN."""
    table = measured("colour_csf.csv")
    names = [
        f"{direction}/{frequency:g}/{sigma:g}"
        for direction, frequency, sigma in table[["direction", "frequency", "sigma"]].itertuples(
            index=False
        )
    ]
    return table.set_axis(names).drop(columns=["direction", "frequency", "sigma"])


def _triplets() -> pd.DataFrame:
    """p_b is the share of the observers of both stimuli who are less sensitive to b."""
    sensitivity = dict(zip(_sensitivities().index, _sensitivities().to_numpy(), strict=True))
    rows = []
    for a, b in combinations(sensitivity, 2):
        apart = sensitivity[a] - sensitivity[b]
        apart = apart[~np.isnan(apart)]
        if len(apart) >= MIN:
            p_b = ((apart > 0) + 0.5 * (apart == 0)).mean()
            kinds = {key.partition("/")[0] for key in (a, b)}
            category = f"within {kinds.pop()}" if len(kinds) == 1 else "across directions"
            rows.append((BLANK, a, b, p_b, len(apart), category))
    return pd.DataFrame(rows, columns=["reference", "a", "b", "p_b", "votes", "category"])


def colour_csf() -> Dataset:
    """All pairs of 36 Gabors at one cone contrast, against the grey field.

    One 2afc table; ``category`` says whether both are of one colour direction, and of which.
    """
    display = Display(PIXELS_PER_DEGREE)
    known = set(_sensitivities().index)
    x = (np.arange(SIZE) - SIZE / 2) / PIXELS_PER_DEGREE
    white = FROM_LMS @ BACKGROUND

    def load(key: str) -> Tensor:
        if key not in {BLANK, *known}:
            raise DataError(f"{key}: there is no such image of colour-csf")
        lms = BACKGROUND[:, None, None] + np.zeros((3, SIZE, SIZE))
        if key != BLANK:
            direction, frequency, sigma = key.split("/")
            axis = np.array(DIRECTIONS[direction])
            envelope = np.exp(-(x**2 + x[:, None] ** 2) / (2 * float(sigma) ** 2))
            pattern = np.cos(2 * np.pi * float(frequency) * x) * envelope
            lms += CONTRAST / cone_contrast(axis) * axis[:, None, None] * pattern
        xyz = np.einsum("ij,jhw->ihw", FROM_LMS, lms)
        return Display.clipped(display.background * xyz / white[1])

    table = Judgements(
        "colour-csf", _triplets(), statistics=("2afc",),
        display=f"{display}, cone contrast {CONTRAST:g}",
        pixels_per_degree=PIXELS_PER_DEGREE,
    )  # fmt: skip
    return Dataset("colour-csf", (table,), load)
