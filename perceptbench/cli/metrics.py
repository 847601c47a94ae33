"""`perceptbench metrics`: what can be ranked."""

from pathlib import Path

import click

from perceptbench.cli import options


@click.group()
def metrics() -> None:
    """What can be ranked."""


@metrics.command("list")
def list_metrics() -> None:
    """Every metric found, own and plugins'; those of the standard set are marked."""
    from perceptbench.metrics.registry import catalogue
    from perceptbench.reporting.leaderboard import format_table

    found = catalogue()
    rows = [(i.name, "yes" if i.default else "", i.title) for i in found.metrics.values()]
    click.echo(format_table(("metric", "standard", "title"), rows), nl=False)
    for name, why in found.broken.items():
        click.echo(f"perceptbench: metric plugin {name} cannot be used: {why}", err=True)


@metrics.command("taps")
@click.argument("backbone", required=False)
def list_taps(backbone: str | None) -> None:
    """The layers of BACKBONE a loss can read; without BACKBONE, the networks known by name.

    \b
    perceptbench metrics taps vgg16
    """
    from perceptbench.losses import backbones, networks
    from perceptbench.reporting.leaderboard import format_table

    if backbone is None:
        rows = [(name, known.url or "-") for name, known in networks.ARCHITECTURES.items()]
        click.echo(format_table(("backbone", "ImageNet weights"), rows), nl=False)
        click.echo("and any other of torchvision.models, or your own as module:callable")
        return
    network = backbones.load_network(backbone)
    found = [
        (alias, node, " x ".join(map(str, shape)))
        for alias, node, shape in backbones.list_taps(network)
    ]
    click.echo(format_table(("name", "node", "C x H x W at 224 x 224"), found), nl=False)


@metrics.command("show")
@click.argument("name")
@options.weights_dir
def show_metric(name: str, weights_dir: Path | None) -> None:
    """All that decides the numbers of a metric or loss file, and for losses its hash.

    \b
    perceptbench metrics show lpips-alex
    """
    from perceptbench.metrics import registry

    (info,) = registry.select([name], registry.catalogue())
    click.echo(registry.describe(info, weights_dir))


@metrics.command("check")
@click.argument("name", metavar="FILE")
def check_metric(name: str) -> None:
    """Warn of known mistakes in a loss file (or preset), each with its reason.

    \b
    perceptbench metrics check my-loss.toml
    """
    from perceptbench.losses.config import read_loss
    from perceptbench.losses.mistakes import mistakes

    config, folder = read_loss(name)
    for problem in mistakes(config, folder):
        click.echo(f"{name}: {problem}")
