"""Edges in noise: how often 6 observers find a faint edge in one of seven noises.

Schmittwilken, Wichmann, Maertens 2024, Vision Research 222:108450,
doi:10.1016/j.visres.2024.108450: a horizontal Cornsweet edge half a degree above or below the
centre of a 4 x 4 degree field; 25,200 trials, "above or below?", pooled to 105 points (7 noises,
3 edge widths, 5 contrasts). The faintest of the five contrasts (1e-5) shows nothing on any
display; its points are guesses, and only the 84 visible ones are judged here.

Both tables are derived: observers located edges, nobody rated a difference. The noise samples
are new ones of the same statistics, four a noise, each with its own place and polarity of the
edge; distances are averaged over the four.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.stimuli import measured
from perceptbench.datasets.stimuli.display import Display
from perceptbench.errors import DataError

Array = NDArray[np.float64]

#: Pixels a side, pixels per degree, as shown; RMS contrast of the noise.
SIZE, PIXELS_PER_DEGREE, NOISE_RMS = 176, 44, 0.2
#: Edge's distance from the centre in degrees.
OFFSET = 0.5
#: (place: above or below, polarity) of the edge in noise sample 0, 1, 2, 3.
SAMPLES = ((1, 1), (-1, 1), (1, -1), (-1, -1))
#: Contrasts below this are not visible.
VISIBLE = 1e-4


def _noise_filter(name: str, f: Array) -> Array:
    """Amplitude at spatial frequency f (c/deg) of a noise of the given name."""
    if name == "white":
        return np.ones_like(f)
    if name.startswith("pink"):
        return 1 / np.maximum(f, f[f > 0].min()) ** int(name.removeprefix("pink"))
    # Narrow band: one octave around the centre, flat within.
    centre = float(name.removeprefix("narrow"))
    return ((f >= centre / np.sqrt(2)) & (f < centre * np.sqrt(2))).astype(float)


def noise_pattern(name: str, sample: int) -> Array:
    """Contrast (176, 176) of a noise sample 0..3, mean 0, RMS 0.2; zero for ``none``.

    ``white``, ``pink1`` and ``pink2`` (amplitude falling as 1/f and 1/f^2), ``narrow0.5``,
    ``narrow3``, ``narrow9`` (one octave around so many c/deg).
    """
    if name == "none":
        return np.zeros((SIZE, SIZE))
    rng = np.random.default_rng([sample, *name.encode()])
    white = rng.standard_normal((SIZE, SIZE))
    fy = np.fft.fftfreq(SIZE, 1 / PIXELS_PER_DEGREE)
    fx = np.fft.rfftfreq(SIZE, 1 / PIXELS_PER_DEGREE)
    f = np.hypot(fy[:, None], fx[None, :])
    spectrum = np.fft.rfft2(white) * _noise_filter(name, f)
    spectrum[0, 0] = 0
    pattern = np.fft.irfft2(spectrum, (SIZE, SIZE))
    return NOISE_RMS * pattern / pattern.std()


def edge_pattern(width: float, rms: float, sample: int) -> Array:
    """Contrast (176, 176) of a Cornsweet edge: a step with a linear ramp down on each side.

    Parameters
    ----------
    width : length of each ramp in degrees.
    rms : RMS contrast over the whole image.
    sample : 0..3, which place and polarity.
    """
    place, polarity = SAMPLES[sample]
    y = (np.arange(SIZE) + 0.5 - SIZE / 2) / PIXELS_PER_DEGREE + place * OFFSET
    profile = polarity * np.sign(y) * np.maximum(0, 1 - np.abs(y) / width)
    profile *= rms / np.sqrt(np.mean(profile**2))
    return np.repeat(profile[:, None], SIZE, axis=1)


def _points() -> pd.DataFrame:
    """The 84 visible points: noise, width, contrast, trials, and correct answers an observer."""
    points = measured("edge_in_noise.csv", keep_default_na=False)
    return points[points["contrast"] > VISIBLE].reset_index(drop=True)


OBSERVERS = ["fd", "ga", "jv", "ls", "mm", "sg"]
#: Trials of each observer at each point.
TRIALS = 40


def _key(point: pd.Series, sample: int) -> str:
    return f"{point['noise']}/{sample}/edge{point['width']:g}@{point['contrast']:g}"


def _replicate(items: list[dict]) -> pd.DataFrame:
    """Every item once for each noise sample; the samples of an item share column ``item``."""
    rows = []
    for number, item in enumerate(items):
        for sample in range(len(SAMPLES)):
            points = {k: _key(v, sample) for k, v in item.items() if isinstance(v, pd.Series)}
            values = {k: v for k, v in item.items() if not isinstance(v, pd.Series)}
            reference = f"{item['category']}/{sample}/noise"
            rows.append({"reference": reference, **points, **values, "item": number})
    return pd.DataFrame(rows)


def _triplets(points: pd.DataFrame) -> pd.DataFrame:
    items = []
    for noise, group in points.groupby("noise", sort=False):
        rows, seen = [row for _, row in group.iterrows()], group[OBSERVERS].to_numpy(float)
        i, j = np.triu_indices(len(rows), 1)
        missed = seen[i] - seen[j]
        p_b = ((missed > 0) + 0.5 * (missed == 0)).mean(1)
        for one, other, share in zip(i, j, p_b, strict=True):
            items.append({"a": rows[one], "b": rows[other], "p_b": share, "votes": 6,
                          "category": noise})  # fmt: skip
    return _replicate(items)


def _ratings(points: pd.DataFrame) -> pd.DataFrame:
    items = []
    for _, point in points.iterrows():
        share = point[OBSERVERS].sum() / (TRIALS * len(OBSERVERS))
        items.append({"distorted": point, "impairment": share, "category": point["noise"]})
    return _replicate(items)


def edge_in_noise() -> Dataset:
    """Edges in noise, each against its own noise without the edge.

    Two tables. ``2afc``: the 462 pairs of points within one noise; ``p_b`` is the share of
    observers who found the edge of ``b`` the less often. ``rating``: ``impairment`` is the share of
    correct answers. Four replicates each.
    """
    display = Display(PIXELS_PER_DEGREE)
    points = _points()
    known = {
        _key(point, sample): point
        for _, point in points.iterrows()
        for sample in range(len(SAMPLES))
    }

    def load(key: str) -> torch.Tensor:
        noise, sample, what = (*key.split("/"), "", "")[:3]
        if what == "noise" and noise in set(points["noise"]) and sample in {"0", "1", "2", "3"}:
            return display.show(noise_pattern(noise, int(sample)))
        if key not in known:
            raise DataError(f"{key}: there is no such edge-in-noise image")
        edge = edge_pattern(known[key]["width"], known[key]["contrast"], int(sample))
        return display.show(noise_pattern(noise, int(sample)) + edge)

    common: dict[str, Any] = {
        "dataset": "edge-in-noise",
        "display": f"{display}, mean of {len(SAMPLES)} noise samples",
        "pixels_per_degree": PIXELS_PER_DEGREE,
    }
    ratings = _ratings(points)
    observers = (points[OBSERVERS] / TRIALS).loc[ratings["item"]].reset_index(drop=True)
    tables = (
        Judgements(table=_triplets(points), statistics=("2afc",), **common),
        Judgements(
            table=ratings,
            statistics=("srcc",),
            observers=observers,
            **common,
        ),
    )
    return Dataset("edge-in-noise", tables, load)
