"""Votes of single people, one row a vote, brought together to judgements.

Conventions
-----------
A table of votes is one of judgements (`protocols.py`) with a column ``rater`` and one row for each
thing that each of them said:

- ``rating``: ``reference, distorted, rater`` and ``quality`` or ``impairment``.
- ``2afc``: ``reference, a, b, rater, choice``; ``choice`` is ``a``, ``b``, ``same`` (neither), or
  the name of the image chosen. Which of the two is called a may differ from vote to vote.
- ``same_different``: ``a, b, rater, choice``; ``choice`` is ``same``, or ``different``.

A column ``sampler`` says how each question was chosen. Samplers of the names in UNBIASED draw
questions whatever was answered before; every other is taken for an adaptive one, whose questions
are judged like the others, but are in no ceiling.
"""

import re
from typing import Literal

import numpy as np
import pandas as pd

from perceptbench.datasets.judgements.protocols import PROTOCOLS, numbers
from perceptbench.datasets.judgements.raters import (
    CORRELATED,
    Array,
    Integers,
    screening,
    subject_model,
)
from perceptbench.datasets.judgements.tables import lacks
from perceptbench.errors import DataError

#: How votes become one judgement: their mean, or the quality of `raters.subject_model`.
Mos = Literal["mean", "p910"]
UNBIASED = re.compile(r"(?i)random|uniform|test|valid|fixed|exhaustive|all\b|full")
#: Names that are shown of many.
SHOWN = 5


