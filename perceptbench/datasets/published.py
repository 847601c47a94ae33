"""Published scores of a dataset, read, checked and joined to its judgements.

Conventions
-----------
A table of a score set names images as its authors did, and often carries the judgements again. It
joins a copy of the dataset where there is one, image by image, by as much of the names as tells
them apart; without one, its judgements are the dataset's. Either way they must be what the
dataset's manifest expects (counts, range, mean, the way they go with the level), and where there
are two, the same: a table whose judgements are others is refused.

Scores leave this module as distances: larger is less alike. ``NAME@VARIANT`` is the score under a
change of the distorted image (`ScoreSet.variant`).
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.fetch.download import How, fetch
from perceptbench.datasets.files import Files
from perceptbench.datasets.judgements.expectations import violations
from perceptbench.datasets.judgements.protocols import (
    PROTOCOLS,
    STATISTICS,
    Judgements,
    protocol_of,
    validate,
    value_column,
)
from perceptbench.datasets.judgements.tables import as_numbers, read_table
from perceptbench.datasets.load import part_of, read_dataset
from perceptbench.datasets.locate import data_home, find_copy
from perceptbench.datasets.manifest import Manifest, find_manifest
from perceptbench.datasets.score_sets import ScoreSet, ScoreTable, score_sets
from perceptbench.errors import DataError, PerceptbenchError, UsageError

#: Least correlation of the judgements of a score set with those of the dataset: of the same slice,
#: rounded to some decimals, and of another one (LIVE's DMOS before and after realignment).
SAME, ALIKE = 0.9999, 0.95
#: A table with a set's scores, and what people said.
Read = tuple[pd.DataFrame, pd.DataFrame | None]
#: Columns of a judgement table that a set may have.
JUDGED = (
    "reference", "distorted", "a", "b", "quality", "impairment", "p_b", "std", "distortion",
    "level", "category",
)  # fmt: skip
#: Columns of a table that are no numbers, whatever they look like.
NAMES = ("reference", "distorted", "a", "b", "folder")


@dataclass(frozen=True)
class Published:
    """What a score set says of one dataset.

    Attributes
    ----------
    score_set : whose they are.
    dataset, slice : what they join.
    table : ``reference, distorted`` and one column of distances a metric.
    judgements : what people said, as the set has it; None where it has not.
    """

    score_set: ScoreSet
    dataset: str
    slice: str
    table: pd.DataFrame
    judgements: pd.DataFrame | None = field(repr=False)

    @property
    def metrics(self) -> list[str]:
        """Names of its columns of distances."""
        return [str(c) for c in self.table if c not in ("reference", "distorted")]


def load_published(
    manifest: Manifest,
    data_dir: Path | None,
    cache_dir: Path,
    *,
    variants: bool = False,
    download: bool = True,
    say: Callable[[str], None] = lambda _: None,
    **reading: Any,
) -> tuple[Dataset, list[Published]]:
    """A dataset, with its images where they are at hand, and what was published of them.

    Parameters
    ----------
    manifest : which dataset.
    data_dir, cache_dir : where copies are looked for; the scores of what none is found of, and
        none comes with this package, are fetched.
    variants : also the scores of changed images.
    download : whether to fetch what is nowhere.
    say : is told what is not used, and why.
    reading : options of `read_dataset`.

    Raises
    ------
    UsageError : no score set joins the dataset, or its files are nowhere and cannot be fetched.
    DataError : a table cannot be read, or its judgements are not the dataset's.
    """
    sets = score_sets(manifest.name)
    if not sets:
        joined = ", ".join(sorted({d for s in score_sets().values() for d in s.datasets}))
        raise UsageError(
            f"dataset {manifest.name}: no published scores of it are known; there are of {joined}"
        )
    own = _own(manifest, find_copy(manifest, data_dir, cache_dir), reading, say)
    found, home = [], data_home(data_dir, cache_dir)
    for name, score_set in sets.items():
        scores = _at_hand(score_set, manifest.name, variants, data_dir, cache_dir)
        if scores and variants and _lacks_changed(score_set, scores):
            if download:
                scores = _fetched(score_set, manifest.name, variants, home) or scores
            else:
                say(f"score set {name}: those of changed images are not at hand")
        if scores:
            found.append(scores)
        else:
            say(f"score set {name} is not at hand; `perceptbench datasets download {name}`")
    if not found:
        first = next(iter(sets.values()))
        if not download:
            raise UsageError(
                f"no scores of it are at hand; `perceptbench datasets download {first.name}`"
            )
        found = [s for s in [_fetched(first, manifest.name, variants, home)] if s]
    for scores in found:
        if scores.judgements is not None:
            check_judgements(manifest, scores)
    if own is None:
        own = _of_scores(manifest, [*_shipped(manifest.name), *found])
    return own, [_joined(own, scores) for scores in found]


def _at_hand(
    score_set: ScoreSet, dataset: str, variants: bool, data_dir: Path | None, cache_dir: Path
) -> Published | None:
    """The first copy; where changed images are asked for, rather one that has their scores."""
    first = None
    for folder in (find_copy(score_set, data_dir, cache_dir), score_set.embedded(dataset)):
        if folder and (scores := read_scores(score_set, folder, dataset, variants)):
            if not variants or not _lacks_changed(score_set, scores):
                return scores
            first = first or scores
    return first


def _fetched(score_set: ScoreSet, dataset: str, variants: bool, home: Path) -> Published | None:
    folder = fetch_scores(score_set, home, dataset, variants)
    return read_scores(score_set, folder, dataset, variants)


def _lacks_changed(score_set: ScoreSet, scores: Published) -> bool:
    """Whether scores of changed images were published, and none of them is here."""
    changed = score_set.archives(scores.dataset, True) != score_set.archives(scores.dataset, False)
    return changed and not any("@" in metric for metric in scores.metrics)


def _shipped(dataset: str) -> list[Published]:
    """The judgements of a dataset that come with this package, beside scores."""
    read = (
        read_scores(score_set, path, dataset, variants=False)
        for score_set in score_sets(dataset).values()
        if (path := score_set.embedded(dataset)) is not None
    )
    return [scores for scores in read if scores is not None]


def fetch_scores(
    score_set: ScoreSet,
    home: Path,
    dataset: str = "",
    variants: bool = True,
    how: How | None = None,
) -> Path:
    """Brings a set's files, or those of one dataset, into the data folder `home`; see `fetch`."""
    archives = score_set.archives(dataset, variants)
    return fetch(
        score_set.name, archives, home,
        homepage=score_set.homepage, terms=score_set.terms, how=how,
    )  # fmt: skip


