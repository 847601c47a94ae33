"""`perceptbench check`: what is in tables of judgements and scores, and what looks odd."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli.options import FILE

if TYPE_CHECKING:
    from perceptbench.agreement.own_tables import Scores
    from perceptbench.datasets.judgements.protocols import Judgements


@click.command()
@click.argument("tables", nargs=-1, required=True, type=FILE, metavar="TABLE...")
@click.option(
    "--higher-is-better", multiple=True, metavar="NAME",
    help="A column of scores that is larger for more alike images. May repeat.",
)  # fmt: skip
def check(tables: tuple[Path, ...], higher_is_better: tuple[str, ...]) -> None:
    """Say how tables of judgements, votes or scores are read; nothing is scored.

    Protocol, counts, references, votes, ranges, what was assumed and what looks odd; of scores
    beside judgements, what they leave unanswered and whether they point the right way. The exit
    code is 1 where a table cannot be read, or a score is none.

    \b
    perceptbench check mos.csv
    perceptbench check mos.csv scores.csv --higher-is-better ssim
    """
    from perceptbench.agreement.answers import directions, distances, in_words
    from perceptbench.errors import PerceptbenchError, absent

    judged: list[Judgements] = []
    brought: list[Scores] = []
    complete = True
    for path in tables:
        try:
            kind, said = _read(path, judged, brought)
        except PerceptbenchError as error:
            complete = False
            click.echo(f"perceptbench: {error}", err=True)
            continue
        click.echo(f"{path}: {kind}")
        for sentence in said:
            click.echo(f"- {sentence}")
    names = [name for own in brought for name in own.metrics]
    if wrong := [name for name in higher_is_better if name not in names]:
        raise absent("scores", "metric", wrong[0], names)
    for own in brought:
        own.turn(higher_is_better)
        complete &= not own.reasons
        for part in judged:
            failed = own.failed(part)
            click.echo(f"{own.source} beside {part.dataset}:")
            asked = directions(part, own.table, own.metrics, higher_is_better)
            found = distances(part, own.table, own.metrics)
            lost = in_words(part, found, own.metrics, failed)
            for sentence in [*lost, *(s for s in asked if s.startswith((*own.metrics, "all ")))]:
                click.echo(f"- {sentence}")
            if not lost:
                click.echo(f"- all {len(part.table):,} judgements have every score")
    if not complete:
        raise SystemExit(1)


def _read(path: Path, judged: "list[Judgements]", brought: "list[Scores]") -> tuple[str, list[str]]:
    """What kind of table a file is and what there is to say of it; it joins one of the lists."""
    from perceptbench.agreement.own_tables import RANKED, read_scores
    from perceptbench.agreement.people import counted, in_words
    from perceptbench.agreement.units import FEWEST, find
    from perceptbench.datasets.judgements.own import describe, odd, read_judgements
    from perceptbench.datasets.judgements.protocols import Judgements, protocol_of
    from perceptbench.datasets.judgements.tables import NUMBERS, read_table
    from perceptbench.errors import printable

    columns = set(read_table(path)[0].columns)
    if {"reference", "distorted"} <= columns and not columns & {*NUMBERS, "rater"}:
        own = read_scores(path)
        brought.append(own)
        ends = [
            f"{name}: {own.table[name].min():g} to {own.table[name].max():g}, "
            f"{int(own.table[name].isna().sum()):,} without a number"
            for name in own.metrics
        ]
        kind = f"scores of {len(own.metrics)} metrics for {len(own.table):,} pairs"
        return kind, [*own.assumed, *ends]
    found = read_judgements(path)
    protocol = protocol_of(found.table, str(path))
    part = Judgements(
        printable(path.stem), found.table, statistics=RANKED[protocol], votes=found.votes
    )
    judged.append(part)
    resting = f"intervals rest on {find(part).count:,} units that vary"
    raters = counted(part.votes)
    if part.votes is not None:
        resting += f" and {raters:,} raters" if raters else f"; raters, fewer than {FEWEST}, do not"
    said = [
        *describe(part), resting, *in_words(part), *found.assumed, *odd(found.table, path.stem)
    ]  # fmt: skip
    return f"judgements of the protocol {protocol}", said
