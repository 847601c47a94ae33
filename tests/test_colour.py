"""Colour: published test pairs, round trips, gradients."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perceptbench import colour

# Sharma, Wu, Dalal 2005, table 1: pairs that exercise every branch of the formula.
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, 2.8361, -74.0200), (50, 0, -82.7485), 3.4412),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0009), 7.1792),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0011), 7.2195),
    ((50, -0.0010, 2.4900), (50, 0.0009, -2.4900), 4.8045),
    ((50, -0.0010, 2.4900), (50, 0.0011, -2.4900), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


def lab(*values):
    return torch.tensor(values, dtype=torch.float64).view(3, 1, 1)


@pytest.mark.parametrize(("one", "other", "expected"), SHARMA)
def test_ciede2000_of_sharmas_pairs_to_four_decimals(one, other, expected):
    for x, y in ((one, other), (other, one)):
        assert colour.ciede2000(lab(*x), lab(*y)).item() == pytest.approx(expected, abs=5e-5)


colours = st.tuples(st.floats(0, 100), st.floats(-80, 80), st.floats(-80, 80))


@settings(max_examples=80, deadline=None)
@given(colours, colours)
@example((0, 0, 1), (0, 4e-16, 1e-216))
def test_ciede2000_is_symmetric_finite_and_has_a_finite_gradient(one, other):
    x, y = lab(*one).requires_grad_(True), lab(*other)
    value = colour.ciede2000(x, y)
    value.sum().backward()
    assert torch.isfinite(x.grad).all() and value >= 0
    torch.testing.assert_close(value.detach(), colour.ciede2000(y, x.detach()))


def test_ciede2000_is_symmetric_between_nearly_opposite_hues():
    """Where the sign of the hue difference decides, and the rotation term is large (blue)."""
    for one, other in [
        ((0, 32, -0.001953125), (0, -1, 0)),
        ((50, 30, 0), (50, -20, 0)),
        ((50, 0, -30), (50, 0, 7)),
    ]:  # fmt: skip
        x, y = lab(*one), lab(*other)
        torch.testing.assert_close(colour.ciede2000(x, y), colour.ciede2000(y, x))


@pytest.mark.parametrize("at", [(50, 0, 0), (50, 20, -30), (0, 0, 0)])
def test_the_gradient_is_finite_where_the_difference_vanishes(at):
    x = lab(*at).requires_grad_(True)
    colour.ciede2000(x, lab(*at)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_round_trips():
    coded = torch.rand(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    coded[0, :, 0, 0] = 0
    linear = colour.srgb_decode(coded)
    torch.testing.assert_close(colour.srgb_encode(linear), coded, atol=1e-7, rtol=0)
    xyz = colour.linear_to_xyz(linear)
    torch.testing.assert_close(colour.xyz_to_linear(xyz), linear)
    white = colour.linear_to_xyz(torch.ones(3, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(colour.lab_to_xyz(colour.xyz_to_lab(xyz, white), white), xyz)


def test_known_colours():
    white = torch.ones(3, 1, 1, dtype=torch.float64)
    d65 = torch.tensor([0.95047, 1.0, 1.08883], dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(colour.linear_to_xyz(white), d65, atol=1e-5, rtol=0)
    assert colour.luminance(white).item() == pytest.approx(1, abs=1e-6)
    assert colour.srgb_decode(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-5)
