"""The leaderboard: a standing by hand, a table that reads as plain text."""

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement.evaluate import COMPARISON
from perceptbench.reporting.leaderboard import Column, format_table, leaderboard

ONE = Column("one", "all", "2afc")
TWO = [Column("two", "all", "srcc"), Column("two", "60ppd", "srcc")]
NO_PAIRS = pd.DataFrame(columns=list(COMPARISON))


def agreement(trained=()):
    """Attained: m: .8, (.1 + .3) / 2; k: .4, (.5 + .1) / 2; w: .4, .1."""
    rows = [
        ("one", "all", "2afc", 0.5, {"m": 0.9, "k": 0.7, "w": 0.7, "human": 0.8}),
        ("two", "all", "srcc", 0.0, {"m": 0.1, "k": 0.5, "w": None}),
        ("two", "60ppd", "srcc", 0.0, {"m": 0.3, "k": 0.1, "w": 0.1}),
    ]
    return pd.DataFrame(
        [
            {"dataset": d, "slice": s, "metric": metric, "statistic": name,
             "value": np.nan if value is None else value,
             "low": value and value - 0.05, "high": value and value + 0.05, "n": 8, "of": 10,
             "error": 0.02, "freedom": 9.0, "units": 10, "first": 1.0, "last": 3.0,
             "best": metric == "m", "chance": chance, "ceiling": 1.0,
             "in_domain": (d, metric) in trained}
            for d, s, name, chance, figures in rows
            for metric, value in figures.items()
        ]
    )  # fmt: skip


def test_attained_agreement_gives_each_dataset_one_vote():
    board = leaderboard(agreement(), NO_PAIRS, [ONE, *TWO]).set_index("metric")
    assert board.index.tolist() == ["m", "k", "w", "human"]
    assert board["rank"].tolist()[:3] == [1, 2, 3] and pd.isna(board["rank"]["human"])
    assert board["attained"].tolist()[:3] == pytest.approx([0.5, 0.35, 0.25], abs=1e-2)
    assert pd.isna(board["attained"]["human"])
    assert board.loc["m", ["one 2afc", "one 2afc low", "one 2afc n", "one 2afc of"]].tolist() == (
        pytest.approx([0.9, 0.85, 8, 10])
    )
    assert board["one 2afc best"].tolist() == [True, False, False, False]
    assert board.loc["k", ["stood", "of"]].tolist() == [2, 2]


def test_attained_agreement_depends_on_no_other_metric():
    every = leaderboard(agreement(), NO_PAIRS, [ONE, *TWO]).set_index("metric")["attained"]
    some = agreement()[lambda t: t["metric"] != "w"]
    fewer = leaderboard(some, NO_PAIRS, [ONE, *TWO]).set_index("metric")["attained"]
    assert fewer[["m", "k"]].tolist() == every[["m", "k"]].tolist()


def test_a_dataset_a_metric_was_trained_on_is_shown_without_a_vote():
    board = leaderboard(agreement([("one", "m")]), NO_PAIRS, [ONE, *TWO]).set_index("metric")
    assert board.loc["m", "one 2afc"] == 0.9 and board.loc["m", ["stood", "of"]].tolist() == [1, 2]
    assert pd.isna(board.loc["m", "attained"]) and board.loc["k", "attained"] > 0


def test_one_dataset_makes_no_standing_only_its_column():
    board = leaderboard(agreement(), NO_PAIRS, [ONE]).set_index("metric")
    assert board.index.tolist()[0] == "m" and board["rank"].tolist()[:3] == [1, 2, 3]
    assert board[["attained", "new low", "first"]].isna().all(axis=None)
    assert board.loc["human", "one 2afc"] == 0.8


def test_metrics_of_one_order_share_a_row():
    board = leaderboard(agreement(), NO_PAIRS, [ONE, *TWO], {"w": "k"}).set_index("metric")
    assert board.index.tolist() == ["m", "k", "human"]
    assert board["also"].tolist() == ["", "w", ""]


def test_datasets_of_one_group_have_one_vote_together():
    more = agreement()[lambda t: t["dataset"] == "one"].assign(dataset="three")
    table = pd.concat([agreement(), more], ignore_index=True)
    columns = [ONE, *TWO, Column("three", "all", "2afc")]
    board = leaderboard(table, NO_PAIRS, columns, groups={"one": "pair", "three": "pair"})
    assert board.set_index("metric").loc["m", "of"] == 2


def test_without_a_figure_to_rank_by_nobody_is_ranked():
    board = leaderboard(agreement(), NO_PAIRS, [])
    assert set(board["metric"]) == {"m", "k", "w", "human"}
    assert board[["rank", "attained"]].isna().all(axis=None)


def test_a_bar_in_a_cell_does_not_break_the_table():
    text = format_table(["a"], [["x|y"]])
    assert text.splitlines()[-1] == r"| x\|y |"
