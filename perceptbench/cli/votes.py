"""`perceptbench votes`: judgements out of the votes of single people, and how far these agree."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli import options
from perceptbench.cli.options import FILE

if TYPE_CHECKING:
    from perceptbench.datasets.judgements.votes import Mos


@click.command()
@click.argument("table", type=FILE)
@options.mos
@click.option(
    "--scale", "model", type=click.Choice(["bradley-terry", "thurstone"]),
    help="Make ratings of choices between two images of a reference, with 95 % intervals.",
)  # fmt: skip
@click.option("-o", "--out", type=FILE, metavar="FILE", help="Write the judgements there, as CSV.")
def votes(table: Path, mos: "Mos", model: str | None, out: Path | None) -> None:
    """Bring the votes in TABLE together; say how far people agree and how many are enough.

    TABLE has one row a vote: reference, distorted, rater and quality or impairment; or reference,
    a, b, rater and choice (a, b, same); or a, b, rater and choice (same, different).

    \b
    perceptbench votes ratings.csv --mos p910 -o mos.csv
    perceptbench votes pairs.csv --scale bradley-terry -o ratings.csv
    """
    from perceptbench.agreement import people
    from perceptbench.agreement.scaling import scale
    from perceptbench.datasets.judgements.own import read_judgements
    from perceptbench.datasets.judgements.protocols import Judgements
    from perceptbench.errors import DataError
    from perceptbench.spreadsheet import to_csv
    from perceptbench.writing import writable

    own = read_judgements(table, mos)
    if own.votes is None and model is None:
        raise DataError(f"{table}: has no column `rater`: it holds no votes of single people")
    part = Judgements(table.stem, own.table, votes=own.votes)
    said, found = own.assumed, own.table
    said = [*said, *people.in_words(part)]
    if model is not None:
        found, more = scale(part, model)  # type: ignore[arg-type]
        said = [*said, *more]
    for sentence in said:
        click.echo(f"- {sentence}")
    if out is not None:
        with writable(out.parent, "-o"):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(to_csv(found), encoding="utf-8", newline="")
        click.echo(f"Written to {out}: {len(found):,} judgements")
