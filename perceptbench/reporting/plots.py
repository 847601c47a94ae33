"""Figures for papers, ``figures/*.svg`` and ``*.png``: intervals, heat maps, cost, thresholds.

Drawn by matplotlib without a display. A file says which version drew it; the same version draws
the same bytes.
"""

import io
from collections.abc import Mapping, Sequence
from itertools import product

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase

from perceptbench.reporting import cells, sensitivity
from perceptbench.reporting.cells import Cell, Row
from perceptbench.reporting.heat import HeatMap, layer_maps, slice_maps, test_maps
from perceptbench.reporting.leaderboard import Column
from perceptbench.reporting.result import Run

INK, SOFT, HUMAN, FRONT = "#1b2128", "#7d8894", "#0b7a59", "#0a62a9"
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.axisbelow": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "perceptbench",
}
#: Dots an inch of the PNG files.
DPI = 200


def render(run: Run) -> dict[str, str | bytes]:
    """Every figure the run has data for, each as SVG and PNG."""
    metrics = [row.metric for row in cells.rows(run) if not row.people]
    # Whatever the user has set for figures of their own plays no part.
    with style.context(["default", STYLE]):
        drawn = {"intervals": intervals(run)}
        kinds = (("distortions", slice_maps), ("layers", layer_maps), ("tests", test_maps))
        for name, maps in kinds:
            found = maps(run, metrics)
            if found:
                drawn[name] = heat_maps(found)
        for name, draw in (("cost", cost), ("sensitivity", sensitivity.figure)):
            if figure := draw(run):
                drawn[name] = figure
        files: dict[str, str | bytes] = {}
        for name, figure in drawn.items():
            files[f"figures/{name}.svg"] = _file(figure, "svg")
            files[f"figures/{name}.png"] = _file(figure, "png")
    return files


