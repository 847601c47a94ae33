"""`perceptbench run`: the main job."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perceptbench.cli import options
from perceptbench.cli.ending import end
from perceptbench.cli.options import FILE

if TYPE_CHECKING:
    from perceptbench.datasets.judgements.votes import Mos
    from perceptbench.scoring.options import Options

#: The reports a run leaves; `perceptbench report` makes the others.
FORMATS = ("md", "html")


@click.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--judgements", "files", multiple=True, type=FILE, metavar="FILE",
    help="Your own judgements, CSV, Excel or Parquet: columns reference, a, b, p_b (2afc) or "
    "reference, distorted and quality or impairment (rating); or votes, one a row, with a column "
    "rater. May repeat.",
)  # fmt: skip
@options.mos
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
@click.option(
    "--published", is_flag=True,
    help="Rank by published scores, for which no image is needed; what is computed joins them "
    "where images are at hand. -m also names metrics of theirs.",
)  # fmt: skip
@click.option(
    "--variants", is_flag=True,
    help="With --published: also how far each metric's agreement falls under the changes of the "
    "images that scores were published for.",
)  # fmt: skip
@click.option(
    "--perturb", multiple=True, metavar="CHANGE",
    help="Also how far it falls when the distorted image is changed: shift=1px, shift=1%, "
    "scale=1.01, rotate=1, resize=KERNEL, jpeg=95, bf16. May repeat.",
)  # fmt: skip
@options.out
@options.data_dir
@options.weights_dir
@options.cache_dir
@options.scoring
@options.allow_missing
@options.dataset_options
@click.option(
    "--margin", default=0.01, show_default=True, type=click.FloatRange(0, min_open=True),
    help="Of a figure, what is too little to matter in the choice of a metric: 0.01 is a point of "
    "2AFC.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell what would be done and how long it takes.")
@click.option(
    "--pictures/--no-pictures", "with_pictures", default=True, show_default=True,
    help="Keep small pictures of the most disputed images for the HTML report.",
)  # fmt: skip
def run(
    datasets: tuple[str, ...],
    files: tuple[Path, ...],
    mos: "Mos",
    images: Path | None,
    metrics: tuple[str, ...],
    score_files: tuple[Path, ...],
    higher_is_better: tuple[str, ...],
    published: bool,
    variants: bool,
    perturb: tuple[str, ...],
    out: Path | None,
    data_dir: Path | str | None,
    weights_dir: Path | None,
    cache: Path,
    allow_missing: bool,
    dataset_options: tuple[str, ...],
    scoring: "Options",
    margin: float,
    dry_run: bool,
    with_pictures: bool,
) -> None:
    """Rank metrics by their agreement with people; print and write the leaderboard.

    Without DATASET and --judgements there are two boards: natural images (TID2013 and LIVE), from
    published scores that come with the program, and the embedded suite, whose images are computed
    from published stimulus formulas. No dataset is downloaded, but weights that are nowhere on this
    machine. -m and --scores leave out the first.

    \b
    perceptbench run modelfest -m mse -m watson-ahumada -o runs/first
    perceptbench run material-appearance --data-dir data --weights-dir weights
    perceptbench run tid2013 live pipal --published --data-dir data
    """
    from perceptbench import run as pipeline
    from perceptbench.agreement.own_tables import read_scores
    from perceptbench.cli import natural
    from perceptbench.datasets.fetch.remote import local_copy
    from perceptbench.datasets.load import load_dataset, parse_options
    from perceptbench.datasets.manifest import find_manifest, manifests
    from perceptbench.datasets.perturbed import check_change
    from perceptbench.datasets.readers.table import judgement_files
    from perceptbench.errors import UsageError, unknown
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.reporting import curves, pictures, run_folder
    from perceptbench.scoring.clock import Clock

    if (published and not datasets) or (variants and not published):
        raise UsageError("--published needs a DATASET, and --variants needs --published")
    changes = [check_change(change) for change in dict.fromkeys(perturb)]
    brought = [read_scores(path) for path in score_files]
    for own in brought:
        own.turn(higher_is_better)
    columns = [name for own in brought for name in own.metrics]
    if wrong := [name for name in higher_is_better if name not in columns]:
        raise unknown("column of scores", wrong[0], columns, "run -h")
    chosen_metrics, theirs = natural.split(metrics, datasets) if published else (metrics, ())
    infos = select(chosen_metrics, catalogue()) if chosen_metrics or not theirs else []
    if datasets or files:
        chosen = [find_manifest(name) for name in dict.fromkeys(datasets)]
    else:
        chosen = [manifest for manifest in manifests().values() if manifest.embedded]
    if isinstance(data_dir, str):
        data_dir = local_copy(data_dir, [manifest.name for manifest in chosen], cache)
    given = parse_options(dataset_options, chosen)
    loaded, found = [], []
    for manifest in chosen:
        reading: dict[str, Any] = {
            "options": {k: v for k, v in given.items() if k in manifest.option},
            "allow_missing": allow_missing,
        }
        if published:
            dataset, scores = natural.load(manifest, data_dir, cache, variants, reading)
            found += scores
        else:
            dataset = load_dataset(manifest, data_dir, cache, **reading)
        loaded.append(dataset)
    loaded += judgement_files(files, images, mos)
    options.tell(loaded)
    brought += pipeline.join(found, loaded, [info.name for info in infos], theirs)
    if dry_run:
        from perceptbench.scoring.outlook import duration

        total = 0.0
        for name, told, seconds in pipeline.outlooks(
            loaded, infos, weights_dir=weights_dir, options=scoring
        ):
            click.echo(f"{name}: {told}")
            total += seconds or 0.0
        click.echo(f"In all about {duration(total)} of scoring")
        return
    folder, clock = run_folder.create(out), Clock()
    if not datasets and not files and not metrics and not brought:
        natural.board(folder / natural.FOLDER, cache, clock)
        click.echo("\n# The embedded suite: computed images\n")
    result = pipeline.run(
        loaded,
        infos,
        weights_dir=weights_dir,
        options=scoring,
        command=options.command_line(),
        brought=brought,
        cost=True,
        perturb=changes,
        margin=margin,
        clock=clock,
    )
    written = "leaderboard.html, .md, .csv, agreement, scores, run.json"
    try:
        with clock.time("report"):
            result.curves = curves.curves(result)
            if with_pictures:
                result.pictures = pictures.pictures(result, [d for d in loaded if d.at_hand])
            end(result, folder, FORMATS, None, written)
    finally:
        click.echo(clock)
