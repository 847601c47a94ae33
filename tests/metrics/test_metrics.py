"""Classical metrics: hand-worked values, other libraries on the same tensors, invariants."""

import functools
import math

import piq
import pytest
import torch

from perceptbench.losses.classical.colours import CIEDE2000
from perceptbench.losses.classical.detection import WatsonAhumada
from perceptbench.metrics.pixel import mae, mse, psnr
from perceptbench.metrics.registry import build, catalogue


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(2, 3, 192, 176, generator=generator)
    noise = 0.1 * torch.randn(2, 3, 192, 176, generator=generator)
    return reference, (reference + noise).clamp(0, 1)


@functools.cache
def metric(name):
    return build(catalogue().metrics[name], None).at(60.0)


def test_pixel_metrics_by_hand():
    grey, black = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4)
    assert mse(grey, black).item() == 0.25
    assert mae(grey, black).item() == 0.5
    assert psnr(grey, black).item() == pytest.approx(100 - 10 * math.log10(1 / 0.25), abs=1e-4)
    assert psnr(grey, grey).item() == 0.0


def test_psnr_is_piqs(pair):
    reference, distorted = pair
    expected = 100 - piq.psnr(distorted, reference, data_range=1.0, reduction="none")
    torch.testing.assert_close(
        psnr(reference, distorted), expected, rtol=1e-4, atol=1e-3, check_dtype=False
    )  # whose logarithm is one of float64


CLASSICAL = ["mse", "mae", "psnr", "ciede2000", "watson-ahumada", "gmsd", "ssim",
             "ms-ssim", "fsim", "vif", "haarpsi", "mdsi", "vsi", "nlpd"]  # fmt: skip


def sized(pair, name):
    """A quarter of the images, but for MS-SSIM, which needs 161 pixels a side."""
    return pair if name == "ms-ssim" else [image[..., :96, :88] for image in pair]


@pytest.mark.parametrize("name", CLASSICAL)
def test_distances_vanish_for_identical_images_and_grow_with_noise(pair, name):
    reference, distorted = sized(pair, name)
    half = (reference + distorted) / 2
    zero, near, far = (metric(name)(reference, d) for d in (reference, half, distorted))
    torch.testing.assert_close(zero, torch.zeros_like(zero), atol=2e-5, rtol=0)
    assert (near < far).all() and (zero < near).all()


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_pairs_distance_does_not_depend_on_its_batch(pair, name):
    reference, distorted = sized(pair, name)
    both = metric(name)(reference, distorted)
    alone = torch.cat([metric(name)(reference[i : i + 1], distorted[i : i + 1]) for i in (0, 1)])
    torch.testing.assert_close(both, alone, rtol=1e-5, atol=1e-6)


def test_ciede2000_of_white_and_black_is_one_hundred():
    white, black = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    assert CIEDE2000()(white, black).item() == pytest.approx(100, abs=1e-3)


def test_watson_ahumada_is_linear_in_contrast_and_blind_to_the_finest_gratings():
    def seen(contrast, cycles_per_degree):
        x = torch.arange(120, dtype=torch.float64) / 120
        wave = torch.cos(2 * math.pi * cycles_per_degree * x).expand(1, 1, 120, 120)
        linear = (0.2 * (1 + contrast * wave)).expand(1, 3, 120, 120)
        image = 1.055 * linear ** (1 / 2.4) - 0.055
        blank = torch.full_like(image, 1.055 * 0.2 ** (1 / 2.4) - 0.055)
        return WatsonAhumada(120.0)(blank, image).item()

    assert seen(0.1, 4) == pytest.approx(2 * seen(0.05, 4), rel=1e-6)
    assert seen(0.1, 4) > 5 * seen(0.1, 30)


def test_watson_ahumada_has_a_finite_gradient_at_identity():
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    WatsonAhumada(60.0)(image.detach(), image).sum().backward()
    assert torch.isfinite(image.grad).all()
