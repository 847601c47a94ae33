"""Weights and heads: where they are looked for, and what is said when there are none."""

import hashlib
import threading
import time
from importlib import metadata

import pytest
import requests
import torch

from perceptbench.errors import DataError, Unavailable, UsageError
from perceptbench.losses import weights as weights_module
from perceptbench.losses.weights import DISTS_CHANNELS, dists_heads, find_weights, load_head


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


def test_a_mirror_stands_for_torchvisions_server(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("PERCEPTBENCH_WEIGHTS", raising=False)
    monkeypatch.setenv("PERCEPTBENCH_MIRROR", str(tmp_path))
    with pytest.raises(Unavailable, match="not in the mirror"):
        find_weights("alexnet")
    (tmp_path / "alexnet-owt-7be5be79.pth").touch()
    assert find_weights("alexnet") == tmp_path / "alexnet-owt-7be5be79.pth"
    monkeypatch.setattr(weights_module, "_download", lambda url, target: url)
    monkeypatch.setenv("PERCEPTBENCH_MIRROR", "https://mirror.invalid/all/")
    assert find_weights("alexnet") == "https://mirror.invalid/all/alexnet-owt-7be5be79.pth"


def test_a_download_takes_the_place_of_what_a_killed_one_left(server, tmp_path):
    server.files["w.pth"] = b"weights"
    digest = hashlib.sha256(b"weights").hexdigest()
    target, wrong = tmp_path / f"w-{digest[:8]}.pth", tmp_path / "w-00000000.pth"
    (tmp_path / f"{target.name}.part").write_bytes(b"much more than there is")
    for _ in range(2):
        assert weights_module._download(f"{server.url}/w.pth", target).read_bytes() == b"weights"
    with pytest.raises(DataError, match="does not start with 00000000"):
        weights_module._download(f"{server.url}/w.pth", wrong)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == [target.name]
    assert len(server.gets("w.pth")) == 2


def test_a_server_that_never_answers_costs_seconds(monkeypatch):
    monkeypatch.setattr(weights_module, "PATIENCE", 0.2)
    monkeypatch.setattr(requests, "head", lambda *a, **k: threading.Event().wait(30))
    weights_module._answers.cache_clear()
    start = time.monotonic()
    assert not weights_module._answers("https://blackhole.invalid")
    assert time.monotonic() - start < 5


def test_heads_come_from_numbers_files_and_packages(tmp_path):
    assert load_head(None) is None
    assert load_head((1.0, 2.0)).tolist() == [1, 2]
    assert load_head("lpips:vgg:4").shape == (512,)
    torch.save({"h": torch.ones(1, 5, 1, 1)}, tmp_path / "own.pt")
    assert load_head("own.pt:h", tmp_path).shape == (5,)
    with pytest.raises(DataError, match="holds no 'k'"):
        load_head("own.pt:k", tmp_path)
    with pytest.raises(DataError, match="there is no such weights file"):
        load_head("none.pt:h", tmp_path)
    for wrong in ("lpips:resnet:0", "lpips:alex:5", "lpips:alex:x"):
        with pytest.raises(UsageError, match=r"no LPIPS heads for|its number runs from 0 to 4"):
            load_head(wrong)


def test_the_weights_of_dists_come_from_a_file_or_the_package(tmp_path, monkeypatch):
    state = {k: torch.rand(1, sum(DISTS_CHANNELS), 1, 1) for k in ("alpha", "beta")}
    torch.save(state, tmp_path / "dists_weights.pt")
    heads = dists_heads(tmp_path)
    assert [len(h) for h in heads] == [2 * c for c in DISTS_CHANNELS]
    assert sum(h.sum() for h in heads).item() == pytest.approx(1, abs=1e-5)
    total = state["alpha"].sum() + state["beta"].sum()
    torch.testing.assert_close(heads[1][:64], state["alpha"][0, 3:67, 0, 0] / total)

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(Unavailable, match="pip install DISTS-pytorch"):
        load_head("dists:0", folder=tmp_path / "none")
