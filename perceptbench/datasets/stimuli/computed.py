"""What a computed image is known by: the code that makes it, and its key."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Computed:
    """A loader of stimuli that tells what decides an image without computing it.

    Attributes
    ----------
    load : key -> image (3, H, W).
    options : those of the dataset, which may decide what a key shows.
    """

    load: Callable[[str], "Tensor"]
    options: Mapping[str, str]

    def __call__(self, key: str) -> "Tensor":
        return self.load(key)

    def identify(self, key: str) -> str:
        """Digest of the code, the options and the key."""
        said = f"{_code()} {sorted(self.options.items())} {key}"
        return hashlib.sha256(said.encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """Digest of all that stimuli are made by: the files of this folder, and colours."""
    folder = Path(__file__).parent
    files = [*sorted(folder.glob("*.*")), folder.parents[1] / "colour.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
