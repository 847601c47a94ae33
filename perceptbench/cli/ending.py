"""How a command that ran something ends: files, words, exit code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from perceptbench.reporting.result import Run


def end(
    result: "Run",
    folder: Path,
    formats: Sequence[str],
    text: str | None,
    written: str,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Writes the run, reports in `formats` and further `files`; prints `text` and what is broken.

    `text` None is the page of the leaderboard; `written` is said of the files. Ends with code 1
    where a pair or a metric failed.
    """
    from perceptbench.reporting import run_folder
    from perceptbench.reporting.formats import render

    reports = {**render(result, formats)[0], **(files or {})}
    try:
        run_folder.write(result, folder, reports)
    finally:  # where a full disk keeps no files, this is what there is
        click.echo(reports["leaderboard.md"].decode() if text is None else text)
    click.echo(f"Written to {folder}: {written}")
    for where, why in result.broken.items():
        click.echo(f"perceptbench: {where} {why}", err=True)
    if lost := result.failed["metric"].nunique():
        click.echo(
            f"perceptbench: {lost} metric{' has' if lost == 1 else 's have'} no distance for some "
            "judged pairs; failed.csv names each, and why",
            err=True,
        )
    if len(result.failures):
        click.echo(
            f"perceptbench: {len(result.failures)} pairs failed; run.json names them", err=True
        )
    if not result.complete:
        raise SystemExit(1)


def leave(folder: Path, files: Mapping[str, bytes], text: str) -> None:
    """Writes files all together, prints `text`, and which of them are not pictures."""
    from perceptbench.reporting.run_folder import save
    from perceptbench.writing import together

    with together(folder) as draft:
        for name, content in files.items():
            save(draft / name, content)
    click.echo(text)
    written = [name for name in files if not name.endswith((".jpg", ".png"))]
    click.echo(f"Written to {folder}: {', '.join(written)}")
