"""`perceptbench datasets`: the catalogue, and the copies on this machine."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perceptbench.cli import options
from perceptbench.cli.options import FILE
from perceptbench.errors import DataError, PerceptbenchError, UsageError

if TYPE_CHECKING:
    from perceptbench.datasets.fetch.download import Archive
    from perceptbench.datasets.manifest import Manifest, Source
    from perceptbench.datasets.score_sets import ScoreSet
    from perceptbench.scoring.options import Options

data_dir = click.option(
    "--data-dir", type=FILE, metavar="DIR", envvar="PERCEPTBENCH_DATA",
    help="Where datasets lie, and are put. [default: `datasets` in the cache folder]",
)  # fmt: skip


@click.group()
def datasets() -> None:
    """The catalogue of human-judgement datasets, and the copies on this machine.

    \b
    perceptbench datasets list
    perceptbench datasets download tid2013 --data-dir data
    """


@datasets.command("list")
def list_datasets() -> None:
    """Every dataset: its protocols, how many judgements, where it comes from; then score sets.

    \b
    perceptbench datasets list
    """
    from perceptbench.datasets.manifest import manifests, plugins
    from perceptbench.datasets.score_sets import score_sets
    from perceptbench.reporting.leaderboard import format_table

    rows = []
    for m in manifests().values():
        counts = {key: e.items for key, e in m.expect.items() if e.items}
        whole = {key: n for key, n in counts.items() if key.startswith("all/")} or counts
        shown = ", ".join(f"{key} {n:,}" for key, n in whole.items())
        rows.append((m.name, shown, m.images, _origin(m), m.title))
    header = ("dataset", "slice/protocol: judgements", "images", "from", "title")
    click.echo(format_table(header, rows), nl=False)
    click.echo("\nPublished scores, ranked without images by `run DATASET --published`:\n")
    header = ("score set", "joins", "metrics", "from", "title")
    body = [
        (s.name, ", ".join(s.datasets), str(len(s.metric)), _scores_origin(s), s.title)
        for s in score_sets().values()
    ]
    click.echo(format_table(header, body), nl=False)
    for name, why in plugins()[1].items():
        click.echo(f"perceptbench: dataset plugin {name} cannot be used: {why}", err=True)


def _origin(manifest: Manifest) -> str:
    if manifest.embedded:
        return "embedded"
    if manifest.images == "computed" and not manifest.layout:
        return "computed"
    urls = [url for archive in manifest.archive for url in archive.urls]
    return "download" if urls else "its owner"


def _scores_origin(score_set: ScoreSet) -> str:
    inside = [name for name in score_set.datasets if score_set.embedded(name)]
    return f"embedded ({', '.join(inside)}), download" if inside else "download"


@datasets.command("show")
@click.argument("name")
def show_dataset(name: str) -> None:
    """All that is known of a dataset or score set: source, licence, terms, files, what to expect.

    \b
    perceptbench datasets show kadid-10k
    """
    from perceptbench.datasets.score_sets import find_source

    for key, value in find_source(name).model_dump().items():
        if value in _NOTHING:
            continue
        if isinstance(value, dict):
            value = [f"{k}: {_one_line(v)}" for k, v in value.items()]
        if isinstance(value, list | tuple):
            click.echo(f"{key}:")
            for item in value:
                click.echo(f"  - {_one_line(item)}")
        else:
            click.echo(f"{key}: {value}")


_NOTHING: tuple[object, ...] = ("", None, False, (), [], {})


def _one_line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} = {_one_line(v)}" for k, v in value.items() if v not in _NOTHING)
    if isinstance(value, list | tuple):
        return ", ".join(map(_one_line, value))
    return str(value)


@datasets.command("download")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_dir
@options.cache_dir
@click.option("--accept-terms", is_flag=True, help="You accept the terms that are shown.")
@click.option(
    "--mirror", metavar="URL|DIR", envvar="PERCEPTBENCH_MIRROR", default="",
    help="Take every file from there: as NAME/FILE or FILE.",
)  # fmt: skip
@click.option(
    "--password", envvar="PERCEPTBENCH_PASSWORD", default="",
    help="Of archives whose owner gives one to those who ask. [default: you are asked]",
)  # fmt: skip
@click.option("--source", default="", help="Only this one of those that `show` lists.")
@click.option("--keep-archives", is_flag=True, help="Do not remove archives once unpacked.")
def download(
    names: tuple[str, ...],
    data_dir: Path | None,
    cache: Path,
    accept_terms: bool,
    mirror: str,
    password: str,
    source: str,
    keep_archives: bool,
) -> None:
    """Fetch datasets, verify and unpack them; goes on where an earlier call was stopped.

    \b
    perceptbench datasets download kadid-10k tid2013 --data-dir data --accept-terms
    perceptbench datasets download live --mirror /media/downloads
    """
    from perceptbench.datasets.fetch.download import How, fetch
    from perceptbench.datasets.locate import data_home, find_copy

    def accept(terms: str) -> bool:
        if not accept_terms and not sys.stdin.isatty():
            return False  # the error shows them
        click.echo(f"Terms: {terms}", err=True)
        return accept_terms or click.confirm("Accept them?", err=True)

    @functools.cache  # asked before the download, needed after it
    def ask(archive: str) -> str:
        if password or not sys.stdin.isatty():
            return password
        return str(click.prompt(f"Password of {archive}", hide_input=True, err=True))

    how = How(accept=accept, password=ask, mirror=mirror, source=source, keep=keep_archives)
    if data_dir is not None:
        _make(data_dir)

    def bring(manifest: Manifest | ScoreSet) -> None:
        archives = _archives(manifest)
        if not archives and getattr(manifest, "images", "") == "computed":
            click.echo(f"{manifest.name}: computed, there is nothing to fetch")
            return
        home = data_home(data_dir, cache)
        folder = find_copy(manifest, data_dir, cache)
        # What was fetched is made whole, the user's own is left alone.
        if folder is None or _is_fetched(manifest, folder, home):
            folder = fetch(
                manifest.name,
                archives,
                home,
                homepage=manifest.homepage,
                terms=manifest.terms,
                how=how,
            )
        click.echo(f"{manifest.name}: {folder}")

    _each(names, bring)


@datasets.command("verify")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_dir
@options.cache_dir
@options.allow_missing
def verify_datasets(
    names: tuple[str, ...], data_dir: Path | None, cache: Path, allow_missing: bool
) -> None:
    """Check the copies here, file by file and table by table; names what is missing or wrong.

    \b
    perceptbench datasets verify tid2013 --data-dir data
    """
    from perceptbench.datasets.fetch.download import verify
    from perceptbench.datasets.load import MISSING, check
    from perceptbench.datasets.locate import data_home
    from perceptbench.datasets.manifest import Manifest
    from perceptbench.datasets.published import check_scores

    def examine(manifest: Manifest | ScoreSet) -> None:
        folder = None
        problems = []
        hint = ""
        if manifest.layout:
            folder = _here(manifest, data_dir, cache)
            home = data_home(data_dir, cache)
            if _is_fetched(manifest, folder, home):
                problems += verify(manifest.name, _archives(manifest), home)
                again = f"`perceptbench datasets download {manifest.name}`"
                hint = f"; remove what has changed, and {again} fetches what is missing"
        if isinstance(manifest, Manifest):
            problems += check(manifest, folder)
        elif folder is not None:
            problems += check_scores(manifest, folder)
        for problem in problems:
            click.echo(f"{manifest.name}: {problem}")
        if allow_missing:
            problems = [problem for problem in problems if not problem.startswith(MISSING)]
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise DataError(f"dataset {manifest.name}: {count}, named above{hint}")
        click.echo(f"{manifest.name}: in order")

    _each(names, examine)


@datasets.command("conform")
@click.argument("name")
@click.argument("run", type=FILE, required=False, metavar="[RUN]")
@click.option(
    "--measure", is_flag=True,
    help="First score the dataset with every metric of which a figure is published, into the "
    "folder RUN; those whose weights are not here are named.",
)  # fmt: skip
@data_dir
@options.weights_dir
@options.cache_dir
@options.allow_missing
@options.scoring
def conform(
    name: str,
    run: Path | None,
    measure: bool,
    data_dir: Path | None,
    weights_dir: Path | None,
    cache: Path,
    allow_missing: bool,
    scoring: Options,
) -> None:
    """Compare a run's figures for dataset NAME with those that others published.

    RUN is the run's folder, or an agreement table. [default: the newest folder in runs]

    \b
    perceptbench run tid2013 -m psnr -o runs/first
    perceptbench datasets conform tid2013 runs/first
    perceptbench datasets conform tid2013 --measure --data-dir data --weights-dir weights
    """
    from perceptbench.datasets.conformance import ABSENT, OUT, conformance
    from perceptbench.datasets.judgements.protocols import numbers
    from perceptbench.datasets.judgements.tables import read_table
    from perceptbench.datasets.manifest import find_manifest
    from perceptbench.reporting.leaderboard import format_table

    manifest = find_manifest(name)
    if measure:
        run = _measured(manifest, run, data_dir, weights_dir, cache, allow_missing, scoring)
    path = run or _newest_run()
    path = path / "agreement.csv" if path.is_dir() else path
    table, _ = read_table(path)
    missing = {"dataset", "slice", "metric", "statistic", "value"}.difference(table)
    if missing:
        raise DataError(f"{path}: no column {', '.join(sorted(missing))}")
    table["value"] = numbers(table["value"], str(path), blank=True)
    table = table[table["dataset"] == name]
    if table.empty:
        raise DataError(f"{path}: has no figures of dataset {name}")
    found = conformance(manifest.published, table)
    here = found[found["verdict"] != ABSENT]
    shown = here.assign(
        ours=here["ours"].map("{:.4f}".format),
        published=here["published"].map("{:.4f}".format),
        difference=here["difference"].map("{:+.4f}".format),
        tolerance=here["tolerance"].map("{:g}".format).replace("nan", ""),
    )
    click.echo(format_table([str(c) for c in shown], shown.to_numpy().tolist()), nl=False)
    absent = sorted(set(found["metric"]) - set(here["metric"]))
    click.echo(
        f"{len(here)} of {len(found)} published figures are in {path}"
        + (f"; none of {', '.join(absent)}" if absent else "")
    )
    outside = int((found["verdict"] == OUT).sum())
    if outside:
        raise DataError(f"dataset {name}: {outside} figures are out of tolerance, named above")


def _measured(
    manifest: Manifest,
    out: Path | None,
    data_dir: Path | None,
    weights_dir: Path | None,
    cache: Path,
    allow_missing: bool,
    scoring: Options,
) -> Path:
    """The folder of a new run of all that there are published figures of."""
    from perceptbench import run as pipeline
    from perceptbench.datasets.load import load_dataset
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.reporting import run_folder

    known, infos = catalogue(), []
    for metric in dict.fromkeys(figure.metric for figure in manifest.published):
        try:
            infos += select([metric], known)
        except UsageError:
            click.echo(f"perceptbench: there is no metric {metric} here", err=True)
    dataset = load_dataset(manifest, data_dir, cache, allow_missing=allow_missing)
    folder = run_folder.create(out)
    result = pipeline.run(
        [dataset], infos, weights_dir=weights_dir, options=scoring, command=options.command_line()
    )
    for metric, why in result.skipped.items():
        click.echo(f"perceptbench: {metric}: skipped: {why}", err=True)
    run_folder.write(result, folder)
    return folder


def _newest_run() -> Path:
    folders = [path.parent for path in Path("runs").glob("*/agreement.csv")]
    if not folders:
        raise UsageError("there is no run in the folder runs; name one")
    return max(folders, key=lambda folder: (folder / "agreement.csv").stat().st_mtime)


@datasets.command("where")
@click.argument("name")
@data_dir
@options.cache_dir
def where(name: str, data_dir: Path | None, cache: Path) -> None:
    """Print the folder of a dataset's copy.

    \b
    ls "$(perceptbench datasets where tid2013 --data-dir data)"
    """
    from perceptbench.datasets.score_sets import find_source

    click.echo(_here(find_source(name), data_dir, cache))


@datasets.command("link")
@click.argument("name")
@click.argument("folder", type=FILE, metavar="PATH")
@data_dir
@options.cache_dir
def link_dataset(name: str, folder: Path, data_dir: Path | None, cache: Path) -> None:
    """Use the copy of dataset NAME that lies in PATH, in whatever known layout.

    \b
    perceptbench datasets link tid2013 /media/iqa/TID2013
    """
    from perceptbench.datasets.locate import data_home, link
    from perceptbench.datasets.score_sets import find_source

    home = data_home(data_dir, cache)
    found = link(find_source(name), folder, home)
    click.echo(f"{name}: {found}")


@datasets.command("export")
@click.argument("name")
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="Where it is written.")
@click.option("--no-images", is_flag=True, help="Leave out images that are files.")
@data_dir
@options.cache_dir
@options.allow_missing
def export_dataset(
    name: str,
    out: Path,
    no_images: bool,
    data_dir: Path | None,
    cache: Path,
    allow_missing: bool,
) -> None:
    """Write a dataset as CSV files and images, as one brings one's own.

    \b
    perceptbench datasets export modelfest -o mine
    perceptbench run --judgements mine/modelfest-60ppd-2afc.csv
    """
    from perceptbench.datasets.export import export
    from perceptbench.datasets.load import load_dataset
    from perceptbench.datasets.manifest import find_manifest

    dataset = load_dataset(find_manifest(name), data_dir, cache, allow_missing=allow_missing)
    options.tell([dataset])
    for path in export(dataset, out, images=not no_images):
        click.echo(f"{path} is written")
    if no_images:
        click.echo(f"its images are relative to {dataset.folder}: --images {dataset.folder}")


def _archives(manifest: Manifest | ScoreSet) -> Sequence[Archive]:
    """The files of a dataset, or of a score set with all its variants."""
    from perceptbench.datasets.manifest import Manifest

    return manifest.archive if isinstance(manifest, Manifest) else manifest.archives()


def _here(manifest: Source, data_dir: Path | None, cache: Path) -> Path:
    """The folder of a copy; raises DataError where there is none."""
    from perceptbench.datasets.locate import data_home, find_copy

    if not manifest.layout:
        raise UsageError(f"dataset {manifest.name}: is not read from files")
    folder = find_copy(manifest, data_dir, cache)
    if folder is None:
        raise DataError(
            f"dataset {manifest.name}: no copy of it is in {data_home(data_dir, cache)}; "
            f"`perceptbench datasets download {manifest.name}` fetches one"
        )
    return folder


def _is_fetched(manifest: Source, folder: Path, home: Path) -> bool:
    from perceptbench.datasets.fetch import lockfile

    return folder == home / manifest.name and bool(lockfile.entry(home, manifest.name).source)


def _each(names: Iterable[str], act: Callable[[Manifest | ScoreSet], None]) -> None:
    """Does it for every dataset or score set; what fails is named, and the rest is done."""
    from perceptbench.datasets.score_sets import find_source

    worst = 0
    for manifest in [find_source(name) for name in dict.fromkeys(names)]:
        try:
            act(manifest)
        except PerceptbenchError as error:
            click.echo(f"perceptbench: {error}", err=True)
            worst = max(worst, error.exit_code)
    if worst:
        raise SystemExit(worst)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"data folder {folder}: cannot be made ({error.strerror}; choose another "
            "with --data-dir)"
        ) from None
