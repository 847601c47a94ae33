"""The folder a run leaves behind, and what can be read back from it.

Conventions
-----------
``scores.parquet agreement.csv comparisons.csv leaderboard.csv run.json``; for each judgement
table, ``judgements/DATASET.SLICE.PROTOCOL.parquet`` (``... .observers.parquet`` and
``... .votes.parquet`` beside it where single observers or votes are known); ``curves.parquet``,
``pictures.parquet`` and ``alignment.parquet`` where curves were fitted, small pictures kept and
images changed. In CSV files, a name that a spreadsheet would run as a formula has an apostrophe
before it (`perceptbench.spreadsheet`). Nothing else is needed to make every report again: `read`
restores what `write` stored, and writing that gives the same bytes.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements, protocol_of, validate
from perceptbench.datasets.records import read_json
from perceptbench.errors import DataError, UsageError, first_line
from perceptbench.reporting.result import FAILURE, STRESS_POWER, Run
from perceptbench.reporting.run_check import (
    check_observers,
    check_record,
    check_tables,
    check_votes,
)
from perceptbench.spreadsheet import restored, to_csv
from perceptbench.writing import together

#: From pandas 3.1 on numbers are read to the last bit by default; asking for it is deprecated.
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
EXACT: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}
#: Bytes of the name of a table of judgements.
LONGEST = 200
#: Tables of a run that are stored where they are not empty.
OPTIONAL = ("pictures", "curves", "alignment")
#: Columns of the stored CSV files that hold words; an empty cell there is no missing number.
WORDS = (
    "dataset", "slice", "metric", "also", "source", "statistic", "display", "note", "a", "b",
)  # fmt: skip


def write(result: Run, folder: Path, reports: Mapping[str, bytes] | None = None) -> None:
    """Writes the files named above, and reports (file name -> content), all together.

    Raises
    ------
    DataError : the folder cannot be written to; what was there before is there still.
    """
    with together(folder) as draft:
        _write(result, draft)
        for name, content in (reports or {}).items():
            save(draft / name, content)
    for name in OPTIONAL:
        if getattr(result, name).empty:
            (folder / f"{name}.parquet").unlink(missing_ok=True)


def _write(result: Run, folder: Path) -> None:
    result.scores.to_parquet(folder / "scores.parquet", index=False)
    for name, table in {
        "agreement": result.agreement, "comparisons": result.comparisons,
        "leaderboard": result.board, "failed": result.failed,
    }.items():  # fmt: skip
        save(folder / f"{name}.csv", to_csv(table).encode())
    for name in OPTIONAL:
        table = getattr(result, name)
        if not table.empty:
            table.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "judgements").mkdir()
    record = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **result.provenance,
        "judgements": [_write_judgements(part, folder) for part in result.judgements],
        "skipped": result.skipped,
        "broken": result.broken,
        "assumed": result.assumed,
        "failures": result.failures.to_dict(orient="records"),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    save(folder / "run.json", text.encode())


def save(path: Path, content: bytes) -> None:
    """Writes a file, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_judgements(part: Judgements, folder: Path) -> dict[str, Any]:
    """Stores one judgement table; what ``run.json`` says of it."""
    names = (part.dataset, part.slice, part.protocol)
    # What is no letter, digit or one of "_.-~" is escaped: a slice may be called "a/b".
    stem = "judgements/" + _short(".".join(quote(name, safe="") for name in names))
    # Columns of objects of several kinds, which Parquet cannot hold.
    kinds = {str(c): pd.api.types.infer_dtype(part.table[c]) for c in part.table}
    mixed = [c for c, kind in kinds.items() if kind.startswith("mixed")]
    words = {c: part.table[c].map(str, na_action="ignore") for c in mixed}
    part.table.assign(**words).to_parquet(folder / f"{stem}.parquet", index=False)
    observers = part.observers
    if observers is not None:
        observers.rename(columns=str).to_parquet(folder / f"{stem}.observers.parquet")
    if part.votes is not None:
        part.votes.to_parquet(folder / f"{stem}.votes.parquet", index=False)
    return {
        "dataset": part.dataset,
        "slice": part.slice,
        "protocol": part.protocol,
        "rows": len(part.table),
        "file": f"{stem}.parquet",
        "observers": None if observers is None else f"{stem}.observers.parquet",
        "votes": None if part.votes is None else f"{stem}.votes.parquet",
        "resample": list(part.resample),
        "statistics": list(part.statistics),
        "display": part.display,
        "pixels_per_degree": part.pixels_per_degree,
    }


