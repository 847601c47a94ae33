"""Fetches the files of a dataset, with progress, once."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from perceptbench.errors import DataError, first_line


class Archive(BaseModel):
    """A file to fetch: an archive to unpack, or a file that is kept as it is.

    Attributes
    ----------
    path : file name, or relative path below the dataset's folder.
    urls : where these very bytes come from: the owner's address first, then mirrors. Empty
        where the owner hands it out by hand (a form, a share): the user brings it.
    source : archives of one source together make a whole copy of the dataset; other sources
        (a mirror that packed the set anew, so with other bytes) are tried in their order.
    size : bytes, None where not known.
    sha256, md5 : checksum, empty where none is known: then the first download is trusted and
        enforced from then on.
    vouched : who vouches for the checksum.
    unpack : whether it is an archive to unpack into `into`.
    into : folder below the dataset's folder; "" is that folder itself.
    password : the owner gives a password to those who ask; it comes from the user.
    verified : whether we saw ourselves that address and size are right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    urls: tuple[str, ...] = ()
    source: str = "owner"
    size: int | None = None
    sha256: str = ""
    md5: str = ""
    vouched: str = ""
    unpack: bool = False
    into: str = ""
    password: bool = False
    verified: bool = False


def fetch(archives: Iterable[Archive], folder: Path) -> None:
    """Downloads the files that are not yet in `folder`.

    A file with a checksum is verified against it; a present one that matches is kept.

    Raises
    ------
    DataError : a file could not be downloaded or does not match; names the URL.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    for archive in archives:
        target = folder / archive.path
        url = archive.urls[0]
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{archive.sha256}" if archive.sha256 else None,
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(progressbar=True, timeout=10),
            )
        except Exception as error:  # requests, urllib3 and pooch raise a dozen kinds
            reason = first_line(error)
            raise DataError(
                f"{url} could not be downloaded ({reason}); "
                "put the files into a folder and name it with --data-dir"
            ) from None
