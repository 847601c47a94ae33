"""Visible contrast: thresholds of vision, real images with opinions, gradients."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from perceptbench.agreement.two_alternative import score
from perceptbench.colour import srgb_encode
from perceptbench.datasets.images import read_image
from perceptbench.losses import VisibleContrast, load_loss
from perceptbench.losses.visible_contrast import GLARE, OPPONENT, opponent_responses, sensitivity


def pair(*size, seed=0, dtype=torch.float64):
    return torch.rand(2, 2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def grating(frequency, contrast, luminance=50.0, size=64, pixels_per_degree=60):
    """A grey sine grating (1, 3, size, size) on a display of 100 cd/m2."""
    x = torch.arange(size, dtype=torch.float64) / pixels_per_degree
    light = luminance / 100 * (1 + contrast * torch.sin(2 * math.pi * frequency * x))
    return srgb_encode(light).expand(1, 3, size, size)


@pytest.mark.parametrize(
    ("axis", "name"),
    [(0, "frequency_achromatic"), (1, "frequency_red_green"), (2, "frequency_yellow_violet")],
)
def test_sensitivity_is_that_of_castlecsf(shared, axis, name):
    table = pd.read_csv(shared / f"psychophysics/castlecsf_model_{name}.csv")
    ours = [sensitivity(f)[axis] * OPPONENT[axis] for f in table["frequency"]]
    assert np.abs(np.log(ours / table["sensitivity"])).max() < 0.09


def test_responses_follow_castlecsf_over_luminance(shared):
    table = pd.read_csv(shared / "psychophysics/castlecsf_model_luminance.csv")
    table = table[table["luminance"].between(0.1, 90)]
    step = 1e-4
    light = torch.tensor(table["luminance"].tolist()).double().view(-1, 1, 1, 1) / 100
    up, down = (
        opponent_responses(srgb_encode(light * (1 + sign * step)))[:, 0, 0, 0] for sign in (1, -1)
    )
    ratio = ((up - down) / (2 * step)).numpy() / table["sensitivity"]
    assert np.abs(np.log(ratio / ratio.iloc[-1])).max() < 0.06


def test_light_scattered_in_the_eye_is_that_of_the_disability_glare_equation():
    degrees = np.linspace(1, 90, 100_000)
    age = 1 + (30 / 62.5) ** 4
    scattered = 10 / degrees**3 + (5 / degrees**2 + 0.1 * 0.5 / degrees) * age + 0.0025 * 0.5
    ring = 2 * np.pi * np.sin(np.radians(degrees)) * np.cos(np.radians(degrees))
    share = (scattered * ring).mean() * np.radians(90 - 1)
    assert share == pytest.approx(GLARE, abs=0.005)


def test_a_bright_field_veils_what_is_dark_elsewhere():
    def response(around):
        light = torch.tensor([0.01, 0.011, around], dtype=torch.float64).view(1, 1, 1, 3)
        return opponent_responses(srgb_encode(light))[0, 0, 0, :2].diff()

    assert response(1.0) < response(0.2) < response(0.01)


def test_frequencies_that_people_see_well_count_more():
    def at(frequency):
        return float(VisibleContrast()(grating(frequency, 0), grating(frequency, 0.005)))

    # Sensitivities to 3 and 20 c/deg are in the ratio 8 : 1; to pixels they are alike.
    assert at(3) > 5 * at(20)


def test_a_strong_mask_hides_what_a_blank_field_shows():
    test = grating(4, 0.02) - grating(4, 0)
    mask = grating(4, 0.5)
    loss = VisibleContrast()
    assert loss(mask, mask + test) < loss(grating(4, 0), grating(4, 0) + test) / 3


def test_noise_of_rounding_to_8_bits_is_below_threshold():
    x = pair(64, 64)[0, :1] * 0.02 + 0.5
    assert float(VisibleContrast()(x, (x * 255).round() / 255)) < 1


@pytest.mark.slow
def test_photographs_with_opinions_are_ranked_as_people_do(shared):
    folder = shared / "live-subset/live"
    table = pd.read_csv(folder / "LIVE2.DMOS.csv").query("orgs == 0")
    found, loss = [], VisibleContrast()
    for row in table.itertuples():
        path = folder / row.dst_type / row.dist_img
        reference = folder / "refimgs" / row.refnames_all
        if path.is_file() and reference.is_file():
            with torch.inference_mode():
                d = loss(read_image(reference)[None], read_image(path)[None])
            found.append((float(d), row.dmos_new))
    assert len(found) == 58
    assert spearmanr(*zip(*found, strict=True)).statistic > 0.95


@pytest.mark.slow
def test_renderings_of_materials_are_told_apart_as_people_do(shared):
    folder = shared / "material-2afc"
    loss = VisibleContrast()
    files = sorted((folder / "havran1_ennis_298x298_LDR").iterdir())
    images = torch.stack([read_image(file) for file in files])
    answers = json.loads((folder / "answers_processed_test.json").read_text())
    triplets, votes = np.array(answers["answers"]), np.array(answers["agreement"])
    pairs = np.unique(np.sort(np.concatenate([triplets[:, :2], triplets[:, ::2]]), axis=1), axis=0)
    with torch.inference_mode():
        at = [loss.embed(image[None]) for image in images]
        d = torch.cat([loss.compare(at[i], at[j]) for i, j in pairs])
    known = dict(zip(map(tuple, pairs), d.tolist(), strict=True))
    a, b = ([known[min(t[0], t[k]), max(t[0], t[k])] for t in triplets.tolist()] for k in (1, 2))
    # NLPD has 0.715, LPIPS (AlexNet) 0.735.
    assert score(a, b, votes[:, 1] / votes.sum(1)).mean() > 0.725


def test_identical_and_constant_images_have_finite_gradients():
    x, y = pair(40, 37, dtype=torch.float32)
    loss = VisibleContrast()
    assert torch.equal(loss(x, x), torch.zeros(2))
    torch.testing.assert_close(loss(x, y), loss(y, x))
    torch.testing.assert_close(loss(x[1:], y[1:]), loss(x, y)[1:])
    for other in (x.clone(), y, torch.full_like(x, 0.5), torch.zeros_like(x), torch.ones_like(x)):
        for image in (x, torch.zeros_like(x)):
            leaf = image.clone().requires_grad_()
            loss(leaf, other).sum().backward()
            assert torch.isfinite(leaf.grad).all()
            if torch.equal(other, image):
                assert leaf.grad.abs().sum() == 0


def test_first_and_second_gradients_are_the_numerical_ones():
    x, y = (0.2 + 0.6 * images[:1] for images in pair(9, 10))
    directions = torch.rand(3, *x.shape, generator=torch.Generator().manual_seed(1)).double() - 0.5

    def along(t):
        return VisibleContrast()(x + torch.einsum("k,kncij->ncij", t, directions), y)

    start = torch.zeros(3).double().requires_grad_()
    assert torch.autograd.gradcheck(along, (start,))
    assert torch.autograd.gradgradcheck(along, (start,))


def test_float32_ranks_threshold_contrasts_as_float64_does():
    faint = [(grating(f, 0), grating(f, c)) for f in (1, 4, 12) for c in np.logspace(-3.3, -1.5, 4)]
    loss = VisibleContrast()
    double = [float(loss(a, b)) for a, b in faint]
    single = [float(loss(a.float(), b.float())) for a, b in faint]
    assert spearmanr(double, single).statistic > 0.999


def test_grey_images_the_mean_and_the_detached_target():
    x, y = pair(20, 24)
    torch.testing.assert_close(
        VisibleContrast()(x[:, :1], y[:, :1]),
        VisibleContrast()(*(g[:, :1].expand(-1, 3, -1, -1) for g in (x, y))),
    )
    torch.testing.assert_close(VisibleContrast(mean=True)(x, y), VisibleContrast()(x, y).mean())
    x.requires_grad_()
    y.requires_grad_()
    VisibleContrast(detach_target=True)(x, y).sum().backward()
    assert x.grad.abs().sum() > 0 and y.grad is None


def test_wrong_images_are_refused_and_the_preset_is_it():
    with pytest.raises(ValueError, match="needs 4 pixels a side, an image has 9 x 3"):
        VisibleContrast()(torch.rand(1, 3, 3, 9), torch.rand(1, 3, 3, 9))
    with pytest.raises(ValueError, match=r"losses take \[0, 1\]"):
        VisibleContrast()(torch.rand(1, 3, 8, 8), 255 * torch.rand(1, 3, 8, 8))
    x, y = pair(16, 16)
    assert torch.equal(load_loss("visible-contrast")(x, y), VisibleContrast()(x, y))


def test_of_an_image_that_holds_no_numbers_it_is_none():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x[0, 0, 3, 3] = math.nan
    found = VisibleContrast(range="ignore")(x, 1 - x)
    assert found.isnan().tolist() == [True, False]
