"""Fetches the files of a dataset, with progress, once."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from perceptbench.errors import DataError, first_line


class RemoteFile(BaseModel):
    """A file of a dataset: where it lies in the dataset's folder and where it comes from."""

    model_config = ConfigDict(extra="forbid")

    path: str
    url: str
    sha256: str = ""


def fetch(files: Iterable[RemoteFile], folder: Path) -> None:
    """Downloads the files that are not yet in `folder`.

    A file with a checksum is verified against it; a present one that matches is kept.

    Raises
    ------
    DataError : a file could not be downloaded or does not match; names the URL.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    for file in files:
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
            reason = first_line(error)
            raise DataError(
                f"{file.url} could not be downloaded ({reason}); "
                "put the files into a folder and name it with --data-dir"
            ) from None
