"""Datasets that lie at a URL (``s3://``, ``gs://``, ``sftp://`` ...): copied once, then local."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from perceptbench.errors import DataError, UsageError, first_line


def local_copy(url: str, names: Iterable[str], cache_dir: Path) -> Path:
    """A folder below `cache_dir` with the files at a URL that are needed.

    Parameters
    ----------
    url : any that fsspec knows; holds a folder a dataset, or is a dataset's folder itself.
    names : of the datasets; only their folders are copied where there are such.
    cache_dir : where copies are kept; a file that is there in the same size is not copied again.

    Raises
    ------
    UsageError : fsspec does not know such a URL, or lacks a package for it.
    DataError : a file cannot be read there.
    """
    import fsspec
    from filelock import FileLock
    from tqdm import tqdm

    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UsageError(f"data at {url}: {first_line(error)}") from None
    target = cache_dir / "remote" / hashlib.sha256(url.encode()).hexdigest()[:16]
    try:
        folders = [f"{root}/{name}" for name in names if fs.isdir(f"{root}/{name}")] or [root]
        found = {path: info for f in folders for path, info in fs.find(f, detail=True).items()}
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):  # who waits finds it there
            missing = {
                path: info for path, info in found.items() if not _held(target, root, path, info)
            }
            total = sum(int(info.get("size") or 0) for info in missing.values())
            with tqdm(total=total, unit="B", unit_scale=True, desc=url, disable=None) as bar:
                for path, info in missing.items():
                    local = _local(target, root, path)
                    local.parent.mkdir(parents=True, exist_ok=True)
                    # One name, so that what a killed process left is written over.
                    part = local.with_name(f".{local.name}.part")
                    fs.get_file(path, str(part))
                    part.replace(local)
                    bar.update(int(info.get("size") or 0))
    except Exception as error:  # each file system raises its own kinds
        raise DataError(f"data at {url}: cannot be copied ({first_line(error)})") from None
    if not found:
        raise UsageError(f"data at {url}: there is no file")
    return target


def _held(target: Path, root: str, path: str, info: dict[str, Any]) -> bool:
    local = _local(target, root, path)
    return local.is_file() and local.stat().st_size == info.get("size")


def _local(target: Path, root: str, path: str) -> Path:
    inside = PurePosixPath(path.removeprefix(root).lstrip("/"))
    if ".." in inside.parts:
        raise ValueError(f"{path} leads out of the folder")
    return target / inside
