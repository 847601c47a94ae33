"""Other people's code: a time limit, copies, global state put back, the culprit named."""

import pickle
import random
import threading
import time
import warnings

import numpy as np
import pytest
import torch

from perceptbench.metrics.guard import Guard, Hung, within

X, Y = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)


def mean(x, y):
    return (x - y).abs().mean((1, 2, 3))


def test_what_behaves_is_called_as_it_is():
    guard = Guard(mean, "mean", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(guard(X, Y), mean(X, Y))
    assert guard.offences == []
    torch.testing.assert_close(pickle.loads(pickle.dumps(guard))(X, Y), mean(X, Y))


def test_a_gradient_passes():
    y = Y.clone().requires_grad_(True)
    Guard(mean, "mean", 10)(X, y).sum().backward()
    assert y.grad.abs().sum() > 0


def test_the_callers_gradient_mode_holds_inside():
    seen = []
    guard = Guard(lambda x: seen.append((x.requires_grad, torch.is_grad_enabled())), "look", 10)
    with torch.no_grad():
        guard(X)
    with torch.inference_mode():
        guard(X)
    guard(X.clone().requires_grad_(True))
    assert seen == [(False, False), (False, False), (True, True)]


def test_what_hangs_is_given_up_and_not_asked_again():
    guard = Guard(lambda x, y: time.sleep(30), "sleeper", 0.2)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(Hung, match=r"no answer within 0\.2 s"):
            guard(X, Y)
        assert time.monotonic() - began < 5
    with pytest.raises(Hung):
        within(0.1, lambda: time.sleep(30))


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("late"), SystemExit(3)])
def test_whatever_is_raised_is_an_ordinary_error(error):
    def failing(x):
        raise error

    with pytest.raises((ValueError, RuntimeError), match=r"no|late|SystemExit: 3"):
        Guard(failing, "failing", 10)(X)


CULPRITS = {
    "its input images": lambda x: x.mul_(2),
    "torch's default dtype": lambda x: torch.set_default_dtype(torch.float64),
    "torch's number of threads": lambda x: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's matmul precision": lambda x: torch.set_float32_matmul_precision("medium"),
    "torch's random state": lambda x: torch.rand(1),
    "numpy's random state": lambda x: np.random.rand(1),
    "Python's random state": lambda x: random.random(),
}


@pytest.mark.parametrize("what", CULPRITS)
def test_what_is_changed_is_put_back_and_named_once(what):
    def state():
        return (
            torch.get_default_dtype(), torch.get_num_threads(),
            torch.get_float32_matmul_precision(), torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(), random.getstate(),
        )  # fmt: skip

    images, before = X.clone(), state()
    guard = Guard(CULPRITS[what], "culprit", 10)
    with pytest.warns(UserWarning, match=f"metric culprit changes {what}"):
        guard(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        guard(images)
    assert what in guard.offences
    assert torch.equal(images, X) and state() == before


def test_global_state_is_put_back_after_a_hang_too():
    def sleeper(x):
        torch.set_default_dtype(torch.float64)
        time.sleep(30)

    with pytest.raises(Hung), pytest.warns(UserWarning, match="default dtype"):
        Guard(sleeper, "sleeper", 0.5)(X)
    assert torch.get_default_dtype() == torch.float32


def test_what_comes_too_late_touches_nothing():
    finished = threading.Event()

    def late(x):
        time.sleep(0.5)
        finished.set()

    with pytest.raises(Hung):
        Guard(late, "late", 0.1)(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.manual_seed(3)
        before = torch.get_rng_state()
        assert finished.wait(20)
        time.sleep(0.1)
        assert torch.equal(torch.get_rng_state(), before)


def test_a_thread_of_its_own_keeps_gradient_mode_default_device_and_autocast():
    def culprit(x):
        assert torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        torch.set_default_device("meta")
        torch.set_autocast_enabled("cpu", True)

    guard = Guard(culprit, "culprit", 10)
    guard(X)
    guard(X)
    assert torch.zeros(1).device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled() and guard.offences == []
