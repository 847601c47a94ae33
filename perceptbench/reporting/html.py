"""The report to look at: ``leaderboard.html``, one file that opens from disk without a network.

The template, its style and its script lie in ``page/``. The page shows its tables without
JavaScript; the script, which is allowed by its hash and nothing else, adds what answers a hand.
Numbers meant for the script stand in the page as JSON.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import floor, isnan, log10, nan
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from perceptbench.reporting import beside, cells, changed_images, notes, objective
from perceptbench.reporting.cells import Cell
from perceptbench.reporting.choice import Choice, choice
from perceptbench.reporting.disputed import judged
from perceptbench.reporting.heat import HeatMap, layer_maps, slice_maps, test_maps
from perceptbench.reporting.leaderboard import Column
from perceptbench.reporting.result import Run
from perceptbench.reporting.strips import Images, disputed_strips, item_sets

PAGE = Path(__file__).parent / "page"
#: Metrics, best first, whose paired differences a page holds; what it says of every one.
MOST_COMPARED, ABOUT_METRIC = 60, ("title", "citation", "hash")


@cache
def environment() -> Environment:
    """What the pages are made with: everything is escaped, a name that is not given is an error."""
    return Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def render(run: Run) -> dict[str, str]:
    """The page of a run."""
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    context = _context(run)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment().get_template("page.html")
    text = page.render(
        script=Markup(script),
        script_hash=digest,
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        **context,
    )
    return {"leaderboard.html": text}


@dataclass(frozen=True)
class Axis:
    """A horizontal axis in per cent of its width; right is always better."""

    low: float  # the values at its ends
    high: float
    backwards: bool  # whether the larger value stands left

    def place(self, value: float) -> float:
        """Where a value stands, 0 to 100."""
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return 100 * (1 - share if self.backwards else share)

    def at(self, value: float) -> str:
        """The same as ``12.34%``."""
        return f"{self.place(value):.2f}%"

    def start(self, cell: Cell) -> str:
        """Left end of a cell's interval."""
        return f"{min(self.place(cell.low), self.place(cell.high)):.2f}%"

    def width(self, cell: Cell) -> str:
        """Width of a cell's interval."""
        return f"{abs(self.place(cell.high) - self.place(cell.low)):.2f}%"

    @property
    def ticks(self) -> list[dict[str, str]]:
        """Four to six round values: where each stands, and its text."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** floor(log10(rough))
        step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough * 0.999)
        places = max(0, -floor(log10(step) + 1e-9))
        first = -floor(-self.low / step + 1e-9)
        last = floor(self.high / step + 1e-9)
        values = [k * step for k in range(first, last + 1)]
        return [{"at": self.at(v), "label": f"{v:.{places}f}"} for v in values]


def _axis(column: Column, shown: Sequence[Cell]) -> Axis:
    ends = [v for c in shown if c.defined for v in (c.value, c.low, c.high) if not isnan(v)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = 0.04 * (high - low) or 0.05
    return Axis(low - margin, high + margin, column.smaller)


@dataclass(frozen=True)
class Figure:
    """One column of the leaderboard, as the page needs it."""

    column: Column
    n: str
    axis: Axis
    dataset_index: int
    human: Cell | None
    ranked: list[tuple[int, str, Cell]]
    people: list[tuple[str, Cell]]


def _figures(run: Run, board: Sequence[cells.Row]) -> list[Figure]:
    datasets = list(dict.fromkeys(column.dataset for column in run.columns))
    found = []
    metrics = [row for row in board if not row.people]
    for i, (column, n) in enumerate(zip(run.columns, cells.counts(run), strict=True)):
        sign = 1 if column.smaller else -1
        ranked = [(k, row.metric, row.cells[i]) for k, row in enumerate(metrics)]
        ranked = [entry for entry in ranked if entry[2].defined]
        ranked.sort(key=lambda entry: sign * entry[2].value)
        people = [(row.metric, row.cells[i]) for row in board if row.people]
        people = [entry for entry in people if entry[1].defined]
        axis = _axis(column, [row.cells[i] for row in board])
        human = dict(people).get("human")
        index = datasets.index(column.dataset)
        found.append(Figure(column, f"{n:,}", axis, index, human, ranked, people))
    return found


#: Columns of the leaderboard about the whole: sorting key, heading, meaning, order of first click.
STANDINGS = (
    ("attained", "attained", "from chance (0) to what people allow (1), over datasets", "down"),
    ("new", "new dataset", "where it may come to lie on another dataset like these", "down"),
    ("places", "places", "that it may have on average over these datasets", "up"),
)


def _context(run: Run) -> dict[str, Any]:
    board, chosen = cells.rows(run), choice(run)
    metrics = [row.metric for row in board if not row.people]
    figures = _figures(run, board)
    records = run.provenance.get("metrics", {})
    tables = judged(run, metrics)
    images = Images(run)
    groups = [group for items in tables if (group := disputed_strips(items, images))]
    sets = item_sets(run, tables, images)
    costs = _costs(metrics, records)
    data = {
        "metrics": _metric_data(board, records),
        "figures": [_figure_data(run, figure, metrics) for figure in figures],
        "items": sets,
        "images": images.known,
        "start": [0, min(1, len(metrics) - 1)],  # A and B, until others are chosen
    }
    maps, told = slice_maps(run, metrics), _told(run)
    layers = [*layer_maps(run, metrics), *test_maps(run, metrics)]
    return {
        "title": ", ".join(dict.fromkeys(c.dataset for c in run.columns)),
        "lead": _lead(run, board, chosen),
        "facts": _facts(run, board),
        "sections": _sections(told, maps, layers),
        "about": ABOUT | {"cost": COST if costs else NO_COST},
        "metrics": metrics,
        "datasets": list(dict.fromkeys(column.dataset for column in run.columns)),
        "standings": STANDINGS if any(row.attained is not None for row in board) else (),
        "choice": chosen,
        "figures": figures,
        "board": [_board_row(row, records.get(row.metric, {})) for row in board if not row.people],
        "people": [row for row in board if row.people],
        "item_sets": [items["title"] for items in sets],
        "worst": changed_images.worst_cases(run),
        "sources": notes.shown_sources(run),
        "told": told,
        "maps": maps,
        "layers": layers,
        "costs": costs,
        "objective": objective.told(run.board),
        "objective_heads": list(objective.FIGURES.values()),
        "disputed": groups,
        "reading": notes.reading(run),
        "figure_notes": list(notes.figures(run).items()),
        "missing": notes.missing(run),
        "about_metrics": [
            {"name": name, **{k: records.get(name, {}).get(k, "") for k in ABOUT_METRIC}}
            for name in metrics
        ],
        "provenance": notes.provenance(run),
        "command": run.provenance.get("command", ""),
        "data": _json(data),
    }


def _json(data: object) -> Markup:
    """JSON that may stand in a script element: no ``<`` in it, NaN refused."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


