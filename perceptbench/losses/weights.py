"""Where a network's weights come from: a folder of the user's, a library's cache, a server.

Files are state dicts, as safetensors or as a pickle of which nothing but tensors is loaded. In a
weights folder, and on a mirror, the file of a library's network is called by its name without the
library, ``:`` and ``/`` written ``--``: ``vit_small_patch16_224.dino.safetensors``,
``ViT-B-32--laion2b_s34b_b79k.safetensors``; that of transformers lies in a folder with its
``config.json``: ``facebook--dinov2-small/model.safetensors``.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import threading
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from perceptbench.errors import DataError, Unavailable, UsageError, first_line
from perceptbench.kinds import really
from perceptbench.losses import libraries
from perceptbench.losses.networks import architecture
from perceptbench.redirects import stay_encrypted

#: Seconds a server is given to answer before its weights count as not to be had.
PATIENCE = 5.0
#: How files of torch begin: a zip, or a pickle of which nothing but tensors is loaded.
OWN = (b"pk\x03\x04", b"\x80\x02")
#: How the libraries call the weights in a repository, the preferred first.
PUBLISHED = (
    "model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)  # fmt: skip
ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
#: How a head's name begins -> version of LPIPS.
LPIPS_VERSIONS = {"lpips": "v0.1", "lpips-v0.0": "v0.0"}


def find_weights(backbone: str, folder: Path | None = None) -> Path:
    """The file with a backbone's own weights: those of ImageNet, or what its library has.

    Looked for in this order: `folder` (or ``PERCEPTBENCH_WEIGHTS``) as torchvision names the
    file, as ``BACKBONE.pth``, ``BACKBONE.safetensors`` or ``BACKBONE_features.pth``; torchvision's
    own cache; the folder or address ``PERCEPTBENCH_MIRROR`` if there is one, else torchvision's
    server; a download fills that cache and shows its size and progress. For a library's network
    see `_of_library`.

    Raises
    ------
    UsageError : `folder` does not exist, or the network was never trained on ImageNet.
    Unavailable : nothing was found and the server does not answer within seconds.
    DataError : the download does not match its published checksum.
    """
    folder = folder or _folder_from_environment()
    if folder is not None and not folder.is_dir():
        raise UsageError(f"weights folder {folder} does not exist")
    if architecture(backbone).library:
        return _of_library(backbone, folder)
    url = architecture(backbone).url
    if url is None:
        raise UsageError(
            f'backbone {backbone} has no ImageNet weights; use weights = "random" or a file'
        )
    filename = url.rpartition("/")[2]
    if folder is not None:
        endings = (".pth", ".safetensors", "_features.pth")
        for name in (filename, *(f"{backbone}{ending}" for ending in endings)):
            if (folder / name).is_file():
                return folder / name
    cached = _checkpoints() / filename
    if cached.is_file():
        return cached
    mirror = os.environ.get("PERCEPTBENCH_MIRROR", "")
    if mirror and "://" not in mirror:
        copy = Path(mirror) / filename
        if not copy.is_file():
            raise Unavailable(f"{filename} is in no weights folder and not in the mirror {mirror}")
        return copy
    return _download(f"{mirror.rstrip('/')}/{filename}" if mirror else url, cached)


def _checkpoints() -> Path:
    """Where torch keeps what torchvision and timm download."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _of_library(name: str, folder: Path | None) -> Path:
    """The weights of a library's network.

    Looked for in `folder`, among torch's downloads, in the cache that the libraries share
    (``huggingface_hub``), which is only read, and on the mirror. Of an address that is no more
    than a safetensors file, which can do nothing but hold numbers: it has no checksum in its name.

    Raises
    ------
    Unavailable : there is none, or the library is not installed.
    UsageError : there is no such network.
    """
    repository, url = libraries.repository(name)
    stem = _stem(name)
    names = [f"{stem}{ending}" for ending in ENDINGS] + [f"{stem}/{file}" for file in PUBLISHED]
    names += [url.rpartition("/")[2]] if url else []
    found = _nearby(names, repository, PUBLISHED, folder)
    mirror = os.environ.get("PERCEPTBENCH_MIRROR", "")
    if found is None and mirror.startswith(("https://", "http://127.0.0.1")):
        file = f"{stem}.safetensors"
        return _download(f"{mirror.rstrip('/')}/{file}", _checkpoints() / file, checked=False)
    if found is None:
        of = f"`hf download {repository}` puts them there" if repository else f"they are at {url}"
        raise Unavailable(
            f"{stem}{ENDINGS[0]} is in no weights folder and in no cache on this machine "
            f"({of}); put the file into a folder and name it with --weights-dir"
        )
    return found


