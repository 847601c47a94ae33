"""The command line: parse, call, print. Whatever is slow to import is imported in a command."""

import shlex
import sys
from pathlib import Path

import click

from perceptbench.errors import PerceptbenchError

#: 130 as the shell has it: stopped by Ctrl-C.
INTERRUPTED = 130

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perceptbench")
def cli() -> None:
    """Which image loss agrees with people? Evidence, with error bars.

    \b
    perceptbench run                          the embedded suite: nothing to fetch
    perceptbench run -m mse -m lpips-alex     two metrics only
    perceptbench run --judgements mine.csv    your own judgements
    """


@cli.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--judgements", "files", multiple=True, type=FILE, metavar="FILE",
    help="Your own judgements, CSV or Parquet: columns reference, a, b, p_b (2afc) or "
    "reference, distorted and quality or impairment (rating). May repeat.",
)  # fmt: skip
@click.option(
    "--images", type=FOLDER, help="What image paths in FILE are relative to. [default: its folder]"
)
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="NAME",
    help="A metric's name or a loss TOML's path. May repeat. [default: the standard set]",
)  # fmt: skip
@click.option("-o", "--out", type=FILE, metavar="DIR", help="[default: runs/<time>]")
@click.option("--data-dir", type=FOLDER, envvar="PERCEPTBENCH_DATA", help="Where datasets lie.")
@click.option(
    "--weights-dir", type=FOLDER, envvar="PERCEPTBENCH_WEIGHTS", help="Where network weights lie."
)
@click.option(
    "--cache-dir", type=FILE, metavar="DIR", envvar="PERCEPTBENCH_CACHE",
    help="Where downloads are kept. [default: the user's cache folder]",
)  # fmt: skip
@click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]|mps",
    help="auto takes the GPU where there is one.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--resamples", default=2000, show_default=True, type=click.IntRange(100),
    help="Of the bootstrap.",
)  # fmt: skip
def run(
    datasets: tuple[str, ...],
    files: tuple[Path, ...],
    images: Path | None,
    metrics: tuple[str, ...],
    out: Path | None,
    data_dir: Path | None,
    weights_dir: Path | None,
    cache_dir: Path | None,
    device: str,
    seed: int,
    resamples: int,
) -> None:
    """Rank metrics by their agreement with people; print and write the leaderboard.

    Without DATASET and --judgements it runs the embedded suite: computed stimuli with published
    human judgements, for which nothing is downloaded.

    \b
    perceptbench run modelfest -m mse -m watson-ahumada -o runs/first
    perceptbench run material-appearance --data-dir data --weights-dir weights
    """
    from perceptbench import run as pipeline
    from perceptbench.datasets.manifest import find_manifest, load_dataset, manifests
    from perceptbench.datasets.readers.table import judgement_file
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.reporting import run_folder

    infos = select(metrics, catalogue())
    if datasets or files:
        chosen = [find_manifest(name) for name in dict.fromkeys(datasets)]
    else:
        chosen = [manifest for manifest in manifests().values() if manifest.embedded]
    cache = cache_dir or _user_cache()
    loaded = [load_dataset(manifest, data_dir, cache) for manifest in chosen]
    loaded += [judgement_file(path, images) for path in files]
    folder = run_folder.create(out)
    result = pipeline.run(
        loaded,
        infos,
        weights_dir=weights_dir,
        device=device,
        seed=seed,
        resamples=resamples,
        command=shlex.join(["perceptbench", *sys.argv[1:]]),
    )
    run_folder.write(result, folder)
    click.echo(run_folder.report(result))
    click.echo(f"Written to {folder}: scores, agreement, leaderboard, run.json")
    for where, why in result.broken.items():
        click.echo(f"perceptbench: {where} {why}", err=True)
    if len(result.failures):
        click.echo(f"perceptbench: {len(result.failures)} pairs failed (named above)", err=True)
    if not result.complete:
        raise SystemExit(1)


def _user_cache() -> Path:
    import pooch

    return Path(pooch.os_cache("perceptbench"))


@cli.group()
def datasets() -> None:
    """The catalogue of human-judgement datasets."""


@datasets.command("list")
def list_datasets() -> None:
    """Every dataset: its protocols, how many judgements, where it comes from."""
    from perceptbench.datasets.manifest import manifests
    from perceptbench.reporting.leaderboard import format_table

    rows = []
    for m in manifests().values():
        source = "embedded" if m.embedded else "fetched" if m.files else "--data-dir"
        counts = ", ".join(f"{key} {count:,}" for key, count in m.expect.items())
        rows.append((m.name, counts, m.images, source, m.title))
    header = ("dataset", "slice/protocol: judgements", "images", "from", "title")
    click.echo(format_table(header, rows), nl=False)


@cli.group()
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
@click.option(
    "--weights-dir", type=FOLDER, envvar="PERCEPTBENCH_WEIGHTS", help="Where network weights lie."
)
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


def main() -> None:
    """Entry point: errors of ours become one sentence and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except PerceptbenchError as error:
        click.echo(f"perceptbench: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, click.Abort):
        click.echo("perceptbench: interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
