"""`perceptbench run`: the main job."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli import options
from perceptbench.cli.ending import end
from perceptbench.cli.options import FILE

if TYPE_CHECKING:
    from perceptbench.scoring.options import Options

#: The reports a run leaves; `perceptbench report` makes the others.
FORMATS = ("md", "html")


@click.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--judgements", "files", multiple=True, type=FILE, metavar="FILE",
    help="Your own judgements, CSV or Parquet: columns reference, a, b, p_b (2afc) or "
    "reference, distorted and quality or impairment (rating). May repeat.",
)  # fmt: skip
@options.images
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="NAME",
    help="A metric's name or a loss TOML's path. May repeat. [default: the standard set]",
)  # fmt: skip
@click.option(
    "--scores", "score_files", multiple=True, type=FILE, metavar="FILE",
    help="Scores of your own that join the ranking: columns reference, distorted, and one a "
    "metric. May repeat.",
)  # fmt: skip
@click.option(
    "--higher-is-better", multiple=True, metavar="NAME",
    help="A column of those that is larger for more alike images. May repeat.",
)  # fmt: skip
@options.out
@options.data_dir
@options.weights_dir
@options.cache_dir
@options.scoring
@options.allow_missing
@options.dataset_options
@click.option("--dry-run", is_flag=True, help="Tell what would be done and how long it takes.")
@click.option(
    "--pictures/--no-pictures", "with_pictures", default=True, show_default=True,
    help="Keep small pictures of the most disputed images for the HTML report.",
)  # fmt: skip
def run(
    datasets: tuple[str, ...],
    files: tuple[Path, ...],
    images: Path | None,
    metrics: tuple[str, ...],
    score_files: tuple[Path, ...],
    higher_is_better: tuple[str, ...],
    out: Path | None,
    data_dir: Path | str | None,
    weights_dir: Path | None,
    cache_dir: Path | None,
    allow_missing: bool,
    dataset_options: tuple[str, ...],
    scoring: "Options",
    dry_run: bool,
    with_pictures: bool,
) -> None:
    """Rank metrics by their agreement with people; print and write the leaderboard.

    Without DATASET and --judgements it runs the embedded suite: computed stimuli with published
    human judgements, for which nothing is downloaded.

    \b
    perceptbench run modelfest -m mse -m watson-ahumada -o runs/first
    perceptbench run material-appearance --data-dir data --weights-dir weights
    """
    from perceptbench import run as pipeline
    from perceptbench.datasets.load import load_dataset, parse_options
    from perceptbench.datasets.manifest import find_manifest, manifests
    from perceptbench.datasets.readers.table import judgement_file
    from perceptbench.datasets.remote import local_copy
    from perceptbench.errors import unknown
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.reporting import curves, markdown, pictures, run_folder

    infos = select(metrics, catalogue())
    brought = [pipeline.bring(path, higher_is_better) for path in score_files]
    columns = [name for own in brought for name in own.metrics]
    if wrong := [name for name in higher_is_better if name not in columns]:
        raise unknown("column of scores", wrong[0], columns, "run -h")
    if datasets or files:
        chosen = [find_manifest(name) for name in dict.fromkeys(datasets)]
    else:
        chosen = [manifest for manifest in manifests().values() if manifest.embedded]
    cache = cache_dir or options.user_cache()
    if isinstance(data_dir, str):
        data_dir = local_copy(data_dir, [manifest.name for manifest in chosen], cache)
    given = parse_options(dataset_options, chosen)
    loaded = [
        load_dataset(
            manifest,
            data_dir,
            cache,
            options={k: v for k, v in given.items() if k in manifest.option},
            allow_missing=allow_missing,
        )
        for manifest in chosen
    ]
    for dataset in loaded:
        for sentence in dataset.left_out:
            click.echo(f"perceptbench: dataset {dataset.name}: left out: {sentence}", err=True)
    loaded += [judgement_file(path, images) for path in files]
    if dry_run:
        for name, told in pipeline.outlooks(
            loaded, infos, weights_dir=weights_dir, options=scoring
        ):
            click.echo(f"{name}: {told}")
        return
    folder = run_folder.create(out)
    result = pipeline.run(
        loaded,
        infos,
        weights_dir=weights_dir,
        options=scoring,
        command=options.command_line(),
        brought=brought,
        cost=True,
    )
    result.curves = curves.curves(result)
    if with_pictures:
        result.pictures = pictures.pictures(result, loaded)
    written = "leaderboard.html, .md, .csv, agreement, scores, run.json"
    end(result, folder, FORMATS, markdown.page(result), written)