def beside(name: str, file: str, weights: Path | None, folder: Path | None) -> Path | None:
    """Another file of a network of transformers, such as its ``config.json``.

    Parameters
    ----------
    name : ``hf:REPO``.
    file : its name in the repository.
    weights : the weights that are used, beside which it may lie.
    folder : weights folder.
    """
    if weights is not None and (weights.parent / file).is_file():
        return weights.parent / file
    names = [f"{_stem(name)}/{file}"]
    return _nearby(names, name.partition(":")[2], (file,), folder or _folder_from_environment())


def _stem(name: str) -> str:
    return re.sub("[:/]", "--", name.partition(":")[2].strip("/"))


def _nearby(
    names: Sequence[str], repository: str, files: Sequence[str], folder: Path | None
) -> Path | None:
    """The first of some files that is on this machine.

    Parameters
    ----------
    names : what it may be called in a folder of weights.
    repository : on the Hub, or a folder that is one.
    files : what it may be called there.
    folder : weights folder.
    """
    mirror = os.environ.get("PERCEPTBENCH_MIRROR", "")
    folders = [folder, _checkpoints(), Path(mirror) if mirror and "://" not in mirror else None]
    for where in [f for f in folders if f is not None]:
        for name in names:
            if (where / name).is_file():
                return where / name
    for file in files:
        if repository and (Path(repository) / file).is_file():
            return Path(repository) / file
    hub = importlib.util.find_spec("huggingface_hub") and importlib.import_module("huggingface_hub")
    if hub and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        for file in files:
            cached = hub.try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached)
    return None


def _folder_from_environment() -> Path | None:
    value = os.environ.get("PERCEPTBENCH_WEIGHTS")
    return Path(value) if value else None


def _download(url: str, target: Path, checked: bool = True) -> Path:
    # torchvision's names end in the first eight digits of the file's sha256.
    expected = target.stem.rpartition("-")[2] if checked else ""
    if checked and not re.fullmatch("[0-9a-f]{8,64}", expected):
        raise Unavailable(
            f"{target.name} has no checksum in its name: it is not downloaded; put the file into "
            "a folder and name it with --weights-dir"
        )
    server = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    if not _answers(server):
        raise Unavailable(
            f"{target.name} is in no weights folder and {server} does not answer; put the file "
            "into a folder and name it with --weights-dir"
        )
    import requests
    from filelock import FileLock
    from tqdm import tqdm

    # One name, so that the next download takes the place of what a killed process left.
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if target.is_file():  # another process was faster
                return target
            asked = requests.get(
                url, stream=True, timeout=PATIENCE, hooks={"response": stay_encrypted}
            )
            with asked as response, part.open("wb") as file:
                response.raise_for_status()
                size = int(response.headers.get("Content-Length", 0)) or None
                with tqdm.wrapattr(file, "write", total=size, desc=target.name) as kept:
                    for chunk in response.iter_content(1 << 20):
                        kept.write(chunk)
            if not sha256(part).startswith(expected):
                part.unlink()
                raise DataError(
                    f"{url}: the download's sha256 does not start with {expected}; try again"
                )
            part.replace(target)
    except DataError:
        raise
    except Exception as error:  # requests and urllib3 raise a dozen kinds
        reason = first_line(error)
        raise Unavailable(f"{url} could not be downloaded ({reason})") from None
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


def load_head(
    head: str | Sequence[float] | None, base: Path = Path(), folder: Path | None = None
) -> torch.Tensor | None:
    """The per-channel weights of a tap, (K,).

    Parameters
    ----------
    head : the numbers themselves; ``lpips:NET:I``, head I of LPIPS v0.1 for NET (``alex``,
        ``squeeze``, ``vgg``), from the ``lpips`` package; ``lpips-v0.0:NET:I``, of v0.0, which
        were fitted to images in [-1, 1] that are not normalised; ``dists:I``, alpha and beta of
        tap I of DISTS, from ``dists_weights.pt`` in the weights folder or the package
        DISTS-pytorch; ``FILE:KEY``, a tensor of a state dict; None.
    base : folder that FILE is relative to.
    folder : weights folder.

    Raises
    ------
    Unavailable : the package is not installed.
    UsageError, DataError : there is no such head.
    """
    if head is None:
        return None
    if not isinstance(head, str):
        return torch.tensor(head, dtype=torch.float32)
    kind, _, rest = head.partition(":")
    if kind in LPIPS_VERSIONS:
        network, _, index = rest.partition(":")
        return _numbered(lpips_heads(network, LPIPS_VERSIONS[kind]), index, head)
    if kind == "dists":
        return _numbered(dists_heads(folder), rest, head)
    file, _, key = head.rpartition(":")
    state = read_state(base / file)
    if key not in state:
        raise DataError(f"{base / file}: holds no {key!r}")
    return _dense(state[key], f"{base / file}: {key!r}")


