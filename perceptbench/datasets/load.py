"""A manifest and a folder in, a checked Dataset out."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.fetch.download import fetch
from perceptbench.datasets.fetch.remote import local_copy
from perceptbench.datasets.files import Files, resolve
from perceptbench.datasets.judgements.expectations import Expectation, violations
from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements, validate
from perceptbench.datasets.locate import data_home, find_copy, find_layout
from perceptbench.datasets.manifest import Manifest, find_manifest, manifests
from perceptbench.datasets.stimuli.computed import Computed
from perceptbench.errors import (
    DataError,
    PerceptbenchError,
    UsageError,
    first_line,
    nearest,
)

#: Missing images named in an error; `datasets verify` names all.
SHOWN = 5
#: How `check` begins the line of an image that is not there.
MISSING = "missing: "


def load_dataset(
    manifest: Manifest,
    data_dir: Path | None,
    cache_dir: Path,
    *,
    options: Mapping[str, str] | None = None,
    allow_missing: bool = False,
) -> Dataset:
    """Finds a dataset's copy, reads it and checks that it is what it should be.

    Parameters
    ----------
    manifest : which dataset.
    data_dir : the dataset's folder, or one that holds it (see `find_copy`).
    cache_dir : where fetched files are kept where `data_dir` is None.
    options : choices in how it is read (`Manifest.option`).
    allow_missing : leave out judgements whose images are not there, and say so.

    Raises
    ------
    UsageError : its files are in no folder named and cannot be fetched.
    DataError : a file is missing or cannot be read, or the judgements are not as expected.
    """
    folder = _folder_of(manifest, data_dir, cache_dir) if manifest.layout else None
    return read_dataset(manifest, folder, options=options, allow_missing=allow_missing)


def load_named(
    names: Sequence[str] | None,
    data_dir: Path | str | None,
    cache_dir: Path,
    options: Mapping[str, str] | None = None,
) -> list[Dataset]:
    """`load_dataset` of each name; None: the embedded suite, whose images are computed.

    A `data_dir` that is a URL is copied, see `perceptbench.datasets.fetch.remote`; each dataset
    takes those of the `options` that it has.

    Raises
    ------
    UsageError, DataError : there is no such dataset, or as `load_dataset`.
    """
    if names is None:
        chosen = [manifest for manifest in manifests().values() if manifest.embedded]
    else:
        chosen = [find_manifest(name) for name in dict.fromkeys(names)]
    if isinstance(data_dir, str):
        files = [manifest.name for manifest in chosen if manifest.layout]
        data_dir = local_copy(data_dir, files, cache_dir) if files else None
    given = options or {}
    return [
        load_dataset(
            manifest,
            data_dir,
            cache_dir,
            options={key: given[key] for key in given if key in manifest.option},
        )
        for manifest in chosen
    ]


def load_at_hand(
    data_dir: Path | str | None, cache_dir: Path
) -> tuple[list[Dataset], dict[str, str]]:
    """The embedded suite and every dataset with a whole copy in `data_dir`.

    Returns
    -------
    datasets, left out (dataset -> why its copy cannot be used).

    Raises
    ------
    UsageError : `data_dir` is a URL, of which nothing is copied unasked.
    """
    if isinstance(data_dir, str):
        raise UsageError(f"name the datasets to be copied from {data_dir} with --dataset")
    loaded, left_out = load_named(None, data_dir, cache_dir), {}
    for manifest in manifests().values() if data_dir is not None else ():
        if manifest.embedded or not manifest.layout:
            continue
        if find_copy(manifest, data_dir, cache_dir) is None:
            continue
        try:
            loaded.append(load_dataset(manifest, data_dir, cache_dir))
        except PerceptbenchError as error:
            left_out[manifest.name] = str(error)
    return loaded, left_out


def read_dataset(
    manifest: Manifest,
    folder: Path | None = None,
    *,
    options: Mapping[str, str] | None = None,
    allow_missing: bool = False,
    images: bool = True,
) -> Dataset:
    """Reads the copy in `folder` (None: the dataset has no files) and checks it.

    Orientation guards run whatever is allowed to be missing. Without `images` none is looked for:
    names are those of the labels.

    Raises
    ------
    DataError : as `load_dataset`.
    """
    found = _examine(manifest, folder, options or {}, images)
    wrong = [*found.wrong, *([] if allow_missing else found.incomplete)]
    if wrong:
        raise DataError(f"dataset {manifest.name}: {'; '.join(wrong)}; is the copy complete?")
    if not found.unresolved:
        return replace(found.dataset, left_out=tuple(found.incomplete), at_hand=images)
    names = ", ".join(found.unresolved[:SHOWN])
    more = len(found.unresolved) - SHOWN
    sentence = (
        f"{found.lost:,} of {found.judged:,} judgements name images that are not in {folder}: "
        f"{names}{f' and {more:,} more' if more > 0 else ''}"
    )
    if not allow_missing:
        raise DataError(
            f"dataset {manifest.name}: {sentence}; `perceptbench datasets verify "
            f"{manifest.name}` names all, --allow-missing leaves them out"
        )
    left = tuple(part for part in found.dataset.judgements if len(part.table))
    if not left:
        raise DataError(f"dataset {manifest.name}: {sentence}; nothing is left to judge")
    return replace(found.dataset, judgements=left, left_out=(*found.incomplete, sentence))


def parse_options(texts: Sequence[str], chosen: Sequence[Manifest]) -> dict[str, str]:
    """``NAME=VALUE`` as the user typed it, for datasets one of which must have the option.

    Raises
    ------
    UsageError : not of this form, or no dataset chosen has the option.
    """
    known = sorted({name for manifest in chosen for name in manifest.option})
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"option {text!r} is not of the form NAME=VALUE")
        if name not in known:
            raise UsageError(
                f"no dataset chosen has an option {name!r}{nearest(name, known)}; "
                f"there are: {', '.join(known) or 'none'}"
            )
        given[name] = value
    return given


def check(manifest: Manifest, folder: Path | None = None) -> list[str]:
    """What is missing from a copy or wrong with it, each by name; empty where all is well."""
    try:
        found = _examine(manifest, folder, {})
    except DataError as error:
        return [str(error)]
    return [*found.wrong, *found.incomplete, *(MISSING + name for name in found.unresolved)]


@dataclass(frozen=True)
class _Examined:
    """A dataset as read, its image keys resolved, and what about it is not as expected."""

    dataset: Dataset
    wrong: list[str]
    incomplete: list[str]
    unresolved: list[str]
    lost: int
    judged: int


def _examine(
    manifest: Manifest, folder: Path | None, options: Mapping[str, str], images: bool = True
) -> _Examined:
    files = Files(folder, manifest.name) if folder is not None else None
    dataset = _read(manifest, files, _choices(manifest, options))
    as_published = not any(o.rows and options.get(n, o.default) != o.default
                           for n, o in manifest.option.items())  # fmt: skip
    wrong: list[str] = []
    incomplete: list[str] = []
    unresolved: dict[str, None] = {}
    parts: list[Judgements] = []
    lost = judged = 0
    expected = dict(manifest.expect)
    for part in dataset.judgements:
        key = f"{part.slice}/{part.protocol}"
        table = validate(part.table, f"dataset {manifest.name}, {key}")
        if "distortion" in table:
            table["distortion"] = table["distortion"].replace(manifest.distortions)
        for name in list(expected):
            rows = part_of(part, table, name)
            if rows is None:
                continue
            expect = expected.pop(name)
            guard = Expectation(levels=expect.levels)
            wrong += [f"{name}: {what}" for what in violations(rows, guard)]
            if as_published:
                rest = expect.model_copy(update={"levels": None})
                incomplete += [f"{name}: {what}" for what in violations(rows, rest)]
        judged += len(table)
        if images and files is not None and manifest.images == "files":
            before = len(table)
            table, names = resolve(table, PROTOCOLS[part.protocol][1], files)
            unresolved.update(dict.fromkeys(names))
            lost += before - len(table)
        part = part.rows(table.index)
        group = manifest.group_of(part.slice)
        parts.append(replace(part, table=table.reset_index(drop=True), group=group))
    if as_published:
        incomplete += [f"{key}: not in this copy" for key, e in expected.items() if not e.optional]
    dataset = replace(dataset, judgements=tuple(parts), in_domain=manifest.in_domain)
    return _Examined(dataset, wrong, incomplete, list(unresolved), lost, judged)


def part_of(part: Judgements, table: pd.DataFrame, name: str) -> pd.DataFrame | None:
    """What of a table ``slice/protocol`` means, None where that is no part of it."""
    slice, _, protocol = name.rpartition("/")
    if protocol != part.protocol:
        return None
    if slice == part.slice:
        return table
    prefix = "" if part.slice == "all" else f"{part.slice} "
    column, _, value = slice.removeprefix(prefix).partition("=")
    if not slice.startswith(prefix) or column not in table:
        return None
    rows = table[table[column].astype(str) == value].reset_index(drop=True)
    return rows if len(rows) else None


def _read(manifest: Manifest, files: Files | None, choices: Mapping[str, str]) -> Dataset:
    if files is None:
        read = _function(manifest.reader)
        if manifest.reader.startswith("perceptbench."):
            dataset = read(**choices)
            return replace(dataset, load=Computed(dataset.load, choices))
        return _of_plugin(manifest, read, choices)
    layout = find_layout(manifest, files)
    if layout is None:
        lacks = "; ".join(
            f"{form.name}: no {', '.join(n for n in form.files if not files.has(n)) or 'match'}"
            for form in manifest.layout
        )
        raise DataError(
            f"dataset {manifest.name}: {files.folder} is not a copy in a known form ({lacks})"
        )
    return _function(layout.reader or manifest.reader)(files, **layout.read, **choices)


def _of_plugin(
    manifest: Manifest, read: Callable[..., Dataset], choices: Mapping[str, str]
) -> Dataset:
    """What another package's function returns, under the name that it is registered by."""
    try:
        dataset = read(**choices)
    except PerceptbenchError:
        raise
    except Exception as error:  # a plugin may raise anything
        kind = type(error).__name__
        raise DataError(
            f"dataset {manifest.name}: {manifest.reader} failed: {kind}: {first_line(error)}"
        ) from None
    if not isinstance(dataset, Dataset):
        kind = type(dataset).__name__
        raise DataError(f"dataset {manifest.name}: {manifest.reader} returns {kind}, not a Dataset")
    parts = tuple(replace(part, dataset=manifest.name) for part in dataset.judgements)
    return replace(dataset, name=manifest.name, judgements=parts)


