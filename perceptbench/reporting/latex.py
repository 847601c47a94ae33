"""The report for a paper: ``leaderboard.tex``, a table to be read with ``\\input``.

Where images were changed also ``alignment.tex``: the fall of each metric under each change.
It needs the package ``booktabs`` and nothing else; wide ones want ``\\resizebox`` or a smaller
font around them.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from math import isnan, nan

from perceptbench.errors import visible
from perceptbench.reporting import changed_images, notes
from perceptbench.reporting.cells import Cell, counts, rows
from perceptbench.reporting.result import Run

SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\symbol{34}",
})  # fmt: skip


def render(run: Run) -> dict[str, str]:
    """One booktabs table: datasets over their figures, the best in bold, people below a rule."""
    more = {} if run.alignment.empty else {"alignment.tex": _alignment(run)}
    return {"leaderboard.tex": table(run), **more}


def _alignment(run: Run) -> str:
    """One ``tabular`` a figure, its name in a comment above."""
    lines = ["% \\usepackage{booktabs}", f"% {escape(changed_images.reading(run))}"]
    words = 2 if notes.shown_sources(run) else 1
    for title, (header, *body) in changed_images.tables(run).items():
        lines += [
            f"% {escape(title)}",
            f"\\begin{{tabular}}{{@{{}}l{'r' * (len(header) - 1 - words)}{'l' * words}@{{}}}}",
            "\\toprule",
            _line([escape(cell) for cell in header]),
            "\\midrule",
            *(_line([escape(row[0]), *map(_signed, row[1:])]) for row in body),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    return "\n".join(lines) + "\n"


def table(run: Run) -> str:
    """The ``tabular`` of the leaderboard."""
    board = rows(run)
    worst, sources = changed_images.worst_cases(run), notes.shown_sources(run)
    more = [*(f"{escape(title)}, worst" for title in worst), *(["source"] if sources else [])]
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{@{{}}rlrr{'l' * (len(run.columns) + len(more))}@{{}}}}",
        "\\toprule",
        *_head(run, more),
        "\\midrule",
    ]
    for row in board:
        if row.people:
            continue
        attained = "--" if row.attained is None else f"{row.attained:.2f}"
        place = ["" if row.rank is None else str(row.rank), escape(row.name), attained,
                 row.places.replace("-", "--")]  # fmt: skip
        lefts = [known.get(row.metric, (nan, "")) for known in worst.values()]
        last = ["--" if isnan(v) else f"${v:.3f}$ {escape(change)}" for v, change in lefts]
        last += [escape(sources.get(row.metric, ""))] if sources else []
        lines.append(_line([*place, *(_cell(cell) for cell in row.cells), *last]))
    lines.append("\\midrule")
    for row in board:
        if row.people:
            cells = [_cell(cell) for cell in row.cells]
            people = f"\\emph{{{escape(row.metric)}}}"
            lines.append(_line(["", people, "", "", *cells, *[""] * len(more)]))
    items = [f"{n:,}".replace(",", "\\,") for n in counts(run)]
    lines.append(_line(["", "$n$", "", "", *items, *[""] * len(more)]))
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


def _head(run: Run, more: Sequence[str]) -> list[str]:
    """Two lines: what was judged, spanning its figures; then the statistics, and what follows."""
    spans, rules, at = [], [], 5
    for where, here in groupby(run.columns, key=lambda c: c.where):
        width = len(list(here))
        spans.append(f"\\multicolumn{{{width}}}{{l}}{{{escape(where)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    statistics = [escape(c.statistic) + " $\\downarrow$" * c.smaller for c in run.columns]
    return [
        _line(["", "", "", "", *spans, *[""] * len(more)]),
        " ".join(rules),
        _line(["\\#", "metric", "attained", "places", *statistics, *more]),
    ]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _cell(cell: Cell) -> str:
    if not cell.defined:
        return "--"
    number = f"\\textbf{{{cell.number}}}" if cell.top else cell.number
    if marks := "\\circ" * cell.best + "\\dag" * cell.in_domain:
        number += f"\\ensuremath{{^{{{marks}}}}}"
    if not cell.bounded:
        return number
    # In math mode the sign of a negative bound is a minus, not a hyphen.
    return f"{number} {{\\scriptsize$[{cell.low:.3f}, {cell.high:.3f}]$}}"


def _signed(text: str) -> str:
    """Text whose numbers with a sign are in math mode, where that is no hyphen."""
    return re.sub(r"(?<![\w.])[+-]\d+\.\d+", lambda number: f"${number[0]}$", escape(text))


def escape(text: str) -> str:
    r"""Text whose every character stands for itself in LaTeX.

    >>> print(escape("50% of a_b"))
    50\% of a\_b
    """
    return visible(" ".join(text.split())).translate(SPECIAL)
