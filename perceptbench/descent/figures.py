"""What is measured on the way of a descent: how much of the degradation is removed, what invented.

Conventions
-----------
r is the reference, s the start, e the image that is looked at. d_m is the distance of metric m,
raised to the power that makes it proportional to the difference (`STRESS_POWER`: a half for
squared ones), never below 0.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.fft import dctn
from scipy.special import stdtrit

from perceptbench.reporting.objective import FIGURES

if TYPE_CHECKING:
    from perceptbench.descent.engine import Descent, Descents

#: Side of the blocks that energy is looked for in, pixels.
BLOCK = 8
#: A metric that says of a start less than this share of what it says of that image's worst start
#: does not see it, and is not asked about it.
BLIND = 0.01
#: A distance that rises by this share of the start's is no rounding: the way is not monotone.
RISE = 0.01
#: A descent is nearly over where this share of the loss's own way is left.
NEARLY = 0.05


def removed(distances: np.ndarray) -> np.ndarray:
    """The share of the degradation that each metric finds removed.

    (d_m(r, s) - d_m(r, e)) / max(d_m(r, s), d_m(r, e)): 1 for e = r, 0 for e = s, towards -1 the
    further e is beyond s. NaN where m does not see the start: d_m(r, s) is 0, or below BLIND of
    its largest over the starts of the image.

    Parameters
    ----------
    distances : d_m(r, e), (steps, metrics, images, starts), the first step being the start.

    Returns
    -------
    of the same shape.

    >>> removed(np.array([4.0, 1.0, 0.0, 8.0]).reshape(4, 1, 1, 1)).ravel()
    array([ 0.  ,  0.75,  1.  , -0.5 ])
    """
    start = distances[:1]
    seen = (start > 0) & (start >= BLIND * start.max(-1, keepdims=True))
    larger = np.where(seen, np.maximum(start, distances), 1.0)
    return np.where(seen, (start - distances) / larger, np.nan)


def invented(reference: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Energy of `end` that neither reference nor start has, per energy of the degradation, (N,).

    With R, S and E the coefficients of r, s and e in the orthonormal DCT of blocks of BLOCK x
    BLOCK pixels, channel by channel: sum of dist(E, [min(R, S), max(R, S)])^2, where dist is how
    far E lies outside the interval, over sum of (R - S)^2. So it is 0 for e = r, for e = s, and
    for all between; a pattern that is in neither counts with its energy, wherever noise of the
    start would hide it in pixels, and so does a colour that is beyond both.

    Parameters
    ----------
    reference, start, end : (N, 3, H, W). Rows and columns that fill no block are not looked at.

    Returns
    -------
    (N,); NaN where reference and start are the same.
    """
    r, s, e = (coefficients(images) for images in (reference, start, end))
    outside = np.maximum(0, np.maximum(np.minimum(r, s) - e, e - np.maximum(r, s)))
    degradation = (r - s) ** 2
    energy = [part.reshape(len(part), -1).sum(1) for part in (outside**2, degradation)]
    return np.where(energy[1] > 0, energy[0] / np.where(energy[1] > 0, energy[1], 1), np.nan)


def coefficients(images: np.ndarray) -> np.ndarray:
    """(N, 3, H, W) -> (N, 3, H / BLOCK, BLOCK, W / BLOCK, BLOCK), the DCT of each block."""
    n, channels, height, width = images.shape
    rows, columns = height // BLOCK, width // BLOCK
    cut = images[..., : rows * BLOCK, : columns * BLOCK].astype(np.float64)
    blocks = cut.reshape(n, channels, rows, BLOCK, columns, BLOCK)
    return np.asarray(dctn(blocks, axes=(3, 5), norm="ortho"))


def panel_mean(values: np.ndarray) -> np.ndarray:
    """The mean over the metrics, axis 1, of those that are asked; NaN where none is."""
    known = ~np.isnan(values)
    counts = known.sum(1)
    means = np.where(known, values, 0).sum(1) / np.where(counts, counts, 1)
    return np.where(counts, means, np.nan)


