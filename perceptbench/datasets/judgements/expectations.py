"""What a judgement table must be like, and what about it is not: the guard of every load.

A copy may be incomplete, another version, or read the wrong way round (a quality score taken for
an impairment). Each manifest therefore says how many judgements there are, their range and mean,
and whether they fall or rise with the level of the distortion.
"""

import hashlib
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from perceptbench.datasets.judgements.protocols import value_column
from perceptbench.errors import DataError


class Expectation(BaseModel):
    """What one table (slice and protocol) of a dataset must be like; None: not known.

    Attributes
    ----------
    items : number of judged items.
    references : number of distinct references.
    range, mean : of the judgements (quality, impairment, p_b, p_same).
    tolerance : of range, mean and level_means; mirrors round to four decimals.
    levels : ``fall`` or ``rise``: how the mean judgement goes from each level to the next.
    level_means : the mean judgement at each level, in order.
    steps, sha256 : of the comma-joined integers round(steps * judgement), in order.
    optional : a copy may lack this table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int | None = None
    references: int | None = None
    range: tuple[float, float] | None = None
    mean: float | None = None
    tolerance: float = 1e-3
    levels: Literal["fall", "rise"] | None = None
    level_means: tuple[float, ...] = ()
    steps: int = 0
    sha256: str = ""
    optional: bool = False


def violations(table: pd.DataFrame, expect: Expectation) -> list[str]:
    """What of `table` is not as expected, in short phrases; empty where all is.

    Parameters
    ----------
    table : a validated judgement table (`perceptbench.datasets.judgements.protocols`).
    expect : what it should be like.

    Raises
    ------
    DataError : a level guard without a column ``level``.
    """
    values = table[value_column(table)].to_numpy(float)
    items = table["item"].nunique() if "item" in table else len(table)
    found = []
    if expect.items is not None and items != expect.items:
        found.append(f"{items:,} judgements, expected {expect.items:,}")
    if expect.references is not None and "reference" in table:
        references = table["reference"].str.casefold().nunique()
        if references != expect.references:
            found.append(f"{references} references, expected {expect.references}")
    if expect.range is not None:
        ends = (float(values.min()), float(values.max()))
        if not np.allclose(ends, expect.range, rtol=0, atol=expect.tolerance):
            found.append(f"judgements from {ends[0]:g} to {ends[1]:g}, expected {expect.range}")
    if expect.mean is not None and abs(values.mean() - expect.mean) > expect.tolerance:
        found.append(f"mean judgement {values.mean():.6g}, expected {expect.mean:g}")
    if expect.levels or expect.level_means:
        found += _level_violations(table, expect)
    if expect.sha256:
        steps = np.rint(expect.steps * values).astype(int)
        if hashlib.sha256(",".join(map(str, steps)).encode()).hexdigest() != expect.sha256:
            found.append("the sequence of judgements is not the published one")
    return found


def _level_violations(table: pd.DataFrame, expect: Expectation) -> list[str]:
    if "level" not in table:
        raise DataError("a manifest expects level means of judgements without a level")
    means = table.groupby("level")[value_column(table)].mean().to_numpy(float)
    shown = " ".join(f"{mean:.4g}" for mean in means)
    found = []
    steps = np.diff(means) * (1 if expect.levels == "rise" else -1)
    if expect.levels and (len(means) < 2 or (steps <= 0).any()):
        found.append(
            f"level means {shown} do not {expect.levels}: are the judgements the wrong way round?"
        )
    if expect.level_means and not (
        len(means) == len(expect.level_means)
        and np.allclose(means, expect.level_means, rtol=0, atol=expect.tolerance)
    ):
        found.append(f"level means {shown}, expected {' '.join(map(str, expect.level_means))}")
    return found
