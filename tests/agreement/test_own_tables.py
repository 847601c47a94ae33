"""`perceptbench agree`: published figures from published tables."""

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement import own_tables
from perceptbench.errors import DataError, UsageError

METRICS = ("DSSIM", "SSIMULACRA", "Butteraugli")
# SRCC, KRCC and PLCC of the published tables (VQMTCrossVal), of distance with badness.
FIGURES = {
    "TID2013": [(0.8609, 0.6785, 0.7727), (0.6733, 0.4851, 0.6628), (0.7603, 0.5718, 0.6477)],
    "LIVE2": [(0.9549, 0.8135, 0.5763), (0.9136, 0.7404, 0.7828), (0.8996, 0.7183, 0.6989)],
}  # fmt: skip


def published(shared, name, folder):
    """The published table of a dataset as the two files of `agree`."""
    table = pd.read_csv(shared / f"published-scores/{name}.VQMT.csv")
    if name == "TID2013":
        names = {"ref_img": "reference", "dist_img": "distorted", "mos": "quality"}
    else:
        table["dist_img"] = table["dst_type"] + "/" + table["dist_img"]
        names = {"refnames_all": "reference", "dist_img": "distorted", "dmos_new": "impairment"}
    table = table.rename(columns=names).rename(columns={"dst_type": "distortion"})
    human = "quality" if "quality" in table else "impairment"
    judgements, scores = folder / f"{name}.csv", folder / "scores.csv"
    table[["reference", "distorted", human, "distortion"]].to_csv(judgements, index=False)
    table[["reference", "distorted", *METRICS]].to_csv(scores, index=False)
    return judgements, scores


@pytest.mark.parametrize("name", ["TID2013", pytest.param("LIVE2", marks=pytest.mark.slow)])
def test_the_published_figures_to_four_decimals(cli, shared, tmp_path, name):
    judgements, scores = published(shared, name, tmp_path)
    out = tmp_path / "out"
    code, output, errors = cli("agree", "--judgements", judgements, "--scores", scores, "-o", out)
    assert code == 0, errors
    frame = pd.read_csv(out / "agreement.csv")
    whole = frame[frame.slice == "all"].set_index(["metric", "statistic"])
    for metric, expected in zip(METRICS, FIGURES[name], strict=True):
        for statistic, value in zip(("srcc", "krcc", "plcc"), expected, strict=True):
            row = whole.loc[(metric, statistic)]
            assert round(row.value, 4) == value
            # Of a raw PLCC over heavy tails no interval holds.
            assert row.low < row.value < row.high or (
                statistic == "plcc" and "heavy tails" in row.note
            )
    assert f"{FIGURES[name][0][0]:.4f} [" in output
    assert frame.slice.str.startswith("distortion=").any()
    board = pd.read_csv(out / "leaderboard.csv")
    assert board["metric"].iloc[0] == "DSSIM" and board[f"{name} srcc"].iloc[0] > 0.86
    pairs = pd.read_csv(out / "comparisons.csv")
    assert (pairs.p_holm >= pairs.p).all() and len(pairs) == 9


def tables(folder, scores=None, **columns):
    rng = np.random.default_rng(0)
    human = pd.DataFrame({"reference": ["r0", "r1"] * 10, "distorted": [f"d{i}" for i in range(20)],
                          "quality": rng.uniform(1, 5, 20), **columns})  # fmt: skip
    if scores is None:
        scores = human[["reference", "distorted"]].assign(
            ssim=human["quality"] / 5, mse=5 - human["quality"] + rng.normal(0, 1, 20), note="x"
        )
    human.to_csv(folder / "mos.csv", index=False)
    scores.to_parquet(folder / "scores.parquet", index=False)
    return folder / "mos.csv", folder / "scores.parquet"


def test_a_similarity_is_turned_and_words_are_no_metric(tmp_path):
    found = own_tables.read(*tables(tmp_path), higher_is_better=["ssim"]).evaluate()
    whole = found.table[found.table.statistic == "srcc"].set_index("metric")
    assert set(whole.index) == {"ssim", "mse"} and whole.loc["ssim", "value"] == pytest.approx(1)
    assert whole.loc["mse", "value"] > 0.5


def test_one_metric_another_unit_of_resampling(tmp_path):
    files = tables(tmp_path, scene=[f"s{i % 5}" for i in range(20)])
    found = own_tables.read(*files, metrics=["mse"], resample=["scene"]).evaluate()
    # The items of one reference (of two) or scene (of five) depend on each other.
    assert set(found.table.metric) == {"mse"} and found.table.units.iloc[0] == 7


def test_same_different_tables_may_be_keyed_a_and_b(tmp_path):
    table = pd.DataFrame({"a": [f"a{i}" for i in range(9)], "b": "b", "p_same": np.arange(9) / 8})
    table.to_csv(tmp_path / "jnd.csv", index=False)
    table.drop(columns="p_same").assign(m=-table.p_same).to_csv(tmp_path / "s.csv", index=False)
    found = own_tables.read(tmp_path / "jnd.csv", tmp_path / "s.csv").evaluate()
    both = found.table.set_index("metric")["value"]
    assert both["m"] == pytest.approx(both["oracle"])


