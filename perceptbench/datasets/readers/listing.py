"""Ratings in a table of text beside a folder of images: most public sets, told apart by their TOML.

What a label file calls its columns, and what its image names tell about reference, distortion
and level, is written in the manifest's layout (`RatingTable`). Names are looked up in the copy
afterwards, so labels may name images without their folder and in another case.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import DataError, UsageError, first_line
from perceptbench.kinds import really

#: Columns a rating table may have, in this order.
COLUMNS = (
    "reference", "distorted", "quality", "impairment", "std", "raters", "distortion", "level",
    "category", "split",
)  # fmt: skip
NUMBERS = ["quality", "impairment", "std", "raters", "level"]


class RatingTable(BaseModel):
    """How one label file is read.

    Attributes
    ----------
    labels : its name, or a pattern (``Train_Label/*.txt``) whose files are read one after another.
    slice : the part of the dataset it makes.
    optional : a copy may lack it; the table is then left out.
    separator, decimal : of the columns and the decimals; " " stands for any white space.
    header : whether the first row names the columns.
    names : the columns' names, where there is no header or it is not to be trusted.
    columns : ours -> theirs.
    beside : ours -> a file with one number a row, in the order of `labels`.
    keep, drop : column -> value (theirs): the only rows read, the rows left out.
    pattern : regular expression, searched for in the distorted image's name; its groups are
        columns, and go before `columns`.
    reference, distorted : templates of image names, ``{x}`` filled from their column or group x.
    raters : people behind each judgement, where it is one number.
    display : how people saw the images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: str
    slice: str = "all"
    optional: bool = False
    separator: str = ","
    decimal: str = "."
    header: bool = True
    names: tuple[str, ...] = ()
    columns: dict[str, str] = {}
    beside: dict[str, str] = {}
    keep: dict[str, str] = {}
    drop: dict[str, str] = {}
    pattern: str = ""
    reference: str = ""
    distorted: str = ""
    raters: int | None = None
    display: str = "sRGB files, native size"


def ratings(
    files: Files, table: Sequence[Mapping[str, Any]], exclude_reference: str = ""
) -> Dataset:
    """Reads the rating tables of a copy.

    Parameters
    ----------
    files : the copy.
    table : the keys of one `RatingTable` each.
    exclude_reference : base name, without extension, of a reference to leave out.

    Raises
    ------
    DataError : a label file is missing or not of the form described; names it.
    UsageError : there is no such reference.
    """
    forms = [RatingTable.model_validate(keys) for keys in table]
    present = [form for form in forms if not form.optional or files.matching(form.labels)]
    tables = {form.slice: _read(files, form) for form in present}
    if exclude_reference:
        tables = {s: _without(t, exclude_reference, files.dataset) for s, t in tables.items()}
    return rated(files, tables, {form.slice: form.display for form in present})


def waterloo(
    files: Files, table: Sequence[Mapping[str, Any]], exclude_reference: str = ""
) -> Dataset:
    """Reads the label files of the University of Waterloo's mirror, all of one form.

    ``dis_img_path,dis_type,ref_img_path,score``; `table` says which file, and whether the score
    is a quality or an impairment. White space behind numbers occurs.
    """
    columns = {"distorted": "dis_img_path", "distortion": "dis_type", "reference": "ref_img_path"}
    return ratings(
        files,
        [{**t, "columns": {**columns, **t.get("columns", {"quality": "score"})}} for t in table],
        exclude_reference,
    )


def rated(
    files: Files,
    tables: Mapping[str, pd.DataFrame],
    displays: Mapping[str, str] | None = None,
) -> Dataset:
    """A dataset of rating tables by slice, ranked by SRCC."""
    parts = tuple(
        Judgements(
            files.dataset,
            table,
            slice=slice,
            statistics=("srcc",),
            display=(displays or {}).get(slice, Judgements.display),
        )
        for slice, table in tables.items()
    )
    return Dataset(files.dataset, parts, FileLoader(files.folder), files.folder)


def _without(table: pd.DataFrame, reference: str, dataset: str) -> pd.DataFrame:
    stem = table["reference"].str.split("/").str[-1].str.rsplit(".", n=1).str[0]
    kept = table[stem.str.casefold() != reference.casefold()].reset_index(drop=True)
    if len(kept) == len(table):
        raise UsageError(f"dataset {dataset}: there is no reference {reference!r} to exclude")
    return kept


def _read(files: Files, form: RatingTable) -> pd.DataFrame:
    raw = read_text(files, form)
    for column, value in form.keep.items():
        raw = raw[_column(raw, column, form.labels) == value]
    for column, value in form.drop.items():
        raw = raw[_column(raw, column, form.labels) != value]
    raw = raw.reset_index(drop=True)
    table = pd.DataFrame(
        {
            **{ours: _column(raw, theirs, form.labels) for ours, theirs in form.columns.items()},
            **{ours: raw[ours] for ours in form.beside},
        },
        index=raw.index,
    )
    if form.distorted:
        table["distorted"] = _filled(form.distorted, raw, form.labels)
    if form.pattern:
        names = _column(table, "distorted", form.labels)
        groups = names.str.extract(re.compile(form.pattern, re.IGNORECASE))
        bad = groups.isna().any(axis=1)
        if bad.any():
            raise DataError(
                f"dataset {files.dataset}: {form.labels} names {names[bad].iloc[0]!r}, "
                "which is not of the form its images have"
            )
        raw[groups.columns] = groups
        table[groups.columns] = groups
    if form.reference:
        table["reference"] = _filled(form.reference, raw, form.labels)
    if form.raters:
        table["raters"] = str(form.raters)
    for column in table.columns.intersection(NUMBERS):
        text = table[column].str.replace(form.decimal, ".", regex=False)
        numbers = pd.to_numeric(text, errors="coerce")
        # Levels may be letters; what is no number among the judgements, `validate` names.
        as_written = numbers.isna().any() and column not in ("std", "raters")
        table[column] = text if as_written else numbers
    return table[[column for column in COLUMNS if column in table]]


def read_text(files: Files, form: RatingTable) -> pd.DataFrame:
    """The label file, or files, as text; rows that are blank throughout left out."""
    found = files.matching(form.labels)
    if not found:
        raise DataError(f"dataset {files.dataset}: {form.labels} is nowhere below {files.folder}")
    options: dict[str, Any] = {
        "dtype": str,
        "encoding": "utf-8-sig",
        "keep_default_na": False,
        "skipinitialspace": True,
        "sep": r"\s+" if form.separator == " " else form.separator,
        "header": 0 if form.header else None,
        "names": list(form.names) or None,
        "index_col": False,  # a column too many must not shift the others
    }
    parts = []
    for path in found:
        try:
            parts.append(pd.read_csv(files.folder / path, **options))
        except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
            raise DataError(
                f"{files.folder / path}: cannot be read as a table "
                f"({really(files.folder / path) or first_line(error)})"
            ) from None
    table = pd.concat(parts, ignore_index=True).fillna("")
    table.columns = [str(name).strip() for name in table.columns]
    table = table.apply(lambda column: column.str.strip())
    table = table[(table != "").any(axis=1)].reset_index(drop=True)
    for ours, name in form.beside.items():
        numbers = _words(files.path(name))
        if len(numbers) != len(table):
            raise DataError(
                f"dataset {files.dataset}: {name} has {len(numbers):,} numbers for "
                f"{len(table):,} rows of {form.labels}"
            )
        table[ours] = numbers
    return table


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({first_line(error)})") from None


def _column(table: pd.DataFrame, name: str, source: str) -> pd.Series:
    if name not in table:
        there = ", ".join(map(str, table.columns))
        raise DataError(f"{source} has no column {name!r}; it has: {there}")
    return table[name]


def _filled(template: str, table: pd.DataFrame, source: str) -> list[str]:
    """The template for each row, ``{x}`` replaced by what stands in column x."""
    parts = re.split(r"\{(.+?)\}", template)  # text and column names in turn
    for name in parts[1::2]:
        _column(table, name, source)
    rows = table.to_dict("records")
    return ["".join(row[part] if i % 2 else part for i, part in enumerate(parts)) for row in rows]
