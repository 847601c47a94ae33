"""The one-pass engine beside the lpips package, on the same triplets, in one run.

    python tests/benchmarks/bench_scoring.py [--data ../shared/data] [--device auto]

Ours: all default feature losses over all 3,000 triplets of `material-appearance` at once. The
lpips package: LPIPS-alex and LPIPS-squeeze as its users call it, a batch of triplets at a time,
over the first `--triplets` of them, scaled up to all. Beside them the forward passes alone: the
same networks once over the same images, nothing compared.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import lpips
import torch

from perceptbench.datasets.files import Files
from perceptbench.datasets.judgements import pairs
from perceptbench.datasets.readers.material import material_appearance
from perceptbench.losses.config import Networks
from perceptbench.metrics.registry import build, catalogue
from perceptbench.reporting.leaderboard import format_table
from perceptbench.scoring.engine import score
from perceptbench.scoring.machine import choose_device
from perceptbench.scoring.plan import make_plan

BATCH = 25


def seconds(work: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def package(net: str, ours: torch.nn.Module, device: str) -> torch.nn.Module:
    """The lpips package's own module, with our copy of the ImageNet weights."""
    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    features = ours.backbone.network.module.features
    for name, parameter in theirs.net.named_parameters():
        parameter.data.copy_(features.get_parameter(name.partition(".")[2]).data)
    return theirs.to(device)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--device", default="auto")
    options.add_argument("--triplets", type=int, default=250)
    args = options.parse_args()
    device = choose_device(args.device)

    dataset = material_appearance(Files(args.data / "material-2afc", "material-appearance"))
    table = dataset.judgements[0].table
    images = {key: dataset.load(key).to(device) for key in sorted(set(table["reference"]))}
    infos = [i for i in catalogue().metrics.values() if i.default and i.loss is not None]
    networks = Networks(args.data / "weights")
    losses = {info.name: build(info, networks).at(None).to(device) for info in infos}
    plan = make_plan(losses)

    def forward() -> None:
        for start in range(0, len(images), BATCH):
            batch = torch.stack(list(images.values())[start : start + BATCH])
            for feature_pass in plan.passes:
                feature_pass.backbone(batch)

    def ours() -> None:
        found = score(pairs(table), images.__getitem__, losses, device=device)
        assert found.failures.empty

    def theirs() -> None:
        for model in models:
            for start in range(0, args.triplets, BATCH):
                rows = table.iloc[start : min(start + BATCH, args.triplets)]
                r, a, b = (
                    torch.stack([images[key] for key in rows[side]])
                    for side in ("reference", "a", "b")
                )
                model(r, a, normalize=True), model(r, b, normalize=True)

    nets = ("alex", "squeeze")
    models = [package(net, losses[f"lpips-{net}"], device) for net in nets]
    with torch.inference_mode():
        forward()  # warm-up
        bare = seconds(forward, device)
        one_pass = seconds(ours, device)
        pairwise = seconds(theirs, device) * len(table) / args.triplets
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    sizes = f"{len(images)} images, {len(table):,} triplets, {len(pairs(table)):,} unique pairs"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}; {sizes}\n")
    rows = [
        (f"forward passes alone, {len(plan.passes)} networks", "", bare),
        ("perceptbench, one pass", len(losses), one_pass),
        ("lpips package, pair by pair", len(models), pairwise),
    ]
    cells = [
        (what, str(count), f"{total:.1f}", f"{total / count:.1f}" if count else "",
         f"{total / bare:.1f}")
        for what, count, total in rows
    ]  # fmt: skip
    header = ("what", "losses", "seconds", "seconds a loss", "in forward passes")
    print(format_table(header, cells))
    ratio = pairwise / len(models) / (one_pass / len(losses))
    print(f"A loss costs the lpips package {ratio:.0f} times as much.")


if __name__ == "__main__":
    main()
