"""`perceptbench compare`: two metrics of a run, face to face."""

from pathlib import Path
from typing import Any

import click

from perceptbench.cli.options import FOLDER

#: Columns of images among the disputed items.
IMAGES = ("reference", "distorted", "a image", "b image")


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("a")
@click.argument("b")
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME",
    help="Only this dataset of the run. May repeat. [default: all]",
)  # fmt: skip
@click.option(
    "--margin", default=0.01, show_default=True, type=click.FloatRange(0, min_open=True),
    help="Of a figure, what is too little to matter: 0.01 is a point of 2AFC.",
)  # fmt: skip
@click.option("--top", default=5, show_default=True, help="Disputed items shown for each table.")
def compare(run: Path, a: str, b: str, datasets: tuple[str, ...], margin: float, top: int) -> None:
    """Does metric A agree better with people than metric B? Nothing is scored again.

    Prints a sentence for each figure, the paired differences (also by distortion, level and
    category), and the items on which the two disagree most.

    \b
    perceptbench compare runs/first lpips-alex mse
    perceptbench compare runs/first lpips-alex dists --dataset kadid-10k
    """
    from perceptbench.agreement.compare import compare, in_words
    from perceptbench.errors import UsageError, absent
    from perceptbench.reporting import run_folder
    from perceptbench.reporting.leaderboard import estimate, format_table

    result = run_folder.read(run)
    for name in (a, b):
        if name not in result.metrics:
            raise absent(run, "metric", name, result.metrics)
    if a == b:
        raise UsageError(f"{a} is no different from itself; name two metrics")
    known = list(dict.fromkeys(part.dataset for part in result.judgements))
    for name in datasets:
        if name not in known:
            raise absent(run, "dataset", name, known)
    record = result.provenance
    found = compare(
        [part for part in result.judgements if not datasets or part.dataset in datasets],
        result.scores,
        a,
        b,
        stress_power=run_folder.stress_power(record),
        margin=margin,
        top=top,
    )
    whole = found.table[found.table["statistic"].isin({c.statistic for c in result.columns})]
    titles = {column.key[:2] for column in result.columns}
    whole = whole[[key in titles for key in zip(whole["dataset"], whole["slice"], strict=True)]]
    trained = result.agreement[result.agreement["in_domain"].astype(bool)]
    in_domain = {str(name): set(rows["metric"]) for name, rows in trained.groupby("dataset")}
    for sentence in in_words(whole, a, b, in_domain):
        click.echo(sentence)
    header = ["dataset", "slice", "statistic", a, b, "difference", "p", "p (Holm)", "n"]
    figures: list[dict[str, Any]] = found.table.to_dict("records")  # type: ignore[assignment]
    rows = [
        [
            *(r[c] for c in ("dataset", "slice", "statistic")), _number(r["a"]), _number(r["b"]),
            estimate(r["difference"], r["low"], r["high"], sign="+"),
            *(_p(r[c]) for c in ("p", "p_holm")), str(r["n"]),
        ]
        for r in figures
    ]  # fmt: skip
    click.echo("\n" + format_table(header, rows))
    for r in figures:
        if r["note"] and titles.isdisjoint({(r["dataset"], r["slice"])}):
            where = f"{r['dataset']} {r['slice']} {r['statistic']}"
            click.echo(f"- {where} is undefined ({r['note']}).")
    click.echo(
        "Where they disagree most (percentiles of distance; of two images, of the margin, from "
        "-1, a is closer, to 1, b is):\n"
    )
    items: list[dict[str, Any]] = found.disputed.to_dict("records")  # type: ignore[assignment]
    images = [c for c in IMAGES if c in found.disputed]
    rows = [
        [
            r["dataset"], *(_path(r[c], record, r["dataset"]) for c in images),
            *(_number(r[c]) for c in ("people", a, b)), r["nearer"] or "neither",
        ]
        for r in items
    ]  # fmt: skip
    click.echo(format_table(["dataset", *images, "people", a, b, "nearer to people"], rows))


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else _number(value)


def _path(key: Any, record: dict[str, Any], dataset: str) -> str:
    """Where the image is; its key where it is computed."""
    if key != key:
        return ""
    folder = record.get("datasets", {}).get(dataset, {}).get("folder")
    return str(Path(folder) / key) if folder else str(key)
