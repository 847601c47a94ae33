"""What `perceptbench descend` writes: tables, and a page with the pictures side by side."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from perceptbench.descent.engine import RATE, Descents
from perceptbench.descent.measures import BLIND, BLOCK
from perceptbench.descent.summary import by_judge, by_start, summary
from perceptbench.reporting.gallery import Section, render, sheet
from perceptbench.reporting.leaderboard import estimate, format_table
from perceptbench.reporting.objective import FIGURES
from perceptbench.spreadsheet import to_csv

#: Images whose pictures are shown.
SHOWN = 2
READING = (
    "Degradation removed: by how much of what it said of the start a metric's distance has fallen "
    "at the end, the mean over the metrics of the panel without the loss itself; 1 is the "
    "reference, 0 the start, below 0 worse than the start. Energy invented: what the end has in "
    f"blocks of {BLOCK} x {BLOCK} pixels (DCT) outside of what lies between start and reference, "
    "per energy of the degradation; 0 is none. In brackets the 95 % interval of Student's t over "
    "images, each with the mean over its starts: it says what other images of this kind would do, "
    "given these starts. Monotone: the share of ways (metric, image, start) on which no metric of "
    "the panel finds the image worse from one look to the next. Steps: until 5 % of the loss's own "
    "fall is left. ms: one step of one image, here and now."
)


def files(work: Descents, steps: int, command: str) -> tuple[str, dict[str, bytes]]:
    """The table for the terminal; ``descend.csv``, ``paths.csv``, ``panel.csv``, the page."""
    table = summary(work)
    tables = {"descend.csv": table, "paths.csv": by_start(work), "panel.csv": by_judge(work)}
    sections = _sections(work, table)
    title, lead = "Where does a loss drive an image?", _lead(work, table, steps)
    pages = render("descend", title, lead, sections, command)
    said = "".join(f"{name}: {why}\n" for name, why in work.skipped.items())
    text = f"{lead}\n\n{format_table(SUMMARY, sections[0].rows)}{said and chr(10)}{said}"
    return text, {name: to_csv(content).encode() for name, content in tables.items()} | pages


def _lead(work: Descents, table: pd.DataFrame, steps: int) -> str:
    first, last = table.iloc[0], table.iloc[-1]
    size = work.references.shape[1]
    return (
        f"{len(table)} losses, each followed for {steps} steps of Adam (rate {RATE}, falling to 0) "
        f"on the pixels of {len(work.names)} images of {size} x {size}, from {len(work.starts)} "
        f"starts each, judged by {len(work.panel)} metrics. {first['metric']} removes most of the "
        f"degradation ({first['removed']:.2f}), {last['metric']} least ({last['removed']:.2f})."
    )


def _sections(work: Descents, table: pd.DataFrame) -> list[Section]:
    losses = list(table["metric"])
    return [
        Section(
            "The losses", READING, SUMMARY, [_summary_row(row) for row in table.to_dict("records")]
        ),
        Section(
            "Where they end", "Look: a number does not say how it looks.",
            pictures={
                f"{name}: the reference, and what each loss makes of each start":
                _ends(work, losses, i) for i, name in enumerate(work.names[:SHOWN])
            },
        ),
        Section(
            "The way", "From the first start, at the steps above the pictures.",
            pictures={f"{work.names[0]}, {work.starts[0]}": sheet(
                [*(f"step {step}" for step in work.found[losses[0]].looks), "reference"],
                {m: [*work.found[m].images[:, 0], work.references[0]] for m in losses},
            )},
        ),
        _matrix(
            "What each metric of the panel says",
            "Degradation removed at the end, the mean over images and starts. A metric that does "
            f"not see a start (it says less than {BLIND:.0%} of what it says of the worst) is not "
            "asked there; the loss itself is shown as -.",
            by_judge(work).set_index("metric").loc[losses],
        ),
        *(
            _matrix(f"By start: {name}", "At the end, the mean over images.", part)
            for name, part in _by_start(work, losses)
        ),
        Section(
            "What takes no part", "" if work.skipped else "Nothing was skipped.",
            ("metric", "why") if work.skipped else (), [list(p) for p in work.skipped.items()],
        ),
    ]  # fmt: skip


SUMMARY = ("loss", *FIGURES.values(), "monotone", "steps", "ms")


def _summary_row(row: Mapping[Any, Any]) -> list[str]:
    """A row of `summary` as text, under SUMMARY."""
    told = [estimate(*(row[f"{n}{s}"] for s in ("", " low", " high")), places=2) for n in FIGURES]
    last = [f"{row['monotone']:.0%}", f"{row['steps']:.0f}", f"{row['ms']:.2g}"]
    return [str(row["metric"]), *told, *last]


def _ends(work: Descents, losses: list[str], image: int) -> bytes:
    here = slice(image * len(work.starts), (image + 1) * len(work.starts))
    rows: dict[str, list[np.ndarray | None]] = {
        "start": [work.references[image], *work.degraded[here]]
    }
    rows |= {loss: [None, *work.found[loss].images[-1, here]] for loss in losses}
    return sheet(["reference", *work.starts], rows)


def _by_start(work: Descents, losses: list[str]) -> Iterable[tuple[str, pd.DataFrame]]:
    table = by_start(work)
    ends = table[table["step"] == table["step"].max()]
    for name in FIGURES:
        wide = ends.pivot(index="metric", columns="start", values=name)
        yield name, wide.loc[losses, list(work.starts)]


def _matrix(title: str, text: str, table: pd.DataFrame) -> Section:
    rows = [
        [str(name), *("-" if np.isnan(value) else f"{value:.2f}" for value in row)]
        for name, row in zip(table.index, table.to_numpy(float), strict=True)
    ]
    return Section(title, text, ("loss", *map(str, table.columns)), rows)