def _own(
    manifest: Manifest, folder: Path | None, reading: Mapping[str, Any], say: Callable[[str], None]
) -> Dataset | None:
    """The copy in a folder: with images, or its judgements alone where these are not whole."""
    if folder is None:
        return None
    try:
        return read_dataset(manifest, folder, **reading)
    except PerceptbenchError as error:
        say(f"published scores only, its images are not used: {error}")
    try:
        own = read_dataset(manifest, folder, options=reading.get("options"), images=False)
    except PerceptbenchError:
        return None
    parts = tuple(replace(p, table=_one_spelling(p.table)) for p in own.judgements)
    return replace(own, judgements=parts)


def _one_spelling(table: pd.DataFrame) -> pd.DataFrame:
    """References that differ in case only under one name: TID2013 says I01.bmp and i01.bmp."""
    if "reference" not in table:
        return table
    first = table["reference"].groupby(table["reference"].str.casefold()).transform("first")
    return table.assign(reference=first)


def read_scores(
    score_set: ScoreSet, where: Path, dataset: str, variants: bool = True
) -> Published | None:
    """The scores of a dataset's images in a copy of the set, or in one file of it.

    Parameters
    ----------
    score_set : which set.
    where : its folder, in any of its layouts, or a file with one column a metric.
    dataset : one that it joins.
    variants : also the scores of changed images.

    Returns
    -------
    None where this copy has nothing of the dataset.

    Raises
    ------
    DataError : a table cannot be read, lacks a column, or has a pair twice.
    """
    for form in score_set.table:
        if form.dataset != dataset:
            continue
        if where.is_file():
            raw, judged = _wide(score_set, form, where)
        elif read := _from_folder(score_set, form, Files(where, score_set.name), variants):
            raw, judged = read
        else:
            continue
        source = f"score set {score_set.name}, {dataset}"
        known = [c for c in map(str, raw) if c.partition("@")[0] in score_set.metric]
        kept = [c for c in known if variants or "@" not in c]
        if not kept:
            raise DataError(f"{source}: has none of its metrics")
        numbers = raw[kept].apply(pd.to_numeric, errors="coerce").astype(float)
        if not np.isfinite(numbers.to_numpy()).all():
            bad = numbers.columns[~np.isfinite(numbers).all()][0]
            row = int((~np.isfinite(numbers[bad])).to_numpy().argmax()) + 1
            raise DataError(f"{source}: row {row}: `{bad}` is no finite number")
        signs = [-1 if score_set.metric[c.partition("@")[0]].higher_is_better else 1 for c in kept]
        keys = raw[["reference", "distorted"]].astype(str)
        if keys.duplicated().any():
            x, y = keys[keys.duplicated()].iloc[0]
            raise DataError(f"{source}: pair ({x}, {y}) is there twice")
        return Published(
            score_set, dataset, form.slice, pd.concat([keys, numbers * signs], axis=1), judged
        )
    return None