def aggregate(
    table: pd.DataFrame, source: str, mos: Mos = "mean"
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Judgements from a table of votes, the votes in long form, and what there is to say.

    Parameters
    ----------
    table : as in the module's conventions, as `read_table` returns it.
    source : what it is called in messages.
    mos : how ratings become one: ``mean``, or ``p910``.

    Returns
    -------
    judgements : one row an item. A rating has ``std`` (ddof 1; with ``p910`` the error of the
        quality times sqrt(raters)) and ``raters`` (votes behind it); the others have ``votes``. Of
        the further columns those that are the same in all votes of an item.
    votes : as `Judgements.votes`.
    said : sentences: what was left out, and who is out of line.

    Raises
    ------
    DataError : a column is missing, or a vote is none; names the source, the row and the column.
    """
    value, images = _kind(table, source)
    said: list[str] = []
    for column in ("rater", *images):
        if table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax()) + 1
            raise DataError(f"{source}: row {row} has nothing in column `{column}`")
    silent = table[value].isna()
    if silent.any():
        said.append(f"{silent.sum():,} of {len(table):,} votes are blank and left out")
        table = table[~silent].reset_index(drop=True)
    if table.empty:
        raise DataError(f"{source}: has no vote")
    table = table.astype({column: "str" for column in ("rater", *images)})
    if value == "choice":
        votes = _choices(table, images, source, said)
    else:
        upper = 1.0 if value in ("p_b", "p_same") else None
        votes = pd.DataFrame({"value": numbers(table[value], source, upper)})
        votes["item"], _ = pd.factorize(pd.MultiIndex.from_frame(table[list(images)]))
    votes = votes.assign(rater=table["rater"])[["item", "rater", "value"]]
    first = np.flatnonzero(~votes["item"].duplicated().to_numpy())
    judged = table.loc[first, list(images)].reset_index(drop=True)
    by_item = votes.groupby("item")["value"]
    if value in ("quality", "impairment"):
        judged = judged.assign(**{value: by_item.mean(), "std": by_item.std()})
        judged["raters"] = by_item.size()
        said += _out_of_line(votes)
        if mos == "p910":
            model = subject_model(*as_vectors(votes))
            judged[value], judged["std"] = model.quality, model.error * np.sqrt(judged["raters"])
    else:
        judged["p_b" if "reference" in images else "p_same"] = by_item.mean()
        judged["votes"] = by_item.size()
    if "sampler" in table:
        votes["adaptive"] = _adaptive(table["sampler"], said)
        judged["adaptive"] = votes.groupby("item")["adaptive"].all()
    places = votes["item"].to_numpy()
    for column in table.columns.difference([*judged, "rater", "sampler", value], sort=False):
        codes, _ = pd.factorize(table[column])
        if (codes == codes[first][places]).all():
            judged[column] = table.loc[first, column].to_numpy()
        else:
            said.append(f"`{column}` differs between votes on one item, and is left out")
    if again := int(votes.duplicated(["item", "rater"]).sum()):
        said.append(f"{again:,} votes are a rater's second on the same item; they count as others")
    people, size = votes["rater"].nunique(), by_item.size()
    ends = f"{size.min()}" if size.min() == size.max() else f"{size.min()} to {size.max()}"
    said.insert(
        0, f"{len(votes):,} votes of {people:,} raters on {len(judged):,} items, {ends} on each"
    )
    return judged, votes, said


def as_vectors(votes: pd.DataFrame) -> tuple[Array, Integers, Integers]:
    """Long-form votes as the vectors ``value, item, rater`` of `raters.py`."""
    rater, _ = pd.factorize(votes["rater"])
    item, _ = pd.factorize(votes["item"], sort=True)
    return votes["value"].to_numpy(float), item, rater


def _kind(table: pd.DataFrame, source: str) -> tuple[str, tuple[str, ...]]:
    """The column that holds the votes, and those that name the images."""
    there = list(table.columns)
    if "distorted" in there:
        images, names = PROTOCOLS["rating"][1], ("quality", "impairment")
    else:
        images = PROTOCOLS["2afc" if "reference" in there else "same_different"][1]
        names = ("choice", "p_b" if "reference" in there else "p_same")
    missing = [column for column in images if column not in there]
    if missing:
        raise DataError(
            f"{source}: column `{missing[0]}` is missing; votes need rater and reference, "
            "distorted, quality or impairment (rating), reference, a, b, choice (2afc) or a, b, "
            f"choice (same_different){lacks(missing[0], there)}"
        )
    found = [column for column in names if column in there]
    if len(found) == 1:
        return found[0], images
    if found:
        raise DataError(f"{source}: has both `{names[0]}` and `{names[1]}`; keep the one to use")
    raise DataError(f"{source}: votes need a column `{names[0]}`{lacks(names[0], there)}")


def _choices(
    table: pd.DataFrame, images: tuple[str, ...], source: str, said: list[str]
) -> pd.DataFrame:
    """``item`` and ``value`` of each vote, whichever of its two images it calls a."""
    triplet = "reference" in images
    words = {"a": 0.0, "b": 1.0, "same": 0.5} if triplet else {
        "same": 1.0, "different": 0.0, "a": 0.0, "b": 0.0}  # fmt: skip
    choice = table["choice"].astype("str").str.strip()
    small = choice.str.casefold()
    value = small.map(words).astype(float)
    called = set(words) & (set(table["a"]) | set(table["b"])) & set(choice)
    if called:
        raise DataError(
            f"{source}: `choice` {min(called)!r} may be the column or the image of this name; call "
            "the image otherwise"
        )
    if triplet:
        named = value.isna()
        value = value.mask(named & (choice == table["a"]), 0.0)
        value = value.mask(named & (choice == table["b"]), 1.0)
    elif not small.isin(["same", "different"]).any():
        raise DataError(
            f"{source}: `choice` is a or b, and there is no column `reference`: are these choices "
            "of the better of two images (name what both are made from in `reference`; "
            "`perceptbench votes --scale` makes ratings of them), or was it asked whether two are "
            "the same (write same or different)?"
        )
    elif small.isin(["a", "b"]).any():
        said.append("`choice` a or b is taken for different, as there is no `reference`")
    if value.isna().any():
        row = int(value.isna().to_numpy().argmax())
        known = "a, b, same or an image of its row" if triplet else "same or different"
        raise DataError(f"{source}: row {row + 1}: `choice` is {choice[row]!r}, not {known}")
    a, b = table["a"].to_numpy(object), table["b"].to_numpy(object)
    turned = a > b
    keys = pd.DataFrame({"low": np.where(turned, b, a), "high": np.where(turned, a, b)})
    if triplet:
        keys["reference"] = table["reference"]
    item, _ = pd.factorize(pd.MultiIndex.from_frame(keys))
    _, first = np.unique(item, return_index=True)
    other_way = turned != turned[first][item]
    if triplet:
        value = value.mask(other_way, 1 - value)
    return pd.DataFrame({"item": item, "value": value})


def _adaptive(sampler: pd.Series, said: list[str]) -> pd.Series:
    """Whether each question was chosen by what was answered before, with a sentence on it."""
    names = sampler.fillna("")
    fair = {name: bool(UNBIASED.search(name)) for name in names.unique()}
    chosen = sorted(name or "(blank)" for name, unbiased in fair.items() if not unbiased)
    drawn = sorted(name for name, unbiased in fair.items() if unbiased)
    if chosen:
        said.append(
            f"questions of the samplers {', '.join(chosen)} are taken for adaptive and are in no "
            f"ceiling; those of {', '.join(drawn) or 'none'} are"
        )
    return ~names.map(fair).astype(bool)


def _out_of_line(votes: pd.DataFrame) -> list[str]:
    """The raters that screening would look at, by name; nobody is left out."""
    table = screening(*as_vectors(votes))
    table.index = pd.Index(pd.unique(votes["rater"]))
    said = []
    for column, what in (
        ("doubtful", f"correlate less than {CORRELATED} with the mean of the others (P.913)"),
        ("rejected", "would be rejected by BT.500"),
    ):
        names = list(map(str, table.index[table[column]]))
        shown = ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
        said.append(
            f"screening: {len(names)} of {len(table)} raters {what}{': ' if names else ''}{shown}"
        )
    return [*said, "screening: nobody is left out"]
