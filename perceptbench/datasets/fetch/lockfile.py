"""``perceptbench-lock.json`` in the data folder: what was trusted, agreed to and linked there.

One entry a dataset. A file without a known checksum is trusted when it is first fetched; its
sha256 is kept here and enforced from then on. Removing an entry means trusting anew.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from perceptbench.datasets.records import read_json
from perceptbench.errors import DataError
from perceptbench.toml import wrong_key
from perceptbench.writing import writable

NAME = "perceptbench-lock.json"
#: Folder of the data folder for locks and for the lists of what was unpacked.
HIDDEN = ".perceptbench"


class Pin(BaseModel):
    """A file as it was first fetched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int
    url: str
    date: str


class Entry(BaseModel):
    """What is kept of one dataset.

    Attributes
    ----------
    terms : sha256 of the terms that were accepted.
    link : folder of a copy that lies elsewhere.
    begun : archives are being unpacked, or were when a process was killed.
    source : the source all of whose archives are here; empty as long as one is missing.
    files : path of an archive -> the file that was trusted.
    """

    model_config = ConfigDict(extra="forbid")

    terms: str = ""
    link: str = ""
    begun: bool = False
    source: str = ""
    files: dict[str, Pin] = {}


def read(home: Path) -> dict[str, Entry]:
    """Dataset name -> entry; empty where the data folder has no lock file yet."""
    path = home / NAME
    try:
        return {name: Entry.model_validate(entry) for name, entry in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except DataError as error:
        raise DataError(f"{error}; mend or remove it") from None
    except ValidationError as error:
        raise DataError(f"{path}: {wrong_key(error)}; mend or remove it") from None


def entry(home: Path, dataset: str) -> Entry:
    """The entry of one dataset, an empty one where there is none."""
    return read(home).get(dataset, Entry())


@contextmanager
def changed(home: Path, dataset: str) -> Iterator[Entry]:
    """The entry to change; written when the block ends, safe against other processes."""
    hidden = hidden_folder(home)
    with data_folder(home), FileLock(hidden / "lockfile.lock"):
        entries = read(home)
        found = entries.setdefault(dataset, Entry())
        yield found
        text = {name: e.model_dump(exclude_defaults=True) for name, e in sorted(entries.items())}
        draft = hidden / NAME
        draft.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
        draft.replace(home / NAME)


def hidden_folder(home: Path) -> Path:
    """The folder HIDDEN of a data folder, made where it is missing."""
    with data_folder(home):
        (home / HIDDEN).mkdir(parents=True, exist_ok=True)
    return home / HIDDEN


def data_folder(folder: Path) -> AbstractContextManager[None]:
    """Turns the system's refusal to write to the data folder, or one in it, into a sentence."""
    return writable(folder, "--data-dir")
