"""`metrics new`: a package that installs and is listed at once."""

import gc
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points

import pytest

from perceptbench.errors import UsageError
from perceptbench.metrics import registry
from perceptbench.metrics.card import check
from perceptbench.metrics.registry import build
from perceptbench.metrics.template import write_package


def test_a_new_package_has_a_metric_that_answers(tmp_path, monkeypatch):
    folder = write_package("my-metric", tmp_path)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.is_file()} == {
        "pyproject.toml", "README.md", "my_metric/__init__.py", "tests/test_my_metric.py",
    }  # fmt: skip
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    ((name, where),) = project["entry-points"][registry.GROUP].items()
    own = tuple(entry_points(group=registry.GROUP))
    added = (EntryPoint(name, where, registry.GROUP), *own)
    monkeypatch.setattr(registry, "entry_points", lambda group: added)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("perceptbench.metrics.memory.SECONDS", 0.0)  # few calls to find leaks
    assert check(build(registry.catalogue().metrics["my-metric"], None)).failed == []
    gc.freeze()  # what the search has thawed, see `conftest.py`


@pytest.mark.slow
def test_a_new_package_installs_is_listed_and_passes_its_own_test(tmp_path):
    folder = write_package("my-metric", tmp_path)
    target = tmp_path / "site"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, *map(str, arguments)], check=True, capture_output=True, text=True,
            timeout=200, cwd=folder, env={**os.environ, **variables},
        ).stdout  # fmt: skip

    run(*pip, "--target", target, folder)
    path = os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")])
    listed = run("-m", "perceptbench", "metrics", "list", PYTHONPATH=path)
    assert "| my-metric " in listed
    run("-m", "pytest", "-q", "--import-mode=importlib", "tests", PYTHONPATH=path)


@pytest.mark.parametrize("name", ["My", "a b", "../x", "-x", ""])
def test_a_name_is_lower_case_with_dashes(tmp_path, name):
    with pytest.raises(UsageError, match="lower case with dashes"):
        write_package(name, tmp_path)


def test_nothing_is_written_over(tmp_path):
    write_package("mine", tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        write_package("mine", tmp_path)
