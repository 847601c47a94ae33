"""Procedural images: seeded, and with the statistics of photographs."""

import numpy as np

from perceptbench.descent import starts
from perceptbench.descent.dead_leaves import dead_leaves


def test_a_seed_decides_the_image():
    first, again, other = (dead_leaves(32, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all() and (first != other).mean() > 0.5


def test_the_amplitude_falls_about_as_1_over_f_and_edges_are_rare():
    """Field 1987: amplitude ~ f^-a with a near 1; differences of neighbours have heavy tails."""
    images = np.stack([dead_leaves(64, np.random.default_rng(s)) for s in range(6)])
    grey = images.mean(3) - images.mean(3).mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(grey)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    inside = (frequency > 2 / 64) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]) / 2, 1)[0]
    assert -1.5 < slope < -0.8
    steps = np.diff(grey, axis=2).ravel()
    assert (steps**4).mean() / (steps**2).mean() ** 2 > 4.5  # 3 for a Gaussian


def test_another_image_changes_none_of_the_first():
    few, more = (starts.references(None, count, 16, 0)[1] for count in (2, 3))
    assert (few == more[:2]).all()
    a, b = (starts.degraded(images, ["noise", "other"], 0) for images in (few, more))
    assert (a[:3] == b[:3]).all() and (a[1] == few[1]).all()


def test_every_start_degrades(tmp_path):
    _, images = starts.references(None, 2, 32, 0)
    worse = starts.degraded(images, tuple(starts.STARTS), 0).reshape(2, -1, 32, 32, 3)
    assert (worse != images[:, None]).any((2, 3, 4)).all()
    kinds = list(starts.STARTS)
    assert len(np.unique(worse[0, kinds.index("quantised")].reshape(-1, 3), axis=0)) <= 8
    assert np.ptp(worse[0, kinds.index("grey")].astype(int), axis=-1).max() <= 1
