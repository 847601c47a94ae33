"""`perceptbench agree`: judgements and scores from any program, no image, no torch."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli import options
from perceptbench.cli.options import FILE

if TYPE_CHECKING:
    import pandas as pd

    from perceptbench.datasets.judgements.votes import Mos

#: What is printed; the files have everything.
SHOWN = (
    "2afc", "2afc_subset_mean", "2afc_majority", "2afc_of_ceiling", "jnd_ap",
    "srcc", "krcc", "plcc", "plcc_logistic4", "srcc_within_reference",
)  # fmt: skip


@click.command()
@click.option(
    "--judgements", required=True, type=FILE, metavar="FILE",
    help="What people said, CSV, Excel or Parquet: columns reference, a, b, p_b (2afc); "
    "reference, distorted and quality or impairment (rating); or a, b, p_same. With a column "
    "rater: one vote a row.",
)  # fmt: skip
@click.option(
    "--scores", required=True, type=FILE, metavar="FILE",
    help="What the metrics say, CSV, Excel or Parquet: columns reference, distorted, and one a "
    "metric.",
)  # fmt: skip
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="NAME",
    help="A column of the scores. May repeat. [default: all columns of numbers]",
)  # fmt: skip
@click.option(
    "--higher-is-better", multiple=True, metavar="NAME",
    help="A metric that is larger for more alike images, as SSIM is. May repeat.",
)  # fmt: skip
@click.option(
    "--resample", multiple=True, metavar="COLUMN",
    help="A column of the judgements that says what else items have in common, beside the images "
    "they share. May repeat.",
)  # fmt: skip
@options.mos
@click.option(
    "-o", "--out", type=FILE, metavar="DIR",
    help="Write agreement.csv, comparisons.csv, leaderboard.csv and failed.csv there.",
)  # fmt: skip
def agree(
    judgements: Path,
    scores: Path,
    metrics: tuple[str, ...],
    higher_is_better: tuple[str, ...],
    resample: tuple[str, ...],
    mos: "Mos",
    out: Path | None,
) -> None:
    """How well anybody's scores agree with anybody's judgements; no image is opened.

    \b
    perceptbench agree --judgements mos.csv --scores scores.csv --higher-is-better ssim
    perceptbench agree --judgements mos.csv --scores scores.parquet -m lpips -o agreement/
    """
    from perceptbench.agreement import own_tables
    from perceptbench.reporting import run_folder
    from perceptbench.reporting.leaderboard import Column, leaderboard
    from perceptbench.spreadsheet import to_csv
    from perceptbench.writing import together

    folder = run_folder.create(out) if out is not None else None
    own = own_tables.read(
        judgements,
        scores,
        metrics=metrics,
        higher_is_better=higher_is_better,
        resample=resample,
        mos=mos,
    )
    part, found = own.judgements, own.evaluate()
    click.echo(_printed(found.table))
    if folder is not None:
        columns = [Column(part.dataset, part.slice, name) for name in part.statistics]
        board = leaderboard(found.table, found.comparisons, columns)
        with together(folder) as draft:
            for name, frame in {
                "agreement": found.table, "comparisons": found.comparisons, "leaderboard": board,
                "failed": own.failed,
            }.items():  # fmt: skip
                run_folder.save(draft / f"{name}.csv", to_csv(frame).encode())
        click.echo(f"Written to {folder}: agreement, comparisons, leaderboard, failed")
    for sentence in own.said:
        click.echo(f"perceptbench: {sentence}", err=True)
    if own.scores.reasons:
        raise SystemExit(1)


def _printed(table: "pd.DataFrame") -> str:
    """The main figures as a Markdown table, best first, and what is undefined."""
    from perceptbench.agreement.ranking import PEOPLE
    from perceptbench.errors import printable
    from perceptbench.reporting.leaderboard import estimate, format_table

    whole = table[table["slice"] == "all"]
    shown = [s for s in SHOWN if s in set(whole["statistic"])]
    cells = {}
    for row in whole.dropna(subset="value").to_dict("records"):
        cell = estimate(row["value"], row["low"], row["high"]) + " °" * row["best"]
        cell += f" ({row['n']} of {row['of']})" * (row["n"] < row["of"])
        cells[row["metric"], row["statistic"]] = cell
    first = whole[whole["statistic"] == shown[0]].assign(
        people=lambda t: t["metric"].isin(PEOPLE), size=lambda t: -t["value"].abs()
    )
    ordered = first.sort_values(["people", "size"], kind="stable")["metric"]
    rows = [[m, *(cells.get((m, statistic), "-") for statistic in shown)] for m in ordered]
    n, units = first.iloc[0][["of", "units"]]
    lines = [
        format_table(["metric", *shown], rows),
        f"In brackets: 95 % interval over {units} units; n = {n}. °: cannot be told from the best "
        "of its column.",
    ]
    notes = whole[whole["statistic"].isin(shown) & (whole["note"] != "")]
    for note, group in notes.groupby("note", sort=False):
        names = printable(", ".join(dict.fromkeys(group["metric"])))
        lines.append(f"- {names}, {', '.join(dict.fromkeys(group['statistic']))}: {note}.")
    return "\n".join(lines)
