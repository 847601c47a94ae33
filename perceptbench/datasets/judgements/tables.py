"""Tables as people have them: out of Excel, pandas, R and whatever wrote them.

Conventions
-----------
Every table that a user brings comes through `read_table`. A cell of a text file or a spreadsheet
is text and stays it (``001``, ``7.10``, ``NA``, ``None`` are names like any other), a blank one is
missing; numbers are made of it by whoever wants numbers (`as_numbers`), in their columns only. A
Parquet file has the types it has. Names of images are brought into one form: no blanks around
them, ``/`` between folders, composed Unicode (NFC). Whatever was not plain is said in a sentence;
where two readings are possible the table is refused, with both.
"""

import codecs
import csv
import io
import re
import unicodedata
import warnings
from collections.abc import Collection
from contextlib import suppress
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from perceptbench.errors import DataError, first_line, nearest
from perceptbench.kinds import line_of_bad_text, really
from perceptbench.spreadsheet import restored

#: Ends of names that are tables, not datasets.
TABLES = {".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".parquet", ".pq"}
#: Columns that name images.
IMAGES = ("reference", "distorted", "a", "b")
#: Other columns of words, which no decimal comma is looked for in.
WORDS = ("item", "rater", "choice", "sampler", "distortion", "category", "split")
#: Columns of numbers that mean the same in every table of judgements.
NUMBERS = ("quality", "impairment", "p_b", "p_same", "std", "raters", "votes", "level",
           "pixels_per_degree")  # fmt: skip
KNOWN = (*IMAGES, *WORDS, *NUMBERS)
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
NO_NAME = re.compile(r"|Unnamed: \d+")
#: What other people call our columns: for questions, never taken for them unasked.
OTHERWISE = {
    "reference": ("ref", "original", "source", "ref_img", "pristine"),
    "distorted": ("dist", "image", "img", "test", "dist_img", "stimulus", "file"),
    "quality": ("mos", "score", "rating", "opinion"),
    "impairment": ("dmos", "jnd", "difference"),
    "rater": ("observer", "subject", "participant", "user", "worker"),
    "choice": ("answer", "response", "vote", "winner"),
}


def read_table(path: Path, known: Collection[str] = KNOWN) -> tuple[pd.DataFrame, list[str]]:
    """A CSV, Excel (.xlsx) or Parquet file, and what was assumed to read it, in sentences.

    Parameters
    ----------
    path : the file.
    known : names of columns that may also be written in capitals.

    Raises
    ------
    DataError : it cannot be read as a table, or in two ways; says why, or which two.
    """
    assumed: list[str] = []
    separator = ""
    suffix = path.suffix.lower()
    expected = (b"pk\x03\x04",) if suffix in {".xlsx", ".xlsm"} else ()
    try:
        if suffix in {".parquet", ".pq"}:
            table = pd.read_parquet(path)
            table = table.reset_index(drop=table.index.names == [None])
        elif what := really(path, *expected):  # some would be read as a table of one column
            raise ValueError(what)
        elif expected:
            table = _spreadsheet(path, assumed)
        else:
            table, separator = _text(path, known, assumed)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except Exception as error:  # pandas, pyarrow and openpyxl raise a dozen kinds
        reason = really(path, b"par1", *expected) or first_line(error)
        if isinstance(error, UnicodeDecodeError):
            reason = f"line {line_of_bad_text(path)} is not UTF-8: save the file as UTF-8"
        raise DataError(f"{path}: cannot be read as a table ({reason})") from None
    table = _named(table, known, str(path), assumed)
    for column in table.columns.intersection([*IMAGES, "item", "rater", "sampler"]):
        table[column] = _clean(table[column], assumed)
    if separator:
        _decimal_points(table, separator, str(path), assumed)
    return table, assumed


def _text(path: Path, known: Collection[str], assumed: list[str]) -> tuple[pd.DataFrame, str]:
    """The cells of a text file, and what separates them; "" where no cell can have a comma."""
    content = path.read_bytes()
    if (at := content.find(0)) >= 0:  # pandas 2 would silently cut the name there
        line = content.count(b"\n", 0, at) + 1
        raise ValueError(f"line {line} has a NUL byte: save the file as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    if stated := re.match(rb"sep=([\x01-\x7f])\r?\n", content):  # a line that Excel reads, too
        separator, content = stated[1].decode(), content[stated.end() :]
    else:
        separator = _separator(content, known)
    if separator != ",":
        assumed.append(f"columns are separated by {SEPARATORS.get(separator, repr(separator))}")
    header, *first = _records(content, separator, 2)
    extra = bool(first) and len(first[0]) == len(header) + 1
    if extra:  # row names of R, or a separator at the end of every row
        content = separator.encode() + content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = pd.read_csv(
                io.BytesIO(content), sep=separator, header=None, dtype=str, skipinitialspace=True,
                keep_default_na=False, na_values=[""], low_memory=False,
            )  # fmt: skip
    except pd.errors.ParserError as error:
        if wrong := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            raise ValueError(
                f"line {wrong[2]} has {wrong[3]} fields, its header {len(header)}: a decimal "
                "comma, or a separator within a name? Put such cells in quotes"
            ) from None
        raise
    table.columns = pd.Index(["", *header] if extra else header)
    table = table.iloc[1:].reset_index(drop=True)
    if extra and table.iloc[:, -1].isna().all():
        table = table.iloc[:, :-1].set_axis(pd.Index(header), axis=1)
    elif extra and not _is_count(table.iloc[:, 0]):
        raise ValueError(
            f"its rows have {len(header) + 1} fields, its header {len(header)}: a decimal comma in "
            "a file that commas separate, or names of rows?"
        )
    if b"'" in content:
        table = restored(table)
    blank = table.isna().all(axis=1)
    if blank.any():
        assumed.append(f"{blank.sum()} blank rows are left out")
        table = table[~blank].reset_index(drop=True)
    return table, separator if separator != "," or b'"' in content else ""


def _records(content: bytes, separator: str, count: int) -> list[list[str]]:
    """The first records that are not blank; their cells without blanks around them."""
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    found = list(islice((row for row in rows if row), count))
    if not found:
        raise ValueError("it is empty")
    return found


def _separator(content: bytes, known: Collection[str]) -> str:
    """What separates the columns, by the header."""
    headers = {}
    for s in SEPARATORS:
        with suppress(csv.Error):  # a cell too long to be one
            headers[s] = _records(content, s, 1)[0]
    fits = {
        s: sum(cell.strip().casefold() in known for cell in cells)
        for s, cells in headers.items()
        if len(cells) > 1
    }
    best = [s for s, count in fits.items() if count == max(fits.values())]
    if len(best) > 1:
        ways = " or as ".join(f"`{'`, `'.join(headers[s])}` ({SEPARATORS[s]})" for s in best)
        raise ValueError(f"its header can be read as {ways}: keep one separator")
    return best[0] if best else ","


def _is_count(column: pd.Series) -> bool:
    """Whether a column numbers the rows, from 0 or 1."""
    if not len(column) or column.iloc[0] not in ("0", "1"):
        return False
    start = int(column.iloc[0])
    return column.tolist() == [str(i) for i in range(start, start + len(column))]


def _spreadsheet(path: Path, assumed: list[str]) -> pd.DataFrame:
    """The first sheet with anything in it, as the text its cells show."""
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that are not cells
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    sheets = {}
    for sheet in book.worksheets:
        rows = [[_shown(cell) for cell in row] for row in sheet.iter_rows()]
        if any(value is not None for row in rows for value in row):
            sheets[sheet.title] = rows
    book.close()
    if not sheets:
        raise ValueError("it is empty")
    (title, rows), *others = sheets.items()
    if others:
        names = ", ".join(name for name, _ in others)
        assumed.append(f"sheet {title!r} is read; {names} is not")
    rows = [row for row in rows if any(value is not None for value in row)]
    table = pd.DataFrame(rows[1:], columns=rows[0], dtype="str")
    return table.loc[:, [bool(n) or not table.iloc[:, i].isna().all()
                         for i, n in enumerate(rows[0])]]  # fmt: skip


def _shown(cell: Any) -> str | None:
    """A cell as a spreadsheet shows it, as far as names need it: zeros in front or behind stay."""
    value = cell.value
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, date):
        raise ValueError(
            f"cell {cell.coordinate} is a date, {value:%Y-%m-%d}: if it was a name, format the "
            "column as text and type it again"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).upper() if isinstance(value, bool) else str(value)
    if digits := re.fullmatch(r"(0+)(?:\.(0+))?", str(cell.number_format)):
        shown = f"{value:0{len(digits[0])}.{len(digits[2] or '')}f}"
        if float(shown) == value:
            return shown
    return str(value)


def _named(
    table: pd.DataFrame, known: Collection[str], source: str, assumed: list[str]
) -> pd.DataFrame:
    """The table with its columns' names as they are meant; those without a name left out."""
    names = [
        "" if pd.isna(name) else unicodedata.normalize("NFC", str(name)).strip()
        for name in table.columns
    ]
    kept = [not NO_NAME.fullmatch(name) for name in names]
    for place in (i for i, named in enumerate(kept) if not named):
        if not table.iloc[:, place].isna().all():
            count = "row numbers" if _is_count(table.iloc[:, place].astype(str)) else "an index"
            assumed.append(f"column {place + 1} has no name: taken for {count}, left out")
    table = table.loc[:, kept].copy()
    names = [name for name, keep in zip(names, kept, strict=True) if keep]
    for place, name in enumerate(names):
        small = name.casefold()
        if small in known and small != name:
            assumed.append(f"column `{name}` is taken for `{small}`")
            names[place] = small
    twice = pd.Index(names).duplicated()
    if twice.any():
        name = names[int(twice.argmax())]
        raise DataError(f"{source}: two columns are called `{name}`; rename or delete one")
    table.columns = pd.Index(names)
    return table


def _clean(names: pd.Series, assumed: list[str]) -> pd.Series:
    """Names in one form, with a sentence for each thing that was not."""
    if pd.api.types.infer_dtype(names, skipna=True) != "string":
        return names
    codes, words = pd.factorize(names)
    known = pd.Series(words, dtype="object")
    steps = {"blanks around it are left out": known.map(str.strip)}
    if names.name in IMAGES:
        plain = steps["blanks around it are left out"]
        slashes = plain.map(lambda name: name.replace("\\", "/"))
        steps["`\\` is taken for `/`, as Windows has it"] = slashes
        composed = slashes.map(lambda name: unicodedata.normalize("NFC", name))
        steps["its letters and accents are joined (Unicode NFC)"] = composed
    before = known
    for what, after in steps.items():
        changed = (before != after).to_numpy()
        if changed.any():
            count = int(changed.sum())
            more = f" and {count - 1} more" if count > 1 else ""
            assumed.append(f"`{names.name}` {before[changed].iloc[0]!r}{more}: {what}")
        before = after
    if (before == known).all():
        return names
    whole = before.where(before != "").to_numpy()
    found = [whole[code] if code >= 0 else None for code in codes]
    return pd.Series(found, index=names.index, name=names.name, dtype="str")


def _decimal_points(table: pd.DataFrame, separator: str, source: str, assumed: list[str]) -> None:
    """Puts points for decimal commas, in place, where a column is one of numbers with commas."""
    found: dict[str, pd.Series] = {}
    mixed = False
    for column in table.columns.difference([*IMAGES, *WORDS], sort=False):
        cells = table[column].dropna().str.strip()
        commas = cells.str.fullmatch(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
        whole = cells.str.fullmatch(r"[+-]?\d+(\.\d+)?")
        if commas.any() and (commas | whole).mean() >= 0.5:
            found[column] = cells[commas]
            mixed |= not commas.all()
    if not found:
        return
    every = pd.concat(list(found.values()))
    # Semicolons separate where the comma is a decimal one; but only thousands leave some without.
    if (mixed or separator != ";") and every.str.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}").all():
        column, cells = next(iter(found.items()))
        value = cells.iloc[0]
        raise DataError(
            f"{source}: `{column}` is {value!r}: {value.replace(',', '.')} with a decimal comma, "
            f"or {value.replace(',', '')} with a comma between thousands? Write it with a point"
        )
    for column, cells in found.items():
        table[column] = cells.str.replace(",", ".").reindex(table.index).fillna(table[column])
    assumed.append(f"`{'`, `'.join(found)}` have decimal commas")


def as_numbers(column: pd.Series) -> pd.Series:
    """A column as float64; NaN where a cell is no number."""
    known = pd.api.types.is_numeric_dtype(column)
    return pd.to_numeric(column if known else column.astype(object), errors="coerce").astype(float)


def lacks(column: str, columns: Collection[str]) -> str:
    """What to say of a column that is missing: those that there are, and which may be meant.

    >>> lacks("quality", ["ref", "MOS"])
    '; it has `ref`, `MOS`; is `MOS` meant?'
    """
    small = {str(name).casefold(): str(name) for name in columns}
    meant = [small[word] for word in OTHERWISE.get(column, ()) if word in small]
    shown = [f"`{name}`" for name in map(str, list(columns)[:12])]
    rest = [f"{len(columns) - 12} more"] if len(columns) > 12 else []
    hint = f"; is `{meant[0]}` meant?" if meant else nearest(column, small)
    return f"; it has {', '.join([*shown, *rest]) or 'none'}{hint}"


def spelled(folder: Path, name: str) -> Path:
    """The file that a name means, which the system may know in decomposed Unicode or with ``\\``.

    ``folder / name`` itself where there is none.
    """
    path = folder / name
    for other in (unicodedata.normalize("NFD", name), name.replace("/", "\\")):
        if other != name and not path.exists() and (folder / other).is_file():
            return folder / other
    return path
