"""The report for a paper: ``leaderboard.tex``, a table to be read with ``\\input``.

It needs the package ``booktabs`` and nothing else; wide ones want ``\\resizebox`` or a smaller
font around them.
"""

from collections.abc import Sequence
from itertools import groupby

from perceptbench.agreement.ranking import SMALLER_IS_BETTER
from perceptbench.errors import visible
from perceptbench.reporting.cells import Cell, counts, rows
from perceptbench.reporting.run_folder import Run

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\symbol{34}",
}  # fmt: skip


def render(run: Run) -> dict[str, str]:
    """One booktabs table: datasets over their figures, the best in bold, people below a rule."""
    return {"leaderboard.tex": table(run)}


def table(run: Run) -> str:
    """The ``tabular`` of the leaderboard."""
    board = rows(run)
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{@{{}}rlrr{'l' * len(run.columns)}@{{}}}}",
        "\\toprule",
        *_head(run),
        "\\midrule",
    ]
    for row in board:
        if row.people:
            continue
        attained = "--" if row.attained is None else f"{row.attained:.2f}"
        place = ["" if row.rank is None else str(row.rank), escape(row.name), attained,
                 row.places.replace("-", "--")]  # fmt: skip
        lines.append(_line(place + [_cell(cell) for cell in row.cells]))
    lines.append("\\midrule")
    for row in board:
        if row.people:
            cells = [_cell(cell) for cell in row.cells]
            lines.append(_line(["", f"\\emph{{{escape(row.metric)}}}", "", "", *cells]))
    lines.append(_line(["", "$n$", "", "", *(f"{n:,}".replace(",", "\\,") for n in counts(run))]))
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


def _head(run: Run) -> list[str]:
    """Two lines: what was judged, spanning its figures; then the statistics."""
    spans, rules, at = [], [], 5
    for (dataset, part), here in groupby(run.columns, key=lambda c: (c.dataset, c.slice)):
        width = len(list(here))
        name = escape(" ".join(n for n in (dataset, part) if n != "all"))
        spans.append(f"\\multicolumn{{{width}}}{{l}}{{{name}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    statistics = [
        escape(c.statistic) + (" $\\downarrow$" if c.statistic in SMALLER_IS_BETTER else "")
        for c in run.columns
    ]
    return [
        _line(["", "", "", "", *spans]),
        " ".join(rules),
        _line(["\\#", "metric", "attained", "places", *statistics]),
    ]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _cell(cell: Cell) -> str:
    if not cell.defined:
        return "--"
    number = f"\\textbf{{{cell.number}}}" if cell.top else cell.number
    number += _raised("\\circ" * cell.best + "\\dag" * cell.in_domain)
    if not cell.bounded:
        return number
    # In math mode the sign of a negative bound is a minus, not a hyphen.
    return f"{number} {{\\scriptsize$[{cell.low:.3f}, {cell.high:.3f}]$}}"


def _raised(marks: str) -> str:
    return f"\\ensuremath{{^{{{marks}}}}}" if marks else ""


def escape(text: str) -> str:
    r"""Text whose every character stands for itself in LaTeX.

    >>> print(escape("50% of a_b"))
    50\% of a\_b
    """
    return "".join(
        SPECIAL.get(character, character) for character in visible(" ".join(text.split()))
    )
