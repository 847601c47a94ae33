"""Where a network's weights come from: a folder of the user's, torchvision's cache or server."""

import hashlib
import importlib.util
import os
import threading
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import torch

from perceptbench.errors import DataError, Unavailable, UsageError
from perceptbench.losses.backbones import architecture

#: Seconds a server is given to answer before its weights count as not to be had.
PATIENCE = 5.0


def find_weights(backbone: str, folder: Path | None = None) -> Path:
    """The file with a backbone's ImageNet weights.

    Looked for in this order: `folder` (or ``PERCEPTBENCH_WEIGHTS``) as torchvision names the
    file, as ``BACKBONE.pth`` or ``BACKBONE_features.pth``; torchvision's own cache; torchvision's
    server, which fills that cache. A download shows its size and progress.

    Raises
    ------
    UsageError : `folder` does not exist.
    Unavailable : nothing was found and the server does not answer within seconds.
    DataError : the download does not match its published checksum.
    """
    folder = folder or _folder_from_environment()
    url = architecture(backbone).url
    filename = url.rpartition("/")[2]
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"weights folder {folder} does not exist")
        for name in (filename, f"{backbone}.pth", f"{backbone}_features.pth"):
            if (folder / name).is_file():
                return folder / name
    cached = Path(torch.hub.get_dir()) / "checkpoints" / filename
    return cached if cached.is_file() else _download(url, cached)


def _folder_from_environment() -> Path | None:
    value = os.environ.get("PERCEPTBENCH_WEIGHTS")
    return Path(value) if value else None


def _download(url: str, target: Path) -> Path:
    server = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    if not _answers(server):
        raise Unavailable(
            f"{target.name} is in no weights folder and {server} does not answer; put the file "
            "into a folder and name it with --weights-dir"
        )
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            url,
            known_hash=None,
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=PATIENCE),
        )
    except Exception as error:  # requests and urllib3 raise a dozen kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unavailable(f"{url} could not be downloaded ({reason})") from None
    # torchvision's names end in the first eight digits of the file's sha256.
    expected = target.stem.rpartition("-")[2]
    if not sha256(target).startswith(expected):
        target.unlink()
        raise DataError(f"{url}: the download's sha256 does not start with {expected}; try again")
    return target


@cache
def _answers(server: str) -> bool:
    """Whether a server answers within PATIENCE; asked once a process.

    In a thread, since neither a name server nor a proxy that swallows packets honours the
    time-out of the request itself.
    """
    import requests

    outcome: list[bool] = []

    def ask() -> None:
        try:
            requests.head(server, timeout=PATIENCE)
            outcome.append(True)
        except requests.RequestException:
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(outcome)


def lpips_heads(network: str) -> list[torch.Tensor]:
    """The v0.1 linear heads of LPIPS, one (C,) a tap, from the ``lpips`` package's data.

    Parameters
    ----------
    network : ``alex``, ``squeeze`` or ``vgg``.

    Raises
    ------
    Unavailable : the package is not installed.
    UsageError : it has no such file.
    """
    spec = importlib.util.find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("the LPIPS heads need the package `lpips`: pip install lpips")
    path = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / f"{network}.pth"
    if not path.is_file():
        raise UsageError(f"there are no LPIPS heads for {network!r}; use alex, squeeze or vgg")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(state))]


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
