"""The two figures of a descent, on cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from perceptbench.descent.measures import BLOCK, invented, mean_t, panel_mean, removed


def of(*steps):
    """Distances of one metric from one image and start, at each look."""
    return np.array(steps, float).reshape(-1, 1, 1, 1)


def test_removed_is_1_at_the_reference_0_at_the_start_and_negative_beyond():
    assert removed(of(4, 0)).ravel().tolist() == [0, 1]
    assert removed(of(4, 4)).ravel().tolist() == [0, 0]
    assert removed(of(4, 1, 8)).ravel().tolist() == [0, 0.75, -0.5]


def test_a_metric_that_does_not_see_a_start_is_not_asked_about_it():
    # Two starts of one image: 0.05 is below 1 % of 8, 0.1 is not.
    steps = np.array([[8, 0.05], [4, 0]]).reshape(2, 1, 1, 2)
    assert removed(steps)[1, 0, 0, 0] == 0.5 and np.isnan(removed(steps)[:, 0, 0, 1]).all()
    steps[0, 0, 0, 1] = 0.1
    assert removed(steps)[1, 0, 0, 1] == 1
    assert np.isnan(removed(of(0, 3))).all()


def test_the_panels_mean_leaves_out_who_is_not_asked():
    values = np.array([[0.5, np.nan], [1.0, np.nan]])[None]
    assert panel_mean(values)[0, 0] == 0.75 and np.isnan(panel_mean(values)[0, 1])


def pattern(value, u, v):
    """A block whose DCT is `value` at (u, v) and 0 elsewhere, three equal channels."""
    x = (np.arange(BLOCK) + 0.5) * np.pi / BLOCK
    scale = [np.sqrt((1 if k == 0 else 2) / BLOCK) for k in (u, v)]
    block = scale[0] * scale[1] * np.outer(np.cos(u * x), np.cos(v * x))
    return np.broadcast_to(value * block, (1, 3, BLOCK, BLOCK))


def test_nothing_is_invented_at_the_start_the_reference_and_between():
    reference, start = pattern(1.0, 2, 3), pattern(3.0, 2, 3) + pattern(1.0, 0, 0)
    for share in (0, 0.3, 1):
        end = reference + share * (start - reference)
        assert invented(reference, start, end) == pytest.approx([0], abs=1e-12)


def test_what_is_outside_counts_with_its_energy():
    reference, start = pattern(1.0, 2, 3), pattern(3.0, 2, 3)  # the degradation's energy: 3 * 2^2
    # A pattern that neither has: 3 * 5^2. Overshooting either side by 1: 3 * 1^2.
    assert invented(reference, start, reference + pattern(5.0, 7, 7)) == pytest.approx([75 / 12])
    assert invented(reference, start, pattern(4.0, 2, 3)) == pytest.approx([3 / 12])
    assert invented(reference, start, pattern(0.0, 2, 3)) == pytest.approx([3 / 12])
    # A colour beyond both.
    assert invented(reference, start, reference + pattern(-2.0, 0, 0)) == pytest.approx([12 / 12])


def test_of_no_degradation_nothing_can_be_said():
    image = pattern(1.0, 1, 1)
    assert np.isnan(invented(image, image, image + 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_any_mixture_invents_nothing_and_removes_its_share(seed, share):
    reference, start = np.random.default_rng(seed).random((2, 2, 3, 16, 16))
    end = start + share * (reference - start)
    assert invented(reference, start, end) == pytest.approx([0, 0], abs=1e-9)
    distances = [np.sqrt(((x - reference) ** 2).mean((1, 2, 3))) for x in (start, end)]
    gone = removed(np.array(distances)[:, None, :, None])[1]
    assert gone.ravel() == pytest.approx([share, share])


def test_the_interval_is_students_over_images():
    values = np.random.default_rng(0).normal(0.5, 0.2, (6, 4))
    value, low, high = mean_t(values)
    ours = ttest_1samp(values.mean(1), 0).confidence_interval(0.95)
    assert (value, low, high) == pytest.approx((values.mean(), ours.low, ours.high))
    assert np.isnan(mean_t(values[:1])[1:]).all() and mean_t(values[:1])[0] == values[0].mean()
    values[0] = np.nan
    assert mean_t(values)[0] == pytest.approx(values[1:].mean())
