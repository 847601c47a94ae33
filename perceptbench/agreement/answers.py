"""What the metrics answered of what people were asked, and whether they point the right way."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptbench.datasets.judgements.own import odd, rank_correlation
from perceptbench.datasets.judgements.protocols import Judgements, pairs, value_column
from perceptbench.errors import printable

KEY = ["reference", "distorted"]
#: The pairs whose distances a judgement needs, as columns of its table.
SIDES = {
    "2afc": (("reference", "a"), ("reference", "b")),
    "rating": (("reference", "distorted"),),
    "same_different": (("a", "b"),),
}
FAILED = ("dataset", "slice", "metric", "reference", "distorted", "reason")
#: Rank correlation with people below which a metric is asked about, if it is also this many
#: standard errors from 0.
DOUBTFUL, ERRORS = -0.3, 3.0
#: Pairs that are named in a sentence; `failed.csv` names all.
SHOWN = 3


def distances(
    part: Judgements, scores: pd.DataFrame, metrics: Sequence[str]
) -> NDArray[np.float64]:
    """Distances of the judged pairs, (sides, rows, metrics); NaN where there is none.

    `scores` are ``reference, distorted`` and one column of distances a metric; with a column
    ``dataset``, only the rows of the judgements' dataset count.
    """
    table = part.table
    sides = [table[list(side)] for side in SIDES[part.protocol]]
    return np.stack(_found(part, scores, metrics, sides))


def _found(
    part: Judgements, scores: pd.DataFrame, metrics: Sequence[str], wanted: Sequence[pd.DataFrame]
) -> list[NDArray[np.float64]]:
    """The distances of each table of pairs, (pairs, metrics); NaN where there is no finite one."""
    if "dataset" in scores:
        scores = scores[scores["dataset"] == part.dataset]
    values = scores[list(metrics)].to_numpy(float)
    values = np.where(np.isfinite(values), values, np.nan)
    found = [np.full((len(some), len(metrics)), np.nan) for some in wanted]
    for place, own in zip(places(scores[KEY], wanted), found, strict=True):
        own[place >= 0] = values[place[place >= 0]]
    return found


def places(known: pd.DataFrame, wanted: Sequence[pd.DataFrame]) -> list[NDArray[np.intp]]:
    """Of each pair of images in tables of two columns, the first row of `known` that has it or -1.

    By numbers for the names: an index of a million pairs of texts takes a gigabyte.
    """
    columns = [column for table in (known, *wanted) for _, column in table.items()]
    codes = pd.factorize(pd.concat(columns, ignore_index=True))[0].astype(np.int64)
    base = int(codes.max(initial=0)) + 1
    ends = np.cumsum([len(column) for column in columns])[:-1]
    one, other = (np.split(codes, ends)[k::2] for k in (0, 1))
    keys = [a * base + b for a, b in zip(one, other, strict=True)]
    there, first = np.unique(keys[0], return_index=True)
    found = [np.searchsorted(there, key) for key in keys[1:]]
    return [
        np.where(np.append(there, -1)[at] == key, np.append(first, -1)[at], -1)
        for at, key in zip(found, keys[1:], strict=True)
    ]


def unanswered(
    part: Judgements,
    scores: pd.DataFrame,
    metrics: Sequence[str],
    reasons: Mapping[tuple[str, str, str], str] | None = None,
    otherwise: str = "no score",
) -> pd.DataFrame:
    """The judged pairs without a finite distance: the rows of ``failed.csv``, columns FAILED.

    `reasons` are (metric, reference, distorted) -> why there is none; the metric or both images
    may be empty: they then stand for all. `otherwise` is the reason where none is known.
    """
    needed = pairs(part.table)
    (found,) = _found(part, scores, metrics, [needed])
    column, row = np.nonzero(np.isnan(found.T))
    why = reasons or {}
    lost = needed.iloc[row].assign(metric=[metrics[int(c)] for c in column])
    lost["reason"] = [
        why.get((m, r, d)) or why.get(("", r, d)) or why.get((m, "", "")) or otherwise
        for m, r, d in lost[["metric", *KEY]].itertuples(index=False)
    ]
    return lost.assign(dataset=part.dataset, slice=part.slice)[list(FAILED)].reset_index(drop=True)


def in_words(
    part: Judgements, found: NDArray[np.float64], metrics: Sequence[str], failed: pd.DataFrame
) -> list[str]:
    """A sentence for all metrics that left the same judgements unanswered: how many, the first.

    `found` are their `distances`, `failed` what is `unanswered`.
    """
    answered: NDArray[np.bool_] = np.all(np.isfinite(found), axis=0)
    alike: dict[bytes, list[int]] = {}
    for place in np.flatnonzero(~answered.all(axis=0)):
        alike.setdefault(answered[:, place].tobytes(), []).append(int(place))
    said = []
    for places in alike.values():
        lost = failed[failed["metric"] == metrics[places[0]]]
        first = "; ".join(
            f"({row.reference}, {row.distorted}): {row.reason}"
            for row in lost.head(SHOWN).itertuples()
        )
        more = f" and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
        names = [metrics[place] for place in places]
        who = ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
        said.append(
            printable(
                f"{who}: {answered[:, places[0]].sum():,} of {len(answered):,} judgements of "
                f"{part.dataset}; without a score: {first}{more}"
            )
        )
    return said


def directions(
    part: Judgements,
    scores: pd.DataFrame,
    metrics: Sequence[str],
    higher_is_better: Collection[str] = (),
) -> list[str]:
    """Questions about what seems to point the wrong way; nothing is turned round.

    A sentence for each metric whose rank correlation with people (for ``2afc``, of the difference
    of its distances with p_b) is below DOUBTFUL and ERRORS standard errors from 0, one for the
    judgements where all of several metrics are so, and those of `own.odd`. The scores of those in
    `higher_is_better` were said to be similarities and are negated.
    """
    found = distances(part, scores, metrics)
    value = part.table[value_column(part.table)].to_numpy(float)
    signal = found[0] - found[1] if part.protocol == "2afc" else found[0]
    bad = value if value_column(part.table) in ("impairment", "p_b") else -value
    wrong = {}
    for metric, x in zip(metrics, signal.T, strict=True):
        r, n = rank_correlation(x, bad), int(np.isfinite(x).sum())
        if r < DOUBTFUL and -r * np.sqrt(max(n - 1, 0)) > ERRORS:
            wrong[metric] = r
    asked = odd(part.table, part.dataset)
    questions = [
        f"{metric} agrees with {part.dataset} at {r:.2f}: "
        + (
            "is it a distance? leave out `--higher-is-better`"
            if metric in higher_is_better
            else f"is it a similarity? `--higher-is-better {metric}`"
        )
        for metric, r in wrong.items()
    ]
    if len(wrong) == len(metrics) > 1 and part.protocol == "rating":
        column = value_column(part.table)
        other = "impairment" if column == "quality" else "quality"
        questions.append(
            f"all {len(metrics)} metrics agree with {part.dataset} below 0: is its `{column}` one "
            f"of `{other}`?"
        )
    return [*questions, *(sentence for sentence in asked if "?" in sentence)]
