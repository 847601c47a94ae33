"""The Markdown page: what stands where, and that names stay names."""

import re

import numpy as np
import pandas as pd

from perceptbench.agreement import evaluate
from perceptbench.reporting import markdown
from perceptbench.reporting.result import board


def test_the_table_has_intervals_n_people_and_the_best_in_bold(run):
    lines = markdown.table(run).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = {line.split("|")[2].strip(): line for line in lines}
    assert "ratings stress ↓" in lines[0] and "choices 2afc" in lines[0]
    # On every reference the same: nothing varies.
    assert "**1.000**° [no interval]" in cells["good"] and "**" not in cells["fair"]
    # 24 triplets: people agree with `good` by .9, .9, .7, .8, with `bad` by what is left.
    assert "**0.825**° [" in cells["good"] and " 0.175 [" in cells["bad"]
    # mean p^2 + (1-p)^2 = (.82 + .82 + .58 + .68) / 4
    assert " 0.725 [" in cells["*human*"] and " 0.825 [" in cells["*oracle*"]
    assert [c.strip() for c in cells["bad"].split("|")[6:8]] == ["-", "-"]
    assert [c.strip() for c in cells["*n*"].split("|")[6:-1]] == ["24", "24", "24"]
    # `fair` was trained on the triplets, `bad` has no figure on the ratings: one vote each.
    assert re.search(r"0\.\d{3}†°? \[", cells["fair"]) and "°" not in cells["bad"]
    heads = [head.strip() for head in lines[0].split("|")[3:6]]
    assert heads == ["attained", "new dataset", "places"]
    standing = {m: [c.strip() for c in cells[m].split("|")[3:6]] for m in ("good", "fair", "bad")}
    assert standing["good"][0].startswith("1.00 [") and standing["good"][2] == "1"
    assert standing["fair"] == ["1 of 2", "", "2-3"] == standing["bad"]


def test_one_dataset_has_no_standing(make_run):
    run = make_run()
    run.judgements = run.judgements[1:]
    run.agreement = run.agreement[run.agreement["dataset"] == "choices"]
    run.comparisons = run.comparisons[run.comparisons["dataset"] == "choices"]
    run.board = board(run)
    head = markdown.table(run).splitlines()[0]
    assert [h.strip() for h in head.split("|")] == ["", "#", "metric", "choices 2afc", ""]
    assert "there is no standing over datasets" in markdown.render(run)["leaderboard.md"]


def test_what_a_metric_did_not_answer_is_shown_and_set_beside_the_others(make_run):
    """Half of the ratings of `fair` are lost; `good` is right on all of them."""
    run = make_run()
    lost = (run.scores["dataset"] == "ratings") & (np.arange(len(run.scores)) < 12)
    run.scores.loc[lost, "fair"] = np.nan
    found = evaluate(run.judgements, run.scores, metrics=run.metrics)
    run.agreement, run.comparisons = found.table, found.comparisons
    run.board = board(run)
    fair = next(line for line in markdown.table(run).splitlines() if "| fair " in line)
    assert "(12 of 24)" in fair.split("|")[6]
    page = markdown.render(run)["leaderboard.md"]
    assert "not answered: fair answered 12 of 24 items on ratings srcc; on what both" in page
    assert "the other metrics 1.000 in the median" in page


def test_metrics_of_one_order_are_one_row_with_both_names(make_run):
    run = make_run()
    run.scores["psnr"] = 4 * run.scores["good"]
    found = evaluate(run.judgements, run.scores, metrics=run.metrics)
    run.agreement, run.comparisons = found.table, found.comparisons
    run.board = board(run)
    names = [line.split("|")[2].strip() for line in markdown.table(run).splitlines()[2:]]
    assert names[0] == "good, psnr" and names.count("psnr") == 0


def test_the_page_says_what_to_choose(run):
    page = markdown.render(run)["leaderboard.md"]
    assert "### What to choose\n\nThe best may be good: no other metric can be it." in page
    assert "no worse than the best by more than 0.01 of a figure (a point of 2AFC) is good." in page
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| good ")]
    assert [c.strip() for c in rows[-1]][1:5] == ["good", "yes", "yes", "2 ms"]
    run.provenance["margin"] = 0.05
    assert "by more than 0.05 of a figure is good" in markdown.render(run)["leaderboard.md"]


def test_the_cheapest_that_is_not_worse_by_the_margin_is_named(make_run):
    """Four metrics: two nearly the same, one of them dearer; a margin as wide as the scale."""
    run = make_run(worst="dear")
    run.scores["dear"] = run.scores["good"]
    near = np.random.default_rng(1).normal(0, 1e-3, len(run.scores))
    run.scores["good"] = run.scores["good"] + near
    run.provenance["metrics"]["dear"] = {"cost": {"seconds_per_pair": 0.5, "parameters": 1}}
    run.provenance["margin"] = 0.5
    found = evaluate(run.judgements, run.scores, metrics=run.metrics)
    run.agreement, run.comparisons = found.table, found.comparisons
    run.board = board(run)
    page = markdown.render(run)["leaderboard.md"]
    assert re.search(r"by more than 0\.5 of a figure is (good|fair)\.", page)
    assert re.search(r"\| dear +\| \w+ +\| yes +\| 500 ms", page)


def test_the_page_says_how_far_apart_two_scores_must_be(run):
    assert "resolving power" not in markdown.render(run)["leaderboard.md"]
    row = run.agreement.iloc[0].to_dict() | {
        "dataset": "ratings", "slice": "all", "metric": "good", "statistic": "resolving_power",
        "value": 1.2176359647113211,
    }  # fmt: skip
    run.agreement = pd.concat([run.agreement, pd.DataFrame([row])], ignore_index=True)
    page = markdown.render(run)["leaderboard.md"]
    assert "ratings resolving power: two scores must be this far apart" in page
    assert "(ITU-T J.149): good 1.22." in page


def test_the_page_says_what_is_missing_and_where_it_comes_from(run):
    page = markdown.render(run)["leaderboard.md"]
    for words in (
        "undefined: bad on ratings srcc: no finite distance for any of 24",
        "skipped: absent: no weights.",
        "failed: ratings: pair (r0, bad): no such image",
        "assumed: good takes ratings to be seen from afar.",
        "12 units vary",
        "from chance 0.5 to what people allow, 0.825",
        "Scored on cpu in fp32.",
        "torch 2.9",
        "net.pth eeeeeeeeeeee",
        "Made by `` perceptbench run `x` <y> ``.",
    ):
        assert words in re.sub(r"\\([\[\]*`])", r"\1", page), words


def test_names_cannot_break_the_table_or_become_markup(nasty_run, nasty):
    page = markdown.render(nasty_run)["leaderboard.md"]
    table = page.split("\n\n")[0].splitlines()
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert len(bars) == 1 and "<img" not in page and "&lt;img" in page
    assert r"\*a\*" in page and nasty not in page
