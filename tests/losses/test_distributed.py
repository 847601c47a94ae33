"""A model that holds a loss, trained by two processes: DDP and FSDP, over gloo.

The test starts this file as a program, once a process: ``python test_distributed.py RANK FOLDER``.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import nn

from perceptbench.losses import Backbone, FeatureLoss, Term, load_network

PROCESSES = 2


class Model(nn.Module):
    """A generator, and the loss it learns from, which holds a frozen network."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
        taps = ("relu1", "relu2")
        terms = [Term(tap, "unit_normalised", head=torch.ones(1)) for tap in taps]
        self.loss = FeatureLoss(Backbone(load_network("small-cnn", seed=1), taps), terms, mean=True)

    def forward(self, x, y):
        return self.loss(self.net(x).sigmoid(), y)


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def learned(model, x, y):
    """A step of SGD: the loss, gradients and then the weights by name, and the state's keys."""
    value = model(x, y)
    value.backward()
    named = {name.removeprefix("module."): p for name, p in model.named_parameters()}
    gradients = {name: whole(p.grad).clone() for name, p in named.items()}
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    weights = {name: whole(p).detach() for name, p in named.items()}
    return value.detach(), gradients, weights, sorted(model.state_dict())


def seeded(seed):
    torch.manual_seed(seed)
    return Model()


def images():
    return torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def work(rank, folder):
    """What one of the processes does: its share of the images, by either way of wrapping."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    x, y = images()[:, rank::PROCESSES]
    # DDP gives the weights of the first to all; FSDP takes them to be the same.
    ddp = nn.parallel.DistributedDataParallel(seeded(rank))
    fsdp = dist.fsdp.fully_shard(seeded(0), mesh=dist.init_device_mesh("cpu", (PROCESSES,)))
    torch.save({"ddp": learned(ddp, x, y), "fsdp": learned(fsdp, x, y)}, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_the_frozen_network_stays_out(tmp_path):
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("torch has no gloo backend")
    running = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)])
        for rank in range(PROCESSES)
    ]
    value, gradients, weights, keys = learned(seeded(0), *images())
    assert keys == sorted(gradients) and all(key.startswith("net.") for key in keys)
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())
    assert [process.wait(timeout=200) for process in running] == [0] * PROCESSES
    for way, prefix in {"ddp": "module.", "fsdp": ""}.items():
        found = [torch.load(tmp_path / f"{rank}.pt")[way] for rank in range(PROCESSES)]
        torch.testing.assert_close(sum(value for value, *_ in found) / PROCESSES, value)
        for _, *of_one in found:
            torch.testing.assert_close(of_one[:2], [gradients, weights])
            assert of_one[2] == [prefix + key for key in keys]


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
