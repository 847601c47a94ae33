"""Public sets on the command line: options, what may be missing, published figures."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest

from perceptbench.datasets import manifest as catalogue
from perceptbench.datasets.manifest import FOLDERS, find_manifest

spec = importlib.util.spec_from_file_location(
    "miniatures", Path(__file__).parents[1] / "datasets" / "readers" / "miniatures.py"
)
miniatures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(miniatures)


@pytest.fixture
def bapps(tmp_path, monkeypatch):
    """A miniature of BAPPS in a data folder, and a catalogue that expects no more of it."""
    text = next(f for f in FOLDERS if f.is_dir()) / "bapps-val.toml"
    kept, skip = [], False
    for line in text.read_text().splitlines():
        skip = line.startswith("[expect") or (skip and not line.startswith("["))
        if not skip:
            kept.append(line)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "bapps-val.toml").write_text("\n".join(kept))
    monkeypatch.setattr(catalogue, "FOLDERS", (tmp_path / "manifests",))
    mini = next(m for m in miniatures.MINIATURES if m.dataset == "bapps-val")
    return miniatures.build(mini, tmp_path / "data" / "bapps")


def test_a_run_names_what_it_leaves_out_and_reads_as_asked(cli, bapps, tmp_path):
    data, out = bapps.parent, tmp_path / "out"
    args = ["run", "bapps-val", "--data-dir", data, "-m", "mse", "-o", out]
    assert cli(*args, "--option", "kernel=nearest")[0] == 0
    (bapps / "2afc/val/traditional/p1/000001.png").unlink()
    code, _, errors = cli(*args)
    assert code == 1 and "1 of 4 judgements name images that are not in" in errors
    assert "2afc/val/traditional/p1/000001.png" in errors and "--allow-missing" in errors
    code, _, errors = cli(*args, "--allow-missing", "--option", "kernel=nearest")
    assert code == 0 and "left out: 1 of 4 judgements" in errors, errors
    record = json.loads((out / "run.json").read_text())
    assert "traditional/p1/000001.png" in record["datasets"]["bapps-val"]["left_out"][0]
    table = pd.read_csv(out / "agreement.csv")
    assert table["display"].unique().tolist() == ["sRGB patches resized to 64 x 64, nearest"]
    assert {"2afc", "2afc_subset_mean"} <= set(table["statistic"])
    code, output, errors = cli("datasets", "verify", "bapps-val", "--data-dir", data)
    assert code == 1 and "missing: 2afc/val/traditional/p1/000001.png" in output
    code, output, _ = cli("datasets", "verify", "bapps-val", "--data-dir", data, "--allow-missing")
    assert code == 0 and "missing: 2afc/val/traditional/p1/000001.png" in output


def test_a_metric_that_the_manifest_says_was_trained_on_the_set_is_marked(cli, bapps, tmp_path):
    (toml,) = (tmp_path / "manifests").iterdir()
    toml.write_text(toml.read_text().replace('"lpips-alex"', '"mae"'))
    code, _, errors = cli("run", "bapps-val", "--data-dir", bapps.parent, "-m", "mse", "-m", "mae",
                          "-o", tmp_path / "out")  # fmt: skip
    assert code == 0, errors
    table = pd.read_csv(tmp_path / "out" / "agreement.csv").groupby("metric")["in_domain"].all()
    assert table["mae"] and not table["mse"]


def test_options_that_no_dataset_has_are_wrong_usage(cli, bapps):
    for option, words in (
        ("kernal=box", "option 'kernal'; did you mean kernel?"),
        ("kernel=cubic", "kernel is 'cubic'"),
        ("kernel", "not of the form NAME=VALUE"),
    ):
        answer = cli(
            "run", "bapps-val", "--data-dir", bapps.parent, "-m", "mse", "--option", option
        )
        assert answer[0] == 2 and words in answer[2], answer


def agreement(folder, *rows, dataset="tid2013"):
    table = pd.DataFrame(rows, columns=["metric", "statistic", "value"])
    folder.mkdir(parents=True)
    table.assign(dataset=dataset, slice="all").to_csv(folder / "agreement.csv", index=False)
    return folder


def test_figures_of_a_run_are_put_beside_the_published_ones(cli, tmp_path):
    run = agreement(tmp_path / "run", ("psnr", "srcc", 0.6870), ("lpips-alex", "srcc", 0.7440))
    code, output, errors = cli("datasets", "conform", "tid2013", run)
    assert code == 0, errors
    line = next(x for x in output.splitlines() if "lpips-alex" in x)
    for word in ("0.7440", "0.7445", "-0.0005", "0.002", " in ", "pyiqa 01ae427f"):
        assert word in line
    total = len(find_manifest("tid2013").published)
    assert f"3 of {total} published figures are in" in output and "none of butteraugli" in output
    assert cli("datasets", "conform", "tid2013", run / "agreement.csv")[0] == 0


def test_a_figure_out_of_tolerance_is_an_error(cli, tmp_path):
    run = agreement(tmp_path / "run", ("psnr", "srcc", 0.6900), ("ssim", "krcc", 0.1))
    code, output, errors = cli("datasets", "conform", "tid2013", run)
    assert code == 1 and "3 figures are out of tolerance" in errors
    assert any("OUT" in x and "+0.0031" in x for x in output.splitlines())
    assert any("not judged" in x and "luma only" in x for x in output.splitlines())


def test_conform_takes_the_newest_run_and_names_what_is_not_there(cli, tmp_path):
    code, _, errors = cli("datasets", "conform", "tid2013")
    assert code == 2 and "there is no run in the folder runs" in errors
    agreement(tmp_path / "cwd" / "runs" / "one", ("psnr", "srcc", 0.6869))
    assert cli("datasets", "conform", "tid2013")[0] == 0
    code, _, errors = cli("datasets", "conform", "csiq")
    assert code == 1 and "has no figures of dataset csiq" in errors
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    code, _, errors = cli("datasets", "conform", "csiq", tmp_path / "wrong.csv")
    assert code == 1 and "no column dataset, metric, slice, statistic, value" in errors
