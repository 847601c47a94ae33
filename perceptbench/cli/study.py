"""`perceptbench study`: claims about metrics, held against what people judged."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli import options
from perceptbench.cli.ending import end

if TYPE_CHECKING:
    from perceptbench.scoring.options import Options

#: The reports a study leaves beside its verdict.
FORMATS = ("md", "html")


@click.command()
@click.argument("name", metavar="NAME|FILE.toml")
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME",
    help="A dataset, as `datasets list` names it. May repeat. [default: the embedded suite and "
    "every whole dataset in --data-dir]",
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
    cache_dir: Path | None,
    scoring: "Options",
) -> None:
    """Test the claims of a study: supported, refuted or undecided, on the datasets at hand.

    NAME is pixel-vs-perceptual, common-mistakes or learned-vs-fixed; a FILE of your own names
    pairs of metrics and what each pair tests (see perceptbench/study.py). The verdict is printed
    and written to verdict.md and .csv, beside the run it rests on.

    \b
    perceptbench study learned-vs-fixed --weights-dir weights --data-dir data
    perceptbench study mine.toml --dataset modelfest -o runs/mine
    """
    from perceptbench import run as pipeline
    from perceptbench.datasets.load import load_at_hand, load_named
    from perceptbench.metrics.registry import catalogue
    from perceptbench.reporting import run_folder
    from perceptbench.spreadsheet import to_csv
    from perceptbench.study import page, read_study, verdicts

    asked = read_study(name, catalogue())
    cache = cache_dir or options.user_cache()
    left_out: dict[str, str] = {}
    if datasets:
        loaded = load_named(datasets, data_dir, cache)
    else:
        loaded, left_out = load_at_hand(data_dir, cache)
    folder = run_folder.create(out)
    result = pipeline.run(
        loaded,
        asked.metrics,
        weights_dir=weights_dir,
        options=scoring,
        command=options.command_line(),
        ranked_only=True,
    )
    table = verdicts(asked, result)
    text = page(asked, result, table, left_out)
    verdict = {"verdict.csv": to_csv(table).encode(), "verdict.md": text.encode()}
    written = "verdict.md, .csv; leaderboard.html, .md, .csv, run.json"
    end(result, folder, FORMATS, text, written, verdict)
