"""The steerable pyramid: its windows tile, its bands are the literature's, gratings light up."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.agreement import two_alternative
from perceptbench.datasets.judgements.protocols import pairs
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest
from perceptbench.errors import UsageError
from perceptbench.losses import Backbone, FeatureLoss, Term, load_loss, load_network
from perceptbench.losses.config import Networks, build_loss, read_loss
from perceptbench.losses.distances import DISTANCES
from perceptbench.losses.pyramid import (
    SteerablePyramid,
    lower_half,
    orientation_window,
    padded,
    radial_window,
    windows,
)
from perceptbench.scoring.engine import score
from perceptbench.scoring.plan import make_plan

PRESETS = ["pyramid-l2", "pyramid-gram", "pyramid-unit"]


def random_images(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(st.floats(0, math.sqrt(2)), st.integers(1, 8))
def test_squared_radial_windows_sum_to_one_over_the_covered_band(frequency, octaves):
    f = torch.tensor(frequency, dtype=torch.float64)
    found = [float(radial_window(f, k)) for k in range(1, octaves + 1)]
    total = sum(w * w for w in found)
    if frequency >= 2 ** (1 - octaves):
        assert total == pytest.approx(1, abs=1e-12)
    else:
        assert total < 1
    for octave, amplitude in enumerate(found, start=1):
        inside = 2**-octave < frequency < (2 ** (2 - octave) if octave > 1 else 2)
        assert (amplitude > 0) == inside


@given(st.floats(-10, 10), st.integers(2, 16))
def test_squared_orientation_windows_tile_the_circle(angle, orientations):
    a = torch.tensor([angle, angle + math.pi], dtype=torch.float64)
    found = [orientation_window(a.cos(), a.sin(), j, orientations) for j in range(orientations)]
    assert float(sum(w.square().sum() for w in found)) == pytest.approx(1, abs=1e-12)
    # One half of the plane each: never an angle and its opposite.
    assert all(w.min() < 1e-12 for w in found)


def spectra(planes, octaves):
    """The spectrum of each octave, beginning with the finest."""
    spectrum = torch.fft.fft2(planes, norm="forward")
    for octave in range(1, octaves + 1):
        if octave > 2:
            spectrum = lower_half(spectrum)
        yield octave, spectrum


def bands(spectrum, octave, orientations=4):
    form = windows(spectrum.real, *spectrum.shape[-2:], orientations, octave == 1)
    return torch.fft.ifft2(spectrum[:, :, None] * form, norm="forward")


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 5), st.integers(2, 6), st.integers(0, 99)
)
def test_the_energies_of_all_bands_sum_to_that_of_the_image(height, width, octaves, count, seed):
    image = padded(random_images(1, 1, height, width, seed=seed, dtype=torch.float64), octaves)
    energy, power = 0.0, torch.fft.fft2(image, norm="forward").abs().square()
    side = [2 * torch.fft.fftfreq(n, dtype=torch.float64) for n in image.shape[-2:]]
    frequency = torch.hypot(side[0][:, None], side[1])
    for octave, spectrum in spectra(image, octaves):
        energy += float(bands(spectrum, octave, count).abs().square().mean((-2, -1)).sum())
    covered = sum(radial_window(frequency, k).square() for k in range(1, octaves + 1))
    energy += float((power * (1 - covered)).sum())
    assert energy == pytest.approx(float(image.square().mean()), rel=1e-9, abs=1e-15)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("response", ["magnitude", "real", "complex"])
def test_the_octaves_are_the_bands_of_plenoptic(response):
    """Octave k is its band k - 2, octave 1 its high-pass residual; it looks windows up in a table.

    Its tight frame keeps sums of squares, ours mean squares: a factor of 2 an octave.
    """
    process = pytest.importorskip("plenoptic", reason="plenoptic is not installed").process
    image = random_images(2, 1, 75, 50, dtype=torch.float64)
    octaves, margin = 4, 16
    whole = padded(image, octaves)
    theirs = process.SteerablePyramidFreq(
        whole.shape[-2:], height=3, order=3, is_complex=response != "real", tight_frame=True
    )
    theirs = theirs.double()(whole)
    pyramid = SteerablePyramid(octaves, colour="rgb", response=response)
    found = pyramid(image)
    for octave in range(2, octaves + 1):
        expected = theirs[octave - 2] / 2 ** (octave - 2)
        step = 2 ** (octave - 2)
        if response == "magnitude":
            expected, step = expected.abs()[..., ::2, ::2], 2 * step
        if response == "complex":
            expected = torch.stack([expected.real, expected.imag], dim=3)
        got = found[f"octave{octave}"]
        top, (height, width) = margin // step, got.shape[-2:]
        assert (height, width) == (-(-75 // step), -(-50 // step))
        expected = expected.flatten(1, -3)[..., top : top + height, top : top + width]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    (_, spectrum), *_ = spectra(whole, 1)
    finest = bands(spectrum, 1).abs().square().mean((-2, -1)).sum((1, 2))
    residual = theirs["residual_highpass"].square().mean((1, 2, 3))
    torch.testing.assert_close(finest, residual, rtol=1e-4, atol=0)


@pytest.mark.parametrize("octave", [1, 2, 3, 4])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3])
def test_a_grating_lights_its_own_octave_and_orientation_whatever_its_phase(octave, orientation):
    frequency = 0.75 if octave == 1 else 2.0 ** (1 - octave)
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(96.0), indexing="ij")
    angle = math.pi * orientation / 4
    place = math.pi * frequency * (x * math.cos(angle) + y * math.sin(angle))
    pyramid = SteerablePyramid(octaves=5, colour="grey")
    found = []
    for phase in (0.0, 1.0, 2.0):
        image = (0.5 + 0.3 * torch.cos(place + phase)).expand(1, 3, -1, -1)
        # Away from the borders, where the reflection is another orientation.
        maps = [m[0, :, h // 4 : -h // 4, w // 4 : -w // 4] for m in pyramid(image).values()
                for h, w in [m.shape[-2:]]]  # fmt: skip
        energy = torch.stack([m.square().mean((1, 2)) for m in maps])
        assert divmod(int(energy.argmax()), 4) == (octave - 1, orientation)
        assert energy[octave - 1, orientation] > 0.5 * energy.sum()
        found.append(maps[octave - 1][orientation])
    if octave > 1:
        # The amplitude of the window at its centre, cos^3's normalisation.
        expected = torch.full_like(found[0], 0.3 / math.sqrt(2) * math.sqrt(0.8))
        for magnitudes in found:
            torch.testing.assert_close(magnitudes, expected, rtol=0.04, atol=0)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 45),
    st.integers(1, 45),
    st.integers(1, 6),
    st.sampled_from(["ycbcr", "rgb", "grey"]),
    st.sampled_from(["magnitude", "real", "complex"]),
)
def test_images_of_any_size_give_maps_of_their_octaves_and_each_its_own(h, w, n, colour, response):
    images = random_images(3, 3, h, w)
    pyramid = SteerablePyramid(n, 3, colour, response)
    found = pyramid(images)
    channels = (1 if colour == "grey" else 3) * 3 * (2 if response == "complex" else 1)
    for octave, (tap, maps) in enumerate(found.items(), start=1):
        step = 2 ** (octave - 1 if response == "magnitude" else max(0, octave - 2))
        assert maps.shape == (3, channels, -(-h // step), -(-w // step))
        torch.testing.assert_close(pyramid(images[1:2], [tap])[tap], maps[1:2])
    assert list(found) == list(pyramid.taps)


def test_pieces_of_a_batch_change_nothing(monkeypatch):
    images = random_images(5, 3, 40, 30)
    whole = SteerablePyramid(3)(images)
    monkeypatch.setattr("perceptbench.losses.pyramid.PIECE_BYTES", 1)
    for tap, maps in SteerablePyramid(3)(images).items():
        torch.testing.assert_close(maps, whole[tap])


def test_opposite_borders_do_not_leak_into_each_other():
    one = random_images(1, 3, 64, 256)
    other = one.clone()
    other[..., -16:] = random_images(1, 3, 64, 16, seed=1).round()
    pyramid = SteerablePyramid()
    for tap, a in pyramid(one).items():
        change = (pyramid(other, [tap])[tap] - a).abs()
        assert change[..., : a.shape[-1] // 8].max() < 0.05 * change.max(), tap


def test_a_uniform_image_has_no_response_and_a_finite_gradient():
    for value in (0.0, 0.3, 1.0):
        image = torch.tensor([value, 0.7, 0.2]).view(1, 3, 1, 1).expand(1, 3, 50, 41)
        assert all(maps.max() < 1e-7 for maps in SteerablePyramid()(image).values())
    for name in PRESETS:
        leaf = image.clone().requires_grad_()
        load_loss(name)(leaf, torch.full_like(image, 0.5)).sum().backward()
        assert torch.isfinite(leaf.grad).all()


def test_the_mean_colour_is_not_seen():
    images = 0.8 * random_images(1, 3, 40, 40)
    found, shifted = (SteerablePyramid()(i) for i in (images, images + 0.1))
    for tap, maps in found.items():
        torch.testing.assert_close(shifted[tap], maps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("response", ["magnitude", "real", "complex"])
def test_gradients_are_the_numerical_ones(response):
    pyramid = SteerablePyramid(2, 2, response=response)
    image = random_images(1, 3, 5, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(pyramid(x).values()), (image,))


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance_works_on_its_taps(name):
    backbone = Backbone(load_network("steerable-pyramid", octaves=2, orientations=2), ["octave2"])
    head = torch.ones(1) if name == "unit_normalised" else None
    loss = FeatureLoss(backbone, [Term("octave2", name, 1.0, head, 2.5 if name == "lp" else None)])
    x, y = (0.1 + 0.8 * i for i in random_images(2, 1, 3, 4, 4, dtype=torch.float64))
    if name != "contextual":
        assert float(loss(x, x)) == 0 < float(loss(x, y))
    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), y), atol=1e-6, fast_mode=True)


def test_half_precision_is_computed_in_float32_and_double_in_double():
    image = random_images(1, 3, 20, 20)
    exact = SteerablePyramid(2)(image)["octave2"]
    half = SteerablePyramid(2)(image.half())["octave2"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0.05, atol=1e-3)
    double = SteerablePyramid(2)(image.double())["octave2"]
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), exact, rtol=1e-4, atol=1e-6)


def test_one_trains_after_it_has_scored():
    loss = load_loss("pyramid-unit")
    x, y = random_images(2, 1, 3, 331, 30)  # of a size that no other test has kept windows of
    with torch.inference_mode():
        value = loss(x, y)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(loss(leaf, y), value)
    loss(leaf, y).sum().backward()
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"octaves": 0}, "octaves is one of 1, 2, 3, 4, 5, 6, 7, 8, not 0"),
        ({"orientations": 1}, "orientations is one of 2, 3, 4"),
        ({"colour": "lab"}, "colour is one of ycbcr, rgb, grey, not 'lab'"),
        ({"response": "phase"}, "response is one of magnitude, real, complex, not 'phase'"),
    ],
)
def test_what_it_cannot_be_is_named(options, message):
    with pytest.raises(UsageError, match=f"steerable pyramid: {message}"):
        SteerablePyramid(**options)


def test_the_presets_share_one_pass_and_score_as_they_do_alone():
    networks = Networks()
    losses = {name: build_loss(read_loss(name)[0], networks) for name in PRESETS}
    assert len(make_plan(losses).passes) == 1
    images = {key: random_images(3, 40, 44, seed=ord(key)) for key in "abc"}
    table = pd.DataFrame({"reference": ["a", "a", "b"], "distorted": ["b", "c", "c"]})
    found = score(table, images.__getitem__, losses).table
    for name, loss in losses.items():
        for row in found.itertuples():
            alone = loss(images[row.reference][None], images[row.distorted][None])
            value = found.loc[row.Index, name]
            assert value == pytest.approx(float(alone), rel=1e-4)


@pytest.mark.slow
def test_pyramid_unit_agrees_with_people(shared, tmp_path):
    """All 3,000 triplets of material-appearance; pixel MSE has 0.6388, LPIPS-alex 0.7355."""
    dataset = load_dataset(find_manifest("material-appearance"), shared, tmp_path)
    (part,) = dataset.judgements
    found = all_distances(load_loss("pyramid-unit"), dataset.load, part.table)
    people = part.table["p_b"].to_numpy()
    value = two_alternative.score(found["a"], found["b"], people).mean()
    assert value == pytest.approx(0.7303, abs=1e-3) and value >= 0.725


def all_distances(loss, load, table):
    """Distances of every pair by one matrix product a tap: a mean square is |u|^2 + |v|^2 - 2uv."""
    names = sorted(set(pairs(table)["reference"]) | set(pairs(table)["distorted"]))
    total = torch.zeros(len(names), len(names), dtype=torch.float64)
    with torch.inference_mode():
        at = [loss.backbone(load(name)[None]) for name in names]
        for term in loss.terms:
            embedded = torch.stack([term.how.embed(one[term.tap])[0] for one in at])
            flat = embedded.flatten(1)
            inner = (flat @ flat.T).double() / embedded[0, 0].numel()
            square = inner.diagonal()
            total += term.weight * (square[:, None] + square - 2 * inner)
    index = pd.Series(np.arange(len(names)), index=names)
    rows = index[table["reference"]].to_numpy()
    return {side: total.numpy()[rows, index[table[side]].to_numpy()] for side in ("a", "b")}
