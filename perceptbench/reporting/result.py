"""Everything a run found, as tables."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from perceptbench.agreement.alignment import COLUMNS as ALIGNMENT
from perceptbench.agreement.alignment import worst
from perceptbench.agreement.answers import FAILED
from perceptbench.agreement.evaluate import COMPARISON
from perceptbench.agreement.orders import same_order
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.reporting.leaderboard import Column, leaderboard

#: Scale of a metric -> power that makes it proportional to the perceived difference.
STRESS_POWER = {"linear": 1.0, "squared": 0.5, "ordinal": None}
FAILURE = ("dataset", "reference", "distorted", "reason")
PICTURE = ("dataset", "image", "picture")
CURVE = ("dataset", "slice", "protocol", "metric", "x", "y")


@dataclass
class Run:
    """Everything a run found; tables with columns named above.

    Attributes
    ----------
    provenance : what else goes into ``run.json``: versions, datasets (fingerprint, folder),
        metrics (title, hash, trained_on, cost), device, groups (dataset or ``dataset/slice`` ->
        what it is counted under in the standing, where that is not itself), margin (of a figure,
        what is too little to matter).
    pictures, curves : small images of what is disputed and points of the curve fitted to each
        metric, for reports; may be empty, as `alignment` may.
    failed : the judged pairs that a metric has no distance for, in full; written as
        ``failed.csv``, not read again.
    """

    scores: pd.DataFrame  # dataset, reference, distorted and one column a metric
    agreement: pd.DataFrame
    board: pd.DataFrame
    judgements: list[Judgements]  # what the scores were held against
    skipped: dict[str, str]  # metric -> why it could not be had
    failures: pd.DataFrame  # pairs that could not be scored
    comparisons: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COMPARISON))
    broken: dict[str, str] = field(default_factory=dict)  # METRIC on DATASET -> its error there
    assumed: list[str] = field(default_factory=list)  # in sentences
    provenance: dict[str, Any] = field(default_factory=dict)
    pictures: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(PICTURE)))
    curves: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CURVE)))
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(FAILED)))
    alignment: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(ALIGNMENT)))

    @property
    def complete(self) -> bool:
        """Whether every pair was scored and no metric raised an error."""
        return self.failures.empty and not self.broken

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics scored."""
        return [c for c in self.scores.columns if c not in ("dataset", "reference", "distorted")]

    @property
    def columns(self) -> list[Column]:
        """The figures the leaderboard ranks by."""
        return [Column(p.dataset, p.slice, s) for p in self.judgements for s in p.statistics]


def board(run: Run) -> pd.DataFrame:
    """The leaderboard of a run's tables."""
    table = leaderboard(
        run.agreement, run.comparisons, run.columns, same_order(run.scores, run.metrics),
        run.provenance.get("groups", {}),
    )  # fmt: skip
    if known := run.provenance.get("sources"):
        rows = zip(table["metric"], table["also"], strict=True)
        names = [[metric, *str(also).split()] for metric, also in rows]
        told = [dict.fromkeys(known[name] for name in some if name in known) for some in names]
        table.insert(3, "source", [", ".join(each) for each in told])
    for column in run.columns if len(run.alignment) else ():
        left = worst(column.rows(run.alignment)).set_index("metric")
        table[f"{column.title} worst"] = table["metric"].map(left["changed"])
        table[f"{column.title} worst change"] = table["metric"].map(left["change"])
    return table
