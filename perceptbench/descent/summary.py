"""What came of descents: a figure a loss, a start and a judge, as tables."""

import numpy as np
import pandas as pd

from perceptbench.descent.engine import Descent, Descents
from perceptbench.descent.measures import mean_t, panel_mean, removed
from perceptbench.reporting.objective import FIGURES

#: A distance that rises by this share of the start's is no rounding: the way is not monotone.
RISE = 0.01
#: A descent is nearly over where this share of the loss's own way is left.
NEARLY = 0.05


def judged(work: Descents, loss: str) -> np.ndarray:
    """`removed` as each metric of the panel sees it, (steps, metrics, images, starts).

    NaN also for the loss itself, which is not asked.
    """
    found = work.found[loss].distances
    values = removed(found.reshape(*found.shape[:2], len(work.names), len(work.starts)))
    values[:, [name == loss for name in work.panel]] = np.nan
    return values


def per_start(work: Descents, loss: str) -> dict[str, np.ndarray]:
    """The two figures on the way, (steps, images, starts): `removed` as the mean of the panel."""
    means = panel_mean(judged(work, loss))
    return {"removed": means, "invented": work.found[loss].invented.reshape(means.shape)}


def monotone(work: Descents, loss: str) -> float:
    """Share of the ways (metric, image, start) on which no distance rises from look to look.

    A rise counts from RISE of the start's distance on.
    """
    seen = ~np.isnan(judged(work, loss)[0])
    found = work.found[loss].distances
    steps = np.diff(found, axis=0) <= RISE * found[:1]
    falls = steps.all(0).reshape(seen.shape)
    return float(falls[seen].mean()) if seen.any() else np.nan


def nearly_over(descent: Descent) -> float:
    """Steps until the loss itself has NEARLY of its whole fall left, mean over the starts.

    Where a loss never falls it is over at once.
    """
    own = descent.own
    left = own - own[-1:]
    return float((left <= NEARLY * np.maximum(left[:1], 0)).argmax(0).mean())


def summary(work: Descents) -> pd.DataFrame:
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


def by_start(work: Descents) -> pd.DataFrame:
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
                rows.append((loss, start, int(step), own[step, :, number].mean(), *values))
    return pd.DataFrame(rows, columns=["metric", "start", "step", "own", *FIGURES])


def by_judge(work: Descents) -> pd.DataFrame:
    """`panel.csv`: ``metric``, and what each of the panel finds removed at the end, its mean."""
    rows = {}
    for loss in work.found:
        ends = judged(work, loss)[-1]
        rows[loss] = panel_mean(ends.reshape(len(ends), -1))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(work.panel))
    return table.rename_axis("metric").reset_index()
