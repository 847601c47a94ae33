"""`perceptbench duel`: images on which two losses disagree most."""

from pathlib import Path

import click

from perceptbench.cli import options
from perceptbench.cli.ending import leave


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@options.descents
@click.option("--steps", default=100, show_default=True, type=click.IntRange(1), help="Of ascent.")
@options.weights_dir
@options.out
def duel(
    a: str,
    b: str,
    images: Path | None,
    count: int,
    size: int,
    seed: int,
    device: str,
    steps: int,
    weights_dir: Path | None,
    out: Path | None,
) -> None:
    """Find pairs of images that A holds equal and B finds most different, and the reverse.

    A and B are metrics with a gradient, by name or as a FILE.toml. Writes the images, a 2AFC list
    for people to judge (triplets.csv), duel.csv, and duel.html to look at.

    \b
    perceptbench duel mse ssim -o runs/duel
    perceptbench run --judgements runs/duel/triplets.csv     once its column p_b is filled in
    """
    from perceptbench.descent import starts
    from perceptbench.descent.duel import duel as differentiate
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.reporting import run_folder
    from perceptbench.scoring.machine import choose_device

    folder = run_folder.create(out)
    names, references = starts.references(images, count, size, seed)
    text, files, lost = differentiate(
        select([a, b], catalogue()),
        names,
        references,
        steps=steps,
        seed=seed,
        device=choose_device(device),
        weights_dir=weights_dir,
        command=options.command_line(),
    )
    leave(folder, files, text)
    for why in lost:
        click.echo(f"perceptbench: {why}", err=True)
    if lost:
        raise SystemExit(1)
