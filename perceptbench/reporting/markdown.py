"""The report for people who read it on a code host: ``leaderboard.md``."""

import re
from collections.abc import Iterable

from perceptbench.agreement.ranking import SMALLER_IS_BETTER
from perceptbench.errors import printable, visible
from perceptbench.reporting import notes
from perceptbench.reporting.cells import Cell, Row, counts, rows
from perceptbench.reporting.leaderboard import format_table
from perceptbench.reporting.objective import FIGURES, told
from perceptbench.reporting.run_folder import Run


def render(run: Run) -> dict[str, str]:
    """One page: the leaderboard, how to read it, what is missing, where it comes from."""
    return {"leaderboard.md": page(run)}


def page(run: Run) -> str:
    """The leaderboard with everything needed to read it."""
    parts = [
        table(run),
        *(f"{escape(sentence)}\n" for sentence in notes.reading(run)),
        "### The figures\n",
        _list(f"{title}: {text}" for title, text in notes.figures(run).items()),
        *_missing(run),
        "### Where the numbers come from\n",
        "  \n".join(escape(line) for line in notes.provenance(run)) + "\n",
    ]
    command = run.provenance.get("command")
    if command:
        parts.append(f"Made by {code(command)}.\n")
    return "\n".join(part for part in parts if part)


def _missing(run: Run) -> list[str]:
    items = _list(f"{kind}: {text}" for kind, text in notes.missing(run))
    return ["### What is missing, and why\n", items] if items else []


def table(run: Run) -> str:
    """The leaderboard as a padded Markdown table: value [low, high], the best in bold.

    n stands in the last row: the number of judged items behind each figure.
    """
    arrows = [" ↓" if c.statistic in SMALLER_IS_BETTER else "" for c in run.columns]
    header = ["#", "metric", "mean rank", "P(first)"]
    header += [escape(c.title) + arrow for c, arrow in zip(run.columns, arrows, strict=True)]
    driven = told(run.board)  # as objectives, where that was asked for
    header += FIGURES.values() if driven else []
    body = []
    for row in rows(run):
        name = f"*{row.metric}*" if row.people else escape(row.metric)
        place = ["", name, "", ""] if row.people else [_rank(row), name, *_standing(row)]
        asked = driven.get(row.metric, [])
        body.append(place + [_cell(cell) for cell in row.cells] + asked)
    extra = [""] * len(FIGURES) if driven else []
    body.append(["", "*n*", "", "", *(f"{n:,}" for n in counts(run)), *extra])
    return format_table(header, body)


def _rank(row: Row) -> str:
    return "" if row.rank is None else str(row.rank)


def _standing(row: Row) -> tuple[str, str]:
    mean = "-" if row.mean_rank is None else f"{row.mean_rank:.1f}"
    first = "" if row.p_first is None else f"{row.p_first:.2f}"
    return " ".join(filter(None, (mean, row.spread, row.tier))), first


def _cell(cell: Cell) -> str:
    number = f"**{cell.number}**" if cell.best else cell.number
    mark = "†" if cell.in_domain and cell.defined else ""
    return " ".join(filter(None, (number + mark, cell.interval, cell.tier)))


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
