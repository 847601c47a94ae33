"""LPIPS forward and backward: ours beside lpips, piq and torchmetrics, in one run.

    python tests/benchmarks/bench_losses.py [--device auto] [--sizes 4x384x512] [--repeats 5] \\
        [--steps]

Random weights (speed does not depend on them). `distance` is everything but the network: the
same call with the backbone's answers prepared. piq has LPIPS with VGG16 only.

With `--steps`, one training step instead: forward and backward to an image whose target needs no
gradient, in float32 and under bfloat16 autocast, compiled or not, with the time of each and what it
adds to the memory: of a GPU the peak, of a CPU what autograd keeps from forward to backward.
Libraries take turns, and the median is of the turns. A CPU without bfloat16 instructions takes
minutes a step under autocast: give it `--sizes 4x64x64,1x192x256`.
"""

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial

import lpips
import piq
import torch
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS

from perceptbench.losses import Backbone, FeatureLoss, Term, load_network
from perceptbench.losses.backbones import Network
from perceptbench.losses.weights import lpips_heads
from perceptbench.reporting.leaderboard import format_table
from perceptbench.scoring.machine import choose_device

TAPS = {
    "alex": ("alexnet", [f"features.{i}" for i in (1, 4, 7, 9, 11)]),
    "squeeze": ("squeezenet1_1", [f"features.{i}" for i in (1, 4, 7, 9, 10, 11, 12)]),
    "vgg": ("vgg16", ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]),
}
Row = tuple[str, str, str, float, int]
#: Images of a batch, height, width.
SIZES = "64x64x64,4x384x512"


def rivals(net: str, network: Network) -> dict[str, nn.Module]:
    """Library -> its LPIPS on images in [0, 1]; its backbone is the attribute `backbone`."""
    _, taps = TAPS[net]
    heads = lpips_heads(net)
    terms = [Term(t, "unit_normalised", 1.0, h) for t, h in zip(taps, heads, strict=True)]
    found: dict[str, nn.Module] = {
        "perceptbench": FeatureLoss(Backbone(network, taps), terms),
        "lpips": Rival(lpips.LPIPS(net=net, pnet_rand=True, verbose=False), "net"),
        "torchmetrics": Rival(_LPIPS(net=net, pretrained=True, pnet_rand=True), "net"),
    }
    if net == "vgg":
        piq.perceptual.vgg16 = lambda **_: copy.deepcopy(network.module)
        shaped = [h.view(1, -1, 1, 1) for h in heads]
        torch.hub.load_state_dict_from_url = lambda *a, **k: shaped
        found["piq"] = Rival(piq.LPIPS(reduction="none"), "get_features")
    return found


class Rival(nn.Module):
    """Another library's LPIPS, with its backbone where ours has it."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name
        self.options = {"normalize": True} if name == "net" else {}

    def backbone(self, images: Tensor) -> object:
        return getattr(self.module, self.name)(images)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.module(x, y, **self.options)


def seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Median time of `repeats` runs after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def forward_and_training(
    loss: Callable[[], Tensor], leaves: list[Tensor], device: str, repeats: int
) -> tuple[float, float]:
    """Seconds without gradients, and with a backward pass to the leaves."""

    def forward() -> None:
        with torch.no_grad():
            loss()

    def training() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss().mean().backward()

    return seconds(forward, device, repeats), seconds(training, device, repeats)


def training_steps(net: str, shape: tuple[int, int, int], device: str, repeats: int) -> list[Row]:
    """(precision, whether compiled, library, seconds, bytes) of one step, libraries in turn."""
    n, h, w = shape
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, n, 3, h, w, generator=generator).to(device)
    image = x.requires_grad_()
    rows: list[Row] = []
    for compiled, bf16 in itertools.product((False, True), repeat=2):
        modules = rivals(net, load_network(TAPS[net][0]))
        works = {}
        for library, module in modules.items():
            module = module.to(device)
            call = torch.compile(module) if compiled else module
            works[library] = partial(step, call, image, y, device, bf16)
        for work in works.values():
            work()  # compiles, and warms up
        times: dict[str, list[float]] = {library: [] for library in works}
        for _ in range(repeats):
            for library, work in works.items():
                times[library].append(seconds(work, device, 1))
        rows += [
            ("bf16" if bf16 else "fp32", "compiled" if compiled else "eager", library,
             statistics.median(times[library]), memory(work, device))
            for library, work in works.items()
        ]  # fmt: skip
        torch.compiler.reset()
    return rows


def step(loss: Callable[..., Tensor], image: Tensor, y: Tensor, device: str, bf16: bool) -> None:
    """One training step, the optimiser's part left out."""
    image.grad = None
    with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=bf16):
        value = loss(image, y)
    value.float().mean().backward()


def memory(work: Callable[[], object], device: str) -> int:
    """Bytes a step adds at its peak (GPU), or keeps for the backward pass (CPU)."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(kept.values())


def measure(module: nn.Module, x: Tensor, y: Tensor, device: str, repeats: int) -> list[float]:
    """Seconds: forward, forward and backward; the same of everything but the backbone."""
    image = x.clone().requires_grad_()
    whole = forward_and_training(lambda: module(image, y), [image], device, repeats)
    with torch.no_grad():
        at_x, at_y = copy.copy(module.backbone(x)), copy.copy(module.backbone(y))
    leaves = [t.requires_grad_() for t in (at_x.values() if isinstance(at_x, dict) else at_x)]
    stub = Stub([at_x, at_y])  # x first, then y, as each library asks
    if isinstance(module, Rival):
        module.module._modules.pop(module.name, None)
        module.module.__dict__[module.name] = stub
    else:
        module.backbone = stub
    distance = forward_and_training(lambda: module(image, y), leaves, device, repeats)
    return [*whole, *distance]


class Stub(nn.Module):
    """A backbone that gives what it was told to, in turn."""

    def __init__(self, answers: list[object]) -> None:
        super().__init__()
        self.answers, self.asked = answers, 0

    def forward(self, images: Tensor) -> object:
        self.asked += 1
        return self.answers[(self.asked - 1) % len(self.answers)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--device", default="auto")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--nets", default="alex,squeeze,vgg")
    options.add_argument("--sizes", default=SIZES)
    options.add_argument("--steps", action="store_true")
    args = options.parse_args()
    shapes = {size: tuple(map(int, size.split("x"))) for size in args.sizes.split(",")}
    work = list(itertools.product(args.nets.split(","), shapes.items()))
    device = choose_device(args.device)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    if args.steps:
        found = []
        for net, (size, shape) in work:
            for row in training_steps(net, shape, device, args.repeats):
                cells = *row[:3], f"{1000 * row[3]:.0f}", f"{row[4] / 2**20:.0f}"
                found.append((net, size, *cells))
                print(*found[-1], sep=", ", flush=True)
        header = ("LPIPS", "images", "precision", "how", "library", "step ms", "MiB")
        print("\n" + format_table(header, found))
        return
    rows = []
    for net, (size, shape) in work:
        generator = torch.Generator().manual_seed(0)
        n, h, w = shape
        x, y = torch.rand(2, n, 3, h, w, generator=generator).to(device)
        for library, module in rivals(net, load_network(TAPS[net][0])).items():
            times = measure(module.to(device), x, y, device, args.repeats)
            rows.append((net, size, library, *(f"{1000 * t:.0f}" for t in times)))
            print(*rows[-1], sep=", ", flush=True)
    header = (
        "LPIPS",
        "images",
        "library",
        "forward ms",
        "with backward",
        "distance",
        "with backward",
    )
    print("\n" + format_table(header, rows))


if __name__ == "__main__":
    main()