ABOUT = {
    "leaderboard": "Every metric against what people said. Under each figure its 95 % interval, "
    "drawn and in numbers; the green band is where people themselves stand. Select two metrics, "
    "A and B, above or in a row, to follow them through the page.",
    "intervals": "The same figures, each in its own order. A dot is the figure on all items, the "
    "line its 95 % interval, the green band the interval of the human ceiling. Right is "
    "better everywhere.",
    "compare": "The difference of A and B on the very same items, which is sharper than comparing "
    "two intervals.",
    "scatter": "What the metric says of an item against what people said of it.",
    "slices": "Agreement within each distortion, level or category; the number of judged items in "
    "brackets. The stronger the colour, the better; the best metric of each part is bold.",
    "layers": "Losses that read one layer with one distance: which layer, which distance?",
    "disputed": "Where the metrics contradict each other although people are clear.",
}
COST = (
    "A loss is paid for at every training step. Measured on this run's device, one pair of "
    "256 x 256 pixels, each metric alone: the forward pass, a training step (forward and backward) "
    "and the memory that step takes at its peak."
)
NO_COST = "This run recorded no cost of its metrics."


def _told(run: Run) -> list[dict[str, Any]]:
    """Sections of tables of text that there is something in: key, name, heading, how to read."""
    found = [
        {
            "key": "alignment", "name": "Changed images", "title": changed_images.TITLE,
            "about": changed_images.reading(run), "tables": changed_images.tables(run),
        },
        {
            "key": "beside", "name": "Published", "title": beside.TITLE,
            "about": beside.READING, "tables": beside.tables(run),
        },
    ]  # fmt: skip
    return [section for section in found if section["tables"]]


def _sections(
    told: Sequence[dict[str, Any]], maps: Sequence[HeatMap], layers: Sequence[HeatMap]
) -> list[tuple[str, str]]:
    known = {
        "leaderboard": "Leaderboard", "intervals": "Intervals", "compare": "Compare",
        "scatter": "Scatter", **{section["key"]: section["name"] for section in told},
        "slices": "Parts" if maps else "",
        "layers": "Layers" if layers else "", "choice": "What to choose", "cost": "Cost",
        "disputed": "Disputed",
        "notes": "Notes",
    }  # fmt: skip
    return [(key, name) for key, name in known.items() if name]


