"""Threshold contrast against frequency: what goes in by formula comes out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import style

from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest
from perceptbench.metrics.registry import catalogue, select
from perceptbench.reporting import notes, sensitivity
from perceptbench.reporting.plots import STYLE, _file
from perceptbench.run import run
from perceptbench.scoring.options import Options


def test_a_metric_of_known_thresholds_gets_them_back():
    """d = (c / threshold)^1.7 at thresholds four times those of people at half the frequencies."""
    people = pd.Series({0.5: 0.01, 2.0: 0.02, 8.0: 0.04, 32.0: 0.3})
    own = people * np.array([1, 4, 1, 4])
    value = pd.Series(np.repeat(people.index, 3))
    contrast = value.map(people) * np.tile([0.5, 1.1, 2.0], 4)
    found = sensitivity._inverted(value, contrast, (contrast / value.map(own)) ** 1.7, people)
    # The level is chosen so that the mean of the logarithms is that of people.
    np.testing.assert_allclose(found / people, [0.5, 2, 0.5, 2])
    assert sensitivity._inverted(value, contrast, 1 / contrast, people) is None
    assert sensitivity._inverted(value, contrast, 0 * contrast, people) is None


@pytest.fixture(scope="module")
def card_run(tmp_path_factory):
    dataset = load_dataset(find_manifest("vision-card"), None, tmp_path_factory.mktemp("cache"))
    parts = tuple(p for p in dataset.judgements if p.slice in ("achromatic", "red-green"))
    metrics = select(["mse", "mae"], catalogue())
    return run([replace(dataset, judgements=parts)], metrics, options=Options(device="cpu"))


def test_mse_sees_every_frequency_alike(card_run):
    table = sensitivity.thresholds(card_run)
    assert set(table["slice"]) == {"achromatic", "red-green"}
    mse = table[(table["metric"] == "mse") & (table["slice"] == "achromatic")]
    below = mse[mse["frequency"] < 20]  # higher ones come near the rate of the pixels
    assert np.ptp(np.log(below["threshold"])) < 0.05
    assert np.ptp(np.log(mse["people"])) > 2


@pytest.mark.slow
def test_the_figures_are_drawn_and_the_same_every_time(card_run):
    with style.context(["default", STYLE]):
        first, again = (_file(sensitivity.figure(card_run), "svg") for _ in range(2))
    assert first == again and b"<svg" in first


def test_tests_of_different_groups_have_a_vote_each(card_run):
    told = {"vision-card/achromatic": "detection", "vision-card/red-green": "colour"}
    assert card_run.provenance["groups"] == told
    assert set(card_run.board["of"].dropna()) == {2}
    (sentence,) = (s for s in notes.reading(card_run) if "one vote together" in s)
    assert "colour: vision-card red-green; detection: vision-card achromatic." in sentence


def test_layers_by_tests(card_run):
    from perceptbench.reporting.heat import test_maps

    loss = {"backbone": {"name": "net"}, "tap": [{"layer": "x", "distance": "l2"}]}
    other = {**loss, "tap": [{"layer": "y", "distance": "l2"}]}
    card_run.provenance["metrics"] = {"mse": {"loss": loss}, "mae": {"loss": other}}
    (found,) = test_maps(card_run, ["mse", "mae"])
    # Of one dataset, whose name says nothing then.
    assert found.columns == [f"{c.slice} {c.statistic}" for c in card_run.columns]
    assert [name for _, name, _ in found.rows] == ["x", "y"]
    for cells in zip(*(line for _, _, line in found.rows), strict=True):
        assert {cell.best for cell in cells} == {True, False} or cells[0].text == cells[1].text
