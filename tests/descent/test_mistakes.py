"""Mistakes in training: what is measured, the verdicts, and the whole study."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import ttest_rel

from perceptbench.cli import cli
from perceptbench.descent import mistakes
from perceptbench.descent.dead_leaves import dead_leaves
from perceptbench.descent.generators import Generator
from perceptbench.descent.starts import tensor
from perceptbench.descent.verdicts import verdicts

WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"


def leaves(size=32):
    return tensor(dead_leaves(size, np.random.default_rng(0))[None])


def test_the_troubles_are_0_at_the_reference_and_known_beside_it():
    image = leaves()
    flat = torch.full_like(image, 0.5)
    assert mistakes.detail_lost(image, image) == pytest.approx([0], abs=1e-9)
    assert mistakes.detail_lost(image, flat) == pytest.approx([1])
    half = flat + 0.5 * (image - flat)
    assert mistakes.detail_lost(image, half) == pytest.approx([0.5], abs=1e-5)
    # A ramp within blocks of 8 has the mean colour of none.
    assert mistakes.drift(flat, flat + 2 / 255) == pytest.approx([2], rel=1e-4)
    ramp = (torch.arange(32) % 8 - 3.5) / 100
    assert mistakes.drift(flat, flat + ramp) == pytest.approx([0], abs=1e-4)
    assert mistakes.left(image, flat, half) == pytest.approx([0.5], rel=1e-5)
    assert mistakes.left(image, flat, image) == pytest.approx([0])


def finding(right, wrong):
    values = np.array(right, float), np.array(wrong, float)
    return mistakes.Finding("c", "t", "r", "w", values, ("picture", b""))


def test_verdicts_are_those_of_the_paired_t_test_after_holm():
    rng = np.random.default_rng(0)
    right = rng.random((3, 8))
    wrong = right + np.array([[1.0], [-1.0], [0.0]]) + 0.3 * rng.standard_normal((3, 8))
    table = verdicts([finding(a, b) for a, b in zip(right, wrong, strict=True)])
    assert table["verdict"].tolist() == ["supported", "refuted", "undecided"]
    p = np.array([ttest_rel(b, a).pvalue for a, b in zip(right, wrong, strict=True)])
    ours = ttest_rel(wrong[0], right[0]).confidence_interval(0.95)
    assert table.loc[0, ["low", "high"]].tolist() == pytest.approx([ours.low, ours.high])
    order = np.argsort(p)
    assert table["p_holm"][order[0]] == pytest.approx(min(1, 3 * p[order[0]]))
    same = verdicts([finding([0.5, 0.5], [0.5, 0.5])])
    assert same["verdict"].tolist() == ["undecided"]


def test_the_generator_begins_small_and_stays_in_range():
    generator = Generator()
    assert sum(p.numel() for p in generator.parameters()) == 3203
    assert generator(leaves()).shape == (1, 3, 32, 32) and generator(leaves()).max() <= 1


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="needs ../shared/data/weights")
def test_every_study_gives_a_verdict_and_a_picture(tmp_path):
    arguments = ["descend", "--mistakes", "--count", "3", "--size", "48", "--steps", "20"]
    arguments += ["--panel", "mae", "--panel", "gmsd", "--weights-dir", str(WEIGHTS)]
    result = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "mistakes.csv").set_index("claim")
    assert len(table) == 11 and len(list(tmp_path.glob("*.jpg"))) == 7
    for begins in ("A perceptual term", "An extractor", "A target"):
        (verdict,) = table.loc[table.index.str.startswith(begins), "verdict"]
        assert verdict == "supported", begins
    page = (tmp_path / "mistakes.html").read_text()
    assert page.count("data:image/jpeg") == 7 and "http:" not in page