def _lead(run: Run, board: Sequence[cells.Row], chosen: Choice) -> str:
    """The page in two sentences."""
    metrics = [row for row in board if not row.people]
    first = [row for row in metrics if row.rank == 1]
    datasets = list(dict.fromkeys(column.dataset for column in run.columns))
    where = datasets[0] if len(datasets) == 1 else f"{len(datasets)} datasets"
    if not first:
        return f"No metric is ranked on {where}: each was trained there, or has no figure."
    attained = first[0].attained
    sure = "" if attained is None else f" (attained {attained:.2f} {first[0].spread})".rstrip()
    said = " ".join(chosen.sentences[:2])
    return f"{first[0].name} stands first of {len(metrics)} metrics on {where}{sure}. {said}"


def _facts(run: Run, board: Sequence[cells.Row]) -> list[tuple[str, str]]:
    judged_items = {
        (c.dataset, c.slice): n for c, n in zip(run.columns, cells.counts(run), strict=True)
    }
    facts = [
        ("metrics", f"{sum(not row.people for row in board):,}"),
        ("datasets", f"{len({c.dataset for c in run.columns}):,}"),
        ("judged items", f"{sum(judged_items.values()):,}"),
        ("pairs scored", f"{len(run.scores):,}"),
    ]
    created = str(run.provenance.get("created", ""))[:10]
    return [*facts, ("scored on", created)] if created else facts


def _board_row(row: cells.Row, record: Mapping[str, Any]) -> dict[str, Any]:
    loss = record.get("loss") or {}
    words = (row.name, record.get("title", ""), (loss.get("backbone") or {}).get("name", ""))
    return {
        "row": row,
        "title": record.get("title", ""),
        "words": " ".join(words).lower(),
        "attained": "–" if row.attained is None else f"{row.attained:.2f}",
    }


def _metric_data(board: Sequence[cells.Row], records: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for row in board:
        cost = (records.get(row.metric) or {}).get("cost") or {}
        seconds, parameters = cost.get("seconds_per_pair"), cost.get("parameters")
        attained = None if row.attained is None else round(row.attained, 6)
        figures = {"attained": attained, "seconds": seconds, "parameters": parameters}
        found += [] if row.people else [{"name": row.metric, **figures}]
    return found


def _figure_data(run: Run, figure: Figure, metrics: Sequence[str]) -> dict[str, Any]:
    values = {name: cell.value for _, name, cell in figure.ranked}
    return {
        "title": figure.column.title,
        "smaller": figure.column.smaller,
        "value": [values.get(name) for name in metrics],
        "paired": _paired(figure.column.rows(run.comparisons), metrics),
    }


def _paired(comparisons: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Any] | None:
    """Differences of every two metrics i < j, i minus j, in the order of the leaderboard."""
    if comparisons.empty:
        return None
    known = {*comparisons["a"], *comparisons["b"]}
    names = [name for name in metrics if name in known][:MOST_COMPARED]
    stored = comparisons.set_index(["a", "b"])[["difference", "low", "high", "p_holm"]]
    figures = {pair: tuple(row) for pair, *row in stored.itertuples()}
    found = []
    for a, b in combinations(names, 2):
        nothing = (nan,) * 4  # of a folder that has been edited
        difference, low, high, p = figures.get((a, b), nothing)
        if (b, a) in figures:
            turned, *ends, p = figures[b, a]
            difference, high, low = (-v for v in (turned, *ends))
        found.append([None if isnan(v) else round(float(v), 5) for v in (difference, low, high, p)])
    if not found:
        return None
    columns = dict(zip(("value", "low", "high", "p"), zip(*found, strict=True), strict=True))
    return {"of": [metrics.index(name) for name in names], **columns}


def _costs(metrics: Sequence[str], records: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the cost table, cheapest first; empty where no cost is known."""
    found = []
    for index, name in enumerate(metrics):
        cost = (records.get(name) or {}).get("cost") or {}
        seconds, parameters = cost.get("seconds_per_pair"), cost.get("parameters")
        if seconds is not None:
            count = "–" if parameters is None else f"{parameters:,}"
            step, held = cost.get("seconds_per_step"), cost.get("step_bytes")
            found.append((seconds, {
                "metric": index, "name": name, "parameters": count,
                "time": f"{1e3 * seconds:.3g} ms",
                "step": "–" if step is None else f"{1e3 * step:.3g} ms",
                "memory": "–" if held is None else f"{held / 2**20:.0f} MiB",
            }))  # fmt: skip
    return [row for _, row in sorted(found, key=lambda entry: entry[0])]
