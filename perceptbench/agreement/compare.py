"""Two metrics face to face: where they differ, by how much, and on which items most.

Conventions
-----------
A difference is a minus b, on the items both answered; p is corrected (Holm) over the figures of a
dataset's whole tables, and apart from these over those of their parts. Percentiles in [0, 1] say
how large a distance is among the items; those of two sides (2afc) are of the margin, positive
where the metric finds b closer.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptbench.agreement.evaluate import too_few
from perceptbench.agreement.figures import Figure, figures, rated_pairs
from perceptbench.agreement.inference import (
    SIGNIFICANT,
    differences,
    holm,
    is_equivalent,
    units_needed,
)
from perceptbench.agreement.items import Items, collect
from perceptbench.agreement.ranking import PEOPLE, SMALLER_IS_BETTER
from perceptbench.agreement.significance import krasula
from perceptbench.agreement.standing import MARGIN
from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements

Array = NDArray[np.float64]

COLUMNS = (
    "dataset", "slice", "statistic", "a", "b", "difference", "low", "high", "p", "p_holm",
    "p_delong", "equivalent", "needed", "n", "units", "note",
)  # fmt: skip
#: Krasula's areas are compared too where the spread of the ratings is known.
AREAS = ("auc_ds", "auc_bw", "cc_0")


@dataclass
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    table : one row a dataset, slice and statistic: the figures of both on the items both
        answered, their difference; `is_equivalent` and `units_needed` of `inference`.
    disputed : the items on which they disagree most: ``dataset, slice``, the images, ``judged``,
        percentiles of ``people`` and of the two metrics (under their names), and ``nearer``, the
        metric that is nearer to people. The images of a triplet or pair are called ``a image``
        and ``b image``.
    """

    table: pd.DataFrame
    disputed: pd.DataFrame


def compare(
    parts: Sequence[Judgements],
    scores: pd.DataFrame,
    a: str,
    b: str,
    *,
    stress_power: Mapping[str, float | None] | None = None,
    margin: float = MARGIN,
    top: int = 5,
) -> Comparison:
    """Compares metrics a and b on the leaderboard's figures, whole and by distortion.

    Parameters
    ----------
    parts, scores, stress_power : as of `perceptbench.agreement.evaluate`.
    a, b : columns of the scores.
    margin : of a figure, what is too little to matter: 0.01 is a point of 2AFC.
    top : disputed items a table.
    """
    rows, disputed = [], []
    for part in parts:
        known = scores[scores["dataset"] == part.dataset] if "dataset" in scores else scores
        items = collect(part, known, [a, b], stress_power or {})
        items = items.part(np.flatnonzero(items.answered.all(axis=1)))
        for _, name, some in [("", part.slice, items), *items.parts(part.slice)]:
            wanted = {*part.statistics, *(AREAS if some is items else ())}
            for figure in figures(some, some is items, only=wanted):
                if figure.statistic in wanted and not set(figure.metrics) & set(PEOPLE):
                    row = _row(figure, some, a, b, margin)
                    rows.append((part.dataset, name, figure.statistic, *row))
        table = _disputed(items, a, b).head(top)
        disputed.append(table.assign(dataset=part.dataset, slice=part.slice))
    found = pd.DataFrame(rows, columns=[c for c in COLUMNS if c != "p_holm"])
    whole = [(part.dataset, part.slice) for part in parts]
    is_part = [key not in whole for key in zip(found["dataset"], found["slice"], strict=True)]
    family = found["p"].groupby([found["dataset"], np.array(is_part, dtype=bool)])
    found["p_holm"] = family.transform(lambda p: holm(p.to_numpy(float)))
    return Comparison(found[list(COLUMNS)], pd.concat(disputed, ignore_index=True))


def _row(figure: Figure, items: Items, a: str, b: str, margin: float) -> tuple[Any, ...]:
    """Values, difference, interval, p, DeLong's p, equivalence, units needed, n, units, note."""
    place = [figure.metrics.index(name) for name in (a, b)]
    x, y = (float(figure.value[i]) for i in place)
    spread, units = figure.sure, figure.units
    low = high = p = needed = np.nan
    equivalent = False
    lost = [i for i in place if np.isnan(figure.value[i])]
    note = "; ".join(f"{figure.metrics[i]}: {figure.notes[i]}" for i in lost)
    if spread is None:
        note = note or too_few(units)
    elif not lost:
        error, freedom = (float(each[place[0], place[1]]) for each in spread.differences)
        low, high, p = (float(v) for v in differences(x - y, error, freedom, units))
        equivalent = is_equivalent(x - y, error, freedom, margin)
        needed = units_needed(x - y, error, units, p)
    delong, pairs = np.nan, rated_pairs(items) if figure.statistic in AREAS and not lost else None
    if pairs is not None:
        seen = items.distances[0][:, place]
        apart = seen[pairs.i] - seen[pairs.j]
        p_of = krasula.compare(apart[:, 0], apart[:, 1], pairs.significance)
        delong = p_of[figure.statistic]
    return x, y, x - y, low, high, p, delong, equivalent, needed, figure.n, units, note


