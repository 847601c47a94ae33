"""Computed images are known by key, options and code, without being made."""

from dataclasses import replace

import pandas as pd
import pytest

from perceptbench.datasets.judgements.protocols import pairs
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest
from perceptbench.datasets.stimuli import computed
from perceptbench.metrics.pixel import mse
from perceptbench.scoring.engine import score
from perceptbench.scoring.options import Options


def test_key_options_and_code_decide_the_identity(monkeypatch):
    first = computed.Computed(str, {"a": "1"})
    identity = first.identify("x")
    assert computed.Computed(repr, {"a": "1"}).identify("x") == identity
    others = [first.identify("y"), computed.Computed(str, {"a": "2"}).identify("x")]
    monkeypatch.setattr(computed, "_code", lambda: "another")
    others.append(first.identify("x"))
    assert len({identity, *others}) == 4


def test_a_new_line_of_code_is_another_code(monkeypatch, tmp_path):
    folder = tmp_path / "datasets" / "stimuli"
    folder.mkdir(parents=True)
    for path, text in ((folder / "made.py", "a"), (tmp_path / "colour.py", "b")):
        path.write_text(text)
    monkeypatch.setattr(computed, "__file__", str(folder / "computed.py"))
    code = computed._code.__wrapped__
    first = code()
    (tmp_path / "colour.py").write_text("c")
    second = code()
    (folder / "table.csv").write_text("d")
    assert len({first, second, code()}) == 3


def test_what_is_stored_is_recalled_without_an_image(tmp_path):
    dataset = load_dataset(find_manifest("macadam-osa"), None, tmp_path)
    wanted = pairs(dataset.judgements[0].table)[:5]
    options = Options(device="cpu", store=str(tmp_path / "store"))

    def scored(load):
        return score(wanted, load, {"mse": mse}, options, identities={"mse": "1"}).table

    first = scored(dataset.load)
    pd.testing.assert_frame_equal(scored(replace(dataset.load, load=pytest.fail)), first)
    assert first["mse"].notna().all()
