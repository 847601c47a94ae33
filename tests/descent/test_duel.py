"""Maximum differentiation: where the extremes are known, and beside plenoptic's."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from perceptbench.cli import cli
from perceptbench.datasets.judgements.own import read_judgements
from perceptbench.descent.dead_leaves import dead_leaves
from perceptbench.descent.duel import TOLERANCE, differentiate, on_level
from perceptbench.descent.starts import tensor
from perceptbench.metrics.pixel import mse


def test_of_weighted_errors_the_extremes_are_the_weights():
    """On a sphere of equal MSE, sum w e^2 / n lies between its level times the least and most w."""
    weights = torch.ones(1, 1, 8, 8)
    weights[..., :4] = 3.0
    reference = torch.full((2, 3, 8, 8), 0.5)
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))
    start = reference + 0.03 * noise

    def weighted(x, y):
        return (weights * (x - y).square()).mean((1, 2, 3))

    level = mse(start, reference)
    for sign, weight in ((-1, 1.0), (1, 3.0)):
        end = differentiate(mse, weighted, start, reference, sign, 100)
        assert torch.allclose(mse(end, reference), level, rtol=TOLERANCE)
        assert torch.allclose(weighted(end, reference), weight * level, rtol=0.01)


def test_images_in_8_bits_are_brought_back_to_the_level():
    reference = tensor(dead_leaves(32, np.random.default_rng(0))[None])
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))
    far = (reference + 0.1 * noise).clamp(0, 1)
    level = 0.95 * mse(far, reference)
    found, off = on_level(mse, far, reference, level)
    assert torch.equal((found * 255).round() / 255, found) and off.max() < TOLERANCE
    assert torch.allclose(mse(found, reference), level, rtol=TOLERANCE)
    assert on_level(mse, far, reference, 2 * level)[1].min() > 0.1  # out of reach, and said so


@pytest.mark.slow
def test_it_goes_at_least_as_far_as_plenoptics():
    """Least and most SSIM at equal MSE, from plenoptic's own start and at the level it ends on."""
    plenoptic = pytest.importorskip("plenoptic")
    image = tensor(dead_leaves(32, np.random.default_rng(1))[None])[:, :1].contiguous()

    def dissimilarity(x, y):
        return 1 - plenoptic.metric.ssim(x, y).mean(1)

    for way, sign in (("min", -1), ("max", 1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mad = plenoptic.MADCompetition(
                image, lambda x, y: dissimilarity(x, y).squeeze(), lambda x, y: mse(x, y).squeeze(),
                way, metric_tradeoff_lambda=1e6,
            )  # fmt: skip
            torch.manual_seed(0)
            mad.setup(initial_noise=0.05)
            start = mad.mad_image.detach().clone()
            mad.synthesize(100)
        theirs = mad.mad_image.detach().clamp(0, 1)
        level = mse(theirs, image)
        ours = differentiate(mse, dissimilarity, start.clamp(0, 1), image, sign, 100, level)
        ours, off = on_level(mse, ours, image, level)
        assert off.max() < TOLERANCE
        values = [dissimilarity(x, image).item() for x in (start.clamp(0, 1), theirs, ours)]
        assert sign * (values[1] - values[0]) > 0  # plenoptic went the right way
        assert sign * (values[2] - values[1]) > -0.01 * values[1], (way, values)


def test_the_command_writes_pairs_for_people_to_judge(tmp_path):
    out = tmp_path / "duel"
    arguments = ["duel", "mse", "ssim", "--count", "2", "--size", "32", "--steps", "30"]
    result = CliRunner().invoke(cli, [*arguments, "-o", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "triplets.csv")
    assert list(table) == ["reference", "a", "b", "p_b", "category"] and len(table) == 4
    values = pd.read_csv(out / "duel.csv")
    assert (values["off"] <= TOLERANCE).all() and (
        values["moved least"] < values["moved most"]
    ).all()
    for _, row in table[table["category"] == "mse equal"].iterrows():
        images = [tensor(np.array(Image.open(out / row[c]))[None]) for c in ("reference", "a", "b")]
        levels = [mse(image, images[0]).item() for image in images[1:]]
        assert levels[0] == pytest.approx(levels[1], rel=2 * TOLERANCE)
    filled = io.StringIO(table.assign(p_b=0.25).to_csv(index=False)).getvalue()
    (out / "filled.csv").write_text(filled)
    assert len(read_judgements(out / "filled.csv").table) == 4


def test_a_duel_needs_two_metrics_with_gradients(tmp_path):
    for names, said in ((["mse", "mse"], "two different"), (["mse", "ms-ssim"], "161 pixels")):
        result = CliRunner().invoke(
            cli, ["duel", *names, "--size", "32", "-o", str(tmp_path / "x")]
        )
        assert result.exit_code != 0 and said in str(result.exception)