def _numbered(heads: list[torch.Tensor], index: str, head: str) -> torch.Tensor:
    if not index.isdigit() or int(index) >= len(heads):
        raise UsageError(f"there is no head {head!r}: its number runs from 0 to {len(heads) - 1}")
    return heads[int(index)]


def lpips_heads(network: str, version: str = "v0.1") -> list[torch.Tensor]:
    """The linear heads of LPIPS, one (C,) a tap, from the ``lpips`` package's data.

    Parameters
    ----------
    network : ``alex``, ``squeeze`` or ``vgg``.
    version : ``v0.1`` or ``v0.0``.

    Raises
    ------
    Unavailable : the package is not installed.
    UsageError : it has no such file.
    """
    spec = importlib.util.find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("the LPIPS heads need the package `lpips`: pip install lpips")
    path = Path(spec.submodule_search_locations[0]) / "weights" / version / f"{network}.pth"
    if not path.is_file():
        raise UsageError(f"there are no LPIPS heads for {network!r}; use alex, squeeze or vgg")
    state = read_state(path)
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(state))]


def _dense(value: Any, where: str) -> torch.Tensor:
    """A tensor of finite numbers as float32 (K,); raises DataError where it is none."""
    dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel()
    if dense and not value.is_complex() and value.isfinite().all():
        return value.float().flatten()
    raise DataError(f"{where} is no tensor of finite numbers")


#: Channels of the taps of DISTS: the image, then relu1_2 to relu5_3 of VGG16.
DISTS_CHANNELS = (3, 64, 128, 256, 512, 512)


def dists_heads(folder: Path | None = None) -> list[torch.Tensor]:
    """The weights of DISTS, one (2C,) a tap: alpha, then beta, over the sum of all.

    Raises
    ------
    Unavailable : there is no ``dists_weights.pt`` and the package is not installed.
    """
    folder = folder or _folder_from_environment()
    path = folder / "dists_weights.pt" if folder is not None else None
    if path is None or not path.is_file():
        try:
            files = metadata.files("DISTS-pytorch") or []
        except metadata.PackageNotFoundError:
            files = []
        path = next((Path(str(f.locate())) for f in files if f.name == "weights.pt"), None)
    if path is None or not path.is_file():
        raise Unavailable(
            "DISTS needs dists_weights.pt in the weights folder or the package `DISTS-pytorch`: "
            "pip install DISTS-pytorch"
        )
    state = read_state(path)
    given = [_dense(state.get(key), f"{path}: {key!r}") for key in ("alpha", "beta")]
    if any(len(weights) != sum(DISTS_CHANNELS) for weights in given):
        raise DataError(f"{path}: alpha and beta have not {sum(DISTS_CHANNELS)} numbers each")
    alpha, beta = (weights.split(DISTS_CHANNELS) for weights in given)
    total = given[0].sum() + given[1].sum()
    return [torch.cat(both) / total for both in zip(alpha, beta, strict=True)]


def read_state(path: Path, what: str = "weights") -> dict[str, torch.Tensor]:
    """The tensors of a state dict, by name; nothing else is loaded.

    Parameters
    ----------
    path : a safetensors file if its name ends so, else one that torch saved. Where checkpoints
        hold more, the state dict is what they call ``state_dict`` or ``model``.
    what : it is to hold, for errors.

    Raises
    ------
    DataError : there is no such file, it is none, or it holds numbers that are not finite.
    Unavailable : it is a safetensors file, and that package is not installed.
    """
    try:
        if path.suffix == ".safetensors":
            if importlib.util.find_spec("safetensors") is None:
                raise Unavailable(
                    f"{path.name} needs the package `safetensors`: "
                    "pip install 'perceptbench[safetensors]'"
                )
            state = importlib.import_module("safetensors.torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for key in ("state_dict", "model"):
                state = state[key] if isinstance(state.get(key), dict) else state
        found = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
        floating = {key: value for key, value in found.items() if value.is_floating_point()}
        endless = [key for key, value in floating.items() if not value.isfinite().all()]
    except (Unavailable, DataError):
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such weights file") from None
    except Exception as error:  # torch and safetensors raise many kinds
        raise not_weights(path, what, error) from None
    if endless:
        raise DataError(f"{path}: {endless[0]!r} holds numbers that are not finite")
    return found


def not_weights(path: Path, what: str, error: Exception) -> DataError:
    """The error for a file that is no state dict, or not the right one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = really(path, *OWN) or lines[-1].strip()
    return DataError(f"{path}: cannot be read as {what} ({reason})")


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
