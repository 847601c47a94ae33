"""What contrast each metric needs to notice a pattern, by its frequency, beside what people need.

From rating tables whose ``variable`` is FREQUENCY (`perceptbench.datasets.stimuli.vision_card`):
``value`` is the frequency, ``contrast`` the pattern's, ``impairment`` that in units of people's
threshold. A metric's *threshold* is the contrast at which its distance from the blank field has
one size, chosen so that its thresholds are people's in the mean over frequencies. Between and
beyond the contrasts shown, the logarithm of the distance is taken to grow evenly with that of the
contrast, at one rate for all frequencies of a test.
"""

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perceptbench.datasets.judgements.protocols import FREQUENCY
from perceptbench.reporting import cells
from perceptbench.reporting.result import Run

#: A colour for each test, in the order of their tables.
COLOURS = ("#1b2128", "#7d8894", "#b3261e", "#6a3fa0")
COLUMNS = ("dataset", "slice", "metric", "frequency", "people", "threshold")
WIDE = 5


def thresholds(run: Run) -> pd.DataFrame:
    """COLUMNS: threshold contrasts of people and of each metric, leaderboard order.

    A metric that lacks a distance above zero, or whose distances do not grow with contrast, has no
    rows for that test.
    """
    found = []
    names = [row.metric for row in cells.rows(run) if not row.people]
    for part in run.judgements:
        table = part.table
        if "variable" not in table or table["variable"].iloc[0] != FREQUENCY:
            continue
        here = run.scores[run.scores["dataset"] == part.dataset]
        both = table.merge(here, on=["reference", "distorted"])
        people = (both["contrast"] / both["impairment"]).groupby(both["value"]).mean()
        for metric in names:
            own = _inverted(both["value"], both["contrast"], both[metric], people)
            rows = zip(people.index, people, own, strict=True) if own is not None else ()
            found += [(part.dataset, part.slice, metric, *row) for row in rows]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _inverted(
    value: pd.Series, contrast: pd.Series, distance: pd.Series, people: pd.Series
) -> pd.Series | None:
    """Threshold contrast by value; None where there is none."""
    if not (np.isfinite(distance) & (distance > 0)).all():
        return None
    x, y = np.log(contrast), np.log(distance)
    means = pd.DataFrame({"x": x, "y": y}).groupby(value).mean()
    from_x, from_y = x - value.map(means["x"]), y - value.map(means["y"])
    rate = float((from_x * from_y).sum() / (from_x**2).sum())
    if not rate > 0:
        return None
    # log threshold = mean x + (level - mean y) / rate, the level such that the mean is people's.
    shift = means["x"] - means["y"] / rate
    return np.exp(shift + (np.log(people) - shift).mean())


def figure(run: Run) -> Figure | None:
    """One panel a metric, one line a test, people's dashed; None where no test is of frequency."""
    table = thresholds(run)
    if table.empty:
        return None
    metrics = list(dict.fromkeys(table["metric"]))
    wide = min(WIDE, len(metrics))
    tall = -(-len(metrics) // wide)
    drawing = Figure(figsize=(0.6 + 1.75 * wide, 0.7 + 1.55 * tall), layout="constrained")
    FigureCanvasAgg(drawing)
    panels = drawing.subplots(tall, wide, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    tests = list(dict.fromkeys(table["slice"]))
    for panel, metric in zip(panels, metrics, strict=False):
        for i, test in enumerate(tests):
            rows = table[(table["metric"] == metric) & (table["slice"] == test)]
            colour = COLOURS[i % len(COLOURS)]
            panel.loglog(rows["frequency"], rows["people"], "--", color=colour, linewidth=0.8)
            panel.loglog(rows["frequency"], rows["threshold"], color=colour, linewidth=1.2,
                         label=test)  # fmt: skip
        panel.set_title(metric.replace("$", r"\$")[:32], loc="left", fontsize=7, fontweight="bold")
        panel.tick_params(labelsize=6)
        panel.set_ylim(bottom=max(1e-5, table["people"].min() / 30),
                       top=min(1e2, table["people"].max() * 30))  # fmt: skip
    lines, labels = panels[0].get_legend_handles_labels()
    title = "threshold contrast: metrics solid, people dashed"
    drawing.legend(
        lines, labels, title=title, fontsize=7, title_fontsize=7, loc="outside upper center",
        ncols=len(tests),
    )  # fmt: skip
    drawing.supxlabel(FREQUENCY, fontsize=7)
    return drawing
