"""The catalogue: reads and checks ``datasets_manifest/*.toml``, one file a dataset."""

import importlib
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.download import Archive, fetch
from perceptbench.datasets.judgements import Judgements, validate
from perceptbench.errors import DataError, UsageError, unknown

_PACKAGE = Path(__file__).resolve().parents[1]
#: Inside the installed package; beside it in a checkout.
FOLDERS = (_PACKAGE / "datasets_manifest", _PACKAGE.parent / "datasets_manifest")


class Published(BaseModel):
    """A figure a run must come near, and who gave it."""

    model_config = ConfigDict(extra="forbid")

    slice: str = "all"
    metric: str
    statistic: str
    value: float
    source: str


class Manifest(BaseModel):
    """What is known of a dataset; the keys of its TOML file.

    Attributes
    ----------
    name, title, domain, citation, homepage, licence, notes : for people.
    reader : ``module:function`` that returns the Dataset; called with the dataset's folder
        where it has files, else without arguments.
    protocols : the judgement tables it has.
    images : ``computed`` from formulas, or ``files``.
    embedded : needs nothing from outside; part of the run without arguments.
    marker : a file by which the dataset's folder is known.
    archive : what can be fetched, if it can.
    expect : ``slice/protocol`` -> number of judged items.
    published : figures a run must come near.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    title: str
    reader: str
    protocols: tuple[str, ...]
    images: Literal["computed", "files"]
    embedded: bool = False
    domain: str = ""
    citation: str
    homepage: str = ""
    licence: str = "not stated"
    notes: tuple[str, ...] = ()
    marker: str = ""
    archive: tuple[Archive, ...] = ()
    expect: dict[str, int] = {}
    published: tuple[Published, ...] = ()


def manifests() -> dict[str, Manifest]:
    """All manifests by name, in the order of their names."""
    folder = next((f for f in FOLDERS if f.is_dir()), FOLDERS[0])
    found = [read_manifest(path) for path in sorted(folder.glob("*.toml"))]
    return {manifest.name: manifest for manifest in found}


def read_manifest(path: Path) -> Manifest:
    """One manifest; raises DataError that names the file and the key."""
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: is not valid TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: key `{key}`: {first['msg'].lower()}") from None


def find_manifest(name: str) -> Manifest:
    """The manifest of a name, or a UsageError with the nearest names."""
    known = manifests()
    if name not in known:
        raise unknown("dataset", name, known)
    return known[name]


def load_dataset(manifest: Manifest, data_dir: Path | None, cache_dir: Path) -> Dataset:
    """Reads a dataset and checks that it has the judgements it should have.

    Parameters
    ----------
    manifest : which dataset.
    data_dir : the dataset's folder, or one that holds it (see `find_folder`).
    cache_dir : where fetched files are kept.

    Raises
    ------
    UsageError : its files are in no folder named and cannot be fetched.
    DataError : a file is missing or cannot be read, or the counts are not as expected.
    """
    module, _, function = manifest.reader.partition(":")
    read = getattr(importlib.import_module(module), function)
    if manifest.marker:
        dataset: Dataset = read(_folder_of(manifest, data_dir, cache_dir))
    else:
        dataset = read()
    for part in dataset.judgements:
        validate(part.table, f"dataset {manifest.name}")
        key = f"{part.slice}/{part.protocol}"
        expected = manifest.expect.get(key)
        if expected is not None and _items(part) != expected:
            raise DataError(
                f"dataset {manifest.name}: {key} has {_items(part)} judgements, "
                f"expected {expected}; is the copy complete?"
            )
    return dataset


def _items(part: Judgements) -> int:
    return part.table["item"].nunique() if "item" in part.table else len(part.table)


def _folder_of(manifest: Manifest, data_dir: Path | None, cache_dir: Path) -> Path:
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"data folder {data_dir} does not exist")
    folder = find_folder(manifest, data_dir) if data_dir else None
    if folder is not None:
        return folder
    if manifest.archive:
        fetched = cache_dir / "datasets" / manifest.name
        fetch(manifest.archive, fetched)
        return fetched
    where = (
        f"no folder with {manifest.marker} in {data_dir}" if data_dir else "--data-dir is needed"
    )
    raise UsageError(f"dataset {manifest.name}: {where}; its files come from {manifest.homepage}")


def find_folder(manifest: Manifest, data_dir: Path) -> Path | None:
    """The folder with the manifest's marker: `data_dir`, its folder NAME, or another in it."""
    candidates = [data_dir, data_dir / manifest.name, *sorted(data_dir.iterdir())]
    return next((c for c in candidates if (c / manifest.marker).is_file()), None)
