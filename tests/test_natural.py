"""Boards of published scores: `run --published`, what stands in every table, what is compared."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench.agreement.alignment import alignment, worst
from perceptbench.agreement.own_tables import Scores
from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.manifest import find_manifest
from perceptbench.datasets.published import load_published
from perceptbench.errors import UsageError
from perceptbench.metrics.registry import catalogue, select
from perceptbench.reporting import csv, html, latex, markdown, merge, run_folder
from perceptbench.run import chosen_in, join, run
from perceptbench.scoring.options import Options


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """LIVE from the scores that come with the program."""
    return load_published(find_manifest("live"), None, tmp_path_factory.mktemp("none"))


def board(live, metrics=("fsim", "lpips", "psnr"), **options):
    dataset, scores = live
    brought = join(scores, [dataset], (), metrics)
    return run([dataset], (), brought=brought, ranked_only=True, **options)


@pytest.fixture(scope="module")
def shown(live):
    """A board, made once and left as it is."""
    return board(live)


def test_a_board_of_published_scores_needs_no_image(live, shown):
    result = shown
    assert not live[0].at_hand
    values = result.board.set_index("metric")["live realigned srcc"]
    # ../shared/facts/natural.md 1
    expected = {"fsim": 0.9646, "lpips": 0.9220, "psnr": 0.8730}
    assert values.round(4).to_dict() == expected
    source = "published by Ghildyal et al. 2025 (zs-iqa)"
    assert result.provenance["sources"] == dict.fromkeys(expected, source)
    assert (
        "Published by Ghildyal et al. 2025 (zs-iqa): fsim, lpips, psnr."
        in markdown.render(result)["leaderboard.md"]
    )


def test_the_same_board_is_made_again_byte_for_byte(live, shown, tmp_path):
    pages = []
    for name, result in (("first", shown), ("second", board(live))):
        run_folder.write(result, tmp_path / name)
        again = run_folder.read(tmp_path / name)
        pages += [
            markdown.render(again)["leaderboard.md"],
            markdown.render(result)["leaderboard.md"],
        ]
    assert len(set(pages)) == 1
    for table in ("agreement.csv", "leaderboard.csv", "comparisons.csv", "scores.parquet"):
        assert (tmp_path / "first" / table).read_bytes() == (
            tmp_path / "second" / table
        ).read_bytes()


def test_a_metric_of_two_sources_has_two_names(live):
    dataset, scores = live
    with_images = Dataset("other", (), lambda key: torch.zeros(3, 8, 8))
    (own,) = join(scores, [dataset, with_images], ["psnr"], ["psnr", "lpips"])
    assert own.metrics == ["lpips", "zs-iqa:psnr"]
    (own,) = join(scores, [dataset], ["psnr"], ["psnr"])  # nothing is computed without images
    assert own.metrics == ["psnr"]
    assert own.records["psnr"]["published"] == "zs-iqa" and own.here["psnr"].metric == "psnr"
    assert chosen_in("psnr@tra", "zs-iqa", ["psnr"])
    assert not chosen_in("psnr", "zs-iqa", ["psnr@tra"])


def grey(key):
    return torch.full((3, 32, 32), float(key))


def toy():
    rng = np.random.default_rng(0)
    rows = [(r, f"{r + x:.3f}", 100 * x + rng.normal()) for r in (0.2, 0.4, 0.5)
            for x in np.linspace(0.01, 0.4, 9)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["reference", "distorted", "impairment"])
    table["reference"] = table["reference"].astype(str)
    part = Judgements("toy", table, resample=("reference",), statistics=("srcc",))
    return Dataset("toy", (part,), grey)


def test_the_same_metric_computed_and_published_is_compared():
    from perceptbench.datasets.score_sets import Here

    dataset = toy()
    table = dataset.judgements[0].table[["reference", "distorted"]].copy()
    mse = (table["distorted"].astype(float) - table["reference"].astype(float)) ** 2
    own = Scores(
        "published by somebody", table.assign(theirs=mse / 2 + 0.25), ["theirs"], dataset="toy",
        here={"theirs": Here(metric="mse", times=2, handling="halved")},
    )  # fmt: skip
    infos = select(["mse"], catalogue())
    result = run([dataset], infos, options=Options(device="cpu"), brought=[own])
    (row,) = result.provenance["beside"]
    assert (row["n"], row["computed"], row["handling"]) == (27, "mse", "halved")
    assert row["largest"] == pytest.approx(0.5, abs=1e-5)
    assert result.provenance["sources"] == {
        "mse": "computed here", "theirs": "published by somebody",
    }  # fmt: skip
    assert "the largest difference is 0.5 (halved)" in markdown.render(result)["leaderboard.md"]


def test_what_was_not_run_on_a_dataset_takes_no_part_there(live):
    """A metric that one dataset lacks is ranked by the others, not put last."""
    dataset, scores = live
    (own,) = join(scores, [dataset], (), ("fsim", "psnr"))
    mine = toy()
    mine = Dataset("toy", mine.judgements, grey, at_hand=False)
    table = mine.judgements[0].table[["reference", "distorted"]].copy()
    distance = table["distorted"].astype(float) - table["reference"].astype(float)
    rng = np.random.default_rng(1)
    of_toy = Scores(
        "b",
        table.assign(fsim=rng.normal(size=27), other=distance),
        ["fsim", "other"],
        dataset="toy",
    )
    both = Scores("b", own.table, ["fsim", "psnr"], dataset="live")
    result = run([dataset, mine], (), brought=[both, of_toy], ranked_only=True)
    board = result.board.set_index("metric")
    assert board["rank"].to_dict() == {"other": 1, "fsim": 2, "psnr": 3}
    assert board["stood"].to_dict() == {"other": 1, "fsim": 2, "psnr": 1}
    assert np.isnan(board.at["psnr", "toy srcc"])
    page = markdown.render(result)["leaderboard.md"]
    assert "not run: psnr on toy srcc." in page and "not run: other on live" in page


def test_changed_images_are_computed_and_held_against_the_same_judgements(tmp_path):
    """An even grey is the same after a shift and a scaling, but for the rounding of means."""
    infos = select(["mse"], catalogue())
    options = Options(device="cpu")
    result = run([toy()], infos, options=options, perturb=["shift=1px", "scale=1.01"])
    assert result.metrics == ["mse"]
    assert list(result.alignment["change"]) == ["scale=1.01", "shift=1px"]
    np.testing.assert_allclose(result.alignment["fall"], 0, atol=2e-3)
    np.testing.assert_allclose(result.alignment["aligned"], result.board["toy srcc"].iloc[0])
    run_folder.write(result, tmp_path)
    pd.testing.assert_frame_equal(run_folder.read(tmp_path).alignment, result.alignment)
    assert "When the images are changed a little" in markdown.render(result)["leaderboard.md"]


def test_the_fall_is_paired_and_the_worst_case_is_named(live):
    dataset, _ = live
    (part,) = dataset.judgements
    rng = np.random.default_rng(0)
    badness = part.table["impairment"].to_numpy()
    good = badness + 10 * rng.normal(size=len(badness))
    scores = part.table[["reference", "distorted"]].assign(
        **{
            "m": good,
            "m@little": good + rng.normal(size=len(good)),
            "m@much": rng.permutation(good),
        }
    )
    found = alignment([part], scores, {"m": ["little", "much"]})
    little, much = found.set_index("change").loc[["little", "much"]].to_dict("records")
    assert little["aligned"] == much["aligned"]
    for row in (little, much):
        assert row["fall"] == pytest.approx(row["aligned"] - row["changed"])
        assert row["low"] <= row["fall"] <= row["high"]
    # The same noise stands behind both sides: the difference is far surer than either.
    assert little["high"] - little["low"] < 0.01 < much["high"] - much["low"]
    assert much["p_holm"] < 1e-6
    assert list(worst(found)["change"]) == ["much"]


# The published falls, ../shared/facts/natural.md 1: as it is, and under a shift of 1 %.
FALLS = {
    "tid2013": {"fsim": (0.851, 0.286), "lpips": (0.769, 0.749), "dists": (0.708, 0.716)},
    "live": {"fsim": (0.965, 0.482), "lpips": (0.922, 0.910), "dists": (0.948, 0.945)},
}


@pytest.mark.parametrize("dataset", ["live", pytest.param("tid2013", marks=pytest.mark.slow)])
def test_published_falls_under_a_shift(shared, cli, dataset):
    code, out, errors = cli(
        "run", dataset, "--published", "--variants", "--data-dir",
        shared / "natural-scores", "-m", "fsim", "-m", "lpips", "-m", "dists", "-o", "board",
    )  # fmt: skip
    assert code == 0, errors
    table = pd.read_parquet("board/alignment.parquet")
    shift = table[table["change"] == "tra"].set_index(["dataset", "metric"])
    for metric, expected in FALLS[dataset].items():
        row = shift.loc[(dataset, metric)]
        assert (round(row["aligned"], 3), round(row["changed"], 3)) == expected
    assert (shift["p_holm"].xs("fsim", level="metric") < 0.001).all()
    assert "worst: fall" in out
    record = json.loads(Path("board/run.json").read_text(encoding="utf-8"))
    assert record["device"] == "none"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--published"], "--published needs a DATASET"),
        (["live", "--variants"], "--variants needs --published"),
        (["csiq", "--published"], "no published scores of it are known"),
        (["live", "--published", "-m", "fsmi"], "there is no metric 'fsmi'"),
        (["modelfest", "--perturb", "turn=1"], "--perturb 'turn=1' is none of"),
    ],
)
def test_what_cannot_be_ranked_is_one_sentence(cli, words, message):
    code, _, errors = cli("run", *words)
    assert code == 2 and message in errors and "Traceback" not in errors


def test_score_sets_stand_in_the_catalogue(cli, shared, tmp_path):
    code, out, _ = cli("datasets", "list")
    assert code == 0 and "zs-iqa" in out and "embedded (tid2013, live), download" in out
    code, out, _ = cli("datasets", "show", "zs-iqa")
    assert code == 0 and "stlpips_alex" in out
    code, out, errors = cli("datasets", "verify", "vqmt", "--data-dir", shared / "published-scores")
    assert (code, out) == (0, "vqmt: in order\n"), errors
    table = pd.read_csv(shared / "published-scores" / "LIVE2.VQMT.csv")
    table.iloc[:-1].to_csv(tmp_path / "LIVE2.VQMT.csv", index=False)
    code, out, _ = cli("datasets", "verify", "vqmt", "--data-dir", tmp_path)
    assert code == 1 and "778 judgements, expected 779" in out


def test_a_score_set_is_fetched_file_by_file_and_checked(server, shared, tmp_path, monkeypatch):
    """From a server on this machine: what has another sha256 is refused."""
    from perceptbench.datasets import published, score_sets

    name = "twoAFC_model-alex_vanilla_distortion-cnn.csv"
    score_set = score_sets.score_sets()["lpips-from-scratch"]
    content = (shared / "bapps-val-scores" / name).read_bytes()
    archive = next(a for a in score_set.archive if a.path == name)
    archive = archive.model_copy(update={"urls": (f"{server.url}/{name}",)})
    score_set = score_set.model_copy(update={"archive": (archive,)})
    server.files[name] = content
    folder = published.fetch_scores(score_set, tmp_path)
    assert (folder / name).read_bytes() == content
    server.files[name] = content[:-2] + b"9\n"
    with pytest.raises(Exception, match="sha256"):
        published.fetch_scores(score_set, tmp_path / "other")


def test_a_usage_error_for_columns_of_one_name(live):
    dataset, scores = live
    (own,) = join(scores, [dataset], (), ["psnr"])
    twice = Scores("mine.csv", own.table, ["psnr"])
    with pytest.raises(UsageError, match=r"mine\.csv: there is a metric psnr already"):
        run([dataset], (), brought=[own, twice])


def changed_and_published():
    """A metric computed here, changed images included, and one that somebody published."""
    dataset = toy()
    table = dataset.judgements[0].table[["reference", "distorted"]].copy()
    rng = np.random.default_rng(2)
    table = table.assign(theirs=rng.normal(size=27), **{"theirs@tra": rng.normal(size=27)})
    own = Scores(
        "published by Some_body (set)", table, ["theirs", "theirs@tra"], dataset="toy",
        changes={"tra": "shifted by 1 %"},
    )  # fmt: skip
    return run([dataset], select(["mse"], catalogue()), options=Options(device="cpu"),
               brought=[own], perturb=["jpeg=95"])  # fmt: skip


def test_every_format_has_the_source_and_the_worst_case(tmp_path):
    result = changed_and_published()
    run_folder.write(result, tmp_path)
    result = run_folder.read(tmp_path)
    falls = result.alignment.set_index("metric")
    board = result.board.set_index("metric")
    assert board["toy srcc worst"].to_dict() == falls["changed"].to_dict()
    assert board["toy srcc worst change"].to_dict() == {"mse": "jpeg=95", "theirs": "tra"}
    sources = {"mse": "computed here", "theirs": "published by Some_body (set)"}
    assert board["source"].to_dict() == falls["source"].to_dict() == sources
    left = f"{falls.at['theirs', 'changed']:.3f}"
    fall = f"{falls.at['theirs', 'fall']:+.3f}"

    page = markdown.render(result)["leaderboard.md"]
    head, _, *rows = page.splitlines()
    assert "toy srcc, worst" in head and head.rstrip(" |").endswith("source")
    row = next(row for row in rows if "theirs" in row)
    assert f"{left} tra" in row and "Some_body (set)" in row
    assert "tra: shifted by 1 %" in page and fall in page.split("changed a little\n")[1]

    files = latex.render(result)
    (row,) = [r for r in files["leaderboard.tex"].splitlines() if "& theirs &" in r]
    assert f"${left}$ tra & Some\\_body (set) \\\\" in row
    (row,) = [r for r in files["alignment.tex"].splitlines() if r.startswith("theirs &")]
    assert f"${fall}$ [" in row and row.endswith("tra & Some\\_body (set) \\\\")
    for text in files.values():
        table = [line.count(" & ") for line in text.splitlines() if line.endswith("\\\\")]
        assert len(set(table[1:])) == 1  # the first line of a leaderboard has spans

    text = html.render(result)["leaderboard.html"]
    section = re.search(r'<section id="alignment".*?</section>', text, re.DOTALL)[0]
    assert fall in section and "shifted by 1 %" in section and "Some_body (set)" in section
    board = re.search(r'<table id="board".*?</table>', text, re.DOTALL)[0]
    cells = [row.count("<td") + row.count("<th") for row in board.split("<tr")[1:]]
    assert len(set(cells)) == 1 and 'data-worst0="' in board and "Some_body (set)" in board
    assert {"alignment.csv", "leaderboard.csv"} <= set(csv.render(result))


def test_without_changes_and_others_there_is_no_such_column():
    result = run([toy()], select(["mse"], catalogue()), options=Options(device="cpu"))
    assert set(latex.render(result)) == {"leaderboard.tex"}
    assert "source" not in markdown.table(result) and "worst" not in markdown.table(result)
    assert 'id="alignment"' not in html.render(result)["leaderboard.html"]


def test_of_ratings_it_is_said_why_krasulas_analysis_is_missing(shown):
    page = markdown.render(shown)["leaderboard.md"]
    assert "no Krasula analysis, since the spread of the ratings is not" in page


def test_computed_and_published_runs_are_one_study(tmp_path, cli):
    """`psnr` of LIVE, published, stands for `mse`, of which the images are not there."""
    Path("mine.toml").write_text(
        'title = "Mine"\npublished = ["live", "pipal"]\n[[claim]]\ntext = "x"\n'
        'better = "fsim"\nworse = "mse"\n[as_published]\nfsim = "fsim"\nmse = "psnr"\n'
    )
    code, out, errors = cli("study", "mine.toml", "--dataset", "live", "--dataset", "pipal",
                            "--data-dir", tmp_path, "-o", "mine")  # fmt: skip
    assert code == 0, errors
    row = pd.read_csv("mine/verdict.csv").iloc[1]
    assert row["dataset"] == "live"
    # ../shared/facts/natural.md 1: FSIM .9646, PSNR .8730
    assert row["difference"] == pytest.approx(0.9646 - 0.8730, abs=1e-4)
    assert "(zs-iqa): psnr stands for mse" in out
    assert (
        "pipal: no scores of it are at hand; `perceptbench datasets download zs-iqa`"
        in out.replace("\\", "")
    )


def test_runs_of_what_was_computed_and_published_are_put_together(live):
    dataset, scores = live
    (own,) = join(scores, [dataset], (), ["psnr"])
    theirs = run([dataset], (), brought=[own.named({"mse": "psnr"})], ranked_only=True)
    ours = run([toy()], select(["mse"], catalogue()), options=Options(device="cpu"),
               ranked_only=True)  # fmt: skip
    both = merge.joined([ours, theirs])
    assert both.provenance["device"] == "cpu" and both.metrics == ["mse"]
    source = "computed here, published by Ghildyal et al. 2025 (zs-iqa)"
    assert both.board["source"].tolist() == [source]
    assert both.agreement.set_index("dataset")["source"].to_dict() == {
        "toy": "computed here", "live": "published by Ghildyal et al. 2025 (zs-iqa)",
    }  # fmt: skip
