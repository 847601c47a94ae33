"""The low-level vision card: nine psychophysical tests of detection, masking and matching.

Cai, Yin, Hammou, Mantiuk, CVPR 2025, arXiv:2502.20256. Images of 224 x 224 pixels at 60 pixels per
degree, photometric: luminance on a display of 400 cd/m2 with an sRGB curve, floats throughout.

Detection (six tests) and masking (two): 20 values of one variable (or the contrasts of the mask)
and, at each, ten test contrasts from half to twice the threshold of people; a metric that sees as
they do has distances that grow with the contrast *in units of the threshold*, whatever the value of
the variable. ``impairment`` is that ratio, the figure its rank correlation with the distance.

Matching: ``impairment`` is the contrast of the grating of 5 c/deg that looks as strong. The figure
is ``matching_rmse`` (`perceptbench.agreement.rating.matching_errors`): how far, in log10 units, the
contrasts that a metric finds equally strong are from those that people do.

Thresholds are the predictions of castleCSF for the detection tests, measurements for the rest. All
noise is the authors' sample, whose bands are those of one image. What leaves the display's range is
clipped, as the authors have it: noise of 25 c/deg and more.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import FREQUENCY, Judgements
from perceptbench.datasets.stimuli import measured
from perceptbench.datasets.stimuli.display import FROM_LMS, Display
from perceptbench.errors import DataError

Array = NDArray[np.float64]

SIZE, PIXELS_PER_DEGREE, PEAK = 224, 60, 400.0
#: Test contrasts over the threshold.
RATIOS = np.geomspace(0.5, 2, 10)
#: XYZ of a background of luminance 1, and cone responses of grey, from which DKL is reckoned.
WHITE = np.array([0.9505, 1.0, 1.0888])
GREY = np.array([0.739876529525622, 0.320136241543338, 0.020793708751515])
#: Luminance of each test's background (cd/m2); `luminance` is one itself.
LUMINANCE = {
    "area": 100, "achromatic": 100, "noise": 100, "red-green": 100, "yellow-violet": 100,
    "phase-coherent": 32, "phase-incoherent": 37, "matching": 10,
}  # fmt: skip
#: What the variable of each test is: a column of the tables.
VARIABLE = {
    "area": "area (deg2)", "luminance": "luminance (cd/m2)", "achromatic": FREQUENCY,
    "noise": FREQUENCY, "red-green": FREQUENCY, "yellow-violet": FREQUENCY,
    "phase-coherent": "contrast of the mask", "phase-incoherent": "contrast of the mask",
}  # fmt: skip
#: Axis of DKL along which a test's pattern is added; others are in luminance.
AXIS = {"red-green": 1, "yellow-violet": 2}
#: Of the authors' noise, for NumPy's former generator (Mersenne Twister).
SEED = 8
#: Highest frequency in the mask of noise, c/deg.
HIGHEST = 12
#: Contrasts at which gratings are shown that people see less of than of any standard.
FAINT = 0.0025 * 2.0 ** np.arange(6)
#: Which part of the pairs is judged by default: one in so many, evenly over values and ratios.
EVERY = {"area": 4, "luminance": 4, "achromatic": 4, "noise": 4, "red-green": 4,
         "yellow-violet": 4, "phase-coherent": 2, "phase-incoherent": 2}  # fmt: skip


def gabor(frequency: float, radius: float) -> Array:
    """A vertical Gabor in sine phase, contrast (224, 224): c/deg, deviation of the Gaussian in deg.

    The 224 pixels lie from -112 to 112, both included, as the authors have them.
    """
    x = np.linspace(-SIZE / 2, SIZE / 2, SIZE) / PIXELS_PER_DEGREE
    return grating(frequency) * np.exp(-(x**2 + x[:, None] ** 2) / (2 * radius**2))


def grating(frequency: float) -> Array:
    """A vertical grating in sine phase, (224, 224), peak contrast 1."""
    x = np.linspace(-SIZE / 2, SIZE / 2, SIZE) / PIXELS_PER_DEGREE
    return np.tile(np.sin(2 * np.pi * frequency * x), (SIZE, 1))


def noise(lowest: float, highest: float) -> Array:
    """Gaussian noise, flat from one frequency to another (c/deg), mean 0, deviation 1."""
    white = np.random.RandomState(SEED).standard_normal((SIZE, SIZE))
    f = np.fft.fftfreq(SIZE, 1 / PIXELS_PER_DEGREE)
    radius = np.hypot(f[:, None], f[None])
    kept = (radius >= lowest) & (radius <= highest) & (radius > 0)
    band: Array = np.fft.ifft2(np.fft.fft2(white) * kept).real
    return band / band.std()


def _pattern(test: str, value: float) -> Array:
    """What is to be detected, contrast 1, at a value of the test's variable."""
    if test == "noise":
        return noise(value / np.sqrt(2), value * np.sqrt(2))
    frequency, radius = {
        "area": (8, np.sqrt(value / np.pi)), "luminance": (2, 1),
        "phase-coherent": (2, 0.5), "phase-incoherent": (1.2, 0.8),
    }.get(test, (value, 1))  # fmt: skip
    return gabor(frequency, radius)


