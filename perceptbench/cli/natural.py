"""Published scores in `perceptbench run`: which metrics and datasets, and the board of natural images
that needs no download."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perceptbench.cli import options

if TYPE_CHECKING:
    from perceptbench.datasets.dataset import Dataset
    from perceptbench.datasets.manifest import Manifest
    from perceptbench.datasets.published import Scores

#: Where the board of natural images lies in the folder of a run without arguments.
FOLDER = "natural-images"
#: What that board is of: the scores of these come with the program.
EMBEDDED = ("tid2013", "live")


def split(
    metrics: Sequence[str], datasets: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The metrics named that are computed, and those that are published; some are both."""
    from perceptbench.datasets.score_sets import score_sets
    from perceptbench.metrics.registry import catalogue

    known = {
        name
        for dataset in datasets
        for score_set in score_sets(dataset).values()
        for metric in score_set.metric
        for name in (metric, f"{score_set.name}:{metric}")
    }
    theirs = tuple(m for m in metrics if m.partition("@")[0] in known)
    ours = catalogue().metrics
    return tuple(m for m in metrics if m not in theirs or m in ours), theirs


def load(
    manifest: "Manifest",
    data_dir: Path | None,
    cache: Path,
    variants: bool,
    reading: Mapping[str, Any],
) -> tuple["Dataset", list["Scores"]]:
    """A dataset and what was published of it; says what is not used."""
    from perceptbench.datasets.published import load_published

    def say(text: str) -> None:
        click.echo(f"perceptbench: dataset {manifest.name}: {text}", err=True)

    return load_published(manifest, data_dir, cache, variants=variants, say=say, **reading)


def board(folder: Path, cache: Path, seed: int, resamples: int) -> None:
    """Ranks metrics on TID2013 and LIVE by the scores that come with the program."""
    from perceptbench import run as pipeline
    from perceptbench.cli.ending import end
    from perceptbench.datasets.manifest import find_manifest
    from perceptbench.datasets.published import load_published
    from perceptbench.reporting import markdown

    folder.mkdir(parents=True, exist_ok=True)
    found = [load_published(find_manifest(name), None, cache) for name in EMBEDDED]
    datasets = [dataset for dataset, _ in found]
    scores = [each for _, published in found for each in published]
    result = pipeline.run(
        datasets,
        (),
        seed=seed,
        resamples=resamples,
        command=options.command_line(),
        brought=pipeline.join(scores, datasets, ()),
        ranked_only=True,
    )
    click.echo("# Natural images: published scores, no image computed\n")
    written = "leaderboard.html, .md, .csv, agreement, scores, run.json"
    end(result, folder, ("md", "html"), markdown.page(result), written)
