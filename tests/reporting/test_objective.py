"""What a loss does as an objective, in a leaderboard that is asked for it."""

import numpy as np
import pandas as pd
import pytest

from perceptbench.errors import DataError
from perceptbench.reporting import csv, html, markdown, objective


@pytest.fixture
def table(tmp_path):
    rows = [("good", 0.9, 0.8, 1.0, 0.1, 0.0, 0.2), ("other", 0.5, 0.4, 0.6, 0.0, 0.0, 0.0)]
    path = tmp_path / "descend.csv"
    pd.DataFrame(rows, columns=["metric", *objective.BOUNDED]).to_csv(path, index=False)
    return path


def test_the_figures_stand_beside_agreement_and_cost(run, table):
    plain = markdown.table(run), html.render(run)["leaderboard.html"]
    assert "energy invented" not in plain[0] + plain[1]
    run.board = objective.beside(run.board, objective.read(table))
    lines = markdown.table(run).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0].rstrip("| ").endswith("energy invented")
    (good,) = [line for line in lines if "| good " in line]
    assert "| 0.90 [0.80, 1.00] " in good and "0.10 [0.00, 0.20]" in good
    page = html.render(run)["leaderboard.html"]
    assert "<td>0.90 [0.80, 1.00]</td><td>0.10 [0.00, 0.20]</td>" in page
    assert "removed low" in csv.render(run)["leaderboard.csv"].splitlines()[0]
    fair = run.board.set_index("metric").loc["fair", objective.BOUNDED].astype(float)
    assert np.isnan(fair).all() and len(run.board) == len(set(run.board["metric"]))


def test_a_table_that_is_none_is_refused_in_a_sentence(table):
    good = table.read_text()
    header, first, *_ = good.splitlines()
    for text, said in (
        ("metric,removed\na,1\n", "no column 'removed low'"),
        (f"{header}\n{first}\n{first}\n", "has the metric good twice"),
        (good.replace("0.9", "x"), "could not convert"),
        ("", "cannot be used"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=said):
            objective.read(table)
    with pytest.raises(DataError, match="No such file"):
        objective.read(table.with_name("missing.csv"))
