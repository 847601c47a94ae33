"""What is left of each metric's agreement when the images are changed a little, as a table."""

import pandas as pd

from perceptbench.agreement.alignment import worst
from perceptbench.agreement.inference import SIGNIFICANT
from perceptbench.reporting.leaderboard import Column, estimate, format_table
from perceptbench.reporting.run_folder import Run

READING = (
    "Agreement as it is, and after each change of the images; the last column is the fall under "
    "the worst of them, with its 95 % interval, paired (*: p below 5 % after "
    "Holm's correction over all metrics and changes of the figure)."
)


def tables(run: Run) -> dict[str, str]:
    """Figure -> a Markdown table of all metrics, what keeps most in its worst case first."""
    found = {}
    key = ["dataset", "slice", "statistic"]
    for figure, rows in run.alignment.groupby(key, sort=False):
        found[Column(*map(str, figure)).title] = _table(rows)
    return found


def _table(rows: pd.DataFrame) -> str:
    changes = list(dict.fromkeys(rows["change"]))
    falls = worst(rows).set_index("metric")
    body = []
    for metric, fall in falls.iloc[::-1].iterrows():
        here = rows[rows["metric"] == metric].set_index("change")
        values = [f"{v:.3f}" if v == v else "-" for v in here["changed"].reindex(changes)]
        mark = " *" if fall["p_holm"] < SIGNIFICANT else ""
        apart = estimate(fall["fall"], fall["low"], fall["high"], places=3, sign="+")
        body.append(
            [str(metric), f"{fall['aligned']:.3f}", *values, f"{apart}{mark} {fall['change']}"]
        )
    return format_table(["metric", "as it is", *changes, "worst: fall"], body)