def _field(test: str, value: float) -> tuple[float, Array]:
    """Luminance of the background in cd/m2, and contrast of what is there before the test."""
    if test == "phase-coherent":
        return LUMINANCE[test], value * grating(2)
    if test == "phase-incoherent":
        return LUMINANCE[test], value * noise(0, HIGHEST)
    return (value if test == "luminance" else LUMINANCE[test]), np.zeros((SIZE, SIZE))


def _shown(luminance: float, contrast: Array, axis: int = 0) -> Tensor:
    """A pattern as an image (3, 224, 224): in luminance, or (axis 1, 2) along DKL's others."""
    background = luminance / PEAK
    if not axis:
        return Display.clipped(background * WHITE[:, None, None] * (1 + contrast))
    mc1, mc2 = GREY[0] / GREY[1], (GREY[0] + GREY[1]) / GREY[2]
    to_dkl = np.array([[1, 1, 0], [1, -mc1, 0], [-1, -1, mc2]])
    direction = (FROM_LMS @ np.linalg.inv(to_dkl))[:, axis]
    added = direction[:, None, None] * contrast
    return Display.clipped(background * (WHITE[:, None, None] + added))


def _thresholds() -> dict[str, pd.DataFrame]:
    """Test -> its values and the threshold contrast at each."""
    table = measured("vision_card.csv")
    return {str(n): t.reset_index(drop=True) for n, t in table.groupby("test", sort=False)}


def _reference(test: str, value: float) -> str:
    """The key of what is shown before the test; blank fields of one luminance are one image."""
    if test.startswith("phase"):
        return f"{test}/{value:g}/mask"
    return f"blank/{value if test == 'luminance' else LUMINANCE[test]:g}"


def _ratings(test: str, points: pd.DataFrame, every: int) -> pd.DataFrame:
    """The pairs of one detection or masking test; ``value`` is that of its variable."""
    rows = [
        {
            "reference": _reference(test, value),
            "distorted": f"{test}/{value:g}/x{ratio:.4g}",
            "impairment": ratio,
            "variable": VARIABLE[test],
            "value": value,
            "contrast": ratio * threshold,
        }
        for i, (value, threshold) in enumerate(
            zip(points["value"], points["threshold"], strict=True)
        )
        for j, ratio in enumerate(RATIOS)
        # A diagonal lattice: each value has as many ratios, each ratio as many values.
        if (3 * i + j) % every == 0
    ]
    return pd.DataFrame(rows)


def _matches() -> pd.DataFrame:
    """The gratings that were matched, their standards (``pattern`` standard), and fainter ones.

    These look weaker than any standard, ``impairment`` 0: they show how a metric's distance goes on
    where people see nothing.
    """
    wide = measured("contrast_matching.csv").set_index("standard")
    rows = [("standard", 5.0, c, c) for c in wide.index]
    for frequency in wide:
        matched = wide[frequency]
        faint = FAINT[matched.min() > 1.25 * FAINT]
        pattern = (f"{frequency} c/deg", float(str(frequency)))
        rows += [(*pattern, c, 0.0) for c in faint]
        rows += [(*pattern, c, standard) for standard, c in matched.items()]
    table = pd.DataFrame(rows, columns=["pattern", "value", "contrast", "impairment"])
    keys = [
        f"matching/{f:g}/{c:.6g}" for f, c in zip(table["value"], table["contrast"], strict=True)
    ]
    table.insert(0, "distorted", keys)
    table.insert(0, "reference", f"blank/{LUMINANCE['matching']}")
    return table


def vision_card(pairs: str = "sampled") -> Dataset:
    """The nine tests, a rating table each, under the test's name as slice.

    Units are the values of a test's variable (a loss errs alike at all contrasts of one).

    Parameters
    ----------
    pairs : ``published``, all 200 a detection test as the authors have them, or ``sampled``, an
        even quarter of these (half of the masking tests).
    """
    every = EVERY if pairs == "sampled" else dict.fromkeys(EVERY, 1)
    tables = {test: _ratings(test, t, every[test]) for test, t in _thresholds().items()}
    tables["matching"] = _matches()
    known: dict[str, tuple[str, float, float]] = {
        row["distorted"]: (test, row["value"], row["contrast"])
        for test, table in tables.items()
        for row in table.to_dict("records")
    }
    references: dict[str, tuple[str, float]] = {
        row["reference"]: (test, row["value"])
        for test, t in tables.items()
        for row in t.to_dict("records")
    }

    def load(key: str) -> Tensor:
        if key in references:
            return _shown(*_field(*references[key]))
        if key not in known:
            raise DataError(f"{key}: there is no such image of the vision card")
        test, value, contrast = known[key]
        if test == "matching":
            return _shown(LUMINANCE[test], contrast * grating(value))
        luminance, before = _field(test, value)
        pattern = contrast * _pattern(test, value)
        return _shown(luminance, before + pattern, AXIS.get(test, 0))

    display = Display(PIXELS_PER_DEGREE, peak=PEAK)
    parts = tuple(
        Judgements(
            "vision-card",
            table,
            slice=test,
            resample=("value",),
            statistics=("matching_rmse",) if test == "matching" else ("srcc",),
            display=f"{display}, {LUMINANCE.get(test, '0.1 to 200')} cd/m2",
            pixels_per_degree=PIXELS_PER_DEGREE,
        )
        for test, table in tables.items()
    )
    return Dataset("vision-card", parts, load)