def _from_folder(
    score_set: ScoreSet, form: ScoreTable, files: Files, variants: bool
) -> Read | None:
    if form.wide and files.has(form.wide):
        return _wide(score_set, form, files.path(form.wide))
    if not form.single:
        return None
    columns: dict[str, list[pd.DataFrame]] = {}
    for path in files.matching("*.csv"):
        found = re.fullmatch(form.single, Path(path).name)
        if found is None or Path(path).name in score_set.left_out:
            continue
        name, variant = found["metric"], found.groupdict().get("variant")
        if variant and not variants:
            continue
        name = score_set.rename.get(name, name) + (f"@{variant}" if variant else "")
        columns.setdefault(name, []).append(_prepared(form, files.folder / path))
    return _side_by_side(form, columns, score_set.name) if columns else None


def _side_by_side(form: ScoreTable, columns: Mapping[str, list[pd.DataFrame]], name: str) -> Read:
    """Files of one metric each as one table; all must have the same rows."""
    first: pd.DataFrame | None = None
    tables: dict[str, pd.Series] = {}
    for metric, parts in columns.items():
        judged = pd.concat(parts, ignore_index=True)
        rest = judged[[c for c in judged if c in JUDGED]]
        if first is None:
            first = rest
        elif not _same(rest, first):
            raise DataError(
                f"score set {name}, {form.dataset}: the judgements or images beside {metric} are "
                f"not those beside {next(iter(columns))}"
            )
        sides = ["score_a", "score_b"] if "score_a" in judged else ["score"]
        tables[metric] = pd.concat([judged[side] for side in sides], ignore_index=True)
    assert first is not None
    if "p_b" in first:
        first = first.assign(
            reference=first["a"].str.replace("/p0/", "/ref/", regex=False),
            b=first["a"].str.replace("/p0/", "/p1/", regex=False),
        )
        keys = pd.concat(
            [first[["reference", side]].rename(columns={side: "distorted"}) for side in "ab"],
            ignore_index=True,
        )
    else:
        keys = first[["reference", "distorted"]]
    return pd.concat([keys, pd.DataFrame(tables)], axis=1), _judged(form, first)


