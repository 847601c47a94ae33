"""What to choose: the metrics that may be the best, and the cheapest that is not much worse.

A sentence and a small table that somebody who wants a loss can act on.
"""

from dataclasses import dataclass

from perceptbench.agreement.standing import MARGIN, left_out, not_worse
from perceptbench.reporting.cells import Row, rows
from perceptbench.reporting.result import Run

#: Metrics named in a sentence.
NAMED = 6


@dataclass(frozen=True)
class Choice:
    """What a report ends with.

    Attributes
    ----------
    sentences : plain text.
    table : a header and rows of text; only the header where there is nothing to choose from.
    """

    sentences: list[str]
    table: list[list[str]]


def choice(run: Run) -> Choice:
    """The metrics that may be best, the cheapest not worse, and who else might be first."""
    board = [row for row in rows(run) if not row.people and row.rank is not None]
    keys = [column.key for column in run.columns]
    margin = float(run.provenance.get("margin", MARGIN))
    groups = run.provenance.get("groups", {})
    best = [row for row in board if _may_be_best(row)]
    found = []
    if not board:
        return Choice(["No metric is ranked, so there is nothing to choose."], [[]])
    if best:
        only = len(best) == 1
        found.append(
            f"The best may be {_names(best)}: "
            + ("no other metric" if only else "none of these")
            + (" can be it." if only else " can be told from the best on these datasets (5 % over "
               "all pairs).")
        )  # fmt: skip
    else:
        found.append("Which metric is the best cannot be said: there are too few units.")
    good = set(not_worse(run.agreement, run.comparisons, keys, margin, groups))
    if len(best) == 1:  # worse than no other by any margin
        good.add(best[0].metric)
    fine = [row for row in board if row.metric in good]
    priced = _priced(run, fine)
    shown = f"{margin:g} of a figure" + (" (a point of 2AFC)" if margin == 0.01 else "")
    if not fine:
        found.append(
            f"No metric is shown to be within {shown} of the best: the data cannot say so."
        )
    elif priced:
        cheapest = min(priced, key=lambda entry: entry[0])[1]
        found.append(
            f"The cheapest that is shown to be no worse than the best by more than {shown} is "
            f"{cheapest.name}."
        )
    else:
        found.append(f"Shown to be no worse than the best by more than {shown}: {_names(fine)}.")
    without = left_out(run.agreement, keys, groups)
    vote = "group of datasets" if groups else "dataset"
    first = board[0].metric
    other = {name: who for name, who in without.items() if who != first}
    if other:
        told = ", ".join(f"{who} without {name}" for name, who in other.items())
        found.append(f"{first} stands first; leaving out one {vote}: {told}.")
    elif without:
        found.append(f"{first} stands first whichever {vote} is left out.")
    picked = list({row.metric: row for row in [*best, *fine]}.values())
    header = ["metric", "may be best", f"within {margin:g}", *_COSTS]
    table = [
        [row.name, "yes" if row in best else "no", "yes" if row in fine else "not shown",
         *_costs(run, row)]
        for row in sorted(picked, key=lambda row: row.rank or 0)
    ]  # fmt: skip
    return Choice(found, [header, *table])


def _may_be_best(row: Row) -> bool:
    if row.places:
        return row.best
    return bool(row.cells) and row.cells[0].best and row.attained is None


def _names(some: list[Row]) -> str:
    shown = ", ".join(row.name for row in some[:NAMED])
    return shown + (f" or {len(some) - NAMED} more" if len(some) > NAMED else "")


#: What a training step takes, as `perceptbench.scoring.cost` measures it.
_COSTS = ("forward", "training step", "memory of a step")


def _priced(run: Run, some: list[Row]) -> list[tuple[float, Row]]:
    """The metrics of known cost with it, of one kind: training steps where all have one."""
    costs = [(_cost(run, row), row) for row in some]
    steps = [(cost["seconds_per_step"], row) for cost, row in costs if "seconds_per_step" in cost]
    pairs = [(cost["seconds_per_pair"], row) for cost, row in costs if "seconds_per_pair" in cost]
    return steps if len(steps) >= len(pairs) else pairs


def _cost(run: Run, row: Row) -> dict[str, float]:
    """What was measured of a metric."""
    cost = (run.provenance.get("metrics", {}).get(row.metric) or {}).get("cost") or {}
    return {key: value for key, value in cost.items() if value is not None}


def _costs(run: Run, row: Row) -> list[str]:
    cost = _cost(run, row)
    times = [cost.get(key) for key in ("seconds_per_pair", "seconds_per_step")]
    memory = cost.get("step_bytes")
    return [
        *("-" if t is None else f"{1e3 * t:.3g} ms" for t in times),
        "-" if memory is None else f"{memory / 2**20:.3g} MiB",
    ]
