"""`perceptbench fit`: from images and judgements to a loss file that ranks and trains."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from perceptbench import fitting
from perceptbench.datasets.readers.table import judgement_file
from perceptbench.errors import UsageError
from perceptbench.losses import load_loss
from perceptbench.losses.config import read_loss
from perceptbench.scoring.options import Options

FORM = [
    "--backbone",
    "squeezenet1_1",
    "--weights",
    "random",
    "--tap",
    "features.1",
    "--tap",
    "features.4",
]
QUICK = ["--device", "cpu", "--workers", 0]
REFERENCES = 6


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Six noisy references, each at four levels of noise: rated.csv and choices.csv, two splits."""
    rng = np.random.default_rng(0)
    ratings, choices = [], []
    for r in range(REFERENCES):
        base = rng.uniform(60, 190, (64, 64, 3))
        for level in range(5):
            pixels = base + 8 * level * rng.standard_normal(base.shape)
            name = f"r{r}_{level}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / name)
        split = "train" if r < 4 else "test"
        reference = f"r{r}_0.png"
        ratings += [(reference, f"r{r}_{n}.png", n, split) for n in range(1, 5)]
        choices += [
            (reference, f"r{r}_{a}.png", f"r{r}_{b}.png", 0.9 if a > b else 0.1, split)
            for a, b in ((1, 2), (3, 2), (4, 1), (2, 4))
        ]
    pd.DataFrame(ratings, columns=["reference", "distorted", "impairment", "split"]).to_csv(
        tmp_path / "rated.csv", index=False
    )
    pd.DataFrame(choices, columns=["reference", "a", "b", "p_b", "split"]).to_csv(
        tmp_path / "choices.csv", index=False
    )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "heads"),
    [("rated", True), pytest.param("choices", False, marks=pytest.mark.slow)],
)
def test_a_fitted_file_ranks_and_trains_with_the_same_numbers(cli, judged, name, heads):
    table = judged / f"{name}.csv"
    extra = ["--heads"] if heads else ["--distance", "cosine"]
    code, out, err = cli("fit", *FORM, *extra, "--train", table, *QUICK, "--beside", "mse")
    assert code == 0, err
    assert "cross-validated by reference" in out
    for loss in ("fitted", "equal weights", "mse"):
        # What is right on every reference does not vary, and has no interval.
        interval = r"\[(\d\.\d{4}, \d\.\d{4}|no interval)\]"
        assert re.search(rf"\| {loss} +\| \d\.\d{{4}} {interval}", out)
    assert "shown, with another reference" not in out  # no image is shared by two folds
    code, out, err = cli(
        "run", "--judgements", table, "-m", "fitted.toml", *QUICK, "-o", "run", "--no-pictures"
    )
    assert code == 0, err
    scores = pd.read_parquet("run/scores.parquet")
    module = load_loss("fitted.toml")
    dataset = judgement_file(table)
    x, y = (torch.stack([dataset.load(k) for k in scores[c]]) for c in ("reference", "distorted"))
    np.testing.assert_allclose(module(x, y), scores["fitted"], rtol=1e-5)
    # ... which are those that were fitted.
    form = fitting.Form(
        {"name": "squeezenet1_1", "weights": "random"}, ("features.1", "features.4"),
        "unit_normalised" if heads else "cosine", heads,
    )  # fmt: skip
    found = fitting.fit(dataset, form, options=Options(device="cpu", workers=0))
    columns = fitting._columns(dataset, form, None, Options(device="cpu", workers=0))
    np.testing.assert_allclose(columns.values @ found.weights, scores["fitted"], rtol=1e-4)
    assert (found.weights >= 0).all() and sum(found.shares.values()) == pytest.approx(1)
    y.requires_grad_()
    module(x, y).mean().backward()
    assert y.grad.isfinite().all() and y.grad.any()
    written = tomllib.loads(Path("fitted.toml").read_text())
    assert written["trained_on"] == [name] and written["scale"] == "squared"
    config, _ = read_loss("fitted.toml")
    assert [row.weight for row in config.tap] == [row["weight"] for row in written["tap"]]


def test_the_test_split_is_measured_beside_the_cross_validated_figure(cli, judged):
    table = judged / "rated.csv"
    code, out, err = cli(
        "fit",
        *FORM,
        "--train",
        f"{table}:train",
        "--test",
        f"{table}:test",
        *QUICK,
        "-o",
        "a/b.toml",
    )
    assert code == 0, err
    crossed, tested = out.split(":test, tested:")
    assert re.search(r"srcc +\| fitted .*\| 16 \|", crossed)
    assert re.search(r"srcc +\| fitted .*\| 8 +\|", tested)
    assert Path("a/b.toml").is_file()


