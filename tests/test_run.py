"""The main job as a library call: what a run holds, what it survives, what it repeats."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest
from perceptbench.errors import DataError, UsageError
from perceptbench.metrics.registry import MetricInfo, catalogue, select
from perceptbench.reporting import markdown, run_folder
from perceptbench.run import run
from perceptbench.scoring.machine import choose_device
from perceptbench.scoring.options import Options

FILES = [
    "agreement.csv", "comparisons.csv", "failed.csv", "leaderboard.csv", "run.json",
    "scores.parquet",
]  # fmt: skip


def grey(key):
    """Images named by their grey value: "0.25"; "tall 0.25" is of another size."""
    if key == "broken":
        raise DataError("broken: cannot be read as an image")
    value = float(key.split()[-1])
    return torch.full((3, 48 if "tall" in key else 32, 32), value)


def toy(name="toy", extra=()):
    rng = np.random.default_rng(0)
    rows = [
        ("0.5", f"{0.5 + x:.3f}", 3 + 100 * x + rng.normal()) for x in np.linspace(0.01, 0.4, 12)
    ]
    rows += [
        ("0.4", f"{0.4 - x:.3f}", 3 + 100 * x + rng.normal()) for x in np.linspace(0.01, 0.4, 12)
    ]
    table = pd.DataFrame([*rows, *extra], columns=["reference", "distorted", "impairment"])
    part = Judgements(name, table, resample=("reference",), statistics=("srcc",))
    return Dataset(name, (part,), grey)


def metrics(*names):
    return select(names, catalogue())


def go(datasets, infos, **options):
    return run(datasets, infos, options=Options(device="cpu"), **options)


def test_a_run_ranks_and_states_where_its_numbers_come_from(tmp_path):
    result = go([toy()], metrics("mse", "psnr", "pyramid-unit"), command="perceptbench run x")
    run_folder.write(result, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FILES, "judgements"])
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    # PSNR orders as MSE does: one row, both names.
    assert set(board.metric) == {"mse", "pyramid-unit"}
    assert board.set_index("metric").loc["mse", "also"] == "psnr"
    assert {
        "rank", "attained", "new low", "first", "last", "stood", "of", "toy srcc", "toy srcc low",
        "toy srcc high", "toy srcc n", "toy srcc of", "toy srcc best",
    } <= set(board)  # fmt: skip
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    row = scores[scores.distorted == "0.900"].iloc[0]
    assert row.mse == pytest.approx(0.16, abs=1e-6) and row.dataset == "toy"
    assert row.psnr == pytest.approx(100 + 10 * np.log10(0.16), abs=1e-3)
    record = json.loads((tmp_path / "run.json").read_text())
    assert len(record["metrics"]["pyramid-unit"]["hash"]) == 16
    for key in (
        "created",
        "versions",
        "weights_sha256",
        "device",
        "precision",
        "margin",
        "command",
    ):
        assert key in record
    assert record["datasets"]["toy"]["fingerprint"] == toy().fingerprint()
    assert "Made by `perceptbench run x`" in markdown.render(result)["leaderboard.md"]


def test_a_run_made_again_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_folder.write(go([toy()], metrics("mse", "ciede2000")), tmp_path / name)
    for file in FILES:
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        if file == "run.json":
            one, two = ({**json.loads(text), "created": None} for text in (one, two))
        assert one == two


def test_the_order_of_metrics_and_datasets_changes_no_byte(tmp_path):
    names = ["mse", "mae", "pyramid-unit"]
    one = go([toy("x"), toy("y")], metrics(*names))
    two = go([toy("y"), toy("x")], metrics(*reversed(names)))
    for name, result in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        run_folder.write(result, tmp_path / name)
    for file in set(FILES) - {"run.json"}:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert markdown.render(one)["leaderboard.md"] == markdown.render(two)["leaderboard.md"]


def test_an_unreadable_image_and_unequal_sizes_are_named_and_the_rest_is_done():
    extra = [("0.5", "broken", 9.0), ("0.5", "tall 0.6", 9.0)]
    result = go([toy(extra=extra)], metrics("mse"))
    assert not result.complete and len(result.failures) == 2
    assert result.agreement["n"].eq(24).all() and result.agreement["value"].notna().all()
    report = markdown.render(result)["leaderboard.md"]
    assert "failed: toy: pair (0.5, broken): broken: cannot be read as an image" in report
    assert "pair (0.5, tall 0.6): the images differ in size: 32 x 32 and 32 x 48 pixels" in report
    assert go([toy()], metrics("mse")).complete


def test_many_failures_are_counted_in_the_report_and_all_in_the_record(tmp_path):
    extra = [("0.5", f"tall 0.{i}", 9.0) for i in range(100, 150)]
    result = go([toy(extra=extra)], metrics("mse"))
    assert "30 more pairs, all named in run.json" in markdown.render(result)["leaderboard.md"]
    run_folder.write(result, tmp_path)
    assert len(json.loads((tmp_path / "run.json").read_text())["failures"]) == 50


def test_nothing_readable_is_an_error():
    table = pd.DataFrame({"reference": ["broken"], "distorted": ["0.5"], "impairment": [1.0]})
    nothing = Dataset("toy", (Judgements("toy", table),), grey)
    with pytest.raises(DataError, match=r"not one pair could be scored.*broken"):
        go([nothing], metrics("mse"))


def raising(reference, distorted):
    raise RuntimeError("no luck")


def test_a_metric_that_raises_costs_its_own_column_only():
    infos = metrics("mse")
    infos.append(MetricInfo(name="bad", title="bad", source="x", metric=f"{__name__}:raising"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(
            raising=raising))  # fmt: skip
        result = go([toy()], infos)
    assert result.broken == {"bad on toy": "failed: RuntimeError: no luck"}
    assert not result.complete
    values = result.board.set_index("metric")["toy srcc"]
    assert np.isnan(values["bad"]) and values["mse"] > 0.9
    assert "undefined: bad on toy srcc: " in markdown.render(result)["leaderboard.md"]


def test_what_cannot_be_had_is_skipped_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("perceptbench.losses.weights._answers", lambda *_: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    result = go([toy()], metrics("mse", "lpips-alex"), weights_dir=tmp_path)
    assert list(result.skipped) == ["lpips-alex"] and result.complete
    assert "lpips-alex" not in set(result.board.metric)
    assert "- skipped: lpips-alex: " in markdown.render(result)["leaderboard.md"]
    with pytest.raises(DataError, match="no metric is left to rank"):
        go([toy()], metrics("lpips-alex"), weights_dir=tmp_path)


def test_what_is_assumed_of_the_viewing_distance_is_said():
    report = markdown.render(go([toy()], metrics("watson-ahumada")))["leaderboard.md"]
    assert "assumed: watson-ahumada takes toy to be seen at 60 px/deg" in report


def test_datasets_need_distinct_names_and_devices_must_exist():
    with pytest.raises(UsageError, match="distinct names"):
        go([toy(), toy()], metrics("mse"))
    with pytest.raises(UsageError, match="device 'cuda:77' cannot be used here"):
        choose_device("cuda:77")
    with pytest.raises(UsageError, match="device 'abacus'"):
        choose_device("abacus")
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        run_folder.create(tmp_path / "file")
    assert run_folder.create(tmp_path / "a" / "b").is_dir()


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len({run_folder.create(None) for _ in range(5)}) == 5
    assert len(list((tmp_path / "runs").iterdir())) == 5


@pytest.mark.slow
def test_material_appearance_reproduces_the_reference_figures(shared, weights, tmp_path):
    manifest = find_manifest("material-appearance")
    dataset = load_dataset(manifest, shared, tmp_path)
    infos = metrics("mse", "lpips-alex", "lpips-squeeze")
    figures = go([dataset], infos, weights_dir=weights).agreement.set_index(["metric", "statistic"])
    for expected in manifest.published:
        got = figures.loc[(expected.metric, expected.statistic)]
        assert got.value == pytest.approx(expected.value, abs=expected.tolerance), expected
        assert got.n == 3000 and got.units == 100
