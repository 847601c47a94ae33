"""`perceptbench store`: finished distances on disk."""

from datetime import datetime

import click

from perceptbench.cli import options


@click.group()
def store() -> None:
    """Finished distances, kept so that none is computed twice."""


@store.command()
@options.store
def info(url: str) -> None:
    """What is kept: a row a network or metric.

    \b
    perceptbench store info
    """
    from perceptbench.reporting.leaderboard import format_table
    from perceptbench.scoring.store import Store

    groups = Store(url, lambda sentence: click.echo(f"perceptbench: {sentence}", err=True)).info()
    rows = [
        (g.name, g.title, f"{g.pairs:,}", f"{g.primitives:,}", f"{g.size / 2**20:.1f}",
         f"{datetime.fromtimestamp(g.written):%Y-%m-%d %H:%M}")
        for g in groups
    ]  # fmt: skip
    click.echo(f"{url}: {sum(g.size for g in groups) / 2**20:.1f} MiB")
    if rows:
        header = ("group", "of", "pairs", "distances", "MiB", "last written")
        click.echo(format_table(header, rows), nl=False)


@store.command()
@options.store
@click.argument("groups", nargs=-1, metavar="[GROUP]...")
@click.option("--older-than", type=click.FloatRange(0), metavar="DAYS", help="Only such files.")
@click.option("--all", "everything", is_flag=True, help="Every group, whatever its age.")
def prune(url: str, groups: tuple[str, ...], older_than: float | None, everything: bool) -> None:
    """Remove GROUPs, old files, or all; and what killed runs have left.

    \b
    perceptbench store prune --older-than 90
    """
    from perceptbench.errors import unknown
    from perceptbench.scoring.store import Store

    held = Store(url, lambda sentence: click.echo(f"perceptbench: {sentence}", err=True))
    known = [g.name for g in held.info()]
    for group in groups:
        if group not in known:
            raise unknown("group", group, known, "store info")
    if groups or older_than is not None or everything:
        age = None if older_than is None else older_than * 24 * 3600
        removed = held.prune(groups, age)
    else:
        removed = held.tidy()
    click.echo(f"{url}: {removed} files removed")
