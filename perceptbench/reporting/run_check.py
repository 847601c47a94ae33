"""Whether the files of a run folder are what a run writes: a folder may come from anybody.

Checked is what the reports rely on: keys and types of ``run.json``, columns and types of the
tables, and that what one names is in the others. Nothing is computed again.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perceptbench.agreement.ranking import PEOPLE
from perceptbench.agreement.standing import STANDING
from perceptbench.errors import DataError
from perceptbench.reporting.result import Run
from perceptbench.toml import wrong_key

Count = Annotated[int, Field(ge=0, le=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]
#: A file in the folder of judgements, nowhere else.
Stored = Annotated[str, Field(pattern=r"^judgements/[^/\\]+\.parquet$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Judgements(_Table):
    dataset: str
    slice: str
    protocol: Literal["2afc", "rating", "same_different"]
    file: Stored
    observers: Stored | None
    votes: Stored | None = None
    resample: list[str]
    statistics: list[str]
    display: str
    pixels_per_degree: Number | None


class _Failure(_Table):
    dataset: str
    reference: str
    distorted: str
    reason: str


class _Dataset(_Table):
    fingerprint: str = ""
    folder: str | None = None
    left_out: list[str] = []


class _Tap(_Table):
    layer: str
    distance: str


class _Backbone(_Table):
    name: str
    weights: str = ""


class _Loss(_Table):
    backbone: _Backbone | None = None
    tap: list[_Tap] = []


class _Beside(_Table):
    dataset: str
    published: str
    computed: str
    n: Count
    largest: Number
    handling: str


class _Cost(_Table):
    seconds_per_pair: Annotated[Number, Field(ge=0)] | None = None
    seconds_per_step: Annotated[Number, Field(ge=0)] | None = None
    step_bytes: Count | None = None
    parameters: Count | None = None


class _Metric(_Table):
    title: str = ""
    citation: str = ""
    hash: str = ""
    scale: Literal["linear", "squared", "ordinal"] = "linear"
    loss: _Loss | None = None
    cost: _Cost | None = None


class _Record(_Table):
    device: str
    precision: str
    judgements: list[_Judgements]
    skipped: dict[str, str]
    broken: dict[str, str]
    assumed: list[str]
    failures: list[_Failure]
    created: str = ""
    command: str = ""
    versions: dict[str, str] = {}
    datasets: dict[str, _Dataset] = {}
    sources: dict[str, str] = {}
    changes: dict[str, str] = {}
    beside: list[_Beside] = []
    metrics: dict[str, _Metric] = {}
    weights_sha256: dict[str, str] = {}
    groups: dict[str, str] = {}
    margin: Annotated[Number, Field(gt=0)] | None = None


def check_record(record: dict[str, Any], path: Path) -> None:
    """Raises DataError where the content of ``run.json`` is not a run's; names file and key."""
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            key = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{path}: has no {key!r}; make the run again with this version"
            ) from None
        raise DataError(f"{path}: {wrong_key(error)}") from None