def _same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether two tables have the same rows, numbers to the precision of a float32."""
    if len(a) != len(b) or list(a) != list(b):
        return False
    numbers = list(a.select_dtypes("number"))
    same = np.allclose(a[numbers], b[numbers], rtol=1e-6, atol=1e-6)
    return same and a.drop(columns=numbers).equals(b.drop(columns=numbers))


def _wide(score_set: ScoreSet, form: ScoreTable, path: Path) -> Read:
    table = _prepared(form, path)
    table = table.rename(columns={c: _named(score_set, str(c)) for c in table})
    return table, _judged(form, table)


def _named(score_set: ScoreSet, column: str) -> str:
    """A column's metric and variant by the set's own names."""
    name, at, variant = column.partition("@")
    return score_set.rename.get(name, name) + at + variant


def _prepared(form: ScoreTable, path: Path) -> pd.DataFrame:
    """A file with our names for its columns, the images' names complete, rows dropped."""
    if form.header:
        table = pd.read_csv(path, header=None, names=list(form.header))
    else:
        table, _ = read_table(path, ())
        names = {theirs for theirs, ours in form.columns.items() if ours in NAMES}
        text = table.select_dtypes(exclude="number").columns
        for words in text.difference([*NAMES, *names]):
            cells = as_numbers(table[words])
            if cells.notna().all():
                table[words] = cells
    for column, value in form.drop.items():
        if column in table:
            table = table[table[column].astype(str) != value]
    table = table.rename(columns=form.columns).reset_index(drop=True)
    if "distorted" in table and form.folders:
        number = table["distorted"].str.extract(r"(\d+)", expand=False).astype(float)
        place = (number.diff() <= 0).cumsum()
        if place.max() != len(form.folders) - 1:
            raise DataError(
                f"{path}: its names start anew {place.max():.0f} times, not "
                f"{len(form.folders) - 1}: is it sorted?"
            )
        table["folder"] = [form.folders[int(i)] for i in place]
    if "folder" in table:
        table["distorted"] = table["folder"] + "/" + table["distorted"]
        table["distortion"] = table["folder"]
    if form.pattern:
        name = "distorted" if "distorted" in table else "a"
        groups = table[name].astype(str).str.extract(re.compile(form.pattern, re.IGNORECASE))
        if groups.isna().any(axis=None):
            bad = table.loc[groups.isna().any(axis=1), name].iloc[0]
            raise DataError(f"{path}: names {bad!r}, which is not of the form its images have")
        table[groups.columns] = groups
    triplets = "a" in form.columns
    needed = ("a", "score_a", "score_b", "p_b") if triplets else ("reference", "distorted")
    if missing := [column for column in needed if column not in table]:
        raise DataError(f"{path}: column `{missing[0]}` is missing")
    return table


def _judged(form: ScoreTable, table: pd.DataFrame) -> pd.DataFrame | None:
    """What people said, as the table has it."""
    value = next((c for c in ("quality", "impairment", "p_b") if c in table), None)
    if value is None:
        return None
    judged = table[[c for c in JUDGED if c in table]].copy()
    if form.minus_from is not None:
        judged[value] = form.minus_from - judged[value]
    if "level" in judged:
        judged["level"] = pd.to_numeric(judged["level"])
    return judged


def check_judgements(manifest: Manifest, scores: Published) -> None:
    """Raises DataError where the judgements of a score set are not what the dataset's must be."""
    assert scores.judgements is not None
    source = f"score set {scores.score_set.name}, {manifest.name}"
    table = validate(scores.judgements, source)
    part = Judgements(manifest.name, table, slice=scores.slice)
    partial = any(t.partial for t in scores.score_set.table if t.dataset == manifest.name)
    wrong = []
    for name, expect in manifest.expect.items():
        rows = part_of(part, table, name)
        if rows is None or (partial and name == f"{part.slice}/{part.protocol}"):
            continue
        wrong += [f"{name}: {what}" for what in violations(rows, expect)]
    if wrong:
        raise DataError(f"{source}: its judgements are not the dataset's: {'; '.join(wrong)}")


def check_scores(score_set: ScoreSet, folder: Path) -> list[str]:
    """What is wrong with a copy of a score set, file by file and table by table."""
    files = Files(folder, score_set.name)
    problems = []
    for row in score_set.files.to_dict("records"):
        if files.has(row["file"]) and row["file"] not in score_set.left_out:
            path = files.path(row["file"])
            if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
                problems.append(f"{path}: its sha256 is not {row['sha256']}")
    there = 0
    for dataset in score_set.datasets:
        try:
            scores = read_scores(score_set, folder, dataset)
            there += scores is not None
            if scores is not None and scores.judgements is not None:
                manifest = find_manifest(dataset)
                check_judgements(manifest, scores)
                if shipped := _shipped(dataset):
                    _joined(_of_scores(manifest, shipped), scores)
        except DataError as error:
            problems.append(str(error))
    return problems if there or problems else [f"{folder}: none of its tables is there"]