def _disputed(items: Items, a: str, b: str) -> pd.DataFrame:
    """The items in the order of how far the metrics' percentiles are apart, widest first."""
    place = [items.metrics.index(name) for name in (a, b)]
    whole = np.isfinite(items.distances[:, :, place]).all(axis=(0, 2))
    kept = np.flatnonzero(whole)
    x, table = items.distances[:, kept][:, :, place], items.table.iloc[kept]
    if items.protocol == "2afc":
        with np.errstate(over="ignore"):  # infinite still has a sign and a rank
            margin = x[0] - x[1]
        said = np.sign(margin) * _percentiles(np.abs(margin))
        people = 2 * table["p_b"].to_numpy(float) - 1
    else:
        said = _percentiles(x[0])
        badness = 1 - table["p_same"] if "p_same" in table else items.part(kept).badness
        people = _percentiles(np.asarray(badness, dtype=float)[:, None])[:, 0]
    off = np.abs(said - people[:, None])
    images = list(PROTOCOLS[items.protocol][1])
    judged = [c for c in ("quality", "impairment", "p_b", "p_same") if c in table]
    nearer = np.select([off[:, 0] < off[:, 1], off[:, 1] < off[:, 0]], [a, b], "")
    found = table[images].rename(columns={"a": "a image", "b": "b image"})
    found = found.assign(judged=table[judged[0]], people=people, nearer=nearer)
    found[[a, b]] = said
    order = np.argsort(-np.abs(said[:, 0] - said[:, 1]), kind="stable")
    return found.iloc[order].reset_index(drop=True)


def _percentiles(values: Array) -> Array:
    """Share of items below each, equal ones by half, along the first axis."""
    return (pd.DataFrame(values).rank().to_numpy() - 0.5) / max(len(values), 1)


def in_words(
    table: pd.DataFrame, a: str, b: str, in_domain: Mapping[str, Collection[str]] | None = None
) -> list[str]:
    """What the rows of `Comparison.table` of whole tables say of a and b, a sentence each, and the
    sum; `in_domain`: dataset -> metrics trained on it."""
    sentences, better = [], {a: 0, b: 0, "": 0}
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    for row in rows:
        where = row["dataset"] if row["slice"] == "all" else f"{row['dataset']} ({row['slice']})"
        if np.isnan(row["difference"]):
            sentences.append(f"On {where}, {row['statistic']} is undefined ({row['note']}).")
            continue
        larger, smaller = (b, a) if row["statistic"] in SMALLER_IS_BETTER else (a, b)
        winner = larger if row["difference"] > 0 else smaller
        winner = winner if row["p_holm"] < SIGNIFICANT else ""
        better[winner] += 1
        said = f"{a} and {b} cannot be told apart"
        if winner:
            said = f"{winner} agrees better with people than {b if winner == a else a}"
        trained = [m for m in (a, b) if m in (in_domain or {}).get(row["dataset"], ())]
        seen = f" ({' and '.join(trained)} was trained on this dataset.)" if trained else ""
        sentences.append(
            f"On {where}, {said}: {row['statistic']} {row['a']:.3f} against {row['b']:.3f}, a "
            f"difference of {row['difference']:+.3f} {_spread(row)} ({row['n']} items, "
            f"{row['units']} units).{seen}{_more(row)}"
        )
    total = sum(better.values())
    if total > 1:
        sentences.append(
            f"Of {total} figures, {a} is better on {better[a]}, {b} on {better[b]}; "
            f"on {better['']} they cannot be told apart."
        )
    return sentences


def _more(row: Mapping[str, Any]) -> str:
    """Whether the two are equivalent, or what it would take to tell them apart."""
    if row["equivalent"]:
        return " They are equivalent within the margin."
    if not np.isnan(row["needed"]) and not row["p_holm"] < SIGNIFICANT:
        return (
            f" To show a difference of this size with a chance of 80 % would take about "
            f"{row['needed']:,.0f} units like these ({row['needed'] - row['units']:,.0f} more)."
        )
    return ""


def _spread(row: Mapping[str, Any]) -> str:
    if np.isnan(row["low"]):
        return f"without an interval ({row['note']})" if row["note"] else "without an interval"
    p, holm = ("< 0.0001" if v < 1e-4 else f"= {v:.4f}" for v in (row["p"], row["p_holm"]))
    return f"[{row['low']:+.3f}, {row['high']:+.3f}], p {p}, {holm} after correction"
