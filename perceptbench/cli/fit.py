"""`perceptbench fit`: the weights of a loss learned from judgements."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perceptbench.cli import options
from perceptbench.cli.options import FILE

if TYPE_CHECKING:
    from perceptbench.agreement.evaluate import Evaluation
    from perceptbench.datasets.dataset import Dataset
    from perceptbench.scoring.options import Options


@click.command()
@click.option("--backbone", required=True, metavar="NAME", help="As `metrics taps` lists them.")
@click.option(
    "--weights", metavar="imagenet|random|FILE",
    help="Of the backbone. [default: imagenet; steerable-pyramid has none]",
)  # fmt: skip
@click.option(
    "--tap", "taps", multiple=True, metavar="LAYER",
    help="May repeat. [default: those of the presets over this backbone]",
)  # fmt: skip
@click.option(
    "--distance", default="unit_normalised", show_default=True, metavar="NAME",
    help="Taken at every tap; one that needs no parameter.",
)  # fmt: skip
@click.option("--heads", is_flag=True, help="A weight for every channel, as in LPIPS.")
@click.option(
    "--train", required=True, metavar="DATASET[:SPLIT]",
    help="What to learn from: a dataset or a judgement file; a split is a value of its column "
    "`split`.",
)  # fmt: skip
@click.option("--test", metavar="DATASET[:SPLIT]", help="Other references to test on.")
@click.option(
    "--beside", multiple=True, metavar="METRIC", help="A metric to measure, too. May repeat."
)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="By reference.")
@click.option(
    "--ridge", default=0.01, show_default=True, type=click.FloatRange(0, min_open=True),
    help="How much large weights cost.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=FILE, default=Path("fitted.toml"), show_default=True, metavar="FILE"
)
@options.data_dir
@options.weights_dir
@options.cache_dir
@options.scoring
@options.allow_missing
@click.option("--seed", default=0, show_default=True, help="Of the folds.")
def fit(
    backbone: str,
    weights: str | None,
    taps: tuple[str, ...],
    distance: str,
    heads: bool,
    train: str,
    test: str | None,
    beside: tuple[str, ...],
    folds: int,
    ridge: float,
    out: Path,
    data_dir: Path | str | None,
    weights_dir: Path | None,
    cache: Path,
    allow_missing: bool,
    scoring: "Options",
    seed: int,
) -> None:
    """Learn non-negative weights of a feature loss from judgements; write it as a loss file.

    Prints how the loss agrees with people on references left out of the fit (cross-validated),
    and on those of --test, beside the same loss with equal weights. A reference that was trained
    on is never tested on.

    \b
    perceptbench fit --backbone alexnet --train material-appearance --data-dir data
    perceptbench fit --backbone vgg16 --heads --train bapps-train --test kadid-10k
    perceptbench run -m fitted.toml
    """
    from perceptbench import fitting
    from perceptbench.errors import UsageError
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.reporting import run_folder
    from perceptbench.writing import together

    table = _backbone(backbone, weights)
    form = fitting.Form(table, taps or _default_taps(backbone), distance, heads)
    infos = select(beside, catalogue()) if beside else []
    training = _load(train, data_dir, cache, allow_missing)
    testing = _load(test, data_dir, cache, allow_missing) if test else None
    if out.is_dir():
        raise UsageError(f"{out} is a folder; name a file in it with -o")
    run_folder.create(out.parent)
    found = fitting.fit(
        training,
        form,
        test=testing,
        beside=infos,
        folds=folds,
        ridge=ridge,
        weights_dir=weights_dir,
        options=scoring,
        seed=seed,
    )
    said = [f"{tap}: {share:.1%} of the loss" for tap, share in found.shares.items()]
    for what, evaluation in (
        (f"{train}, cross-validated by reference", found.cross_validated),
        (f"{test}, tested", found.tested),
    ):
        if evaluation is not None:
            said += ["", f"{what}:", *_figures(evaluation)]
    said += ["", *found.notes] if found.notes else []
    click.echo("\n".join(said))
    command = options.command_line()
    title = f"{backbone}, {distance}, {'heads' if heads else 'tap weights'} fitted to {train}"
    with together(out.parent) as draft:
        text = fitting.loss_toml(found, title, form.scale, [command, "", *said])
        (draft / out.name).write_text(text, encoding="utf-8")
    click.echo(f"Written to {out}: `perceptbench run -m {out}`, load_loss({str(out)!r})")
    if not found.complete:
        raise SystemExit(1)


def _backbone(name: str, weights: str | None) -> dict[str, Any]:
    from perceptbench.losses.networks import architecture

    table: dict[str, Any] = {"name": name}
    if architecture(name).options and weights is None:
        return table
    weights = weights or "imagenet"
    named = weights in ("imagenet", "random")
    return table | {"weights": weights if named else str(Path(weights).resolve())}


def _default_taps(backbone: str) -> tuple[str, ...]:
    """The layers of the preset over this backbone that reads the most."""
    from perceptbench.errors import UsageError
    from perceptbench.metrics.registry import catalogue

    layers: list[tuple[str, ...]] = []
    for info in catalogue().metrics.values():
        if info.loss and info.loss.get("backbone", {}).get("name") == backbone:
            layers.append(tuple(dict.fromkeys(row["layer"] for row in info.loss["tap"])))
    if not layers:
        raise UsageError(
            f"no preset says which taps of {backbone} to read; name them: --tap LAYER "
            f"(`perceptbench metrics taps {backbone}` shows all)"
        )
    return max(layers, key=len)


def _load(text: str, data_dir: Path | str | None, cache: Path, allow_missing: bool) -> "Dataset":
    """``DATASET[:SPLIT]``, where DATASET is a name or a judgement file."""
    from perceptbench.datasets.fetch.remote import local_copy
    from perceptbench.datasets.judgements.tables import TABLES
    from perceptbench.datasets.load import load_dataset
    from perceptbench.datasets.manifest import find_manifest
    from perceptbench.datasets.readers.table import judgement_file
    from perceptbench.fitting import of_split

    name, _, split = text.partition(":")
    if Path(name).suffix.lower() in TABLES:
        dataset = judgement_file(Path(name))
    else:
        manifest = find_manifest(name)
        if isinstance(data_dir, str):
            data_dir = local_copy(data_dir, [name], cache)
        dataset = load_dataset(manifest, data_dir, cache, allow_missing=allow_missing)
    options.tell([dataset])
    return of_split(dataset, split or None)


def _figures(evaluation: "Evaluation") -> list[str]:
    from perceptbench.agreement.ranking import PEOPLE
    from perceptbench.fitting import FITTED
    from perceptbench.reporting.leaderboard import estimate, format_table

    table, apart = evaluation.table, {}
    pairs: list[dict[str, Any]] = evaluation.comparisons.to_dict("records")  # type: ignore[assignment]
    for pair in pairs:
        key = (pair["dataset"], pair["slice"], pair["statistic"])
        value, low, high = pair["difference"], pair["low"], pair["high"]
        apart[*key, pair["a"], pair["b"]] = estimate(value, low, high, sign="+")
        apart[*key, pair["b"], pair["a"]] = estimate(-value, -high, -low, sign="+")
    rows = []
    losses: list[dict[str, Any]] = table[~table["metric"].isin(PEOPLE)].to_dict("records")  # type: ignore[assignment]
    for row in losses:
        key = (row["dataset"], row["slice"], row["statistic"])
        value = estimate(row["value"], row["low"], row["high"])
        beside = apart.get((*key, FITTED, row["metric"]), "-")
        rows.append([*key[1:], row["metric"], value, beside, str(row["n"])])
    header = ["slice", "figure", "loss", "value [95 %]", "fitted minus it [95 %]", "n"]
    said = table[table["note"] != ""].groupby("note", sort=False)["metric"]
    reasons = [f"- {', '.join(dict.fromkeys(names))}: {note}." for note, names in said]
    return format_table(header, rows).splitlines() + reasons
