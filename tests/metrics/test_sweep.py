"""Sweeps: which losses there are, what they compute, the map in the report."""

import json

import pytest
import torch

from perceptbench.errors import UsageError
from perceptbench.losses.config import Networks
from perceptbench.metrics.registry import build
from perceptbench.metrics.sweep import default_taps, sweep


def named(*backbones, **options):
    return {info.name: info for info in sweep(backbones, **options)}


def test_the_combinations_of_three_taps():
    found = named("small-cnn", distances=["l1"], weights="random")
    sets = ("relu1", "relu2", "relu3", "to-relu2", "equal", "depth")
    assert list(found) == [f"small-cnn:{which}:l1" for which in sets]
    weights = [row["weight"] for row in found["small-cnn:depth:l1"].loss["tap"]]
    assert weights == [1 / 3, 2 / 3, 1]


def test_one_tap_alone_is_all_there_is():
    assert list(named("alexnet", distances=["l2"], taps=["features.4"])) == [
        "alexnet:features.4:l2"
    ]


def test_the_default_taps_are_those_of_lpips_where_it_has_the_network():
    assert default_taps("alexnet") == [f"features.{i}" for i in (1, 4, 7, 9, 11)]
    assert default_taps("squeezenet1_1") == [f"features.{i}" for i in (1, 4, 7, 9, 10, 11, 12)]
    assert default_taps("vgg16") == ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]


def test_the_default_taps_of_a_librarys_network_are_its_stages_or_four_blocks():
    pytest.importorskip("timm", reason="the package timm is not installed")
    assert default_taps("timm:test_convnext") == [f"stages.{i}" for i in range(4)]
    assert default_taps("timm:test_vit") == [f"blocks.{i}" for i in (1, 2, 3, 5)]
    names = ["wsd", "swd", "jsd", "skld"]
    found = named("timm:test_vit", distances=names, weights="random", taps=["blocks.5"])
    assert list(found) == [f"timm:test_vit:blocks.5:{name}" for name in names]
    x, y = torch.rand(2, 1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    networks = Networks()
    for info in found.values():
        compute = build(info, networks).at(None)
        assert compute(x, x).item() == 0 and compute(x, y).item() > 0


def test_the_default_taps_of_a_residual_network_are_its_stages():
    stages = [f"layer{i}.1.relu_1" for i in (1, 2, 3, 4)]
    assert default_taps("resnet18") == ["relu", *stages]


def test_every_loss_builds_and_unit_normalised_is_twice_cosine():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 3, 48, 48, generator=generator) for _ in range(2))
    networks = Networks()
    found = named("small-cnn", weights="random")
    found |= named("steerable-pyramid", weights="random")
    values = {name: build(info, networks).at(None)(x, y).item() for name, info in found.items()}
    for name, value in values.items():
        assert value > 0
        if name.endswith(":cosine"):
            unit = values[name.replace(":cosine", ":unit_normalised")]
            assert unit == pytest.approx(2 * value, rel=1e-5)
    singles = [values[f"small-cnn:relu{i}:l2"] for i in (1, 2, 3)]
    assert values["small-cnn:equal:l2"] == pytest.approx(sum(singles), rel=1e-5)
    assert values["small-cnn:to-relu2:l2"] == pytest.approx(sum(singles[:2]), rel=1e-5)
    assert values["small-cnn:depth:l2"] == pytest.approx(
        sum((i + 1) / 3 * v for i, v in enumerate(singles)), rel=1e-5
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"distances": ["cosin"]}, "did you mean cosine"),
        ({"distances": ["lp"]}, "cannot be swept"),
    ],
)
def test_a_distance_that_cannot_be_had_is_one_sentence(options, said):
    with pytest.raises(UsageError, match=said):
        sweep(["small-cnn"], **options)


def test_the_command_ranks_them_and_draws_the_map(cli, tmp_path):
    options = ["--weights", "random", "--distances", "cosine"]
    options += ["--dataset", "macadam-osa", "--workers", 0, "-o", "out"]
    code, out, err = cli("sweep", "small-cnn", *options)
    assert code == 0, err
    assert "6 losses" in err and "small-cnn:to-relu2:cosine" in out
    folder = tmp_path / "cwd" / "out"
    assert len(json.loads((folder / "run.json").read_text())["metrics"]) == 6
    assert "small-cnn random on macadam-osa srcc" in (folder / "leaderboard.html").read_text()
    assert (folder / "figures" / "layers.svg").is_file()


def test_a_layer_that_is_not_there_is_one_sentence(cli):
    options = ["--weights", "random", "--taps", "relu9", "--dataset", "macadam-osa"]
    code, _, err = cli("sweep", "small-cnn", *options)
    assert code == 2 and "no tap 'relu9'" in err and "Traceback" not in err


def test_weights_that_cannot_be_had_are_named_once(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("perceptbench.losses.weights._answers", lambda server: False)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    options = ["--weights-dir", tmp_path, "--dataset", "macadam-osa"]
    code, _, err = cli("sweep", "squeezenet1_1", *options)
    assert code == 1 and "squeezenet1_1:depth:cosine and 69 more: " in err
    assert err.count("is in no weights folder") == 1
