"""Published scores in `perceptbench run`: which they are, and the board that needs no download."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perceptbench.cli import options

if TYPE_CHECKING:
    from perceptbench.agreement.own_tables import Scores
    from perceptbench.datasets.dataset import Dataset
    from perceptbench.datasets.manifest import Manifest
    from perceptbench.datasets.published import Published
    from perceptbench.scoring.clock import Clock
    from perceptbench.study import Study

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
    download: bool = True,
) -> tuple["Dataset", list["Published"]]:
    """A dataset and what was published of it; says what is not used."""
    from perceptbench.datasets.published import load_published

    def say(text: str) -> None:
        click.echo(f"perceptbench: dataset {manifest.name}: {text}", err=True)

    return load_published(
        manifest, data_dir, cache, variants=variants, download=download, say=say, **reading
    )


def for_study(
    study: "Study", names: Sequence[str], data_dir: Path | str | None, cache: Path
) -> tuple[list["Dataset"], list["Scores"], dict[str, str]]:
    """The datasets named, their published scores as the study calls them, what is left out and why.

    A study of metrics that are computed takes published scores only of what is at hand without
    images, and fetches none.
    """
    from perceptbench.datasets.fetch.remote import local_copy
    from perceptbench.datasets.manifest import find_manifest
    from perceptbench.errors import PerceptbenchError
    from perceptbench.run import join

    if isinstance(data_dir, str):
        data_dir = local_copy(data_dir, names, cache)
    changed = any("@" in metric for metric in study.as_published)
    found, left_out = [], {}
    for name in names:
        try:
            found.append(load(find_manifest(name), data_dir, cache, changed, {}, not study.metrics))
        except PerceptbenchError as error:
            if not study.metrics:
                raise
            left_out[name] = str(error)
    datasets = [replace(d, at_hand=d.at_hand and bool(study.metrics)) for d, _ in found]
    without = {dataset.name for dataset in datasets if not dataset.at_hand}
    scores = [each for _, published in found for each in published if each.dataset in without]
    brought = join(scores, datasets, (), study.as_published.values())
    brought = [each.named(study.as_published) for each in brought]
    return datasets, [each for each in brought if each.metrics], left_out


def board(folder: Path, cache: Path, clock: "Clock") -> None:
    """Ranks metrics on TID2013 and LIVE by the scores that come with the program."""
    from perceptbench import run as pipeline
    from perceptbench.cli.ending import end
    from perceptbench.datasets.manifest import find_manifest
    from perceptbench.datasets.published import load_published

    folder.mkdir(parents=True, exist_ok=True)
    with clock.time("published scores"):
        found = [load_published(find_manifest(name), None, cache) for name in EMBEDDED]
    datasets = [dataset for dataset, _ in found]
    scores = [each for _, published in found for each in published]
    result = pipeline.run(
        datasets,
        (),
        command=options.command_line(),
        brought=pipeline.join(scores, datasets, ()),
        ranked_only=True,
        clock=clock,
    )
    click.echo("# Natural images: published scores, no image computed\n")
    written = "leaderboard.html, .md, .csv, agreement, scores, run.json"
    with clock.time("report"):
        end(result, folder, ("md", "html"), None, written)
