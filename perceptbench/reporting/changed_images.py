"""What is left of each metric's agreement when the images are changed a little, as tables."""

import pandas as pd

from perceptbench.agreement.alignment import FIGURE, worst
from perceptbench.agreement.inference import SIGNIFICANT
from perceptbench.reporting import notes
from perceptbench.reporting.leaderboard import Column, estimate
from perceptbench.reporting.result import Run

TITLE = "When the images are changed a little"


def reading(run: Run) -> str:
    """How to read the tables, and what the changes are."""
    known = run.provenance.get("changes", {})
    told = "; ".join(
        f"{c}: {known[c]}" for c in dict.fromkeys(run.alignment["change"]) if c in known
    )
    return (
        "Agreement as it is, and after each change of the images that people's judgements do not "
        "know of; then the fall under the worst of them with its 95 % interval, paired (*: p below "
        "5 % after Holm's correction over all metrics and changes of the figure)."
        + (f" Changes: {told}." if told else "")
    )


def tables(run: Run) -> dict[str, list[list[str]]]:
    """Figure -> a header and a row a metric, what keeps most in its worst case first."""
    sources = notes.shown_sources(run)
    by = run.alignment.groupby(list(FIGURE), sort=False)
    return {Column(*map(str, figure)).title: _table(rows, sources) for figure, rows in by}


def _table(rows: pd.DataFrame, sources: dict[str, str]) -> list[list[str]]:
    changes = list(dict.fromkeys(rows["change"]))
    falls = worst(rows).set_index("metric")
    body = [["metric", "as it is", *changes, "worst: fall", *(["source"] if sources else [])]]
    for metric, fall in falls.iloc[::-1].iterrows():
        here = rows[rows["metric"] == metric].set_index("change")
        values = [f"{v:.3f}" if v == v else "-" for v in here["changed"].reindex(changes)]
        mark = " *" if fall["p_holm"] < SIGNIFICANT else ""
        apart = estimate(fall["fall"], fall["low"], fall["high"], places=3, sign="+")
        source = [sources.get(str(metric), "")] if sources else []
        body.append([str(metric), f"{fall['aligned']:.3f}", *values,
                     f"{apart}{mark} {fall['change']}", *source])  # fmt: skip
    return body


def worst_cases(run: Run) -> dict[str, dict[str, tuple[float, str]]]:
    """Figure -> metric -> the least that is left of its agreement, and under which change."""
    found = {}
    for title in (column.title for column in run.columns):
        if f"{title} worst" in run.board:
            rows = run.board[["metric", f"{title} worst", f"{title} worst change"]].dropna()
            found[title] = {m: (value, change) for m, value, change in rows.itertuples(index=False)}
    return found
