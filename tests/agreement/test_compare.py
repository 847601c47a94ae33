"""Two metrics face to face: differences, words, disputed items."""

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement import evaluate
from perceptbench.agreement.compare import compare, in_words
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import UsageError
from perceptbench.reporting import run_folder
from perceptbench.reporting.leaderboard import leaderboard
from perceptbench.reporting.result import FAILURE, Run


def rated():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([range(10), ["blur", "noise"], range(4)])
    table = index.to_frame(index=False, name=["reference", "distortion", "level"])
    table["reference"] = "r" + table["reference"].astype(str)
    table["distorted"] = [f"d{i}.png" for i in range(len(table))]
    table["impairment"] = table["level"] + rng.normal(0, 0.3, len(table))
    table["std"], table["raters"] = 0.8, 20
    scores = table[["reference", "distorted"]].copy()
    scores["good"] = table["impairment"] + rng.normal(0, 0.3, len(table))
    scores["poor"] = table["impairment"] + rng.normal(0, 3.0, len(table))
    part = Judgements("toy", table, statistics=("srcc",))
    return part, scores


def triplets():
    table = pd.DataFrame({"reference": [f"r{i}" for i in range(30)],
                          "a": [f"a{i}" for i in range(30)], "b": [f"b{i}" for i in range(30)],
                          "p_b": [0.8] * 20 + [0.2] * 10})  # fmt: skip
    rng = np.random.default_rng(0)
    near, far = rng.uniform(0, 1, 30), rng.uniform(1, 2, 30)
    b_wins = table["p_b"].to_numpy() > 0.5
    sides = {"a": np.where(b_wins, far, near), "b": np.where(b_wins, near, far)}
    scores = pd.concat(
        [
            pd.DataFrame({"reference": table.reference, "distorted": table[s],
                          "good": sides[s], "poor": 2 - sides[s]})
            for s in "ab"
        ]
    )  # fmt: skip
    return Judgements("picks", table, statistics=("2afc",)), scores


def test_differences_whole_by_distortion_and_by_level():
    part, scores = rated()
    table = compare([part], scores, "good", "poor").table
    rows = table.set_index(["slice", "statistic"])
    whole = rows.loc[("all", "srcc")]
    frame = evaluate([part], scores, metrics=["good", "poor"])
    pairs = frame.comparisons.iloc[0]
    assert whole.difference == pytest.approx(whole.a - whole.b) == pytest.approx(pairs.difference)
    assert (whole.low, whole.high, whole.p) == (pairs.low, pairs.high, pairs.p)
    assert whole.low > 0 and whole.p_holm < 0.01 and whole.units == 10
    assert {"distortion=blur", "distortion=noise", "level=0"} <= set(table.slice)
    assert rows.loc[("all", "auc_bw"), "p_delong"] < 0.01
    assert rows.loc[("all", "auc_bw"), "low"] < rows.loc[("all", "auc_bw"), "difference"]


def test_the_other_way_round_is_the_opposite():
    part, scores = rated()
    one = compare([part], scores, "good", "poor").table
    two = compare([part], scores, "poor", "good").table
    np.testing.assert_allclose(one.difference, -two.difference)
    np.testing.assert_allclose(one.low, -two.high)
    np.testing.assert_allclose(one.p, two.p, atol=1e-12)


def test_the_words():
    found = compare([rated()[0], triplets()[0]], _both(), "good", "poor")
    whole = found.table[found.table.slice.eq("all") & found.table.statistic.isin(["srcc", "2afc"])]
    sentences = in_words(whole, "good", "poor", {"picks": {"poor"}})
    assert sentences[0].startswith("On toy, good agrees better with people than poor: srcc 0.9")
    assert (
        "2afc 0.800 against 0.200, a difference of +0.600 [+0.600, +0.600], p < 0.0001"
        in (sentences[1])
    )
    assert sentences[1].endswith("(poor was trained on this dataset.)")
    assert sentences[2] == (
        "Of 2 figures, good is better on 2, poor on 0; on 0 they cannot be told apart."
    )
    # The units it would take are said where a difference is not shown, or that there is none.
    close = rated()[1].assign(twin=lambda t: t.good + 0.05 * np.sin(np.arange(len(t)) ** 2))
    (row,) = compare([rated()[0]], close, "good", "twin", margin=0.1).table.head(1).itertuples()
    assert row.equivalent
    words = in_words(compare([rated()[0]], close, "good", "twin", margin=1e-6).table.head(1),
                     "good", "twin")[0]  # fmt: skip
    assert "with a chance of 80 % would take about" in words
    same = compare([rated()[0]], rated()[1].assign(twin=rated()[1].good), "good", "twin").table
    assert "good and twin cannot be told apart" in in_words(same.head(1), "good", "twin")[0]


def _both():
    return pd.concat([rated()[1].assign(dataset="toy"), triplets()[1].assign(dataset="picks")])


def test_the_most_disputed_items_come_first_and_say_who_is_nearer():
    part, scores = triplets()
    found = compare([part], scores, "good", "poor", top=4).disputed
    assert len(found) == 4 and (found.nearer == "good").all()
    gap = (found.good - found.poor).abs()
    assert gap.is_monotonic_decreasing and {"reference", "a image", "b image"} <= set(found)
    part, scores = rated()
    scores.loc[7, "poor"], scores.loc[7, "good"] = 99.0, -99.0
    assert compare([part], scores, "good", "poor", top=1).disputed.distorted[0] == "d7.png"


@pytest.fixture
def folder(tmp_path):
    parts, scores = [rated()[0], triplets()[0]], _both()
    found = evaluate(parts, scores, metrics=["good", "poor"], in_domain={"toy": ["poor"]})
    run = Run(scores, found.table, pd.DataFrame(), parts, {}, pd.DataFrame(
        columns=list(FAILURE)), found.comparisons)  # fmt: skip
    run.board = leaderboard(found.table, found.comparisons, run.columns)
    run.provenance = {
        "device": "cpu", "precision": "fp32",
        "metrics": {"good": {}, "poor": {}},
        "datasets": {"toy": {"folder": "pictures"}, "picks": {"folder": None}},
    }  # fmt: skip
    run_folder.write(run, tmp_path)
    return tmp_path


def test_the_command(cli, folder):
    code, output, errors = cli("compare", folder, "good", "poor")
    assert code == 0, errors
    assert "On toy, good agrees better with people than poor" in output
    assert "(poor was trained on this dataset.)" in output
    assert "distortion=blur" in output and "pictures/d" in output and "| picks " in output
    code, output, _ = cli("compare", folder, "good", "poor", "--dataset", "picks", "--top", 1)
    assert code == 0 and "toy" not in output


def test_unknown_names_are_usage_errors(cli, folder):
    for args, word in (
        (("goo", "poor"), "did you mean good"),
        (("good", "good"), "no different from itself"),
        (("good", "poor", "--dataset", "tou"), "did you mean toy"),
    ):
        code, output, errors = cli("compare", folder, *args)
        assert code == 2 and word in errors and "Traceback" not in output + errors
    with pytest.raises(UsageError, match=r"has no run\.json"):
        run_folder.read(folder / "judgements")
