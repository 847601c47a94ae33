"""The Markdown page: what stands where, and that names stay names."""

import re

import pandas as pd

from perceptbench.reporting import markdown


def test_the_table_has_intervals_n_people_and_the_best_in_bold(run):
    lines = markdown.table(run).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = {line.split("|")[2].strip(): line for line in lines}
    assert "ratings stress ↓" in lines[0] and "choices 2afc" in lines[0]
    assert "**1.000** [1.000, 1.000]" in cells["good"] and "**" not in cells["fair"]
    # 24 triplets: people agree with `good` by .9, .9, .7, .8, with `bad` by what is left.
    assert "**0.825** [" in cells["good"] and " 0.175 [" in cells["bad"]
    # mean p^2 + (1-p)^2 = (.82 + .82 + .58 + .68) / 4
    assert " 0.725 [" in cells["*human*"] and " 0.825 [" in cells["*oracle*"]
    assert [c.strip() for c in cells["bad"].split("|")[5:7]] == ["-", "-"]
    assert [c.strip() for c in cells["*n*"].split("|")[5:-1]] == ["24", "24", "24"]
    # `fair` was trained on the triplets; the other two differ on every one of them.
    assert re.search(r"0\.\d{3}† \[.*\] [ab] ", cells["fair"])
    assert cells["good"].split("|")[7].endswith(" a ") and " a " not in cells["bad"]
    assert cells["good"].split("|")[3].startswith(" 1.0 [1.0, 1.0] a")


def test_the_page_says_how_far_apart_two_scores_must_be(run):
    assert "resolving power" not in markdown.page(run)
    row = run.agreement.iloc[0].to_dict() | {
        "dataset": "ratings", "slice": "all", "metric": "good", "statistic": "resolving_power",
        "value": 1.2176359647113211,
    }  # fmt: skip
    run.agreement = pd.concat([run.agreement, pd.DataFrame([row])], ignore_index=True)
    page = markdown.page(run)
    assert "ratings resolving power: two scores must be this far apart" in page
    assert "(ITU-T J.149): good 1.22." in page


def test_the_page_says_what_is_missing_and_where_it_comes_from(run):
    page = markdown.page(run)
    for words in (
        "undefined: bad on ratings srcc: no finite distance for 24 of 24",
        "skipped: absent: no weights.",
        "failed: ratings: pair (r0, bad): no such image",
        "assumed: good takes ratings to be seen from afar.",
        "resampled over 4 units",
        "Scored on cpu in fp32, seed 0.",
        "torch 2.9",
        "net.pth eeeeeeeeeeee",
        "Made by `` perceptbench run `x` <y> ``.",
    ):
        assert words in re.sub(r"\\([\[\]*`])", r"\1", page), words


def test_names_cannot_break_the_table_or_become_markup(nasty_run, nasty):
    page = markdown.page(nasty_run)
    table = page.split("\n\n")[0].splitlines()
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert len(bars) == 1 and "<img" not in page and "&lt;img" in page
    assert r"\*a\*" in page and nasty not in page
