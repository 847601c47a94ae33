"""`perceptbench descend`: what a loss does as an objective."""

from pathlib import Path
from typing import Any

import click

from perceptbench.cli import options
from perceptbench.cli.ending import leave


@click.command()
@click.option(
    "-m", "--metric", "names", multiple=True, metavar="NAME|FILE.toml",
    help="A loss to descend under. May repeat. [default: the default metrics]",
)  # fmt: skip
@click.option(
    "--panel", multiple=True, metavar="NAME",
    help="A metric that judges. May repeat. [default: one of each kind]",
)  # fmt: skip
@options.descents
@click.option("--steps", default=100, show_default=True, type=click.IntRange(1), help="Of Adam.")
@click.option(
    "--mistakes", is_flag=True,
    help="Instead: mistakes in training that no ranking shows, each measured.",
)  # fmt: skip
@options.weights_dir
@options.out
def descend(
    names: tuple[str, ...],
    panel: tuple[str, ...],
    images: Path | None,
    count: int,
    size: int,
    steps: int,
    seed: int,
    device: str,
    mistakes: bool,
    weights_dir: Path | None,
    out: Path | None,
) -> None:
    """Drive degraded images toward their references under each loss, and judge where they end.

    Starts are noise, blur, JPEG, quantised colour, grey and another image. Writes descend.html
    (look at it), .md and .csv, paths.csv and panel.csv. A killed command goes on where it was
    when it is given the same -o.

    \b
    perceptbench descend -m mse -m lpips-alex -o runs/descend
    perceptbench descend --images photos
    perceptbench report runs/first -o reports/first --descend runs/descend/descend.csv
    """
    from perceptbench.descent import engine, page, starts, verdicts
    from perceptbench.errors import UsageError
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.reporting import run_folder
    from perceptbench.scoring.machine import choose_device

    if mistakes and names:
        raise UsageError("--mistakes has losses of its own; leave -m out")
    found = catalogue()
    losses, judges = select(names, found), select(panel or engine.PANEL, found)
    device = choose_device(device)
    titles, references = starts.references(images, count, size, seed)
    folder = run_folder.create(out)
    work: dict[str, Any] = {"steps": steps, "seed": seed, "device": device}
    work["weights_dir"] = weights_dir
    command, failed = options.command_line(), False
    if mistakes:
        text, files = verdicts.files(judges, titles, references, command=command, **work)
    else:
        result = engine.run(
            losses, judges, titles, references, tuple(starts.STARTS),
            folder=folder / "descents", **work,
        )  # fmt: skip
        text, files = page.files(result, steps, command)
        failed = any(why.startswith("failed") for why in result.skipped.values())
    leave(folder, files, text)
    if failed:
        raise SystemExit(1)
