"""`perceptbench report`: the report files of finished runs, made from their tables."""

from pathlib import Path

import click

from perceptbench.cli.options import FILE


@click.command()
@click.argument("runs", nargs=-1, required=True, type=FILE, metavar="RUN...")
@click.option(
    "-o", "--out", type=FILE, required=True, metavar="DIR", help="Where the files are written."
)
@click.option(
    "--format", "names", metavar="LIST", default="",
    help="Some of csv, md, html, latex, figures and what plugins add, with commas between. "
    "[default: all]",
)  # fmt: skip
@click.option(
    "--descend", "descents", type=FILE, metavar="FILE",
    help="A descend.csv, whose figures then stand beside agreement and cost.",
)  # fmt: skip
def report(runs: tuple[Path, ...], out: Path, names: str, descents: Path | None) -> None:
    """Write the reports of the run folders RUN..., several as one leaderboard.

    Nothing is scored: the same tables give the same bytes.

    \b
    perceptbench report runs/first -o reports/first
    perceptbench report runs/tid runs/kadid -o reports/both --format md,html
    """
    from perceptbench.reporting import formats, merge, objective, run_folder

    found = merge.read(runs)
    if descents is not None:
        found.board = objective.beside(found.board, objective.read(descents))
    folder = run_folder.create(out)
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for path in formats.write(found, folder, chosen):
        click.echo(path)
