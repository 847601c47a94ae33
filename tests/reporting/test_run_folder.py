"""The run folder: what is read back is what was written, to the byte."""

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.agreement import agreement
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import DataError, UsageError
from perceptbench.reporting import run_folder
from perceptbench.reporting.result import FAILURE, Run, board

words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
)


@functools.cache
def judged(votes=None):
    """Twelve ratings with two observers and a triplet; scores of a metric m, and its agreement."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "reference": [f"r{i % 3}" for i in range(12)],
            "distorted": [f"d{i}" for i in range(12)],
            "impairment": rng.uniform(0, 5, 12),
        }
    )
    if votes:
        table["votes"] = votes
    seen = pd.DataFrame({o: table["impairment"] + rng.normal(0, 1, 12) for o in (1, 2)})
    parts = [
        Judgements("toy", table, "all", ("reference",), ("srcc",), "on paper", 30.0, seen),
        Judgements("toy", pd.DataFrame({"reference": ["r0"], "a": ["d0"], "b": ["d3"],
                                        "p_b": [0.3]}), statistics=("2afc",)),
    ]  # fmt: skip
    scores = table[["reference", "distorted"]].assign(m=rng.uniform(0, 1, 12) / 3)
    return parts, scores, [agreement(part, scores, metrics=["m"]) for part in parts]


def small_run(dataset="toy", slice_="all", metric="m", votes=None):
    """It under names of one's own, which change no figure."""
    parts, scores, found = judged(votes)
    parts = [
        replace(part, dataset=dataset, slice=slice)
        for part, slice in zip(parts, (slice_, "all"), strict=True)
    ]
    found = pd.concat(
        [
            rows.assign(dataset=dataset, slice=part.slice,
                        metric=rows["metric"].map(lambda name: metric if name == "m" else name))
            for part, rows in zip(parts, found, strict=True)
        ],
        ignore_index=True,
    )  # fmt: skip
    scores = scores.rename(columns={"m": metric})
    scores.insert(0, "dataset", dataset)
    failures = pd.DataFrame(
        [(dataset, "r", "d", "no, \"such\"\nimage")], columns=list(FAILURE)
    )  # fmt: skip
    run = Run(scores, found, pd.DataFrame(), parts, {"x": "no weights"}, failures)
    run.board = board(run)
    run.broken, run.assumed = {"x on toy": "failed"}, ["seen from afar"]
    run.provenance = {"device": "cpu", "precision": "fp32"}
    return run


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_same_bytes(run, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir(parents=True)
    run_folder.write(run, one)
    run_folder.write(run_folder.read(one), two)
    assert files(one) == files(two)


@settings(max_examples=3, deadline=None)
@given(words, words, words.filter(lambda w: w not in ("reference", "distorted")))
def test_what_is_read_back_is_written_again_byte_for_byte(tmp_path_factory, dataset, part, metric):
    run = small_run(dataset, part, metric)
    assert_same_bytes(run, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("names", [
    ("NA", "nan", "a/b"), ("x,y", 'say "no"', "1"), ("=1+1", "'=1", "''@a"), ("-3", "'-3", "+x"),
    ("'quoted'", "\t=1", "two\rlines"), ("\r", "\n-1", "NA"),
])  # fmt: skip
def test_names_that_look_like_something_else_stay_names(tmp_path, names):
    """Of a dataset, a slice, a metric."""
    assert_same_bytes(small_run(*names), tmp_path)


def test_judgements_come_back_with_everything_that_explains_them(tmp_path):
    run = small_run(votes=(1, "two", None) * 4)
    run_folder.write(run, tmp_path)
    back = run_folder.read(tmp_path)
    for ours, theirs in zip(run.judgements, back.judgements, strict=True):
        for name in ("dataset", "slice", "resample", "statistics", "display", "pixels_per_degree"):
            assert getattr(ours, name) == getattr(theirs, name)
    assert back.judgements[0].table["votes"].tolist()[:2] == ["1", "two"]
    np.testing.assert_array_equal(back.judgements[0].observers, run.judgements[0].observers)
    pd.testing.assert_frame_equal(back.agreement, run.agreement)
    pd.testing.assert_frame_equal(back.scores, run.scores)
    assert back.columns == run.columns and not back.complete
    again = agreement(back.judgements[0], back.scores, metrics=["m"])
    pd.testing.assert_frame_equal(again, run.agreement.iloc[: len(again)])


def test_a_folder_that_is_no_run_or_not_whole_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"has no run\.json"):
        run_folder.read(tmp_path)
    run_folder.write(small_run(), tmp_path)
    (tmp_path / "scores.parquet").unlink()
    with pytest.raises(DataError, match=r"scores\.parquet: there is no such file"):
        run_folder.read(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["judgements"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="has no 'judgements'; make the run again"):
        run_folder.read(tmp_path)
