"""The folder a run leaves behind, and the leaderboard as people read it."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceptbench.errors import UsageError
from perceptbench.reporting.leaderboard import PEOPLE, to_markdown

if TYPE_CHECKING:
    from perceptbench.run import Run

#: Failed pairs named in the report; ``run.json`` has them all.
SHOWN_FAILURES = 20


def report(result: "Run") -> str:
    """The leaderboard with everything needed to read it, as Markdown."""
    table = result.agreement
    lines = [to_markdown(result.board, result.columns)]
    lines.append(
        "Larger is better, but where there is an arrow (↓). In brackets: 95 % percentile interval "
        f"of {result.provenance['resamples']:,} bootstrap resamples; n: number of judged items. "
        "Mean rank: over datasets, each with one vote; an undefined figure (-) counts as last."
    )
    lines.append(
        "*human*: mean p² + (1-p)², or one observer against the mean of the others; "
        "*oracle*: mean max(p, 1-p), the best any metric can do.\n"
    )
    for column in result.columns:
        here = column.rows(table)
        first = here.iloc[0]
        ceiling = "" if here["metric"].isin(PEOPLE).any() else "; no human ceiling is known"
        lines.append(
            f"- {column.title}: {first['display']}; resampled over {first['units']} units{ceiling}."
        )
    lines += _undefined(result)
    lines += [f"- assumed: {what}." for what in result.assumed]
    reasons = dict.fromkeys(result.skipped.values())
    for why in reasons:
        names = [name for name, reason in result.skipped.items() if reason == why]
        lines.append(f"- skipped: {', '.join(names)}: {why}.")
    lines += _failures(result)
    record = result.provenance
    lines.append(f"\nScored on {record['device']} in {record['precision']}, seed {record['seed']}.")
    if record.get("command"):
        lines.append(f"Made by `{record['command']}`.")
    return "\n".join(lines) + "\n"


def _undefined(result: "Run") -> list[str]:
    """Why each figure of the leaderboard that is not there is not there."""
    lines = []
    for column in result.columns:
        rows = column.rows(result.agreement)
        for row in rows[rows["value"].isna()].itertuples():
            lines.append(f"- undefined: {row.metric} on {column.title}: {row.note}.")
    return lines


def _failures(result: "Run") -> list[str]:
    rows = result.failures.head(SHOWN_FAILURES).itertuples(index=False)
    lines = [
        f"- failed: {r.dataset}: pair ({r.reference}, {r.distorted}): {r.reason}" for r in rows
    ]
    more = len(result.failures) - len(lines)
    return [*lines, f"- failed: {more:,} more pairs, all named in run.json"] if more else lines


def write(result: "Run", folder: Path) -> None:
    """Writes ``scores.parquet agreement.csv leaderboard.csv leaderboard.md run.json``.

    Each file is written beside its place and moved there, so that none is ever half written.
    """
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    failures = result.failures.to_dict(orient="records")
    record = {"created": stamp, **result.provenance, "failures": failures}
    _write(folder / "scores.parquet", lambda p: result.scores.to_parquet(p, index=False))
    _write(folder / "agreement.csv", lambda p: result.agreement.to_csv(p, index=False))
    _write(folder / "leaderboard.csv", lambda p: result.board.to_csv(p, index=False))
    _write(folder / "leaderboard.md", lambda p: p.write_text(report(result), encoding="utf-8"))
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    _write(folder / "run.json", lambda p: p.write_text(text, encoding="utf-8"))


def _write(path: Path, save: Callable[[Path], Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save(temporary)
    temporary.replace(path)


def create(out: Path | None) -> Path:
    """The folder of a new run, made; ``runs/<time>`` below the working folder by default.

    Raises
    ------
    UsageError : it cannot be made or written to.
    """
    folder = out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be made ({error.strerror})") from None
    if not os.access(folder, os.W_OK):
        raise UsageError(f"folder {folder} cannot be written to")
    return folder
