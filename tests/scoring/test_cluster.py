"""The Ray engine: the same scores, also when a worker is lost."""

import os
import signal
from functools import partial

import pandas as pd
import pytest
import torch

from perceptbench.errors import UsageError
from perceptbench.losses import Backbone, FeatureLoss, Term, load_network
from perceptbench.metrics.pixel import mse
from perceptbench.scoring import job
from perceptbench.scoring.engine import score
from perceptbench.scoring.options import Options


class Noise:
    """Seeded noise by key; the first process to ask for `fatal` dies of it."""

    def __init__(self, fatal=None, trace=None):
        self.fatal, self.trace = fatal, trace

    def __call__(self, key):
        if key == self.fatal and not self.trace.exists():
            self.trace.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        generator = torch.Generator().manual_seed(sum(key.encode()))
        return torch.rand(3, 40, 48, generator=generator)

    def identify(self, key):
        return key


def made():
    network = load_network("alexnet")
    l2 = FeatureLoss(Backbone(network, ["features.1"]), [Term("features.1", "l2")])
    return {"l2": l2, "mse": mse}, {}, {}


@pytest.fixture(scope="module")
def address():
    """A cluster of two nodes on this machine."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster.address
    import ray

    ray.shutdown()
    cluster.shutdown()


PAIRS = pd.DataFrame(
    [(f"r{r}", f"r{r} d{d}") for r in range(6) for d in range(3)],
    columns=["reference", "distorted"],
)


@pytest.mark.slow
def test_a_lost_workers_shard_is_done_by_another(address, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "SHARD_IMAGES", 4)
    metrics = made()[0]
    here = score(PAIRS, Noise(), metrics, Options("cpu")).table
    options = Options("cpu", engine="ray", ray_address=address, store=str(tmp_path / "store"))
    deadly = Noise("r3 d1", tmp_path / "died")
    there = score(PAIRS, deadly, metrics, options, rebuild=made).table
    assert (tmp_path / "died").exists()
    pd.testing.assert_frame_equal(here, there, rtol=1e-6)
    # What the workers stored is what a local run finds.
    unreadable = partial(pytest.fail, "nothing should be loaded")
    unreadable.identify = str
    local = Options("cpu", store=options.store)
    again = score(PAIRS, unreadable, {"l2": metrics["l2"]}, local).table
    pd.testing.assert_frame_equal(there[again.columns], again, check_exact=True)


def test_what_cannot_be_made_anew_is_refused():
    with pytest.raises(UsageError, match="made anew on other machines"):
        score(PAIRS, Noise(), {"mse": mse}, Options("cpu", engine="ray"))
