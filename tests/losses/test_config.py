"""Loss files and weights: what is accepted, and what the errors say."""

import pickle
import threading
import time
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import requests
import torch

from perceptbench.errors import DataError, Unavailable, UsageError
from perceptbench.losses import load_loss
from perceptbench.losses import weights as weights_module
from perceptbench.losses.backbones import load_trunk, tap_index
from perceptbench.losses.config import Trunks, parse_loss
from perceptbench.losses.weights import find_weights

GOOD = {"backbone": "alexnet", "weights": "random", "distance": "l2", "taps": {"features.1": 1.0}}


def test_every_preset_is_valid():
    for path in resources.files("perceptbench.losses.presets").iterdir():
        if path.name.endswith(".toml"):
            assert parse_loss(tomllib.loads(path.read_text())["loss"], path.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": "l3"}, "loss.distance"),
        ({"taps": {}}, "loss.taps"),
        ({"taps": {"features.1": -1.0}}, "loss.taps.features.1"),
        ({"tapz": {}}, "loss.tapz"),
        ({"backbone": "alexnett"}, "did you mean alexnet"),
    ],
)
def test_a_wrong_key_is_named(change, message):
    with pytest.raises(UsageError, match=message):
        parse_loss({**GOOD, **change}, "mine.toml")


def test_a_loss_file_gives_the_loss_it_declares(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[loss]\nbackbone = "alexnet"\nweights = "random"\nseed = 7\ndistance = "l2"\n'
        '[loss.taps]\n"features.1" = 2.0\n'
    )
    x, y = torch.rand(2, 1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    trunk = load_trunk("alexnet", 1, seed=7)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    expected = 2 * (trunk((x - mean) / std) - trunk((y - mean) / std)).square().mean()
    torch.testing.assert_close(load_loss(str(path))(x, y).squeeze(), expected)


def test_random_weights_depend_on_the_seed_only():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (load_trunk("alexnet", 0, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_losses_over_one_network_share_it(weights):
    trunks = Trunks(weights)
    config = parse_loss({**GOOD, "weights": "imagenet"}, "x")
    assert trunks.get(config) is trunks.get(config)
    assert len(trunks.sha256) == 1


def test_vgg_taps_have_their_literature_names():
    relus = ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]
    assert [tap_index("vgg16", t) for t in relus] == [3, 8, 15, 22, 29]
    with pytest.raises(UsageError, match="its taps are relu1_1"):
        tap_index("vgg16", "relu9_9")
    with pytest.raises(UsageError, match=r"its last is 'features.12'"):
        load_trunk("alexnet", 40)


def test_a_file_that_is_no_weights_file_is_named(tmp_path):
    garbage = tmp_path / "alexnet.pth"
    garbage.write_bytes(b"not a state dict")
    with pytest.raises(DataError, match=r"alexnet.pth: cannot be read as network weights"):
        load_trunk("alexnet", 1, garbage)
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, garbage)
    with pytest.raises(DataError, match=r"holds no 'features.0.bias'"):
        load_trunk("alexnet", 1, garbage)


def test_code_hidden_in_a_weights_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "alexnet.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError):
        load_trunk("alexnet", 1, tmp_path / "alexnet.pth")
    assert not (tmp_path / "ran").exists()


def test_weights_are_found_in_the_folder_then_the_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_module, "_answers", lambda server: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(Unavailable, match="--weights-dir"):
        find_weights("alexnet", tmp_path)
    (tmp_path / "alexnet_features.pth").touch()
    assert find_weights("alexnet", tmp_path) == tmp_path / "alexnet_features.pth"
    (tmp_path / "alexnet-owt-7be5be79.pth").touch()
    assert find_weights("alexnet", tmp_path) == tmp_path / "alexnet-owt-7be5be79.pth"
    monkeypatch.setenv("PERCEPTBENCH_WEIGHTS", str(tmp_path))
    assert find_weights("alexnet").parent == tmp_path
    with pytest.raises(UsageError, match="does not exist"):
        find_weights("alexnet", tmp_path / "nowhere")


def test_a_server_that_never_answers_costs_seconds(monkeypatch):
    monkeypatch.setattr(weights_module, "PATIENCE", 0.2)
    monkeypatch.setattr(requests, "head", lambda *a, **k: threading.Event().wait(30))
    weights_module._answers.cache_clear()
    start = time.monotonic()
    assert not weights_module._answers("https://blackhole.invalid")
    assert time.monotonic() - start < 5
