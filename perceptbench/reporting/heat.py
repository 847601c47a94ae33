"""Heat maps: agreement by distortion (or any other slice), and by layer and distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
import pandas as pd

from perceptbench.agreement.ranking import PEOPLE
from perceptbench.reporting.leaderboard import Column
from perceptbench.reporting.result import Run

#: How a slice of a table is named: ``distortion=blur``, ``120ppd level=2``.
PART = r"^(?:(?P<whole>.*) )?(?P<kind>distortion|level|category)=(?P<name>.*)$"


@dataclass(frozen=True)
class HeatCell:
    """One cell: its text, how strong its colour is (0 to 1, 1 best), and what it says on asking."""

    text: str
    share: float
    title: str
    best: bool = False

    @property
    def deep(self) -> bool:
        """Whether the colour is so strong that the text must be light."""
        return self.share > 0.55


@dataclass(frozen=True)
class HeatMap:
    """A table whose cells are coloured by value."""

    title: str
    note: str  # how to read it
    corner: str  # what the rows are
    columns: list[str]
    #: (index of the metric or None, name, one cell or None a column)
    rows: Sequence[tuple[int | None, str, Sequence[HeatCell | None]]]


def slice_maps(run: Run, metrics: Sequence[str]) -> list[HeatMap]:
    """One map a leaderboard figure and column its table is cut by; rows in leaderboard order."""
    table = run.agreement
    parts = table["slice"].str.extract(PART)
    maps = []
    for column in run.columns:
        whole = "" if column.slice == "all" else column.slice
        here = (
            (table["dataset"] == column.dataset)
            & (table["statistic"] == column.statistic)
            & (parts["whole"].fillna("") == whole)
        )
        for kind in dict.fromkeys(parts.loc[here, "kind"].dropna()):
            rows = table[here & (parts["kind"] == kind)].assign(name=parts["name"])
            maps.append(_slice_map(column, kind, rows, metrics))
    return maps


def _slice_map(column: Column, kind: str, rows: pd.DataFrame, metrics: Sequence[str]) -> HeatMap:
    names = list(dict.fromkeys(rows["name"]))
    counts = rows.groupby("name")["n"].max()
    values = rows.pivot(index="metric", columns="name", values="value")
    shown = [m for m in (*metrics, *PEOPLE) if m in values.index]
    values = values.reindex(index=shown, columns=names)
    lines = zip(shown, _shade(values, column.smaller), strict=True)
    return HeatMap(
        f"{column.title} by {kind}",
        "Smaller is better." if column.smaller else "Larger is better.",
        "metric",
        [f"{name} ({int(counts[name]):,})" for name in names],
        [(metrics.index(m) if m in metrics else None, m, line) for m, line in lines],
    )


def layer_maps(run: Run, metrics: Sequence[str]) -> list[HeatMap]:
    """One map a figure and backbone that was read one layer at a time with several distances."""
    maps = []
    for backbone, here in _single_taps(run, metrics).groupby("backbone", sort=True):
        if here["layer"].nunique() < 2:
            continue
        here = here.drop_duplicates(["layer", "distance"])
        for column in run.columns:
            rows = column.rows(run.agreement).set_index("metric")["value"]
            found = here.assign(value=rows.reindex(here["metric"]).to_numpy())
            values = found.pivot(index="layer", columns="distance", values="value")
            values = values.reindex(index=sorted(values.index, key=_depth))
            if not values.notna().any(axis=None):
                continue
            lines = zip(values.index, _shade(values, column.smaller), strict=True)
            note = (
                f"Rows from the input down; {'smaller' if column.smaller else 'larger'} is better."
            )
            rows_of = [(None, str(layer), line) for layer, line in lines]
            title = f"{backbone} on {column.title}"
            maps.append(HeatMap(title, note, "layer", list(values.columns), rows_of))
    return maps


def test_maps(run: Run, metrics: Sequence[str]) -> list[HeatMap]:
    """One map a backbone and distance: layers by the figures of the run, each shaded by itself."""
    maps = []
    by = _single_taps(run, metrics).groupby(["backbone", "distance"], sort=True)
    for (backbone, distance), here in by:
        here = here.drop_duplicates("layer").set_index("layer")
        here = here.loc[sorted(here.index, key=_depth)]
        if len(here) < 2 or len(run.columns) < 2:
            continue
        shaded = []
        for column in run.columns:
            rows = column.rows(run.agreement).set_index("metric")["value"]
            values = rows.reindex(here["metric"]).set_axis(here.index).to_frame(column.title)
            shaded.append([line[0] for line in _shade(values, column.smaller)])
        note = "Rows from the input down; each column from its worst (pale) to its best layer."
        lines = zip(here.index, zip(*shaded, strict=True), strict=True)
        rows_of = [(None, str(layer), list(line)) for layer, line in lines]
        one = len({column.dataset for column in run.columns}) == 1
        names = [f"{c.slice} {c.statistic}" if one else c.title for c in run.columns]
        title = f"{backbone}, {distance}: layers by tests"
        maps.append(HeatMap(title, note, "layer", names, rows_of))
    return maps


def _single_taps(run: Run, metrics: Sequence[str]) -> pd.DataFrame:
    """``metric, backbone, layer, distance`` of the losses that read one layer."""
    found = []
    for metric in metrics:
        loss = run.provenance.get("metrics", {}).get(metric, {}).get("loss") or {}
        taps, backbone = loss.get("tap", []), loss.get("backbone")
        if len(taps) == 1 and backbone is not None:
            weights = backbone.get("weights", "imagenet")
            name = f"{backbone['name']} {'' if weights == 'imagenet' else weights}".strip()
            found.append((metric, name, taps[0]["layer"], taps[0]["distance"]))
    return pd.DataFrame(found, columns=["metric", "backbone", "layer", "distance"])


def _depth(layer: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts ``features.10`` after ``features.9``."""
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in layer.split("."))


def _shade(values: pd.DataFrame, smaller: bool) -> list[list[HeatCell | None]]:
    """Cells coloured from the worst to the best value of the whole map; bold, a column's best."""
    known = values.to_numpy(float)
    flat = known[~np.isnan(known)]
    low, high = (flat.min(), flat.max()) if len(flat) else (0.0, 1.0)
    metrics = values.drop(index=list(PEOPLE), errors="ignore")
    best = (metrics.min() if smaller else metrics.max()).to_numpy(float)
    lines = []
    for metric, row in zip(values.index, known, strict=True):
        line: list[HeatCell | None] = []
        for name, value, top in zip(values.columns, row, best, strict=True):
            if isnan(value):
                line.append(None)
                continue
            share = (value - low) / (high - low) if high > low else 0.5
            share = round(float(1 - share if smaller else share), 3)
            title = f"{metric}, {name}: {value:.3f}"
            marked = value == top and metric not in PEOPLE
            line.append(HeatCell(f"{value:.2f}", share, title, best=marked))
        lines.append(line)
    return lines