def check_tables(run: Run, folder: Path) -> None:
    """Raises DataError where a table is not a run's, or does not fit the others; names the file."""
    path = folder / "scores.parquet"
    _columns(run.scores, path, ("dataset", "reference", "distorted"), run.metrics, finite=False)
    _unique(run.scores, path, ["dataset", "reference", "distorted"])
    path = folder / "agreement.csv"
    words = ["dataset", "slice", "metric", "statistic", "display", "note"]
    numbers = ["value", "low", "high", "n", "of", "units", "error", "freedom", "first", "last"]
    _columns(run.agreement, path, words, [*numbers, "chance", "ceiling"])
    _columns(run.agreement, path, (), (), flags=("in_domain", "best", "ceiling_known"))
    _unique(run.agreement, path, ["dataset", "slice", "metric", "statistic"])
    if run.agreement[["n", "units"]].isna().any(axis=None):
        raise DataError(f"{path}: `n` or `units` is missing in a row")
    for part in run.judgements:
        for column in run.columns:
            if column.rows(run.agreement).empty:
                raise DataError(f"{path}: has no figure {column.title}")
        missing = [name for name in part.resample if name not in part.table]
        if missing:
            raise DataError(
                f"{folder / 'judgements'}: {part.dataset} has no column `{missing[0]}` of units"
            )
    path = folder / "leaderboard.csv"
    figures = [column.title for column in run.columns]
    numbers = ["rank", *(name for name in STANDING if name != "best")]
    ends = ("", " low", " high", " n", " of", " first", " last")
    numbers += [f"{title}{end}" for title in figures for end in ends]
    numbers += [f"{title} worst" for title in figures if f"{title} worst" in run.board]
    flags = ["best", *(f"{title} best" for title in figures)]
    words = ["metric", "also", *(["source"] if run.provenance.get("sources") else [])]
    _columns(run.board, path, words, numbers, flags=flags)
    _unique(run.board, path, ["metric"])
    unknown = set(run.board["metric"]) - {*run.metrics, *PEOPLE}
    if unknown:
        raise DataError(f"{path}: metric {sorted(unknown)[0]!r} has no scores")
    path = folder / "comparisons.csv"
    words = ["dataset", "slice", "statistic", "a", "b"]
    numbers = ["difference", "low", "high", "p", "p_holm", "n", "error", "freedom", "units"]
    _columns(run.comparisons, path, words, numbers)
    _unique(run.comparisons, path, words)
    path = folder / "curves.parquet"
    _columns(run.curves, path, ("dataset", "slice", "protocol", "metric"), ("x", "y"))
    path = folder / "alignment.parquet"
    words = ["dataset", "slice", "statistic", "metric", "change"]
    _columns(run.alignment, path, words, ("aligned", "changed", "fall", "low", "high", "p_holm"))
    path = folder / "pictures.parquet"
    _columns(run.pictures, path, ("dataset", "image"), ())
    if not all(isinstance(picture, bytes) for picture in run.pictures.get("picture", [None])):
        raise DataError(f"{path}: column `picture` holds something else than image files")


def check_observers(observers: pd.DataFrame, rows: int, path: Path) -> None:
    """Raises DataError where the table of single observers does not fit that of judgements."""
    if len(observers) != rows:
        raise DataError(f"{path}: has {len(observers)} rows for {rows} judgements")
    _columns(observers, path, (), list(observers.columns), finite=False)


def check_votes(votes: pd.DataFrame, rows: int, path: Path) -> None:
    """Raises DataError where a table of votes is none, or does not fit that of judgements."""
    flags = ("adaptive",) if "adaptive" in votes else ()
    _columns(votes, path, ("rater",), ("item", "value"), flags=flags)
    if not votes["item"].between(0, rows - 1).all():
        raise DataError(f"{path}: has votes on something else than the {rows} judgements")


def _columns(
    table: pd.DataFrame,
    path: Path,
    words: Iterable[str],
    numbers: Iterable[str],
    *,
    flags: Iterable[str] = (),
    finite: bool = True,
) -> None:
    """Raises DataError where a column is missing, is there twice, or is of another type."""
    if not table.columns.is_unique:
        raise DataError(f"{path}: has two columns of one name")
    wanted = {**dict.fromkeys(words, "words"), **dict.fromkeys(numbers, "numbers")}
    for name, kind in {**wanted, **dict.fromkeys(flags, "True and False")}.items():
        if name not in table:
            raise DataError(f"{path}: has no column `{name}`; make the run again with this version")
        column = table[name]
        if column.empty:
            continue
        if kind == "words":
            fits = all(isinstance(word, str) for word in column)
        elif kind == "numbers":
            fits = pd.api.types.is_any_real_numeric_dtype(column)
            fits = fits and not (finite and bool(column.abs().eq(float("inf")).any()))
        else:
            fits = pd.api.types.is_bool_dtype(column)
        if not fits:
            raise DataError(f"{path}: column `{name}` holds something else than {kind}")


def _unique(table: pd.DataFrame, path: Path, key: list[str]) -> None:
    twice = table.duplicated(key)
    if twice.any():
        names = ", ".join(map(str, table.loc[twice, key].iloc[0]))
        raise DataError(f"{path}: has two rows of {names}")
