"""The store and the outlook on the command line."""

import shutil

import pandas as pd
import pytest
from click.testing import CliRunner

from perceptbench.cli import cli as commands
from perceptbench.cli import main


@pytest.fixture
def cli(capsys, monkeypatch):
    """Runs the command line; exit code, output, errors."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["perceptbench", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return (code, *capsys.readouterr())

    return call


LOSS = """
[backbone]
name = "squeezenet1_1"
weights = "random"
[[tap]]
layer = "features.1"
distance = "l2"
[[tap]]
layer = "features.4"
distance = "l2"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A command line with a metric of pixels and one of a network."""
    file = tmp_path_factory.mktemp("losses") / "mine.toml"
    file.write_text(LOSS)
    metrics = ("-m", "mse", "-m", file)
    return ("run", "macadam-osa", *metrics, "--no-pictures", "--device", "cpu")


@pytest.fixture(scope="module")
def stored(run, tmp_path_factory):
    """A run and its store, made once; a test that changes it copies it."""
    folder = tmp_path_factory.mktemp("stored")
    words = [*run, "--store", folder / "store", "-o", folder / "out"]
    result = CliRunner().invoke(commands, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder


def test_a_second_run_reads_the_store_and_ends_with_the_same_bytes(
    cli, run, stored, tmp_path, monkeypatch
):
    first, second = stored / "out", tmp_path / "second"
    monkeypatch.setattr("perceptbench.scoring.walk.Walk.shard", pytest.fail)
    assert cli(*run, "--store", stored / "store", "-o", second)[0] == 0
    for name in ("scores.parquet", "agreement.csv", "leaderboard.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_outlook_tells_what_is_stored(cli, run, stored, tmp_path):
    arguments = (*run, "--store", tmp_path / "store", "-o", tmp_path / "out")
    code, before, _ = cli(*arguments, "--dry-run")
    assert code == 0 and not (tmp_path / "out").exists()
    assert "128 pairs of 59 images; shards to do: 1" in before
    assert (
        "network squeezenet1_1, random weights (native size): 59 images forward, 2 taps" in before
    )
    assert "on the images themselves, 128 pairs: mse" in before and "0 % is stored" in before
    after = cli(*run, "--store", stored / "store", "-o", tmp_path / "out", "--dry-run")[1]
    assert "100 % is stored" in after and "about less than a second" in after


def test_info_and_prune(cli, stored, tmp_path):
    store = ("--store", shutil.copytree(stored / "store", tmp_path / "store"))
    code, told, _ = cli("store", "info", *store)
    assert code == 0 and "squeezenet1_1, random weights" in told and "mse" in told
    groups = [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| ")][2:]
    code, _, errors = cli("store", "prune", *store, "nowhere")
    assert code == 2 and "there is no group 'nowhere'" in errors
    assert "1 files removed" in cli("store", "prune", *store, groups[0])[1]
    assert "0 files removed" in cli("store", "prune", *store, "--older-than", 1)[1]
    assert "2 files removed" in cli("store", "prune", *store, "--all")[1]  # what metrics cost, too
    assert "0.0 MiB" in cli("store", "info", *store)[1]


def test_the_store_may_be_left_out_and_sizes_are_read(cli, tmp_path, cache):
    run, out = ("run", "macadam-osa", "-m", "mse", "--no-pictures"), tmp_path / "out"
    assert cli(*run, "--store", "none", "--memory", "500M", "-o", out)[0] == 0
    assert not list(cache.rglob("*.parquet"))
    assert pd.read_parquet(out / "scores.parquet").notna().all(axis=None)
    code, _, errors = cli(*run, "--memory", "much")
    assert code == 2 and "--memory" in errors
