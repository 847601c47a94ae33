"""The cost of a metric: its own time, its own parameters."""

import time

import pytest
import torch

from perceptbench.scoring.cost import SIDE, cost, costs
from perceptbench.scoring.options import Options


def test_time_is_that_of_one_pair_and_the_warm_up_does_not_count():
    calls = []

    def slow(reference, distorted):
        assert reference.shape == distorted.shape == (1, 3, SIDE, SIDE)
        time.sleep(0.02 if calls else 0.2)
        calls.append(1)
        return (reference - distorted).abs().mean((1, 2, 3))

    found = cost(slow)
    assert 0.02 <= found["seconds_per_pair"] < 0.2 and found["parameters"] == 0


def test_parameters_are_those_of_the_module():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 4, 3)

        def forward(self, reference, distorted):
            return (self.layer(reference) - self.layer(distorted)).abs().mean((1, 2, 3))

    assert cost(Net())["parameters"] == pytest.approx(3 * 4 * 9 + 4)


def test_a_training_step_takes_longer_than_a_forward_pass_and_some_memory():
    def deep(reference, distorted):
        for _ in range(20):
            distorted = (distorted + 0.1).sin()  # each keeps what the backward pass needs
        return (reference - distorted).abs().mean((1, 2, 3))

    found = cost(deep)
    assert found["seconds_per_step"] > found["seconds_per_pair"]
    kept = 20 * 3 * SIDE * SIDE * 4
    assert found["step_bytes"] == 0 or kept / 2 < found["step_bytes"] < 20 * kept


def test_what_has_no_gradient_has_no_cost_of_a_step():
    found = cost(lambda x, y: (x - y).detach().abs().mean((1, 2, 3)))
    assert found.keys() == {"seconds_per_pair", "parameters"}


def test_a_cost_is_measured_once_on_a_machine_where_there_is_a_store(tmp_path, monkeypatch):
    calls = []

    def mae(reference, distorted):
        calls.append(1)
        return (reference - distorted).abs().mean((1, 2, 3))

    def broken(reference, distorted):
        raise RuntimeError

    def measured(identities, **more):
        calls.clear()
        options = Options(device="cpu", **{"store": str(tmp_path / "store"), **more})
        found = costs({"mae": mae, "broken": broken}, identities, options)
        return found, bool(calls)

    first, anew = measured({"mae": "mae 1", "broken": "broken"})
    assert anew and first.keys() == {"mae"} and first["mae"]["parameters"] == 0
    assert measured({"mae": "mae 1", "broken": "broken"}) == (first, False)
    assert measured({"mae": "mae 2"})[1] and measured({})[1]
    assert measured({"mae": "mae 1"}, store=None)[1]
    monkeypatch.setattr("platform.node", lambda: "another machine")
    assert measured({"mae": "mae 1"})[1]
