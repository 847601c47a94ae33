"""Changes of the distorted image that no viewer would mind, and what they do to scores."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements, pairs
from perceptbench.datasets.perturbed import changed, check_change, perturbed, unperturbed
from perceptbench.errors import UsageError


def noise(height=24, width=32, seed=0):
    return torch.rand((3, height, width), generator=torch.Generator().manual_seed(seed))


def ramp(height=48, width=64):
    """Linear in both directions, so that bilinear interpolation is exact."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((x + 2 * y) / (width + 2 * height)).expand(3, -1, -1).contiguous()


@pytest.mark.parametrize("text", ["shift=1", "shift=1px2", "turn=1", "jpeg=101", "resize=cubic",
                                  "scale=0.5", "scale=3", "bf16=1", "shift", ""])  # fmt: skip
def test_what_is_no_change_is_refused(text):
    with pytest.raises(UsageError, match="--perturb"):
        check_change(text)


@given(st.integers(1, 31))
@settings(max_examples=10)
def test_a_shift_moves_the_content_and_makes_nothing_up(pixels):
    image = noise()
    a, b = (changed(image, f"shift={pixels}px", side) for side in (True, False))
    assert a.shape == b.shape == (3, 24, 32 - pixels)
    assert torch.equal(a, image[..., : 32 - pixels]) and torch.equal(b, image[..., pixels:])


def test_one_per_cent_is_the_published_shift():
    """The authors cut off ceil(1 % of the width): 6 of 512 columns, 8 of 768."""
    assert changed(noise(8, 512), "shift=1%").shape[2] == 512 - 6
    assert changed(noise(8, 768), "shift=1%").shape[2] == 768 - 8


def test_an_image_that_is_too_narrow_for_a_shift_is_named():
    with pytest.raises(UsageError, match="has 32 columns"):
        changed(noise(), "shift=32px")


def test_a_rotation_turns_the_coordinates():
    """A plane stays a plane: its values are those at the turned coordinates."""
    image = ramp()
    turned = changed(image, "rotate=1")
    height, width = image.shape[1:]
    angle = np.radians(1)
    y, x = np.mgrid[10 : height - 10, 10 : width - 10]
    u, v = x - (width - 1) / 2, y - (height - 1) / 2
    # Clockwise on the screen, where y points down: what is shown at (u, v) was at the angle back.
    u, v = u * np.cos(angle) + v * np.sin(angle), -u * np.sin(angle) + v * np.cos(angle)
    expected = (u + (width - 1) / 2 + 2 * (v + (height - 1) / 2)) / (width + 2 * height)
    inside = turned[0, 10 : height - 10, 10 : width - 10].numpy()
    np.testing.assert_allclose(inside, expected, atol=1e-5)
    assert torch.allclose(changed(image, "rotate=0"), image, atol=1e-6)


def test_a_rotation_is_pillows():
    pixels = (noise(64, 96) * 255).byte().permute(1, 2, 0).numpy()
    smooth = np.asarray(Image.fromarray(pixels).resize((96, 64)).resize((24, 16)).resize((96, 64)))
    image = torch.from_numpy(smooth.copy()).permute(2, 0, 1).float() / 255
    theirs = np.asarray(Image.fromarray(smooth).rotate(-5, Image.Resampling.BILINEAR))
    ours = changed(image, "rotate=5").permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - theirs)[12:-12, 12:-12].max() < 2


def test_a_scaling_enlarges_about_the_centre():
    image = ramp()
    large = changed(image, "scale=2")
    assert large.shape == image.shape
    steps = torch.diff(large[0, 20:28], dim=1)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.5 / (64 + 96)), atol=1e-5, rtol=0)
    assert torch.equal(changed(image, "scale=1"), image)
    torch.testing.assert_close(changed(image, "scale=1%"), changed(image, "scale=1.01"))


def test_resizing_differs_by_kernel_only():
    image = noise()
    same = changed(image, "resize=bicubic")
    assert same.shape == (3, 12, 16)
    assert torch.equal(same, changed(image, "resize=bilinear", reference=True))
    assert not torch.equal(same, changed(image, "resize=bilinear"))
    box = image.reshape(3, 12, 2, 16, 2).mean((2, 4))
    torch.testing.assert_close(changed(image, "resize=box"), box, atol=1e-6, rtol=0)


def test_jpeg_and_bf16_keep_the_image_nearly():
    image = ramp()
    assert 0 < (changed(image, "jpeg=95") - image).abs().max() < 0.05
    assert torch.equal(changed(image, "bf16"), image.bfloat16().float())


def ratings(images):
    table = pd.DataFrame(
        {"reference": "ref.png", "distorted": ["a.png", "b.png"], "quality": [2.0, 1.0]}
    )
    return Dataset("mine", (Judgements("mine", table),), FileLoader(images), images)


def triplets(images):
    table = pd.DataFrame({"reference": ["ref.png"], "a": "a.png", "b": "b.png", "p_b": [0.0]})
    return Dataset("mine", (Judgements("mine", table),), FileLoader(images), images)


@pytest.mark.parametrize("made", [ratings, triplets])
@pytest.mark.parametrize("change", ["shift=1px", "jpeg=95"])
def test_scores_of_changed_images_become_columns(images, made, change):
    dataset = made(images)
    wide = perturbed(dataset, [change])
    assert len(wide.judgements) == 2
    scores = pd.concat([pairs(part.table) for part in wide.judgements], ignore_index=True)
    assert len(scores) == 4
    scores.insert(0, "dataset", "mine")
    scores["mse"] = [
        float(((wide.load(r) - wide.load(d)) ** 2).mean())
        for r, d in zip(scores["reference"], scores["distorted"], strict=True)
    ]
    found = unperturbed(scores, ["mse"])
    assert list(found) == ["dataset", "reference", "distorted", "mse", f"mse@{change}"]
    assert set(found["distorted"]) == {"a.png", "b.png"} and set(found["reference"]) == {"ref.png"}
    for row in found.to_dict("records"):
        plain = [dataset.load(row[side]) for side in ("reference", "distorted")]
        sides = plain
        if change.startswith("shift"):
            sides = [plain[0][..., :-1], plain[1][..., 1:]]
        else:
            sides = [plain[0], changed(plain[1], change)]
        expected = float(((sides[0] - sides[1]) ** 2).mean())
        assert row[f"mse@{change}"] == pytest.approx(expected, rel=1e-5)
        assert row["mse"] == pytest.approx(float(((plain[0] - plain[1]) ** 2).mean()))


def test_a_changed_image_is_another_for_the_store(images):
    load = perturbed(ratings(images), ["bf16"]).load
    keys = ["a.png", "a.png @ bf16", "a.png @ jpeg=95", "b.png @ bf16"]
    assert len({load.identify(key) for key in keys}) == 4
    assert load.identify("a.png") == FileLoader(images).identify("a.png")
