"""Fetches the files of a dataset, with progress, once."""

from pathlib import Path

from perceptbench.datasets.manifest import Manifest
from perceptbench.errors import DataError


def fetch(manifest: Manifest, folder: Path) -> Path:
    """Downloads what is missing of a dataset into `folder` and returns it.

    A file with a checksum in the manifest is verified against it; a present one is kept.

    Raises
    ------
    DataError : a file could not be downloaded or does not match; names the URL.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    for file in manifest.files:
        target = folder / file.path
        try:
            pooch.retrieve(
                file.url,
                known_hash=f"sha256:{file.sha256}" if file.sha256 else None,
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(progressbar=True, timeout=10),
            )
        except Exception as error:  # requests, urllib3 and pooch raise a dozen kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"dataset {manifest.name}: {file.url} could not be downloaded ({reason}); "
                "put the files into a folder and name it with --data-dir"
            ) from None
    return folder