def mean_t(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval of Student's t over images, each with the mean over its starts.

    Parameters
    ----------
    values : (images, starts); NaN is left out. Of one image there is no interval.

    >>> mean_t(np.array([[0.0], [1.0]]))
    (0.5, -5.853..., 6.853...)
    """
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(values)
        sums, counts = np.where(known, values, 0).sum(1), known.sum(1)
    means = sums[counts > 0] / counts[counts > 0]
    if not len(means):
        return (np.nan,) * 3
    value = float(means.mean())
    if len(means) < 2:
        return value, np.nan, np.nan
    half = stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / np.sqrt(len(means))
    return value, float(value - half), float(value + half)


def judged(work: "Descents", loss: str) -> np.ndarray:
    """`removed` as each metric of the panel sees it, (steps, metrics, images, starts).

    NaN also for the loss itself, which is not asked.
    """
    found = work.found[loss].distances
    values = removed(found.reshape(*found.shape[:2], len(work.names), len(work.starts)))
    values[:, [name == loss for name in work.panel]] = np.nan
    return values


def per_start(work: "Descents", loss: str) -> dict[str, np.ndarray]:
    """The two figures on the way, (steps, images, starts): `removed` as the mean of the panel."""
    means = panel_mean(judged(work, loss))
    return {"removed": means, "invented": work.found[loss].invented.reshape(means.shape)}


def monotone(work: "Descents", loss: str) -> float:
    """Share of the ways (metric, image, start) on which no distance rises from look to look.

    A rise counts from RISE of the start's distance on.
    """
    seen = ~np.isnan(judged(work, loss)[0])
    found = work.found[loss].distances
    steps = np.diff(found, axis=0) <= RISE * found[:1]
    falls = steps.all(0).reshape(seen.shape)
    return float(falls[seen].mean()) if seen.any() else np.nan


def nearly_over(descent: "Descent") -> float:
    """Steps until the loss itself has NEARLY of its whole fall left, mean over the starts.

    Where a loss never falls it is over at once.
    """
    own = descent.own
    left = own - own[-1:]
    return float((left <= NEARLY * np.maximum(left[:1], 0)).argmax(0).mean())


def summary(work: "Descents") -> pd.DataFrame:
    """`descend.csv`: one row a loss, most removed first.

    ``metric``; ``removed`` and ``invented`` at the end, means over images and starts with the
    interval of `mean_t` (`` low``, `` high``); ``monotone``; ``steps`` (`nearly_over`);
    ``ms`` of one step for one image; ``judges``, ``images``, ``starts``: their numbers.
    """
    rows = []
    for loss, descent in work.found.items():
        ends = {name: values[-1] for name, values in per_start(work, loss).items()}
        row: dict[str, object] = {"metric": loss}
        for name in FIGURES:
            row |= dict(zip((name, f"{name} low", f"{name} high"), mean_t(ends[name]), strict=True))
        row |= {
            "monotone": monotone(work, loss),
            "steps": nearly_over(descent),
            "ms": 1e3 * descent.seconds,
            "judges": sum(name != loss for name in work.panel),
            "images": len(work.names),
            "starts": len(work.starts),
        }
        rows.append(row)
    return pd.DataFrame(rows).sort_values("removed", ascending=False, ignore_index=True)


def by_start(work: "Descents") -> pd.DataFrame:
    """`paths.csv`: ``metric, start, step, own, removed, invented``, means over the images.

    ``own`` is the loss itself as a share of its value at the start.
    """
    rows = []
    for loss, descent in work.found.items():
        shape = (-1, len(work.names), len(work.starts))
        own = (descent.own / np.where(descent.own[:1] == 0, 1, descent.own[:1])).reshape(shape)
        figures = per_start(work, loss)
        for look, step in enumerate(descent.looks):
            for number, start in enumerate(work.starts):
                values = [figures[name][look, :, number].mean() for name in FIGURES]
                row = (loss, start, int(step), own[step, :, number].mean(), *values)
                rows.append(row)
    return pd.DataFrame(rows, columns=["metric", "start", "step", "own", *FIGURES])


def by_judge(work: "Descents") -> pd.DataFrame:
    """`panel.csv`: ``metric``, and what each of the panel finds removed at the end, its mean."""
    rows = {}
    for loss in work.found:
        ends = judged(work, loss)[-1]
        rows[loss] = panel_mean(ends.reshape(len(ends), -1))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(work.panel))
    return table.rename_axis("metric").reset_index()
