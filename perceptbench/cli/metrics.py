"""`perceptbench metrics`: what can be ranked."""

from pathlib import Path

import click

from perceptbench.cli import options


@click.group()
def metrics() -> None:
    """What can be ranked."""


@metrics.command("list")
@click.argument("library", required=False)
@click.option("--all", "everything", is_flag=True, help="Those of every library, too.")
def list_metrics(library: str | None, everything: bool) -> None:
    """Every metric found, own and plugins'; those of the standard set are marked.

    With LIBRARY (piq, torchmetrics, pyiqa, lpips, dreamsim, flip, cvvdp): what that library has.

    \b
    perceptbench metrics list
    perceptbench metrics list piq
    """
    from perceptbench.errors import Unavailable
    from perceptbench.metrics import adapters
    from perceptbench.metrics.protocol import MetricInfo
    from perceptbench.metrics.registry import catalogue
    from perceptbench.reporting.leaderboard import format_table

    infos: list[MetricInfo] = []
    problems: list[str] = []
    if library is None:
        found = catalogue()
        infos += found.metrics.values()
        problems += [
            f"metric plugin {name} cannot be used: {why}" for name, why in found.broken.items()
        ]
    else:
        infos += adapters.offered(library).values()
    if everything:
        for each in adapters.LIBRARIES:
            try:
                infos += adapters.offered(each).values()
            except Unavailable as error:
                problems.append(str(error))
    rows = [(i.name, "yes" if i.default else "", i.title) for i in infos]
    click.echo(format_table(("metric", "standard", "title"), rows), nl=False)
    for problem in problems:
        click.echo(f"perceptbench: {problem}", err=True)


@metrics.command("taps")
@click.argument("backbone", required=False)
@click.option("--all", "everything", is_flag=True, help="Every module of a library's network.")
def list_taps(backbone: str | None, everything: bool) -> None:
    """The layers of BACKBONE a loss can read; without BACKBONE, the networks known by name.

    \b
    perceptbench metrics taps vgg16
    perceptbench metrics taps timm:vit_small_patch14_dinov2.lvd142m
    """
    from perceptbench.losses import backbones, networks
    from perceptbench.reporting.leaderboard import format_table

    if backbone is None:
        rows = [(name, known.url or "-") for name, known in networks.ARCHITECTURES.items()]
        click.echo(format_table(("backbone", "ImageNet weights"), rows), nl=False)
        click.echo(
            "and any other of torchvision.models, timm:NAME, hf:REPO, open_clip:NAME:TAG, or your "
            "own as module:callable"
        )
        return
    network = backbones.load_network(backbone)
    found = [
        (alias, node, " x ".join(map(str, shape)))
        for alias, node, shape in backbones.list_taps(network, everything=everything)
    ]
    height, width = network.size or (backbones.SIDE, backbones.SIDE)
    click.echo(format_table(("name", "node", f"C x H x W at {height} x {width}"), found), nl=False)


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
@click.argument("name")
@click.option("--images", type=options.FOLDER, help="Images of yours to look at, too.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the images and the noise.")
@options.weights_dir
def check_metric(
    name: str, images: Path | None, device: str, seed: int, weights_dir: Path | None
) -> None:
    """Whether a metric or loss file keeps the protocol, and how it behaves, on one card.

    A loss is searched for known mistakes first. The exit code is 1 where a hard property fails.

    \b
    perceptbench metrics check my-loss.toml
    perceptbench metrics check piq:ssim --images photos
    """
    from perceptbench.losses.config import Networks, parse_loss
    from perceptbench.losses.mistakes import mistakes
    from perceptbench.metrics import card, registry
    from perceptbench.reporting.leaderboard import format_table

    (info,) = registry.select([name], registry.catalogue())
    if info.loss is not None:
        config, folder = parse_loss(info.loss, info.source), Path(info.source).parent
        for problem in mistakes(config, folder):
            click.echo(f"{name}: {problem}")
    metric = registry.build(info, Networks(weights_dir))
    pictures = card.read_folder(images) if images else []
    found = card.check(metric, pictures, seed, device)
    click.echo(format_table((info.name, "", ""), found.rows), nl=False)
    for problem in found.failed:
        click.echo(f"perceptbench: {name}: {problem}", err=True)
    if found.failed:
        raise SystemExit(1)


@metrics.command("new")
@click.argument("name")
@click.option("-o", "--out", type=options.FOLDER, default=".", help="Where the folder is made.")
def new_metric(name: str, out: Path) -> None:
    """Write a package with a metric NAME in it, ready to install and to change.

    \b
    perceptbench metrics new my-metric && pip install -e my-metric
    """
    from perceptbench.metrics.template import write_package

    folder = write_package(name, out)
    click.echo(f"{folder} is written; install it with: pip install -e {folder}")
