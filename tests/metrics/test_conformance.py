"""`metrics check`: each hard property is broken by a metric made for it, which then fails."""

import gc
import re

import numpy as np
import pytest
import torch

from perceptbench.metrics.card import check
from perceptbench.metrics.foreign import Foreign
from perceptbench.metrics.protocol import MetricInfo
from perceptbench.metrics.registry import Metric, build, catalogue


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """The search for leaks makes few calls, and thaws what `conftest.py` has frozen."""
    monkeypatch.setattr("perceptbench.metrics.memory.SECONDS", 0.0)
    yield
    gc.freeze()


def rmse(x, y):
    return ((x - y).square().mean((1, 2, 3)) + 1e-12).sqrt()


def card(call, **said):
    info = MetricInfo(name="made", title="", source="", **said)
    foreign = Foreign(call, info)
    gc.freeze()  # what the search for leaks before this one has thawed
    return check(Metric(info, lambda _: foreign))


def test_a_sound_metric_passes_and_its_card_says_how_it_behaves():
    found = card(rmse, differentiable=True)
    assert found.failed == []
    rows = {name: (verdict, detail) for name, verdict, detail in found.rows}
    for ladder in ("noise", "blur", "jpeg", "shift"):
        assert rows[f"ladder {ladder}"][1].startswith("monotone")
    assert rows["one-pixel shift"][0] == "note" and "noise level" in rows["one-pixel shift"][1]
    assert "0.0%" in rows["symmetric"][1]


def test_the_memory_of_a_pair_is_told():
    """128 MiB for 0.262 megapixels: far above what a system takes from a process meanwhile."""

    def greedy(x, y):
        if x.shape[-1] == 512:
            torch.ones(32 << 20)
        return rmse(x, y)

    (told,) = (detail for name, _, detail in card(greedy).rows if name == "memory")
    assert 460 < int(told.split()[2]) < 560


def drifting(x, y):
    drifting.calls = getattr(drifting, "calls", 0) + 1
    return rmse(x, y) * (1 + drifting.calls)


def mutating(x, y):
    value = rmse(x, y)
    y.mul_(0.5) if not y.requires_grad else None
    return value


def leaking(x, y):
    leaking.kept = [*getattr(leaking, "kept", ()), x.mean()]
    return rmse(x, y)


def hoarding(x, y):  # what Python knows no tensor of
    hoarding.kept = [*getattr(hoarding, "kept", ()), np.random.bytes(1 << 19)]
    np.random.set_state(STATE)
    return rmse(x, y)


def caching(x, y):
    """Keeps something of its last 100 calls."""
    caching.kept = [*getattr(caching, "kept", ()), x.clone()][-100:]
    return rmse(x, y)


STATE = np.random.get_state()
BROKEN = {
    "no leak": leaking,
    "answers": lambda x, y: rmse(x, y)[:, None],
    "finite": lambda x, y: rmse(x, y).log().sqrt(),
    "identity": lambda x, y: rmse(x, y) + 1,
    "sign": lambda x, y: -rmse(x, y),
    "independent of the batch": lambda x, y: rmse(x, y) / len(x),
    "deterministic": drifting,
    "leaves inputs and global state alone": mutating,
    "gradient": lambda x, y: (x - y).square().mean((1, 2, 3)).sqrt(),  # not finite at identity
}


class Halves:
    """Root mean squared error in two halves, off by `wrong` when asked for the whole."""

    def __init__(self, wrong=0.0):
        self.wrong = wrong

    def __call__(self, x, y):
        return rmse(x, y) * (1 + self.wrong)

    def embed(self, images):
        return images[:, :1], images[:, 1:]

    def compare(self, x, y):
        return rmse(torch.cat(x, 1), torch.cat(y, 1))


class OnlyHalves:
    embed, compare = Halves.embed, Halves.compare


def test_halves_have_to_equal_the_whole_which_may_be_left_out():
    whole = card(Halves())
    assert whole.failed == [] and card(OnlyHalves()).failed == []
    assert "halves equal the whole" in [name for name, _, _ in whole.rows]
    (failed,) = card(Halves(0.01)).failed
    assert failed.startswith("halves equal the whole: largest difference")


@pytest.mark.parametrize("hard", BROKEN)
@pytest.mark.filterwarnings("ignore:metric made changes")
def test_a_broken_property_fails(hard):
    failed = card(BROKEN[hard], differentiable=True).failed
    assert any(problem.startswith(f"{hard}:") for problem in failed), failed


@pytest.mark.filterwarnings("ignore:metric made changes")
def test_a_leak_of_bytes_fails_and_a_cache_does_not(monkeypatch):
    # As many calls as fill the cache, however busy the machine.
    monkeypatch.setattr("perceptbench.metrics.memory.SECONDS", 1e9)
    (failed,) = [p for p in card(hoarding).failed if "leak" in p]
    assert re.fullmatch(r"no leak: 0\.\d+ MiB more after each call on the same images", failed)
    assert card(caching).failed == []


def test_an_asymmetric_metric_is_described():
    found = card(lambda x, y: rmse(x, y) * (1 + y[:, :, :64].mean((1, 2, 3))))
    assert "0.0%" not in next(d for n, _, d in found.rows if n == "symmetric")
    assert found.failed == []


def test_a_similarity_whose_best_number_is_unknown_does_not_fail_identity():
    assert card(lambda x, y: 5 - rmse(x, y), higher_is_better=True).failed == []
    failed = card(lambda x, y: 5 - rmse(x, y), higher_is_better=True, identical=1.0).failed
    assert any(problem.startswith("identity") for problem in failed)


SLOWER = ("psnr", "ciede2000", "watson-ahumada", "nlpd")


@pytest.mark.parametrize(
    "name", ["mse", "ssim", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOWER)]
)
def test_our_own_conform(name):
    assert check(build(catalogue().metrics[name], None)).failed == []


def test_images_of_the_user_are_looked_at_too():
    info = MetricInfo(name="made", title="", source="")
    seen = []

    def look(x, y):
        seen.append(tuple(x.shape[2:]))
        return rmse(x, y)

    check(Metric(info, lambda _: look), [np.full((40, 50, 3), 90, np.uint8)])
    assert (40, 50) in seen
