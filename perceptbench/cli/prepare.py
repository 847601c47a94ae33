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
@click.option(
    "--pilot", type=FOLDER, metavar="RUN",
    help="A finished run: say how many references would tell the two metrics of --between apart.",
)  # fmt: skip
@click.option("--between", nargs=2, metavar="A B", help="The two metrics of --pilot.")
def prepare(
    folder: Path,
    out: Path,
    ladders: str,
    protocol: str,
    triplets: int,
    seed: int,
    pilot: Path | None,
    between: tuple[str, str] | None,
) -> None:
    """Distort the images in FOLDER step by step, and list the pairs for people to judge.

    Once its empty column is filled in, the list is a judgement file.

    \b
    perceptbench prepare photos -o study
    perceptbench run --judgements study/pairs.csv
    perceptbench prepare photos -o study --pilot runs/first --between lpips-alex mse
    """
    from perceptbench.datasets import prepare as pairs
    from perceptbench.errors import UsageError

    if (pilot is None) != (between is None):
        raise UsageError("--pilot RUN and --between A B go together")
    if pilot is not None and between is not None:
        for sentence in _needed(pilot, *between):
            click.echo(sentence)
    names = [name.strip() for name in ladders.split(",") if name.strip()]
    table = pairs.prepare(folder, out, names, protocol, triplets, seed)
    column = "quality" if protocol == "rating" else "p_b"
    click.echo(f"{table} is written; fill in its column `{column}`")


def _needed(pilot: Path, a: str, b: str) -> list[str]:
    """What a finished run says of how many references would tell two metrics apart."""
    from perceptbench.agreement.compare import compare
    from perceptbench.errors import absent
    from perceptbench.reporting import run_folder

    run = run_folder.read(pilot)
    for name in (a, b):
        if name not in run.metrics:
            raise absent(pilot, "metric", name, run.metrics)
    power = run_folder.stress_power(run.provenance)
    table = compare(run.judgements, run.scores, a, b, stress_power=power).table
    found = []
    for column in run.columns:
        for row in column.rows(table).to_dict("records"):
            needed = row["needed"]
            told = f"the {row['units']} units of this run tell {a} from {b} already"
            if needed == needed:
                told = f"to tell {a} from {b} with a chance of 80 % takes about {needed:,.0f} units"
                told += f" like its {row['units']}, at a difference of {row['difference']:+.3f}"
            elif not row["p"] < 0.05:
                told = f"nothing can be said of {a} and {b} ({row['note'] or 'they do not differ'})"
            found.append(f"By {column.title} of {pilot}: {told}.")
    return found
