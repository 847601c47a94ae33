"""Classical losses: those of piq in float64, its faults mended, gradients, halves."""

import math
import warnings

import hypothesis.strategies as st
import piq
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as F

from perceptbench.losses import NLPD, load_loss
from perceptbench.losses.classical import LOSSES
from perceptbench.losses.classical.phase import phase_congruency

#: Loss -> what piq calls it, and its number for identical images.
PIQ = {
    "ssim": (piq.ssim, 1),
    "ms-ssim": (piq.multi_scale_ssim, 1),
    "fsim": (piq.fsim, 1),
    "vif": (piq.vif_p, 1),
    "haarpsi": (piq.haarpsi, 1),
    "vsi": (piq.vsi, 1),
    "gmsd": (piq.gmsd, 0),
    "mdsi": (piq.mdsi, 0),
}
#: A size that is even, one that is odd, and one that these average down by 2.
EVEN, ODD, LARGE = (192, 176), (163, 211), (385, 390)
AVERAGED = ("ssim", "fsim", "vsi", "mdsi")


def sized(name, size):
    """Half of a size, but for MS-SSIM, which needs 161 pixels a side."""
    return size if name == "ms-ssim" else tuple(side // 2 for side in size)


def made(name):
    if name == "nlpd":
        return NLPD()
    return load_loss(name, **({"pixels_per_degree": 60.0} if name == "watson-ahumada" else {}))


def photographs(size, dtype=torch.float64):
    """Smooth images with some noise, and two distortions."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, 3, 24, 23, generator=generator, dtype=torch.float64)
    base = F.interpolate(base, size, mode="bicubic")
    base = (base + 0.02 * torch.randn(base.shape, generator=generator)).clamp(0, 1)
    noisy = (base + 0.05 * torch.randn(base.shape, generator=generator)).clamp(0, 1)
    noisy[1] = F.interpolate(F.avg_pool2d(base[1:], 3), size, mode="bilinear")[0]
    return base.to(dtype), noisy.clamp(0, 1).to(dtype)


def by_piq(name, distorted, reference):
    function, identical = PIQ[name]
    value = function(distorted, reference, data_range=1.0, reduction="none")
    return identical - value if identical else value


@pytest.mark.parametrize(
    ("name", "size"),
    [*((name, sized(name, ODD)) for name in PIQ), *((name, LARGE) for name in AVERAGED)],
)
def test_it_is_piqs_in_float64(name, size):
    reference, distorted = (images[: 1 if size == LARGE else 2] for images in photographs(size))
    assert_piqs(name, reference, distorted, by_piq(name, distorted, reference))


def assert_piqs(name, reference, distorted, expected):
    with torch.no_grad():
        got = made(name)(distorted, reference)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-9)
    single = made(name)(distorted.float(), reference.float())
    torch.testing.assert_close(single.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", PIQ)
def test_so_are_its_gradients_and_the_values_on_their_way(name):
    reference, distorted = photographs(sized(name, EVEN))
    ours, theirs = (distorted.clone().requires_grad_(True) for _ in range(2))
    value = made(name)(ours, reference)
    value.sum().backward()
    expected = by_piq(name, theirs, reference)
    expected.sum().backward()
    torch.testing.assert_close(value, expected, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-8, rtol=1e-5)
    assert_piqs(name, reference, distorted, expected.detach())


@pytest.mark.parametrize("name", ["vif", "mdsi", "watson-ahumada"])
def test_the_one_that_is_not_symmetric_takes_either_order(name):
    x, y = photographs((64, 72))
    options = {"pixels_per_degree": 60.0} if name == "watson-ahumada" else {}
    first = load_loss(name, reference_first=True, **options)
    torch.testing.assert_close(first(x, y), made(name)(y, x))
    assert not torch.allclose(first(x, y), made(name)(x, y))


def faint(dtype, amplitude=2e-4):
    """A uniform field and a faint pattern on it, exact in float32."""
    rows = torch.arange(192, dtype=torch.float64)
    field = torch.full((1, 3, 192, 192), 0.58, dtype=torch.float64).float()
    pattern = (field.double() + amplitude * torch.cos(rows / 3)[:, None]).float()
    return field.to(dtype), pattern.to(dtype)


@pytest.mark.parametrize("name", sorted({*LOSSES, "nlpd"} - {"vsi"}))
def test_float32_holds_a_faint_pattern_on_a_uniform_field(name):
    """In piq's float32 SSIM and FSIM of these are rounding errors, of either sign.

    Not of VSI, which divides a* and b* by their range, of a grey image rounding errors always.
    """
    with torch.no_grad():
        exact = made(name)(*faint(torch.float64)[::-1])
        got = made(name)(*faint(torch.float32)[::-1])
    torch.testing.assert_close(got.double(), exact, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["ssim", "ms-ssim", "gmsd"])
def test_a_uniform_pair_is_worked_by_hand(name):
    grey, white = (torch.full((1, 3, 176, 192), v) for v in (0.5, 1.0))
    luminance = 1 - (2 * 0.5 + 1e-4) / (1.25 + 1e-4)
    expected = {"ssim": luminance, "ms-ssim": 1 - (1 - luminance) ** 0.1333, "gmsd": None}[name]
    if expected is None:  # only the black around both differs: gradients along the border
        expected = piq.gmsd(white.double(), grey.double(), reduction="none").item()
    assert made(name)(grey, white).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [*LOSSES, "nlpd"])
def test_of_what_is_no_number_the_distance_is_none(name):
    """An image with NaN is at no distance, not at 0 or 1; the other of the batch is."""
    x, y = torch.rand(2, 2, 3, 176, 192, generator=torch.Generator().manual_seed(0))
    x[0, 0, 3, 3] = torch.nan
    found = load_loss(name, range="ignore")(x, y)
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize("side", [176, 192])
def test_a_uniform_image_has_no_phase_but_equal_ones(side):
    """piq finds rounding errors where a side has a factor that is no power of 2."""
    luma = torch.zeros(1, 1, side, side)
    assert (phase_congruency(luma) == 1).all()


@pytest.mark.parametrize("kind", ["identical", "uniform", "black", "one uniform"])
@pytest.mark.parametrize("name", [*LOSSES, "nlpd"])
def test_the_gradient_is_finite_where_piqs_is_not(name, kind):
    image = photographs(sized(name, EVEN), torch.float32)[0][:1]
    x, y = {
        "identical": (image, image),
        "uniform": (torch.full_like(image, 0.3), torch.full_like(image, 0.3)),
        "black": (torch.zeros_like(image), torch.zeros_like(image)),
        "one uniform": (image, torch.full_like(image, 0.3)),
    }[kind]
    x, y = x.clone().requires_grad_(True), y.clone().requires_grad_(True)
    value = made(name)(x, y)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all() and torch.isfinite(y.grad).all()
    if kind != "one uniform":
        assert value.item() == pytest.approx(0, abs=1e-6)


def test_gmsds_gradient_in_piq_is_no_number():
    """If this fails piq has been mended, and the sentence about it can go."""
    x = torch.full((1, 3, 64, 64), 0.3, requires_grad=True)
    piq.gmsd(x, x.detach(), reduction="none").sum().backward()
    assert not torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", [*LOSSES, "nlpd"])
def test_gradient_steps_bring_an_image_nearer(name):
    reference, distorted = photographs(sized(name, EVEN), torch.float32)
    x, loss = distorted.clone().requires_grad_(True), made(name)
    before = loss(x, reference).sum()
    before.backward()
    step = 1e-3 * x.grad / x.grad.abs().amax((1, 2, 3), keepdim=True)
    with torch.no_grad():
        after = loss((x - step).clamp(0, 1), reference).sum()
    assert after < before


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(161, 190), width=st.integers(161, 190))
@pytest.mark.parametrize("name", LOSSES)
def test_distances_are_finite_never_negative_and_zero_for_equal_images(name, seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, 2, 3, *sized(name, (height, width)), generator=generator)
    y[1] = x[1]
    with torch.no_grad():
        value = made(name)(x, y)
    assert torch.isfinite(value).all() and value[0] > 0 and abs(value[1]) < 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_an_image_too_small_is_refused_in_words_and_grey_is_as_three_channels(name):
    loss = made(name)
    if loss.min_size > 1:
        small = torch.rand(1, 3, loss.min_size - 1, 200)
        with pytest.raises(ValueError, match=f"needs {loss.min_size} pixels a side"):
            loss(small, small)
    x, y = torch.rand(2, 1, 1, *sized(name, EVEN), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        three = loss(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1))
        torch.testing.assert_close(loss(x, y), three)


def test_options_are_those_of_losses():
    x, y = photographs((176, 192), torch.float32)
    x, y = x.requires_grad_(True), y.requires_grad_(True)
    plain = made("ssim")(x, y)
    mean = load_loss("ssim", mean=True, detach_target=True)(x, y)
    torch.testing.assert_close(mean, plain.mean())
    mean.backward()
    assert y.grad is None and x.grad.abs().sum() > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made("vif")(x, y).dtype == torch.float32


def test_ms_ssim_of_opposed_contrasts_is_one_and_has_a_finite_gradient():
    x = photographs((176, 192), torch.float32)[0][:1].requires_grad_(True)
    value = made("ms-ssim")(x, 1 - x.detach())
    value.sum().backward()
    assert value.item() == pytest.approx(1, abs=1e-6) and torch.isfinite(x.grad).all()
    assert math.isclose(by_piq("ms-ssim", 1 - x.detach(), x.detach()).item(), 1, abs_tol=1e-6)


def test_no_warning_is_given():
    x, y = photographs((176, 192), torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in LOSSES:
            height, width = sized(name, x.shape[2:])
            some, other = (image[..., :height, :width].clone() for image in (x, y))
            made(name)(some.requires_grad_(True), other).sum().backward()
