"""ModelFest: the held figures are the published ones, the patterns those that were seen."""

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench import colour
from perceptbench.datasets.stimuli.display import Display
from perceptbench.datasets.stimuli.modelfest import STIMULI, contrast_pattern, modelfest
from perceptbench.errors import DataError
from perceptbench.losses.classical.detection import WatsonAhumada


@pytest.fixture(scope="module")
def published(shared):
    """Mean log10 sensitivity of four repeats: one row a stimulus, one column an observer."""
    table = pd.read_csv(shared / "psychophysics" / "modelfest_log10_sensitivity.csv")
    means = table.set_index(["stimulus", "observer"]).mean(axis=1, numeric_only=True)
    return means.unstack().loc[:STIMULI]


def test_preferences_are_the_shares_of_the_published_observers(published):
    table = modelfest().judgements[0].table
    assert len(table) == 861 and published.shape == (42, 16)
    for row in table.itertuples():
        one, other = (published.loc[int(key[-2:])] for key in (row.a, row.b))
        assert row.p_b == ((one > other) + 0.5 * (one == other)).mean()
        assert row.reference == "120ppd/blank"


def test_the_watson_ahumada_model_predicts_the_published_thresholds(published):
    """RMS error .72 dB over the formula stimuli, as published parameters give without fitting.

    It pins geometry, unit of contrast and table at once. The noise of stimulus 35 is a new
    sample; its error was -4.2 dB in the reference computation, too.
    """
    model = WatsonAhumada(120.0)
    small = 1e-3
    errors = {}
    for number in range(1, STIMULI + 1):
        light = torch.from_numpy(0.3 * (1 + small * contrast_pattern(number))).expand(1, 3, -1, -1)
        blank = torch.full_like(light, 0.3)
        visible = model(colour.srgb_encode(blank), colour.srgb_encode(light)).item() / small
        errors[number] = -20 * np.log10(visible) + 20 * published.loc[number].mean()
    formula = np.array([error for number, error in errors.items() if number != 35])
    assert errors[35] == pytest.approx(-5, abs=1)
    assert abs(formula.mean()) < 0.1
    assert np.sqrt(np.mean(formula**2)) == pytest.approx(0.72, abs=0.02)


def test_patterns_have_unit_contrast_and_their_symmetries():
    patterns = [contrast_pattern(number) for number in range(1, STIMULI + 1)]
    assert all(np.abs(p).max() == 1 and p.shape == (256, 256) for p in patterns)
    for number in (1, 6, 11, 22, 26, 33, 41):
        inner = patterns[number - 1][1:, 1:]  # the origin, pixel 128, is its centre
        np.testing.assert_allclose(inner, inner[::-1, ::-1], atol=1e-12)
    np.testing.assert_allclose(patterns[36], patterns[11].T, atol=1e-12)  # 37 is 12 upright


def test_lower_resolutions_average_linear_light():
    dataset = modelfest()
    full = colour.srgb_decode(dataset.load("120ppd/35").double())
    half = colour.srgb_decode(dataset.load("60ppd/35").double())
    expected = torch.nn.functional.avg_pool2d(full, 2)
    torch.testing.assert_close(half, expected, atol=1e-6, rtol=0)
    assert [part.slice for part in dataset.judgements] == ["120ppd", "60ppd"]


def test_contrasts_below_one_8_bit_step_survive():
    image = Display(120).show(0.001 * contrast_pattern(4))
    assert 0 < image.std() < 1 / 255 and image.unique().numel() > 100


def test_the_display_is_stated_with_the_judgements():
    part = modelfest().judgements[1]
    assert part.pixels_per_degree == 60
    for stated in ("0.3 of peak", "60 px/deg", "peak contrast 0.05"):
        assert stated in part.display


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(DataError, match="leave the display's range"):
        Display(120, background=0.9).show(0.5 * contrast_pattern(1))
    dataset = modelfest()
    for key in ("120ppd/43", "90ppd/01", "blank"):
        with pytest.raises(DataError, match="there is no such ModelFest image"):
            dataset.load(key)