def _of_scores(manifest: Manifest, found: list[Published]) -> Dataset:
    """The dataset as a score set has it: judgements without images."""
    judged = next((s for s in found if s.judgements is not None), None)
    if judged is None or judged.judgements is None:
        raise UsageError(
            f"dataset {manifest.name}: its judgements are needed, the score set has none; "
            f"`perceptbench datasets download {manifest.name}`"
        )
    table = _one_spelling(validate(judged.judgements, f"score set {judged.score_set.name}"))
    if "distortion" in table:
        table["distortion"] = table["distortion"].replace(manifest.distortions)
    protocol = protocol_of(table, manifest.name)
    part = Judgements(
        manifest.name,
        table,
        slice=judged.slice,
        statistics=STATISTICS[protocol],
        display="as the authors of the scores had it",
    )
    return Dataset(manifest.name, (part,), _no_image, in_domain=manifest.in_domain, at_hand=False)


def _no_image(key: str) -> Any:
    raise DataError(f"{key}: the images are not at hand, only published scores of them")


def _joined(own: Dataset, scores: Published) -> Published:
    """The scores under the dataset's own names, its judgements compared with the set's."""
    source = f"score set {scores.score_set.name}, {own.name}"
    theirs = _keys(scores.table["distorted"])
    parts = [part.table for part in own.judgements]
    sides = [c for c in PROTOCOLS[own.judgements[0].protocol][1] if c != "reference"]
    pairs = pd.concat(
        [t[["reference", side]].set_axis(["reference", "distorted"], axis=1)
         for t in parts for side in sides]
    ).drop_duplicates()  # fmt: skip
    depth = theirs.str.count("/").max() + 1
    key = _keys(pairs["distorted"]).str.split("/").str[-depth:].str.join("/")
    place = pd.Series(np.arange(len(theirs)), index=theirs)
    place = place[~place.index.duplicated()].reindex(key)
    if place.isna().all():
        raise DataError(
            f"{source}: has no score of any image judged; it names {theirs.iloc[0]!r}, the "
            f"dataset {pairs['distorted'].iloc[0]!r}"
        )
    found = pairs[place.notna().to_numpy()].reset_index(drop=True)
    rows = scores.table.iloc[place.dropna().astype(int)].reset_index(drop=True)
    joined = replace(scores, table=found.join(rows.drop(columns=["reference", "distorted"])))
    if scores.judgements is not None:
        _compare(own, scores, dict(zip(found["distorted"], rows["distorted"], strict=True)), source)
    return joined


def _keys(names: pd.Series) -> pd.Series:
    return names.astype(str).str.casefold().str.replace("\\", "/", regex=False)


def _compare(own: Dataset, scores: Published, names: Mapping[str, str], source: str) -> None:
    """Raises DataError where the set's judgements are others than the dataset's."""
    assert scores.judgements is not None
    value = value_column(scores.judgements)
    side = "b" if value == "p_b" else "distorted"
    theirs = scores.judgements.drop_duplicates(side).set_index(side)[value]
    for part in own.judgements:
        if side not in part.table:
            continue
        mine = part.table[value_column(part.table)].to_numpy(float)
        other = theirs.reindex(part.table[side].map(names)).to_numpy(float)
        both = np.isfinite(other)
        if both.sum() < 3 or np.ptp(other[both]) == 0 or np.ptp(mine[both]) == 0:
            continue
        sign = 1 if value_column(part.table) == value else -1
        r = sign * float(np.corrcoef(mine[both], other[both])[0, 1])
        if r < (SAME if part.slice == scores.slice else ALIKE):
            raise DataError(
                f"{source}: its judgements correlate with the dataset's ({part.slice}) by {r:.4f}: "
                "they are of other images, or the wrong way round"
            )
