"""`perceptbench datasets`: the catalogue."""

import click


@click.group()
def datasets() -> None:
    """The catalogue of human-judgement datasets."""


@datasets.command("list")
def list_datasets() -> None:
    """Every dataset: its protocols, how many judgements, where it comes from."""
    from perceptbench.datasets.manifest import manifests
    from perceptbench.reporting.leaderboard import format_table

    rows = []
    for m in manifests().values():
        source = "embedded" if m.embedded else "fetched" if m.archive else "--data-dir"
        counts = ", ".join(f"{k} {e.items:,}" for k, e in m.expect.items() if e.items)
        rows.append((m.name, counts, m.images, source, m.title))
    header = ("dataset", "slice/protocol: judgements", "images", "from", "title")
    click.echo(format_table(header, rows), nl=False)
