"""Where a dataset lies: in a data folder under any name, linked from it, or fetched into it.

Conventions
-----------
The data folder is ``--data-dir``, else the folder ``datasets`` of the cache. A copy is known by the
files of its layout, found in any case (`perceptbench.datasets.files`), never by its folder's name.
"""

from pathlib import Path

from perceptbench.datasets.fetch import lockfile
from perceptbench.datasets.files import Files
from perceptbench.datasets.manifest import Layout, Source
from perceptbench.errors import DataError, UsageError


def data_home(data_dir: Path | None, cache_dir: Path) -> Path:
    """The folder that downloads go to and links are kept in."""
    return data_dir or cache_dir / "datasets"


def find_copy(manifest: Source, data_dir: Path | None, cache_dir: Path) -> Path | None:
    """The folder of a dataset's copy; None where there is none, or a download is not finished.

    Parameters
    ----------
    manifest : which dataset, or set of published scores.
    data_dir : the copy itself, or a folder that holds it or a link to it.
    cache_dir : its folder ``datasets`` comes second.

    Raises
    ------
    UsageError : `data_dir` does not exist.
    DataError : a linked folder is gone.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"data folder {data_dir} does not exist")
    for home in filter(None, (data_dir, cache_dir / "datasets")):
        if not home.is_dir():
            continue
        entry = lockfile.entry(home, manifest.name)
        if entry.link:
            if not Path(entry.link).is_dir():
                raise DataError(
                    f"dataset {manifest.name}: {entry.link}, linked in {home / lockfile.NAME}, is "
                    f"gone; `perceptbench datasets link {manifest.name} FOLDER` links another"
                )
            return Path(entry.link)
        if entry.source and (home / manifest.name).is_dir():
            return home / manifest.name
        if not entry.begun and (found := find_folder(manifest, home)):
            return found
    return None


def link(manifest: Source, folder: Path, home: Path) -> Path:
    """Keeps in the data folder `home` where a copy of a dataset lies.

    Returns
    -------
    The folder of the copy: `folder`, or the one in it that has a known layout.

    Raises
    ------
    UsageError : `folder` does not exist.
    DataError : there is no copy in a known layout in it.
    """
    if not folder.is_dir():
        raise UsageError(f"folder {folder} does not exist")
    found = find_folder(manifest, folder)
    if found is None:
        wanted = " or ".join(", ".join(layout.files) for layout in manifest.layout)
        raise DataError(
            f"dataset {manifest.name}: no copy of it is in {folder}; it would have "
            f"{wanted or 'a layout, but none is known'}"
        )
    with lockfile.changed(home, manifest.name) as entry:
        entry.link = str(found.resolve())
    return found


def find_folder(manifest: Source, data_dir: Path) -> Path | None:
    """The folder of a copy in a known form: `data_dir`'s folder NAME, another in it, or itself."""
    inside = sorted(p for p in data_dir.iterdir() if p.is_dir() and not p.name.startswith("."))
    named = [path for path in inside if path.name.casefold() == manifest.name]
    for folder in (*named, *(path for path in inside if path not in named), data_dir):
        if find_layout(manifest, Files(folder, manifest.name)) is not None:
            return folder
    return None


def find_layout(manifest: Source, files: Files) -> Layout | None:
    """The first known form whose files are all there."""
    for layout in manifest.layout:
        if all(map(files.has, layout.files)) and not any(map(files.has, layout.absent)):
            return layout
    return None
