"""Datasets of other packages, by entry point; a broken one is named and costs nothing else."""

import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from perceptbench.datasets import manifest as catalogue
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest, manifests, plugins
from perceptbench.errors import DataError, UsageError

SOURCE = """
    import pandas as pd, torch
    from perceptbench.datasets.dataset import Dataset
    from perceptbench.datasets.judgements.protocols import Judgements

    def greys(levels="4"):
        table = pd.DataFrame({"reference": ["0", "0"], "distorted": ["1", "2"], "quality": [2, 1]})
        load = lambda key: torch.full((3, 8, 8), int(key) / int(levels))
        return Dataset("x", (Judgements("x", table, statistics=("srcc",)),), load)

    def wrong():
        return 3

    def raising():
        raise RuntimeError("no licence key")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs entry points into a module `plugdata`."""

    def make(*points):
        (tmp_path / "plugdata.py").write_text(textwrap.dedent(SOURCE))
        folder = tmp_path / "plugfolder"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / "listed.toml").write_text(
            'name = "listed"\ntitle = "t"\ncitation = "c"\nimages = "computed"\n'
            'protocols = ["rating"]\nreader = "plugdata:greys"\nembedded = true\n'
            '[expect."all/rating"]\nitems = 2\n'
            '[option.levels]\nhelp = "how many"\ndefault = "4"\n'
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("plugdata", None)
        found = [EntryPoint(name, value, catalogue.GROUP) for name, value in points]
        monkeypatch.setattr(catalogue, "entry_points", lambda group: found)

    return make


def test_a_plugin_is_a_function_or_a_folder_of_manifests(install, tmp_path):
    install(("greys", "plugdata:greys"), ("folder", "plugfolder"))
    assert {"greys", "listed", "modelfest"} <= set(manifests())
    for name in ("greys", "listed"):
        dataset = load_dataset(find_manifest(name), None, tmp_path)
        assert dataset.name == name and dataset.judgements[0].dataset == name
        assert dataset.load("2").mean() == 0.5
    assert not manifests()["listed"].embedded
    fine = load_dataset(find_manifest("listed"), None, tmp_path, options={"levels": "8"})
    assert fine.load("2").mean() == 0.25


def test_broken_plugins_are_named(install, tmp_path):
    install(
        ("gone", "nowhere:x"), ("wrong", "plugdata:wrong"), ("raising", "plugdata:raising"),
        ("absent", "plugdata:absent"), ("greys", "plugdata:greys"),
    )  # fmt: skip
    assert "there is no module" in plugins()[1]["gone"] and "greys" in manifests()
    with pytest.raises(UsageError, match="gone cannot be used"):
        find_manifest("gone")
    for name, why in {
        "wrong": "returns int", "raising": "no licence key", "absent": "cannot be imported",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=why):
            load_dataset(find_manifest(name), None, tmp_path)


def test_a_plugin_takes_no_name_of_ours(install):
    install(("modelfest", "plugdata:greys"))
    assert find_manifest("modelfest").reader.startswith("perceptbench.")
    assert manifests()["modelfest"].reader.startswith("perceptbench.")
