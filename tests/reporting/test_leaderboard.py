"""The leaderboard: ranks by hand, a table that reads as plain text."""

import pandas as pd
import pytest

from perceptbench.reporting.leaderboard import Column, format_table, leaderboard

ONE = Column("one", "all", "2afc")
TWO = [Column("two", "all", "srcc"), Column("two", "60ppd", "stress")]


def agreement():
    rows = [
        ("one", "all", "2afc", {"m": 0.9, "k": 0.7, "w": 0.7, "human": 0.8}),
        ("two", "all", "srcc", {"m": 0.1, "k": 0.5, "w": None}),
        ("two", "60ppd", "stress", {"m": 0.3, "k": 0.2, "w": 0.1}),
    ]
    return pd.DataFrame(
        [
            {"dataset": d, "slice": s, "metric": metric, "statistic": name, "value": value,
             "low": value and value - 0.05, "high": value and value + 0.05, "n": 10}
            for d, s, name, figures in rows
            for metric, value in figures.items()
        ]
    )  # fmt: skip


def test_the_mean_rank_gives_each_dataset_one_vote():
    """m: 1 and (2 + 3) / 2; k: 2.5 and (1 + 2) / 2; w: 2.5 and (3 + 1) / 2 -> 1.75, 2, 2.25."""
    board = leaderboard(agreement(), [ONE, *TWO])
    assert board.metric.tolist() == ["m", "k", "w", "human"]
    assert board["rank"].tolist()[:3] == [1, 2, 3] and pd.isna(board["rank"].iloc[3])
    assert board.mean_rank.tolist()[:3] == pytest.approx([1.75, 2.0, 2.25])
    assert board.loc[0, ["one 2afc", "one 2afc low", "one 2afc n"]].tolist() == pytest.approx(
        [0.9, 0.85, 10]
    )


def test_without_a_figure_to_rank_by_nobody_is_ranked():
    board = leaderboard(agreement(), [])
    assert set(board["metric"]) == {"m", "k", "w", "human"}
    assert board[["rank", "mean_rank"]].isna().all(axis=None)


def test_people_are_shown_but_take_no_rank():
    board = leaderboard(agreement(), [ONE])
    assert board.set_index("metric").loc["human", "one 2afc"] == 0.8
    assert board.set_index("metric").mean_rank["m"] == 1


def test_a_bar_in_a_cell_does_not_break_the_table():
    text = format_table(["a"], [["x|y"]])
    assert text.splitlines()[-1] == r"| x\|y |"