@pytest.mark.parametrize("splits", [("", ""), ("train", "train"), ("", "test"), ("train", "")])
def test_what_was_trained_on_is_not_tested_on(cli, judged, splits):
    train, test = (f"{judged / 'rated.csv'}:{split}" for split in splits)
    code, _, err = cli("fit", *FORM, "--train", train, "--test", test, *QUICK)
    assert code == 2 and "were trained on" in err and "disjoint splits" in err
    assert not Path("fitted.toml").exists()


def test_a_reference_under_another_name_is_recognised(cli, judged):
    (judged / "other").mkdir()
    rated = pd.read_csv(judged / "rated.csv")
    for name in {*rated["reference"], *rated["distorted"]}:
        (judged / "other" / f"x{name}").write_bytes((judged / name).read_bytes())
    rated[["reference", "distorted"]] = "x" + rated[["reference", "distorted"]]
    rated[rated["split"] == "train"].to_csv(judged / "other" / "theirs.csv", index=False)
    train, test = judged / "choices.csv", judged / "other" / "theirs.csv"
    code, _, err = cli("fit", *FORM, "--train", train, "--test", test, *QUICK)
    assert code == 2 and "4 of 4 references of theirs" in err


def test_judgements_that_share_images_are_told(cli, judged):
    table = pd.read_csv(judged / "choices.csv")
    table["a"] = "r0_0.png"
    table.to_csv(judged / "shared.csv", index=False)
    code, out, err = cli("fit", *FORM, "--train", judged / "shared.csv", *QUICK)
    assert code == 0, err
    assert "100% of the judgements left out show an image that was also shown" in out


def test_images_of_the_test_split_that_were_trained_on_are_told(cli, judged):
    table = pd.read_csv(judged / "choices.csv")
    table.loc[table["reference"] == "r4_0.png", "a"] = "r0_1.png"
    table.to_csv(judged / "shared.csv", index=False)
    name = judged / "shared.csv"
    code, out, err = cli("fit", *FORM, "--train", f"{name}:train", "--test", f"{name}:test", *QUICK)
    assert code == 0, err
    assert "50% of the judgements to test on show an image that was also shown" in out
    code, _, err = cli("fit", *FORM, "--train", name, "--beside", "fitted.toml", *QUICK)
    assert code == 2 and "cannot be called 'fitted'" in err


@pytest.mark.parametrize("heads", [False, True])
def test_pairs_that_cannot_be_scored_are_told_and_the_rest_is_learned_from(cli, judged, heads):
    (judged / "r0_3.png").write_bytes(b"no image")
    Image.new("RGB", (70, 64)).save(judged / "r1_2.png")
    extra = ["--heads"] if heads else []
    code, out, err = cli("fit", *FORM, *extra, "--train", judged / "rated.csv", *QUICK)
    assert code == 1, err
    assert "2 of 24 pairs cannot be scored and are left out; the first: " in out
    assert "r0_3.png" in out and Path("fitted.toml").is_file()


def test_one_reference_cannot_be_left_out(cli, judged):
    table = pd.read_csv(judged / "rated.csv")
    table[table["reference"] == "r0_0.png"].to_csv(judged / "one.csv", index=False)
    code, _, err = cli("fit", *FORM, "--train", judged / "one.csv", *QUICK)
    assert code == 2 and "has one reference" in err
    rest = f"{judged / 'choices.csv'}:test"
    code, out, err = cli("fit", *FORM, "--train", judged / "one.csv", "--test", rest, *QUICK)
    assert code == 0, err
    assert "tested" in out and "cross-validated" not in out


def test_wrong_requests_are_one_sentence(cli, judged):
    table = judged / "rated.csv"
    for args, said in (
        ([*FORM, "--train", f"{table}:val"], "no split 'val'"),
        ([*FORM, "--tap", "features.99", "--train", table], "no tap 'features.99'"),
        ([*FORM, "--tap", "features.1", "--train", table], "different layers"),
        ([*FORM, "--distance", "euclid", "--train", table], "unknown distance 'euclid'"),
        ([*FORM, "--heads", "--distance", "gram", "--train", table], "per-channel heads need"),
        (["--backbone", "resnet18", "--train", table], "name them: --tap LAYER"),
        ([*FORM, "--train", "nowhere.csv"], "does not exist"),
    ):
        code, _, err = cli("fit", *args, *QUICK)
        assert code == 2 and said in err and "Traceback" not in err, (args, err)


def test_same_or_different_is_nothing_to_fit_to(judged):
    table = pd.DataFrame({"a": ["r0_0.png"], "b": ["r0_1.png"], "p_same": [0.5]})
    table.to_csv(judged / "same.csv", index=False)
    form = fitting.Form({"name": "squeezenet1_1", "weights": "random"}, ("features.1",))
    with pytest.raises(UsageError, match="neither 2AFC"):
        fitting.fit(judgement_file(judged / "same.csv"), form)