def _function(name: str) -> Callable[..., Dataset]:
    module, _, function = name.partition(":")
    if module.startswith("perceptbench."):
        return getattr(importlib.import_module(module), function)
    try:
        return getattr(importlib.import_module(module), function)
    except Exception as error:  # a plugin may raise anything
        kind = type(error).__name__
        raise DataError(f"{name} cannot be imported: {kind}: {first_line(error)}") from None


def _choices(manifest: Manifest, options: Mapping[str, str]) -> dict[str, str]:
    for name, value in options.items():
        if name not in manifest.option:
            known = ", ".join(manifest.option) or "none"
            raise UsageError(
                f"dataset {manifest.name} has no option {name!r}"
                f"{nearest(name, manifest.option)}; it has: {known}"
            )
        choices = manifest.option[name].choices
        if choices and value not in choices:
            raise UsageError(
                f"dataset {manifest.name}: option {name} is {value!r}, not {' or '.join(choices)}"
            )
    return {name: options.get(name, option.default) for name, option in manifest.option.items()}


def _folder_of(manifest: Manifest, data_dir: Path | None, cache_dir: Path) -> Path:
    folder = find_copy(manifest, data_dir, cache_dir)
    if folder is not None:
        return folder
    if manifest.archive:
        return fetch(
            manifest.name,
            manifest.archive,
            data_home(data_dir, cache_dir),
            homepage=manifest.homepage,
            terms=manifest.terms,
        )
    where = f"no copy of it is in {data_dir}" if data_dir else "--data-dir is needed"
    raise UsageError(f"dataset {manifest.name}: {where}; its files come from {manifest.homepage}")
