"""The report for people who read it on a code host: ``leaderboard.md``."""

import re
from collections.abc import Iterable

from perceptbench.errors import printable, visible
from perceptbench.reporting import beside, changed_images, notes
from perceptbench.reporting.cells import Cell, Row, counts, rows
from perceptbench.reporting.choice import choice
from perceptbench.reporting.leaderboard import format_table
from perceptbench.reporting.objective import FIGURES, told
from perceptbench.reporting.result import Run


def render(run: Run) -> dict[str, str]:
    """One page: the leaderboard, how to read it, what is missing, where it comes from."""
    missing = _list(f"{kind}: {text}" for kind, text in notes.missing(run))
    parts = [
        table(run),
        *_choice(run),
        *(f"{escape(sentence)}\n" for sentence in notes.reading(run)),
        "### The figures\n",
        _list(f"{title}: {text}" for title, text in notes.figures(run).items()),
        *_titled(changed_images.TITLE, changed_images.reading(run), changed_images.tables(run)),
        *_titled(beside.TITLE, beside.READING, beside.tables(run)),
        *(["### What is missing, and why\n", missing] if missing else []),
        *origin("###", run),
    ]
    return {"leaderboard.md": "\n".join(part for part in parts if part)}


def origin(level: str, run: Run) -> list[str]:
    """Where the numbers come from, under a heading of that level."""
    lines = "  \n".join(escape(line) for line in notes.provenance(run))
    parts = [f"{level} Where the numbers come from\n", f"{lines}\n"]
    command = run.provenance.get("command")
    return [*parts, f"Made by {code(command)}.\n"] if command else parts


def _choice(run: Run) -> list[str]:
    """What to choose, and what it costs."""
    found = choice(run)
    header, *body = found.table
    cells = [[escape(cell) for cell in row] for row in body]
    parts = ["### What to choose\n", *(f"{escape(sentence)}\n" for sentence in found.sentences)]
    return [*parts, format_table(header, cells)] if cells else parts


def _titled(heading: str, reading: str, tables: dict[str, list[list[str]]]) -> list[str]:
    """Tables of text under a heading, each under its title; nothing where there is none."""
    if not tables:
        return []
    parts = [f"### {heading}\n", f"{escape(reading)}\n"]
    for title, lines in tables.items():
        header, *body = [[escape(cell) for cell in row] for row in lines]
        parts += [f"{escape(title)}\n", format_table(header, body)]
    return parts


def table(run: Run) -> str:
    """The leaderboard as a padded Markdown table: value [low, high], the best in bold.

    n stands in the last row: the number of judged items behind each figure.
    """
    board = rows(run)
    standing = any(row.attained is not None for row in board)
    header = ["#", "metric", *(["attained", "new dataset", "places"] if standing else [])]
    header += [escape(c.title) + " ↓" * c.smaller for c in run.columns]
    worst, sources = changed_images.worst_cases(run), notes.shown_sources(run)
    driven = told(run.board)  # as objectives, where that was asked for
    header += [*(f"{escape(title)}, worst" for title in worst), *(["source"] if sources else [])]
    header += FIGURES.values() if driven else []
    extra = [""] * len(FIGURES) if driven else []
    body = []
    for row in board:
        name = f"*{row.metric}*" if row.people else escape(row.name)
        place = ["" if row.rank is None else str(row.rank), name]
        place += _standing(row) if standing else []
        cells = [_cell(c) for c in row.cells]
        for known in worst.values():
            value, change = known.get(row.metric, (None, ""))
            cells.append("" if value is None else f"{value:.3f} {escape(change)}")
        cells += [escape(sources.get(row.metric, ""))] if sources else []
        body.append(place + cells + driven.get(row.metric, extra))
    last = ["", "*n*", *([""] * 3 * standing), *(f"{n:,}" for n in counts(run))]
    body.append(last + [""] * (len(header) - len(last)))
    return format_table(header, body)


def _standing(row: Row) -> list[str]:
    if row.attained is None:
        return [row.stood, "", row.places]
    first = " ".join(filter(None, (f"{row.attained:.2f}", row.spread, row.stood)))
    return [first, row.new, row.places]


def _cell(cell: Cell) -> str:
    number = f"**{cell.number}**" if cell.top else cell.number
    marks = ("†" if cell.in_domain and cell.defined else "") + ("°" if cell.best else "")
    answered = f"({cell.answered})" if cell.answered else ""
    return " ".join(filter(None, (number + marks, cell.interval, answered)))


def _list(items: Iterable[str]) -> str:
    return "".join(f"- {escape(item)}\n" for item in items)


def escape(text: str) -> str:
    r"""Plain text as Markdown shows it: marks of emphasis, links, code and HTML are escaped.

    >>> print(escape("a*b <c> x_1"))
    a\*b &lt;c> x_1
    """
    text = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    # An underscore inside a word marks nothing.
    return re.sub(r"([*`\[\]\\]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def code(text: str) -> str:
    """Text as inline code, in a fence of more backticks than it holds.

    >>> code("run `x`")
    '`` run `x` ``'
    """
    text = visible(text)
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * (max(runs, default=0) + 1)
    pad = " " if runs else ""
    return f"{fence}{pad}{text}{pad}{fence}"
