"""`perceptbench study`: claims about metrics, held against what people judged."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli import options
from perceptbench.cli.ending import end

if TYPE_CHECKING:
    from perceptbench.datasets.dataset import Dataset
    from perceptbench.scoring.options import Options

#: The reports a study leaves beside its verdict.
FORMATS = ("md", "html")


@click.command()
@click.argument("name", metavar="NAME|FILE.toml")
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME",
    help="A dataset, as `datasets list` names it. May repeat. [default: what the study names, "
    "or the embedded suite and every whole dataset in --data-dir]",
)  # fmt: skip
@options.out
@options.data_dir
@options.weights_dir
@options.cache_dir
@options.scoring
def study(
    name: str,
    datasets: tuple[str, ...],
    out: Path | None,
    data_dir: Path | str | None,
    weights_dir: Path | None,
    cache: Path,
    scoring: "Options",
) -> None:
    """Test the claims of a study over the datasets at hand: supported, refuted, equivalent,
    undecided, or one that differs between datasets.

    NAME is pixel-vs-perceptual or learned-vs-fixed, which also take published scores of TID2013,
    LIVE and PIPAL, or common-mistakes, or rounding, on the vision card, or one about published
    scores alone: natural-images, alignment. A FILE of your own names pairs of metrics and what each
    pair tests (see perceptbench/study.py). The verdict is printed and written to verdict.md and
    .csv, beside the run it rests on. Mistakes that no ranking can show are measured by
    `perceptbench descend --mistakes`.

    \b
    perceptbench study learned-vs-fixed --weights-dir weights --data-dir data
    perceptbench study mine.toml --dataset modelfest -o runs/mine
    """
    from perceptbench import run as pipeline
    from perceptbench.cli import natural
    from perceptbench.datasets.load import load_at_hand, load_named
    from perceptbench.metrics.registry import catalogue
    from perceptbench.reporting import merge, run_folder
    from perceptbench.spreadsheet import to_csv
    from perceptbench.study import page, read_study, verdicts

    asked = read_study(name, catalogue())
    alone = not asked.metrics  # of published scores
    datasets = datasets or asked.datasets
    theirs = [n for n in datasets or asked.published if alone or n in asked.published]
    ours = [name for name in datasets if name not in theirs]
    loaded: list[Dataset] = []
    left_out: dict[str, str] = {}
    if ours:
        loaded = load_named(ours, data_dir, cache, asked.options)
    elif not alone and not datasets:
        loaded, left_out = load_at_hand(data_dir, cache)
    theirs = [name for name in theirs if name not in {dataset.name for dataset in loaded}]
    found, brought, lost = natural.for_study(asked, theirs, data_dir, cache)
    left_out |= lost
    for dataset in found:
        left_out.pop(dataset.name, None)
    loaded += [dataset for dataset in found if dataset.at_hand]
    natural_sets = [dataset for dataset in found if not dataset.at_hand]
    folder = run_folder.create(out)
    ranked = partial(pipeline.run, command=options.command_line(), ranked_only=True, apart=False)
    runs = []
    if loaded or not natural_sets:
        runs.append(ranked(loaded, asked.metrics, weights_dir=weights_dir, options=scoring))
    if natural_sets:
        runs.append(ranked(natural_sets, (), brought=brought))
    result = merge.joined(runs)
    table = verdicts(asked, result)
    text = page(asked, result, table, left_out)
    verdict = {"verdict.csv": to_csv(table).encode(), "verdict.md": text.encode()}
    written = "verdict.md, .csv; leaderboard.html, .md, .csv, run.json"
    end(result, folder, FORMATS, text, written, verdict)
