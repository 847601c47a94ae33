"""`perceptbench sweep`: every layer of some networks with every distance, ranked."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli import options
from perceptbench.cli.ending import end
from perceptbench.cli.options import FILE

if TYPE_CHECKING:
    from perceptbench.scoring.options import Options

#: The reports a sweep leaves: figures, for the map of layers by distances.
FORMATS = ("md", "html", "figures")


@click.command()
@click.argument("backbones", nargs=-1, required=True, metavar="BACKBONE...")
@click.option(
    "--taps", default="all", show_default=True, metavar="all|LAYER,...",
    help="Layers to read, in the order of the network. all: those of LPIPS, the octaves of the "
    "pyramid, else its activations or the last map at each resolution.",
)  # fmt: skip
@click.option(
    "--distances", default="l1,l2,cosine,gram,unit_normalised", show_default=True,
    metavar="NAME,...",
    help="Also cosine_flat, mean_feature, wsd, swd, jsd, skld. unit_normalised has equal weights "
    "here: twice cosine.",
)  # fmt: skip
@click.option(
    "--weights", default="imagenet", show_default=True, metavar="imagenet|random|FILE",
    help="Of the networks; the pyramid has none.",
)  # fmt: skip
@options.dataset
@click.option(
    "--judgements", "files", multiple=True, type=FILE, metavar="FILE",
    help="Your own judgements, as of `run`. May repeat.",
)  # fmt: skip
@options.images
@options.out
@options.data_dir
@options.weights_dir
@options.cache_dir
@options.scoring
def sweep(
    backbones: tuple[str, ...],
    taps: str,
    distances: str,
    weights: str,
    datasets: tuple[str, ...],
    files: tuple[Path, ...],
    images: Path | None,
    out: Path | None,
    data_dir: Path | str | None,
    weights_dir: Path | None,
    cache: Path,
    scoring: "Options",
) -> None:
    """Rank every layer of BACKBONE with every distance: alone, the first ones, all together.

    Each network runs once per image, however many losses read from it. All layers together have
    equal weights, or weights that grow with depth. Without --dataset and --judgements it runs the
    embedded suite. Maps of layers by distances are in the HTML report and in figures/layers.

    \b
    perceptbench sweep alexnet steerable-pyramid --weights-dir weights
    perceptbench sweep vgg16 --taps relu1_2,relu3_3 --distances l1,cosine --dataset modelfest
    """
    from perceptbench import run as pipeline
    from perceptbench.datasets.load import load_named
    from perceptbench.datasets.readers.table import judgement_files
    from perceptbench.metrics.sweep import sweep as losses
    from perceptbench.reporting import run_folder

    layers = [] if taps == "all" else _names(taps)
    base = str(Path(weights).resolve()) if weights not in ("imagenet", "random") else weights
    infos = losses(backbones, _names(distances), layers, base)
    names = datasets if datasets or files else None
    loaded = load_named(names, data_dir, cache)
    loaded += judgement_files(files, images)
    options.tell(loaded)
    click.echo(f"perceptbench: {len(infos)} losses", err=True)
    folder = run_folder.create(out)
    result = pipeline.run(
        loaded,
        infos,
        weights_dir=weights_dir,
        options=scoring,
        command=options.command_line(),
        ranked_only=True,
    )
    written = "leaderboard.html, .md, .csv, figures/layers, run.json"
    end(result, folder, FORMATS, None, written)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
