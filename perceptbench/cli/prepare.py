"""`perceptbench prepare`: a folder of images -> pairs to be judged."""

from pathlib import Path

import click

from perceptbench.cli.options import FILE, FOLDER


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="Where it is written.")
@click.option(
    "--ladders", default="noise,blur,jpeg,webp,resize,shift,colour", show_default=True,
    help="The distortions, five steps each.",
)  # fmt: skip
@click.option(
    "--protocol", type=click.Choice(["rating", "2afc"]), default="rating", show_default=True
)
@click.option(
    "--triplets", type=click.IntRange(1), default=20, show_default=True,
    help="Of each image, for 2afc.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def prepare(folder: Path, out: Path, ladders: str, protocol: str, triplets: int, seed: int) -> None:
    """Distort the images in FOLDER step by step, and list the pairs for people to judge.

    Once its empty column is filled in, the list is a judgement file.

    \b
    perceptbench prepare photos -o study
    perceptbench run --judgements study/pairs.csv
    """
    from perceptbench.datasets import prepare as pairs

    names = [name.strip() for name in ladders.split(",") if name.strip()]
    table = pairs.prepare(folder, out, names, protocol, triplets, seed)
    column = "quality" if protocol == "rating" else "p_b"
    click.echo(f"{table} is written; fill in its column `{column}`")
