"""Judged items beside what every metric says of them, and those that are disputed most.

Conventions
-----------
``signal`` (n, metrics) is what a metric says of an item, NaN where undefined: its distance for a
rating (larger: worse); distance to a minus distance to b for a 2afc item (positive: b is closer).
``people`` (n,) is the judgement as given: ``quality`` or ``impairment``, or ``p_b``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptbench.agreement.items import collect
from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements
from perceptbench.reporting.result import Run

Array = NDArray[np.float64]
#: No image stands in more than this many of the items shown, for the sake of variety.
SAME_IMAGE = 2
#: Columns that say in words what was done to an image.
ABOUT = ("distortion", "category", "level")


@dataclass(frozen=True)
class Items:
    """The items of one judgement table."""

    part: Judgements
    metrics: list[str]  # in leaderboard order
    images: pd.DataFrame  # an item a row, an image a column: reference, distorted; a, reference, b
    people: Array
    signal: Array
    about: pd.DataFrame  # an item a row: its distortion, category and level, where known

    @cached_property
    def ranks(self) -> Array:
        """Mid-rank of every item's signal among a metric's, from 0 to 1; NaN stays NaN."""
        signal = pd.DataFrame(self.signal)
        return ((signal.rank() - 1) / (signal.count() - 1)).to_numpy()

    @property
    def title(self) -> str:
        """``modelfest 120ppd 2afc``."""
        names = (self.part.dataset, self.part.slice, self.part.protocol)
        return " ".join(name for name in names if name != "all")


def judged(run: Run, metrics: list[str]) -> list[Items]:
    """The items of every judgement table of a run that at least one metric has scored."""
    return [_judged(part, run.scores, metrics) for part in run.judgements]


def _judged(part: Judgements, scores: pd.DataFrame, metrics: list[str]) -> Items:
    here = scores.loc[scores["dataset"] == part.dataset].drop(columns="dataset")
    found = collect(part, here, metrics, {})
    found = found.part(np.flatnonzero(found.answered.any(axis=1)))
    afc = part.protocol == "2afc"
    with np.errstate(over="ignore"):  # infinite is still a side
        signal = found.distances[0] - found.distances[1] if afc else found.distances[0]
    order = ["a", "reference", "b"] if afc else list(PROTOCOLS[part.protocol][1])
    images = found.table[order].reset_index(drop=True)
    about = found.table[[c for c in ABOUT if c in found.table]].reset_index(drop=True)
    people = found.table[answer(part)].to_numpy(float)
    return Items(part, metrics, images, people, signal, about)


def answer(part: Judgements) -> str:
    """Name of the column that holds what people said."""
    known = ("p_b", "p_same", "quality", "impairment")
    return next(column for column in known if column in part.table)


def disputed(items: Items, count: int) -> list[int]:
    """The items on which the metrics contradict each other most, where people are clear.

    2afc: 4 q (1-q) |2 p_b - 1|, q the share of metrics that find b closer. Else: the standard
    deviation over metrics of the item's rank, from 0 (least distance of all items) to 1. Equal
    ones stand in the table's order.
    """
    if not len(items.images):
        return []
    if items.part.protocol == "2afc":
        votes = np.where(np.isnan(items.signal), np.nan, (np.sign(items.signal) + 1) / 2)
        share = np.nanmean(votes, axis=1)
        dispute = 4 * share * (1 - share) * np.abs(2 * items.people - 1)
    else:
        dispute = pd.DataFrame(items.ranks).std(axis=1, ddof=0).to_numpy()
    order = np.argsort(-dispute, kind="stable")
    return _varied(items.images, [int(i) for i in order if dispute[i] > 0], count)


def _varied(images: pd.DataFrame, order: Iterable[int], count: int) -> list[int]:
    """The first `count` items of `order`, skipping those whose images were shown often enough.

    An image that stands in most items (the one reference of all) does not count.
    """
    keys = [tuple(dict.fromkeys(row)) for row in images.itertuples(index=False)]
    occurrences = pd.Series([key for row in keys for key in row]).value_counts()
    common = set(occurrences.index[occurrences > len(images) / 2])
    shown: dict[str, int] = {}
    chosen: list[int] = []
    for item in order:
        if len(chosen) == count:
            break
        counted = [key for key in keys[item] if key not in common]
        if all(shown.get(key, 0) < SAME_IMAGE for key in counted):
            chosen.append(item)
            shown.update({key: shown.get(key, 0) + 1 for key in counted})
    return chosen
