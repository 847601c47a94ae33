"""CSIQ: the owner's spreadsheet of scores (impairments, 0 to 1).

Sheet ``all_by_image``: three rows above the header, columns ``image, dst_idx, dst_type, dst_lev,
dmos_std, dmos``, blank rows below the data. The image called 1600 is a number there, and the
distortion is spelled otherwise than in the file names.
"""

import re

import pandas as pd

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.judgements.protocols import numbers
from perceptbench.datasets.readers.listing import rated
from perceptbench.errors import DataError, first_line

SHEET, ROWS_ABOVE, COLUMNS = "all_by_image", 3, "D:I"
#: The sheet's spelling -> the one in file names.
TOKENS = {
    "noise": "AWGN", "jpeg": "JPEG", "jpeg 2000": "jpeg2000", "fnoise": "fnoise",
    "blur": "BLUR", "contrast": "contrast",
}  # fmt: skip


def csiq(files: Files, labels: str) -> Dataset:
    """Reads the spreadsheet, or a CSV of the sheet with decimal commas.

    Parameters
    ----------
    files : the copy.
    labels : name of the ``.xlsx`` or ``.csv`` file.

    Raises
    ------
    DataError : the file is not that sheet.
    """
    sheet = _sheet(files, labels)
    missing = {"image", "dst_type", "dst_lev", "dmos_std", "dmos"}.difference(sheet.columns)
    if missing:
        raise DataError(f"{files.path(labels)}: no column {', '.join(sorted(missing))}")
    sheet = sheet.dropna(subset=["image", "dst_type"])
    # A number that pandas may have made 1600.0.
    image = sheet["image"].astype(str).str.strip().str.replace(r"\.0$", "", regex=True)
    token = sheet["dst_type"].astype(str).str.strip().str.lower().map(TOKENS)
    if token.isna().any():
        unknown = sheet["dst_type"][token.isna()].iloc[0]
        raise DataError(f"{files.path(labels)}: distortion {unknown!r} is not one of CSIQ's")
    source = str(files.path(labels))
    level = numbers(sheet["dst_lev"], source).astype(int)
    table = pd.DataFrame(
        {
            "reference": image + ".png",
            "distorted": image + "." + token + "." + level.astype(str) + ".png",
            "impairment": numbers(sheet["dmos"], source),
            "std": numbers(sheet["dmos_std"], source),
            "distortion": token,
            "level": level,
        }
    )
    return rated(files, {"all": table.reset_index(drop=True)})


def _sheet(files: Files, labels: str) -> pd.DataFrame:
    path = files.path(labels)
    try:
        if re.search(r"\.xlsx$", labels, re.IGNORECASE):
            return pd.read_excel(
                path, sheet_name=SHEET, skiprows=ROWS_ABOVE, usecols=COLUMNS, engine="openpyxl"
            )
        return pd.read_csv(path, decimal=",", encoding="utf-8-sig")
    except Exception as error:  # openpyxl and zipfile raise a dozen kinds
        raise DataError(f"{path}: not the sheet {SHEET} of CSIQ ({first_line(error)})") from None
