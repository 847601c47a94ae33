"""The report for programs: ``agreement.csv``, ``comparisons.csv``, ``leaderboard.csv``.

Where images were changed also ``alignment.csv``: the fall of each metric under each change.

A name that a spreadsheet would run as a formula has an apostrophe before it, see
`perceptbench.spreadsheet`.
"""

from perceptbench.reporting.result import Run
from perceptbench.spreadsheet import to_csv


def render(run: Run) -> dict[str, str]:
    """A figure a line, a pair of metrics a line, a metric a line; as a run folder stores them."""
    more = {} if run.alignment.empty else {"alignment.csv": to_csv(run.alignment)}
    return {
        **more,
        "agreement.csv": to_csv(run.agreement),
        "comparisons.csv": to_csv(run.comparisons),
        "leaderboard.csv": to_csv(run.board),
    }
