"""Judgement tables: what is accepted, what is refused in which words."""

import pandas as pd
import pytest

from perceptbench.datasets.judgements.protocols import pairs, validate
from perceptbench.datasets.judgements.tables import read_table
from perceptbench.errors import DataError

TRIPLET = {"reference": ["r", "r"], "a": ["a", "b"], "b": ["b", "c"], "p_b": [0.25, 1]}
RATING = {"reference": ["r", "s"], "distorted": ["a", "b"], "quality": [1.5, -2]}


def changed(table, **columns):
    return pd.DataFrame({**table, **columns})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame(TRIPLET).drop(columns="p_b"), "column `p_b` is missing"),
        (pd.DataFrame(RATING).drop(columns="reference"), "column `reference` is missing"),
        (pd.DataFrame(RATING).drop(columns="quality"), "needs a column `quality`"),
        (changed(RATING, impairment=[1, 2]), "has both `quality` and `impairment`"),
        (changed(TRIPLET, p_b=[0.5, 1.01]), "row 2: `p_b` is '1.01', not a fraction"),
        (changed(TRIPLET, p_b=[-0.1, 1]), "row 1: `p_b` is '-0.1'"),
        (changed(TRIPLET, p_b=["often", 1]), "row 1: `p_b` is 'often'"),
        (changed(RATING, quality=[1, float("inf")]), "row 2: `quality` is 'inf', not a finite"),
        (changed(TRIPLET, b=["x", None]), "row 2 has no image in column `b`"),
        (changed(TRIPLET, a=[" ", "x"]), "row 1 has no image in column `a`"),
        (pd.DataFrame(TRIPLET).iloc[:0], "the table has no rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(table, message):
    with pytest.raises(DataError) as caught:
        validate(table, "mine.csv")
    assert message in str(caught.value) and str(caught.value).startswith("mine.csv")


def test_image_names_become_strings_and_rows_are_numbered_anew():
    table = pd.DataFrame({"reference": [1], "distorted": [2], "impairment": ["3.5"]}, index=[7])
    checked = validate(table, "mine.csv")
    assert checked.to_dict("index") == {0: {"reference": "1", "distorted": "2", "impairment": 3.5}}


def test_each_pair_is_scored_once_and_references_stand_together():
    table = changed(TRIPLET, reference=["s", "r"], a=["x", "x"], b=["y", "x"])
    assert pairs(table).to_numpy().tolist() == [["r", "x"], ["s", "x"], ["s", "y"]]
    assert pairs(pd.DataFrame(RATING)).to_numpy().tolist() == [["r", "a"], ["s", "b"]]


def test_csv_and_parquet_hold_the_same_table(tmp_path):
    table = pd.DataFrame(TRIPLET)
    table.to_csv(tmp_path / "t.csv", index=False, encoding="utf-8-sig")
    table.to_parquet(tmp_path / "t.parquet")
    again, assumed = read_table(tmp_path / "t.csv")
    assert not assumed and again["p_b"].tolist() == ["0.25", "1.0"]  # text, until it is validated
    whole = validate(read_table(tmp_path / "t.parquet")[0], "t.parquet")
    pd.testing.assert_frame_equal(validate(again, "t.csv"), whole)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_file_that_is_no_table_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\xff\xfe" * 50)
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_table(tmp_path / name)
    with pytest.raises(DataError, match="there is no such file"):
        read_table(tmp_path / f"other-{name}")
