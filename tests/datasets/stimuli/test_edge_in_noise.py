"""Edges in noise: published counts, and stimuli of the published sizes and contrasts."""

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench import colour
from perceptbench.datasets.stimuli.edge_in_noise import (
    OBSERVERS,
    edge_in_noise,
    edge_pattern,
    noise_pattern,
)
from perceptbench.errors import DataError

NOISES = ["none", "white", "pink1", "pink2", "narrow0.5", "narrow3", "narrow9"]


@pytest.fixture(scope="module")
def published(shared):
    table = pd.read_csv(
        shared / "psychophysics" / "schmittwilken2024_edge_in_noise_pooled.csv",
        keep_default_na=False,
    )
    return table[table.edge_rms_contrast > 1e-4].reset_index(drop=True)


def test_judgements_are_the_published_counts(published):
    two, one = (part.table for part in edge_in_noise().judgements)
    assert len(published) == 84 and len(one) == 4 * 84 and len(two) == 4 * 462
    shares = one.groupby("item")["impairment"].first()
    np.testing.assert_allclose(np.sort(shares), np.sort(published.n_correct / published.n_trials))

    counts = {
        f"{row.noise}/edge{row.edge_width_deg:g}@{row.edge_rms_contrast:g}": row
        for row in published.itertuples()
    }
    for row in two[::37].itertuples():
        noise, _, a = row.a.split("/")
        a, b = counts[f"{noise}/{a}"], counts[f"{noise}/{row.b.split('/')[2]}"]
        assert a.noise == b.noise == row.category
        correct = [[getattr(p, f"n_correct_{o}") for o in OBSERVERS] for p in (a, b)]
        fewer = np.sign(np.subtract(*correct))
        assert row.p_b == pytest.approx(((fewer + 1) / 2).mean())


@pytest.mark.parametrize("name", NOISES)
def test_noises_have_their_contrast_and_spectrum(name):
    noise = noise_pattern(name, 0)
    assert noise.shape == (176, 176)
    if name == "none":
        assert not noise.any()
        return
    assert noise.std() == pytest.approx(0.2) and noise.mean() == pytest.approx(0, abs=1e-12)
    assert not np.allclose(noise, noise_pattern(name, 1))
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(176, 1 / 44), np.fft.fftfreq(176, 1 / 44)))
    power = np.abs(np.fft.fft2(noise)) ** 2
    if name.startswith("narrow"):
        centre = float(name.removeprefix("narrow"))
        outside = (f < centre / np.sqrt(2) - 1e-9) | (f >= centre * np.sqrt(2) + 1e-9)
        assert power[outside].sum() < 1e-20 * power.sum()
    else:
        bands = [power[(f >= low) & (f < 2 * low)].mean() for low in (2.0, 4.0, 8.0)]
        slope = np.polyfit([0, 1, 2], np.log2(bands), 1)[0]
        expected = {"white": 0, "pink1": -2, "pink2": -4}[name]
        assert slope == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("width", [0.048, 0.15, 0.95])
def test_edges_have_their_contrast_place_and_polarity(width):
    edges = [edge_pattern(width, 0.01, sample) for sample in range(4)]
    assert all(np.sqrt(np.mean(e**2)) == pytest.approx(0.01) for e in edges)
    np.testing.assert_allclose(edges[2], -edges[0])
    np.testing.assert_allclose(edges[1], -edges[0][::-1], atol=1e-15)
    step = np.abs(np.diff(edges[0][:, 0])).argmax() + 0.5
    assert abs(abs(step - 87.5) / 44 - 0.5) < 0.03


def test_an_images_luminance_is_noise_plus_edge_on_the_background():
    dataset = edge_in_noise()
    key = dataset.judgements[1].table["distorted"].iloc[-1]
    noise, sample, what = key.split("/")
    width, rms = what.removeprefix("edge").split("@")
    light = colour.srgb_decode(dataset.load(key).double())[0].numpy()
    pattern = noise_pattern(noise, int(sample)) + edge_pattern(
        float(width), float(rms), int(sample)
    )
    np.testing.assert_allclose(light, 0.3 * (1 + pattern), atol=1e-6)
    blank = dataset.load("none/0/noise")
    torch.testing.assert_close(blank, blank[:, :1, :1].expand_as(blank))


def test_unknown_keys_are_named():
    dataset = edge_in_noise()
    for key in ("", "white/9/noise", "pink3/0/noise", "white/0/edge1@1"):
        with pytest.raises(DataError, match="there is no such edge-in-noise image"):
            dataset.load(key)