def test_what_is_wrong_is_said_in_one_sentence(cli, tmp_path):
    files = tables(tmp_path)
    with pytest.raises(UsageError, match="no metric 'sim'; did you mean ssim"):
        own_tables.read(*files, higher_is_better=["sim"])
    with pytest.raises(UsageError, match="no column 'scenes'"):
        own_tables.read(*files, resample=["scenes"])
    with pytest.raises(DataError, match="row 1: `note` is 'x', not a number"):
        own_tables.read(*files, metrics=["note"])
    scores = pd.read_parquet(files[1])
    cases = {
        "column `distorted` is missing": scores.drop(columns="distorted"),
        r"pair \(r0, d0\) is scored twice": pd.concat([scores, scores.head(1).assign(mse=7.0)]),
        "no score for any judgement": scores.assign(distorted="x" + scores.distorted),
        "no column of numbers": scores[["reference", "distorted", "note"]],
    }
    for message, wrong in cases.items():
        with pytest.raises(DataError, match=message):
            own_tables.read(*tables(tmp_path, wrong))
    code, output, errors = cli("agree", "--judgements", tmp_path / "none.csv", "--scores", files[1])
    assert code == 1 and "there is no such file" in errors and "Traceback" not in output + errors


def test_a_pair_without_a_score_lowers_n_and_is_counted(tmp_path):
    _, scores = tables(tmp_path)
    fewer = pd.read_parquet(scores).drop(index=3)
    fewer.loc[5, "mse"] = np.nan
    found = own_tables.read(*tables(tmp_path, fewer), higher_is_better=["ssim"]).evaluate()
    rows = found.table[found.table.statistic == "srcc"].set_index("metric")
    assert rows.n.to_dict() == {"mse": 18, "ssim": 19} and (rows.of == 20).all()
    assert rows.value.notna().all() and found.comparisons.n.unique().tolist() == [18]


def half_answered(folder, cell):
    """Ratings and two metrics, one of which has `cell` in every third row and lacks the last."""
    rng = np.random.default_rng(1)
    human = pd.DataFrame({"reference": [f"r{i % 5}" for i in range(30)],
                          "distorted": [f"d{i}" for i in range(30)],
                          "quality": rng.uniform(1, 5, 30)})  # fmt: skip
    human.to_csv(folder / "mos.csv", index=False)
    scores = human[["reference", "distorted"]].assign(whole=-human.quality, half=-human.quality)
    scores["half"] = [cell if i % 3 == 0 else f"{x:.4f}" for i, x in enumerate(scores.half)]
    scores.iloc[:29].to_csv(folder / "scores.csv", index=False)
    return folder / "mos.csv", folder / "scores.csv"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("", "row 1 is blank"), ("inf", "row 1 is 'inf', no finite number"),
     *(pytest.param(cell, f"row 1 is '{cell}', no finite number", marks=pytest.mark.slow)
       for cell in ("crash", "nan"))],
)  # fmt: skip
def test_what_a_metric_did_not_answer_is_counted_and_named_in_full(cli, tmp_path, cell, reason):
    mos, scores = half_answered(tmp_path, cell)
    code, output, errors = cli("agree", "--judgements", mos, "--scores", scores, "-o", "out")
    assert code == 1 and "| half" in output and "| whole" in output
    assert f"half: 19 of 30 judgements of mos; without a score: (r0, d0): {reason}" in errors
    assert "whole: 29 of 30 judgements of mos; without a score: (r4, d29): no row in" in errors
    failed = pd.read_csv("out/failed.csv", keep_default_na=False)
    assert failed.groupby("metric").size().to_dict() == {"half": 11, "whole": 1}
    assert set(failed.distorted[failed.metric == "half"]) == {
        f"d{i}" for i in [*range(0, 30, 3), 29]
    }
    assert failed.reason.iloc[0] == reason
    code, _, errors = cli("agree", "--judgements", mos, "--scores", scores, "-m", "whole")
    assert code == 0 and "whole: 29 of 30" in errors  # a pair that was not asked did not fail


def test_columns_of_people_and_of_words_are_no_metrics(tmp_path):
    _, scores = half_answered(tmp_path, "1")
    table = pd.read_csv(scores).assign(quality=1.0, level=2, note="x")
    table["rare"] = ["7", "8", *["no answer"] * 27]
    table.to_csv(scores, index=False)
    found = own_tables.read_scores(scores)
    assert found.metrics == ["half", "whole"]
    assert found.assumed == [
        "quality, level are of judgements, not metrics; left out",
        "`note`, `rare` (7% of it numbers) hold words; left out",
    ]
    assert own_tables.read_scores(scores, ["rare"]).table["rare"].notna().sum() == 2


def test_what_points_the_wrong_way_is_asked_about(tmp_path):
    mos, scores = half_answered(tmp_path, "1")
    table = pd.read_csv(scores)
    table.assign(ssim=-table.whole, noise=range(29)).to_csv(scores, index=False)

    def asked(judgements=mos, **options):
        said = own_tables.read(judgements, scores, **options).said
        return [sentence for sentence in said if "?" in sentence]

    assert asked() == [
        "ssim agrees with mos at -1.00: is it a similarity? `--higher-is-better ssim`"
    ]
    assert not asked(higher_is_better=["ssim"])
    assert asked(higher_is_better=["ssim", "whole"]) == [
        "whole agrees with mos at -1.00: is it a distance? leave out `--higher-is-better`"
    ]
    both = asked(higher_is_better=["whole"], metrics=["ssim", "whole"])
    assert both[-1].startswith("all 2 metrics agree with mos below 0: is its `quality` one of")
    triplets = pd.DataFrame({"reference": "r", "a": [f"a{i}" for i in range(40)], "b": "b",
                             "p_b": np.linspace(0, 1, 40)})  # fmt: skip
    triplets.to_csv(tmp_path / "afc.csv", index=False)
    sides = pd.DataFrame({"reference": "r", "distorted": [*triplets.a, "b"],
                          "psnr": [*-triplets.p_b, 0.0]})  # fmt: skip
    sides.to_csv(scores, index=False)
    assert "is it a similarity?" in asked(tmp_path / "afc.csv")[0]
