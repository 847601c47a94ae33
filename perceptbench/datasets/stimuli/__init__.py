"""Datasets whose images are computed from published formulas, and judged by published figures."""

from importlib import resources

import pandas as pd


def measured(name: str, **reading: object) -> pd.DataFrame:
    """The published figures in a CSV of this folder; its lines that begin with # cite them."""
    with (resources.files(__package__) / name).open() as file:
        return pd.read_csv(file, comment="#", **reading)  # type: ignore[call-overload]
