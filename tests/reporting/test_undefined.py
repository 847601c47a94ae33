"""What is undefined, in every report: shown as undefined, with its reason, never as ``nan``."""

import contextlib
import functools
import re
import warnings

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement import evaluate
from perceptbench.agreement.compare import compare, in_words
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.reporting import curves, formats, markdown, notes, run_folder
from perceptbench.reporting.result import FAILURE, Run, board

#: Names of no number: neither of a metric nor of a dataset here.
NO_NUMBER = re.compile(r"(?i)(?<![\w-])[+-]?(nan|inf|infinity|none|null|<na>|nat)(?![\w-])")


def distances(n):
    ranks = np.random.default_rng(n).permutation(n).astype(float)

    def with_one(value):
        return np.where(np.arange(n) == n // 2, value, ranks)

    return {
        "plain": ranks + 1, "constant": np.full(n, 0.3), "lost": np.full(n, np.nan),
        "holed": with_one(np.nan), "endless": with_one(np.inf), "huge": (ranks + 1) * 1e300,
        "widest": np.where(ranks % 2 == 0, 1.7e308, -1.7e308), "denormal": (ranks + 1) * 5e-324,
    }  # fmt: skip


def tables(n):
    """Dataset -> judgements of n items; all that can be equal is."""
    i, third = np.arange(n), np.arange(n) // 3
    images = {"reference": [f"r{k}" for k in third], "distorted": [f"d{k}" for k in i]}
    sides = {"a": [f"a{k}" for k in i], "b": [f"b{k}" for k in i]}
    parts = {"distortion": ["jpeg", "blur"] * (n // 2) + ["jpeg"] * (n % 2)}
    picks = {"reference": images["reference"], **sides}
    return {
        "same-quality": {**images, "quality": 3.0, **parts},
        "impaired": {**images, "impairment": i * 1.0, "std": 0.0, "raters": 5, **parts},
        "below-zero": {**images, "impairment": -1.0 - i},
        "split": {**picks, "p_b": 0.5, **parts},
        "sure": {**picks, "p_b": 1.0},
        "different": {**sides, "p_same": 0.0},
        "alike": {**sides, "p_same": 1.0},
    }


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def hostile(n, only=()):
    """Every table of n items, and for each every column of distances."""
    parts, scores = [], []
    statistics = {"2afc": ("2afc",), "same_different": ("jnd_ap",)}
    for name, columns in tables(n).items():
        if only and name not in only:
            continue
        table = pd.DataFrame(columns)
        part = Judgements(name, table, resample=("reference",) * ("reference" in table))
        ranked = statistics.get(part.protocol, ("srcc", "plcc", "krcc"))
        ranked += ("stress",) if "impairment" in table else ()
        parts.append(Judgements(name, table, "all", part.resample, ranked))
        x, y = ("reference", "distorted") if part.protocol == "rating" else ("a", "b")
        if part.protocol == "2afc":
            x, y = "reference", "a"
            turned = {m: v[::-1] for m, v in distances(n).items()}
            other = pd.DataFrame({"reference": table[x], "distorted": table["b"], **turned})
            scores.append(other.assign(dataset=name))
        one = pd.DataFrame({"reference": table[x], "distorted": table[y], **distances(n)})
        scores.append(one.assign(dataset=name))
    return parts, pd.concat(scores, ignore_index=True)


@functools.cache
@no_warning()
def hostile_run(n, only=()):
    """A run of these; made once, and left as it is."""
    parts, found = hostile(n, only)
    names = list(distances(n))
    result = evaluate(parts, found, metrics=names)
    run = Run(
        found[["dataset", "reference", "distorted", *names]], result.table, pd.DataFrame(), parts,
        {}, pd.DataFrame(columns=list(FAILURE)), result.comparisons,
    )  # fmt: skip
    run.board = board(run)
    run.curves = curves.curves(run)
    run.provenance = {"metrics": {}, "device": "cpu", "precision": "fp32",
                      "created": "2026-01-02T03:04:05+00:00"}  # fmt: skip
    return run


#: One of each protocol: figures take their time to draw.
DRAWN = ("impaired", "split", "different")
TABLES = [name for name in formats.formats() if name != "figures"]


@functools.cache
@no_warning()
def rendered(n):
    """The files of every format; figures of some tables only."""
    files, broken = formats.render(hostile_run(n), TABLES)
    figures, _ = formats.render(hostile_run(n, DRAWN), ["figures"])
    assert not broken and len(files) > 4 and len(figures) > 1
    return files, figures


def visible(name, content):
    """What a person reads of a report: of the page, its text and the sentences in its data."""
    text = content.decode()
    if name.endswith(".svg"):
        return " ".join(re.findall(r"<!--(.*?)-->", text))
    if name.endswith(".html"):
        data = re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", text, re.S)
        strings = " ".join(re.findall(r'"((?:[^"\\]|\\.)*)"', data[1]))
        text = re.sub(r"<head>.*?</head>|<script.*?</script>", "", text, flags=re.S)
        styles = " ".join(re.findall(r'style="([^"]*)"', text))
        return " ".join([re.sub(r"<[^>]*>", " ", text), styles, strings])
    return text


@pytest.mark.parametrize("n", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_no_report_shows_a_number_that_is_none(n, tmp_path):
    files, figures = rendered(n)
    with no_warning():
        run_folder.write(hostile_run(n), tmp_path)
        again, _ = formats.render(run_folder.read(tmp_path), ["csv", "md"])
    assert again.items() <= files.items() and len(again) > 2
    for name, content in {**files, **figures}.items():
        if name.endswith(".png"):
            continue
        text = visible(name, content).replace("or none", "")
        found = NO_NUMBER.search(text)
        assert found is None, f"{name}: {text[max(0, found.start() - 60) : found.end() + 60]}"


@pytest.mark.parametrize("n", [1, 7])
def test_whatever_is_undefined_has_its_reason_in_every_report_for_people(n):
    run = hostile_run(n)
    said = notes.missing(run)
    page = "".join(markdown.render(run).values()).replace("\\", "").replace("_", "")
    for column in run.columns:
        for row in column.rows(run.agreement).itertuples():
            where = f"{row.metric} on {column.title}:"
            if np.isnan(row.value):
                assert row.note and ("undefined", f"{where} {row.note}.") in said
            elif np.isnan(row.low):
                assert any(
                    kind == "no interval" and f"on {column.title}:" in why and row.metric in why
                    for kind, why in said
                ), where
    for kind, why in said:
        short = " ".join(why.split())[:60].replace("_", "").replace("\\", "")
        assert kind in page and short in page


@pytest.mark.parametrize("n", [1, 2, 7])
def test_two_metrics_in_words(n):
    parts, scores = hostile(n)
    warnings.simplefilter("error", RuntimeWarning)
    for a, b in (("plain", "constant"), ("plain", "holed"), ("lost", "huge"), ("widest", "plain")):
        table = compare(parts, scores, a, b).table
        undefined = table["difference"].isna()
        assert (table.loc[undefined, "note"] != "").all()
        text = " ".join(in_words(table, a, b))
        assert NO_NUMBER.search(text.replace("or none", "")) is None, text
        if n == 1:
            assert "better with people" not in text


def test_where_nothing_is_defined_nobody_is_first():
    run = hostile_run(3, only=("different", "same-quality"))
    assert run.board["rank"].isna().all() and run.board["attained"].isna().all()
    files, _ = formats.render(run, ["md", "html"])
    assert "there is no standing over datasets" in files["leaderboard.md"].decode()
    assert "No metric is ranked" in files["leaderboard.html"].decode()