def _file(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(file, format=kind, dpi=DPI, metadata=metadata, bbox_inches="tight")
    return file.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _label(text: str, most: int = 32) -> str:
    """A name as a label: not too long, and its dollars no mathematics."""
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.replace("$", r"\$")


def intervals(run: Run) -> Figure:
    """Dot and whiskers of every metric, one panel a figure of the leaderboard."""
    board = cells.rows(run)
    metrics = [row for row in board if not row.people]
    wide = min(3, len(run.columns))
    tall = -(-len(run.columns) // wide)
    figure = _figure(1.2 + 2.2 * wide, tall * (0.9 + 0.16 * len(metrics)))
    panels = figure.subplots(tall, wide, sharey=True, squeeze=False).ravel()
    for i, (panel, column) in enumerate(zip(panels, run.columns, strict=False)):
        _interval_panel(panel, column, metrics, [row.cells[i] for row in metrics])
        people = {row.metric: row.cells[i] for row in board if row.people}
        if (human := people.get("human")) and human.defined:
            panel.axvspan(human.low, human.high, color=HUMAN, alpha=0.15, linewidth=0)
            panel.axvline(human.value, color=HUMAN, linewidth=1, linestyle=":")
    for panel in panels[len(run.columns) :]:
        panel.set_visible(False)
    return figure


def _interval_panel(panel, column: Column, metrics: Sequence[Row], shown: Sequence[Cell]) -> None:  # type: ignore[no-untyped-def]
    for y, cell in enumerate(shown):
        if cell.bounded:
            panel.plot([cell.low, cell.high], [y, y], color=SOFT, linewidth=1.2)
        if cell.defined:
            panel.plot([cell.value], [y], "o", color=INK, markersize=3.2)
    panel.set_yticks(range(len(metrics)), [_label(row.metric) for row in metrics])
    panel.set_ylim(len(metrics) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="#e1e4e7", linewidth=0.6)
    panel.set_title(_label(column.title), loc="left", fontsize=8, fontweight="bold")
    if column.smaller:
        panel.invert_xaxis()
        panel.set_xlabel("smaller is better: the axis runs backwards")


def heat_maps(maps: Sequence[HeatMap]) -> Figure:
    """The maps one below the other."""
    # What a name takes that stands aslant, in inches, and the rows.
    heights = [0.5 + 0.05 * max(map(len, m.columns)) + 0.2 * len(m.rows) for m in maps]
    width = max(4.5, 2.5 + 0.55 * max(len(m.columns) for m in maps))
    figure = _figure(width, sum(heights))
    panels = figure.subplots(len(maps), 1, squeeze=False, height_ratios=heights).ravel()
    for panel, heat in zip(panels, maps, strict=True):
        shares = [
            [float("nan") if c is None else c.share for c in line] for _, _, line in heat.rows
        ]
        panel.imshow(shares, cmap="Blues", vmin=-0.05, vmax=1.15, aspect="auto")
        for y, (_, _, line) in enumerate(heat.rows):
            for x, cell in enumerate(line):
                colour = "white" if cell and cell.deep else INK
                weight = "bold" if cell and cell.best else "normal"
                text = cell.text if cell else "–"
                panel.text(x, y, text, ha="center", va="center", fontsize=6.5, color=colour,
                           fontweight=weight)  # fmt: skip
        panel.set_xticks(
            range(len(heat.columns)),
            [_label(name) for name in heat.columns],
            rotation=45,
            ha="right",
        )
        panel.set_yticks(range(len(heat.rows)), [_label(name) for _, name, _ in heat.rows])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_title(_label(heat.title, 70), loc="left", fontsize=8, fontweight="bold")
    return figure


def cost(run: Run) -> Figure | None:
    """Time per pair against attained agreement, or the first figure where there is one dataset.

    Where there is no room for all names, those of the metrics that no faster one beats come first.
    None where the run recorded no cost.
    """
    records: Mapping[str, dict] = run.provenance.get("metrics", {})
    board = [row for row in cells.rows(run) if not row.people]
    standing = any(row.attained is not None for row in board)
    column = run.columns[0] if run.columns else None
    smaller = not standing and column is not None and column.smaller
    points = []
    for row in board:
        seconds = (records.get(row.metric, {}).get("cost") or {}).get("seconds_per_pair")
        height = row.attained if standing else row.cells[0].value if row.cells else None
        if height is not None and height == height and seconds:
            points.append((1e3 * seconds, -height if smaller else height, row.metric))
    if not points:
        return None
    figure = _figure(5, 3.6)
    panel = figure.subplots()
    panel.set_xscale("log")
    points.sort()
    front: list[tuple[float, float, str]] = []
    for point in points:
        if not front or point[1] > front[-1][1]:
            front.append(point)
    dots = [(x, y) for x, y, _ in points]
    panel.plot(*zip(*dots, strict=True), "o", color=SOFT, markersize=4)
    along = [(x, y) for x, y, _ in front]
    panel.plot(*zip(*along, strict=True), "o--", color=FRONT, markersize=4, linewidth=0.8)
    beaten = [point for point in points if point not in front]
    _name(panel, [*((point, INK) for point in reversed(front)), *((p, SOFT) for p in beaten)])
    panel.grid(color="#e1e4e7", linewidth=0.6)
    panel.set_xlabel("milliseconds per pair")
    title = column.title if column is not None else ""
    panel.set_ylabel("attained agreement" if standing else f"minus {title}" if smaller else title)
    return figure


def _name(panel, points: Sequence[tuple[tuple[float, float, str], str]]) -> None:  # type: ignore[no-untyped-def]
    """Names beside points, each in its colour, the first first, where there is room for them."""
    panel.figure.draw_without_rendering()
    taken: list[BboxBase] = []
    for (x, y, name), colour in points:
        for side, down in product(("left", "right"), ("bottom", "top")):
            place = (4 if side == "left" else -4, 2 if down == "bottom" else -2)
            label = panel.annotate(_label(name), (x, y), xytext=place, textcoords="offset points",
                                   ha=side, va=down, fontsize=6.5, color=colour)  # fmt: skip
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()
