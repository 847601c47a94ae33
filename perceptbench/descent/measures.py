"""What is measured on the way of a descent: how much of the degradation is removed, what invented.

Conventions
-----------
r is the reference, s the start, e the image that is looked at. d_m is the distance of metric m,
raised to the power that makes it proportional to the difference (`STRESS_POWER`: a half for
squared ones), never below 0.
"""

import numpy as np
from scipy.fft import dctn
from scipy.special import stdtrit

#: Side of the blocks that energy is looked for in, pixels.
BLOCK = 8
#: A metric that says of a start less than this share of what it says of that image's worst start
#: does not see it, and is not asked about it.
BLIND = 0.01


def removed(distances: np.ndarray) -> np.ndarray:
    """The share of the degradation that each metric finds removed.

    (d_m(r, s) - d_m(r, e)) / max(d_m(r, s), d_m(r, e)): 1 for e = r, 0 for e = s, towards -1 the
    further e is beyond s. NaN where m does not see the start: d_m(r, s) is 0, or below BLIND of
    its largest over the starts of the image.

    Parameters
    ----------
    distances : d_m(r, e), (steps, metrics, images, starts), the first step being the start.

    >>> removed(np.array([4.0, 1.0, 0.0, 8.0]).reshape(4, 1, 1, 1)).ravel()
    array([ 0.  ,  0.75,  1.  , -0.5 ])
    """
    start = distances[:1]
    seen = (start > 0) & (start >= BLIND * start.max(-1, keepdims=True))
    larger = np.where(seen, np.maximum(start, distances), 1.0)
    return np.where(seen, (start - distances) / larger, np.nan)


def invented(reference: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Energy of `end` that neither reference nor start has, per energy of the degradation, (N,).

    NaN where reference and start are the same.

    With R, S and E the coefficients of r, s and e in the orthonormal DCT of blocks of BLOCK x
    BLOCK pixels, channel by channel: sum of dist(E, [min(R, S), max(R, S)])^2, where dist is how
    far E lies outside the interval, over sum of (R - S)^2. So it is 0 for e = r, for e = s, and
    for all between; a pattern that is in neither counts with its energy, wherever noise of the
    start would hide it in pixels, and so does a colour that is beyond both.

    Parameters
    ----------
    reference, start, end : (N, 3, H, W). Rows and columns that fill no block are not looked at.
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
    counts = (~np.isnan(values)).sum(1)
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=1) / counts


def mean_t(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval of Student's t over images, each with the mean over its starts.

    Parameters
    ----------
    values : (images, starts); NaN is left out. Of one image there is no interval.

    >>> mean_t(np.array([[0.0], [1.0]]))
    (0.5, -5.853..., 6.853...)
    """
    means = panel_mean(values)
    means = means[~np.isnan(means)]
    if not len(means):
        return (np.nan,) * 3
    value = float(means.mean())
    if len(means) < 2:
        return value, np.nan, np.nan
    half = stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / np.sqrt(len(means))
    return value, float(value - half), float(value + half)
