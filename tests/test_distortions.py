"""The distortion ladders: each step is worse than the last; a seed decides the result."""

import numpy as np
import pytest

from perceptbench.distortions import LEVELS, STEPS, distort, natural_image


@pytest.fixture(scope="module")
def image():
    return natural_image(96, np.random.default_rng(0))


@pytest.mark.parametrize("ladder", STEPS)
def test_each_step_is_further_from_the_original(image, ladder):
    steps = [distort(image, ladder, n, np.random.default_rng(0)) for n in range(1, LEVELS + 1)]
    errors = [np.square(s.astype(float) - image).mean() for s in steps]
    assert errors[0] > 0 and errors == sorted(set(errors))
    assert all(s.shape == image.shape and s.dtype == np.uint8 for s in steps)


@pytest.mark.parametrize("ladder", STEPS)
def test_the_seed_decides(image, ladder):
    one, two = (distort(image, ladder, 3, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_shift_moves_pixels_and_the_last_colour_step_is_grey(image):
    moved = distort(image, "shift", 2, np.random.default_rng(0))
    assert np.array_equal(moved[:, 2:], image[:, :-2])
    grey = distort(image, "colour", LEVELS, np.random.default_rng(0))
    assert np.ptp(grey, axis=2).max() == 0


def test_the_synthetic_image_has_the_spectrum_of_natural_scenes():
    image = natural_image(256, np.random.default_rng(1)).astype(float).mean(2)
    power = np.abs(np.fft.rfft2(image - image.mean())) ** 2
    f = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    keep = (f > 0.02) & (f < 0.25)
    slope = np.polyfit(np.log(f[keep]), np.log(power[keep]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.2)
