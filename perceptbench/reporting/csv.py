"""The report for programs: ``agreement.csv``, ``comparisons.csv``, ``leaderboard.csv``."""

from perceptbench.reporting.run_folder import Run


def render(run: Run) -> dict[str, str]:
    """A figure a line, a pair of metrics a line, a metric a line; as a run folder stores them."""
    return {
        "agreement.csv": run.agreement.to_csv(index=False),
        "comparisons.csv": run.comparisons.to_csv(index=False),
        "leaderboard.csv": run.board.to_csv(index=False),
    }