def _short(name: str) -> str:
    """A name that leaves room for the endings of a file's: most systems end at 255 bytes."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 17]}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def read(folder: Path) -> Run:
    """What `write` stored.

    Raises
    ------
    UsageError : there is no such folder, or no run in it.
    DataError : a file of it is missing or cannot be read; names the file.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError(f"{folder} is no run folder: it has no run.json")
    record = read_json(path)
    check_record(record, path)
    parts = record.pop("judgements")
    failures = pd.DataFrame(record.pop("failures"), columns=list(FAILURE))
    skipped, broken, assumed = (record.pop(key) for key in ("skipped", "broken", "assumed"))
    optional = {
        name: _read(path, pd.read_parquet)
        for name in OPTIONAL
        if (path := folder / f"{name}.parquet").is_file()
    }
    run = Run(
        _read(folder / "scores.parquet", pd.read_parquet),
        _read(folder / "agreement.csv", _read_csv),
        _read(folder / "leaderboard.csv", _read_csv),
        [_read_judgements(part, folder) for part in parts],
        skipped,
        failures,
        _read(folder / "comparisons.csv", _read_csv),
        broken,
        assumed,
        record,
        **optional,
    )
    check_tables(run, folder)
    return run


def _read_judgements(record: dict[str, Any], folder: Path) -> Judgements:
    path, observers, votes = folder / record["file"], None, None
    table = validate(_read(path, pd.read_parquet), str(path))
    if (found := protocol_of(table, str(path))) != (said := record["protocol"]):
        raise DataError(f"{path}: is of protocol {found}, not {said} with {PROTOCOLS[said][0]}")
    if record["observers"]:
        beside = folder / record["observers"]
        observers = _read(beside, pd.read_parquet)
        check_observers(observers, len(table), beside)
    if record.get("votes"):
        beside = folder / record["votes"]
        votes = _read(beside, pd.read_parquet)
        check_votes(votes, len(table), beside)
    return Judgements(
        record["dataset"],
        table,
        slice=record["slice"],
        resample=tuple(record["resample"]),
        statistics=tuple(record["statistics"]),
        display=record["display"],
        pixels_per_degree=record["pixels_per_degree"],
        observers=observers,
        votes=votes,
    )


def _read_csv(path: Path) -> pd.DataFrame:
    """A CSV file as it was written: each number to its last digit, words as they are."""
    header = pd.read_csv(path, nrows=0).columns
    words = [c for c in header if c in WORDS]
    table = pd.read_csv(
        path,
        **EXACT,
        dtype={c: str for c in words},
        keep_default_na=False,
        na_values={c: [""] for c in header if c not in words},
    )
    return restored(table.astype({"rank": "Int64"}) if "rank" in table else table)


def _read(path: Path, reader: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    try:
        return reader(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; the run folder is incomplete") from None
    except Exception as error:  # pandas and pyarrow raise a dozen kinds
        raise DataError(f"{path}: cannot be read as a table ({first_line(error)})") from None


def stress_power(record: dict[str, Any]) -> dict[str, float | None]:
    """Metric -> power that makes its distance proportional to the perceived difference."""
    known = record.get("metrics", {})
    return {name: STRESS_POWER[metric.get("scale", "linear")] for name, metric in known.items()}


def create(out: Path | None) -> Path:
    """The folder for a command's files, made; by default a new one, ``runs/<time>``.

    Raises
    ------
    UsageError : it cannot be made or written to.
    """
    first = out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, number = first, 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=out is not None)
            break
        except OSError as error:
            if out is not None or not folder.is_dir():
                why = f"{error.strerror}; choose another with -o"
                raise UsageError(f"folder {folder} cannot be made ({why})") from None
            number += 1  # another run has begun in the same second
            folder = first.with_name(f"{first.name}-{number}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"folder {folder} cannot be written to; choose another with -o")
    return folder
