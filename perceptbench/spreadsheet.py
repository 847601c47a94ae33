"""CSV that a spreadsheet may open: no cell of it is run as a formula.

A name comes from anybody (a dataset, a metric, an image), and a spreadsheet takes a cell that
begins with ``=``, ``+``, ``-``, ``@`` (also of full width), a tab or the end of a line for a
formula, which may start programs and send data away. Such a cell gets an apostrophe before it, as
OWASP advises (owasp.org/www-community/attacks/CSV_Injection), and so does one that would be taken
for a cell so marked; numbers, negative ones too, stay as they are. `restored` undoes it, so that
what is read back is what was written.
"""

import csv
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

#: What is marked, and what has a mark, before the first other character.
FORMULA = re.compile(r"'*[=+\-@＝＋－＠\t\r\n]")
MARKED = re.compile(r"'+[=+\-@＝＋－＠\t\r\n]")
#: A number that is text: no spreadsheet runs it.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def to_csv(table: pd.DataFrame) -> str:
    r"""A table as CSV, without its index.

    >>> to_csv(pd.DataFrame({"metric": ["=1+1", "-l2"], "value": [-0.5, 1.0]}))
    "metric,value\n'=1+1,-0.5\n'-l2,1.0\n"
    """
    table = _mapped(table, _marked)
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # pandas does not quote it, and takes it for the end of a row
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def restored(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it was before `to_csv`, which was read from the file as it stands.

    >>> restored(pd.DataFrame({"metric": ["'=1+1", "'quoted'"]}))["metric"].tolist()
    ['=1+1', "'quoted'"]
    """
    return _mapped(table, _unmarked)


def _mapped(table: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """A copy whose words, the names of its columns among them, are changed."""
    table = table.rename(columns=change)
    for at, kind in enumerate(table.dtypes):
        if not pd.api.types.is_any_real_numeric_dtype(kind):
            table.isetitem(at, table.iloc[:, at].map(change).array)
    return table


def _marked(value: Any) -> Any:
    formula = isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value)
    return f"'{value}" if formula else value


def _unmarked(value: Any) -> Any:
    return value[1:] if isinstance(value, str) and MARKED.match(value) else value
