"""ModelFest: how visible 42 contrast patterns are on a uniform field, to 16 observers.

Stimuli: Carney et al. 1999, Proc. SPIE 3644:542, doi:10.1117/12.348473, 256 x 256 pixels at 120
pixels per degree, defined by formula; the 43rd, a photograph, is left out. Sensitivities: the
supplement of Watson and Ahumada 2005, J. Vision 5(9):6, doi:10.1167/5.9.6.

The preferences are derived: observers detected patterns, nobody was asked which of two is closer
to the blank field. At one physical contrast, the pattern an observer is less sensitive to is
taken to be the closer one.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import j0

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.stimuli import measured
from perceptbench.datasets.stimuli.display import Display
from perceptbench.errors import DataError

Array = NDArray[np.float64]

#: Pixels a side, and pixels per degree, as shown.
SIZE, NATIVE = 256, 120
#: Viewing resolutions in pixels per degree: that of the experiment, and a usual desktop's.
RESOLUTIONS = (NATIVE, 60)
#: Peak contrast of every pattern.
CONTRAST = 0.05
#: Number of stimuli with a formula, and the number that stands for the blank field.
STIMULI, BLANK = 42, 0
#: The binary noise of stimulus 35 is a new sample of the same statistics.
NOISE_SEED = 35

# Coordinates in degrees; the origin is pixel (128, 128), y runs down the rows.
_Y, _X = np.mgrid[0:SIZE, 0:SIZE] / NATIVE - SIZE // 2 / NATIVE


def _gauss(sigma_x: float, sigma_y: float | None = None) -> Array:
    return np.exp(-(_X**2) / (2 * sigma_x**2) - _Y**2 / (2 * (sigma_y or sigma_x) ** 2))


def _wave(frequency: float, degrees: float = 0.0) -> Array:
    """Cosine of `frequency` c/deg, its stripes horizontal at 0 degrees."""
    angle = np.deg2rad(degrees)
    return np.cos(2 * np.pi * frequency * (_Y * np.cos(angle) + _X * np.sin(angle)))


def _string(alternating: bool) -> Array:
    """Five 8 c/deg Gabors of sigma .07 deg in a row, 42 pixels apart."""
    total = np.zeros_like(_X)
    for place in range(-2, 3):
        sign = -1.0 if alternating and place % 2 else 1.0
        offset = _X - place * 42 / NATIVE
        envelope = np.exp(-(offset**2 + _Y**2) / (2 * 0.07**2))
        total += sign * envelope * _wave(8)
    return total


def _rows(*signs: float) -> Array:
    """Lines of one pixel through and below the centre."""
    pattern = np.zeros_like(_X)
    first = SIZE // 2 - len(signs) // 2
    for row, sign in enumerate(signs, start=first):
        pattern[row] = sign
    return pattern


def _noise() -> Array:
    """Binary noise of pixels of one minute of arc (two pixels)."""
    signs = np.random.default_rng(NOISE_SEED).choice([-1.0, 1.0], (SIZE // 2, SIZE // 2))
    return np.kron(signs, np.ones((2, 2)))


def _two_components(one: Array, other: Array, sigma: float = 0.5) -> Array:
    return (one + other) / 2 * _gauss(sigma)


def _gabor(frequency: float, sigma_x: float, sigma_y: float | None = None) -> Array:
    return _wave(frequency) * _gauss(sigma_x, sigma_y)


#: A checkerboard's fundamental runs along its diagonals: 4 c/deg there is 4 / sqrt 2 along x.
F_CHECK = 4 / np.sqrt(2)


def _formulas() -> dict[int, Callable[[], Array]]:
    gabors = [1.12, 2, 2.83, 4, 5.66, 8, 11.3, 16, 22.6, 30]
    octaves = [(2, 0.28), (4, 0.14), (8, 0.07), (16, 0.035)]
    elongated = [(4, 0.28), (8, 0.14), (16, 0.07)]
    shapes = [(0.28, 0.14), (0.5, 0.14), (0.14, 0.28), (0.14, 0.5)]
    minutes = [30, 8.43, 2.106, 1.05]
    pairs = [(2, 2 * np.sqrt(2)), (2, 4), (4, 4 * np.sqrt(2)), (4, 8)]
    found: list[Callable[[], Array]] = [partial(_gabor, f, 0.5) for f in gabors]  # 1-10
    found += [partial(_gabor, f, s) for f, s in octaves]  # 11-14
    found += [partial(_gabor, f, 0.5, s) for f, s in elongated]  # 15-17
    found += [partial(_gabor, 4, x, y) for x, y in shapes]  # 18-21
    found += [partial(_two_components, _wave(f), _wave(g)) for f, g in pairs]  # 22-25
    found += [partial(_gauss, m / 60) for m in minutes]  # 26-29
    found += [
        lambda: np.where(_Y >= 0, 1.0, -1.0) * _gauss(0.5),  # 30 edge
        lambda: _rows(1.0) * _gauss(0.5),  # 31 line
        lambda: _rows(1.0, 0.0, -1.0) * _gauss(0.5),  # 32 dipole
        lambda: _string(alternating=False),  # 33
        lambda: _string(alternating=True),  # 34
        lambda: _noise() * _gauss(0.5),  # 35
        lambda: _wave(4, 45) * _gauss(0.14),  # 36
        lambda: _wave(4, 90) * _gauss(0.14),  # 37
        lambda: _two_components(_wave(4), _wave(4, 90), 0.14),  # 38
        lambda: _two_components(_wave(4), _wave(4, 45), 0.14),  # 39
        lambda: (np.hypot(_X, _Y) <= 0.125).astype(float),  # 40 disk
        lambda: j0(2 * np.pi * 4 * np.hypot(_X, _Y)) * _gauss(0.5),  # 41
        lambda: np.sign(_wave(F_CHECK) * _wave(F_CHECK, 90)) * _gauss(0.5),  # 42
    ]
    return dict(enumerate(found, start=1))


_FORMULAS = _formulas()


def contrast_pattern(number: int) -> Array:
    """The contrast of stimulus 1..42, (256, 256), its largest absolute value 1."""
    pattern = _FORMULAS[number]()
    return pattern / np.abs(pattern).max()


def _reduce(pattern: Array, pixels_per_degree: int) -> Array:
    """The pattern at a lower resolution: the mean, in linear light, of k x k pixels."""
    k = NATIVE // pixels_per_degree
    return pattern.reshape(SIZE // k, k, SIZE // k, k).mean((1, 3))


def _sensitivities() -> pd.DataFrame:
    """Log10 contrast sensitivity, mean of four repeats: one row a stimulus, one column a person."""
    return measured("modelfest.csv", index_col="stimulus")


def _triplets(pixels_per_degree: int) -> pd.DataFrame:
    """All 861 pairs of stimuli; p_b is the share of observers who see b the less."""
    sensitivity = _sensitivities()
    keys = [_key(pixels_per_degree, number) for number in sensitivity.index]
    i, j = np.triu_indices(len(keys), 1)
    apart = sensitivity.to_numpy()[i] - sensitivity.to_numpy()[j]
    return pd.DataFrame({
        "reference": _key(pixels_per_degree, BLANK),
        "a": [keys[k] for k in i],
        "b": [keys[k] for k in j],
        "p_b": ((apart > 0) + 0.5 * (apart == 0)).mean(1),
        "votes": sensitivity.shape[1],
    })  # fmt: skip


def _key(pixels_per_degree: int, number: int) -> str:
    return f"{pixels_per_degree}ppd/" + ("blank" if number == BLANK else f"{number:02d}")


def modelfest() -> Dataset:
    """All pairs of 42 patterns at one physical contrast, against the blank field.

    One 2afc table for each of RESOLUTIONS (slice ``120ppd``); the lower one averages pixels in
    linear light.
    """
    displays = {p: Display(p) for p in RESOLUTIONS}
    known = {_key(p, number): (p, number) for p in displays for number in range(STIMULI + 1)}

    def load(key: str) -> torch.Tensor:
        if key not in known:
            raise DataError(f"{key}: there is no such ModelFest image")
        resolution, number = known[key]
        pattern = np.zeros((SIZE, SIZE)) if number == BLANK else contrast_pattern(number)
        return displays[resolution].show(CONTRAST * _reduce(pattern, resolution))

    tables = tuple(
        Judgements(
            "modelfest",
            _triplets(resolution),
            slice=f"{resolution}ppd",
            statistics=("2afc",),
            display=f"{display}, peak contrast {CONTRAST:g}",
            pixels_per_degree=resolution,
        )
        for resolution, display in displays.items()
    )
    return Dataset("modelfest", tables, load)
