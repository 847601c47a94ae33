"""The one-pass engine beside what its users would run otherwise, side by side in one run.

    python tests/benchmarks/bench_scoring.py [--data ../shared/data] [--device auto] [--part NAME]

With the real AlexNet and SqueezeNet weights of `--data`. Where a rival takes hours, a part of its
work is timed and scaled up; the table says how much was timed. Every timing comes after a run of
the same work on a few images, so that compiling and warming up are not in it. Rivals are timed
first: the engine changes how the C library keeps freed memory, which helps them, too.
"""

import argparse
import importlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lpips
import pandas as pd
import piq
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import save_image

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import pairs
from perceptbench.datasets.readers.material import material_appearance
from perceptbench.losses import Backbone, FeatureLoss, Term
from perceptbench.losses.backbones import Network
from perceptbench.losses.config import BackboneTable, Networks
from perceptbench.losses.weights import lpips_heads
from perceptbench.metrics import adapters
from perceptbench.metrics.registry import build, catalogue, select
from perceptbench.reporting.leaderboard import format_table
from perceptbench.run import build_metrics
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.engine import score
from perceptbench.scoring.machine import choose_device
from perceptbench.scoring.options import Options
from perceptbench.scoring.plan import make_plan
from perceptbench.scoring.walk import Walk

TAPS = {
    "alexnet": ("alex", [f"features.{i}" for i in (1, 4, 7, 9, 11)]),
    "squeezenet1_1": ("squeeze", [f"features.{i}" for i in (1, 4, 7, 9, 10, 11, 12)]),
}
DISTANCES = ("l1", "l2", "cosine")


def material(folder: Path) -> Dataset:
    return material_appearance(Files(folder, "material-appearance"))


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def losses(networks: Networks, gram: bool = False) -> dict[str, FeatureLoss]:
    """48 losses: each tap alone, all taps, all taps weighted by depth, LPIPS."""
    found = {}
    for name, (short, taps) in TAPS.items():
        network = networks.get(BackboneTable(name=name))

        def make(terms: list[Term], network: Network = network) -> FeatureLoss:
            return FeatureLoss(Backbone(network, [t.tap for t in terms]), terms)

        for how in (*DISTANCES, "gram") if gram else DISTANCES:
            for tap in taps:
                found[f"{short} {tap} {how}"] = make([Term(tap, how)])
            found[f"{short} {how}"] = make([Term(tap, how) for tap in taps])
            deep = [Term(tap, how, 2.0**n) for n, tap in enumerate(taps)]
            if how != "l1":
                found[f"{short} {how} by depth"] = make(deep)
        heads = zip(taps, lpips_heads(short), strict=True)
        found[f"lpips {short}"] = make([Term(t, "unit_normalised", 1.0, h) for t, h in heads])
    return found


def distorted_set(folder: Path) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """25 photographs-like renderings at 384 x 512, each blurred and made noisy in 24 degrees."""
    dataset = material(folder)
    keys = sorted(set(dataset.judgements[0].table["reference"]))[:25]
    generator = torch.Generator().manual_seed(0)
    images, rows = {}, []
    for key in keys:
        image = dataset.load(key)[None]
        image = F.interpolate(image, (384, 512), mode="bicubic", antialias=True).clamp(0, 1)
        images[key] = image[0]
        for degree in range(1, 25):
            name = f"{key} {degree}"
            if degree % 2:
                noise = torch.randn(image.shape, generator=generator)
                images[name] = (image + 0.01 * degree * noise).clamp(0, 1)[0]
            else:
                small = F.interpolate(image, scale_factor=2 / (2 + degree), mode="area")
                images[name] = F.interpolate(small, (384, 512), mode="bilinear")[0]
            rows.append((key, name))
    return pd.DataFrame(rows, columns=["reference", "distorted"]), images


def saved(
    table: pd.DataFrame, images: dict[str, Tensor], folder: Path
) -> tuple[pd.DataFrame, FileLoader]:
    """The images as PNG files, and the pairs under their names."""
    names = {key: f"{number}.png" for number, key in enumerate(images)}
    for key, image in images.items():
        save_image(image, folder / names[key])
    return table.map(names.__getitem__), FileLoader(folder)


def package(net: str, network: Network, device: str) -> torch.nn.Module:
    """The lpips package's own module, with our copy of the ImageNet weights."""
    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for name, parameter in theirs.net.named_parameters():
        own = network.module.features.get_parameter(name.partition(".")[2])
        parameter.data.copy_(own.data)
    return theirs.to(device)


def _as_packages_do(metric: FeatureLoss, theirs: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A loss as the lpips package computes its own: the whole network, then what is asked for."""
    if metric.terms[0].distance == "unit_normalised":
        return theirs(x, y, normalize=True)
    taps = TAPS[metric.backbone.network.name][1]
    at_x, at_y = (
        dict(zip(taps, theirs.net(theirs.scaling_layer(2 * image - 1)), strict=True))
        for image in (x, y)
    )
    parts = [
        (
            how.compare(how.embed(at_x[t.tap]), how.embed(at_y[t.tap]))
            * metric.weights(n, at_x[t.tap])
        ).sum(1)
        for n, (t, how) in enumerate(zip(metric.terms, metric.how, strict=True))
    ]
    return torch.stack(parts).sum(0)


def bare(
    metrics: dict[str, FeatureLoss], images: list[Tensor], batch: int, layout: torch.memory_format
) -> Callable[[], None]:
    """The networks alone, eager, stopped at the deepest tap, over images of one size."""
    first = {id(m.backbone.network): m.backbone.network for m in metrics.values()}
    trunks = [
        network.module.features[: int(TAPS[network.name][1][-1].partition(".")[2]) + 1]
        for network in first.values()
    ]

    def run() -> None:
        with torch.inference_mode():
            for trunk in trunks:
                for start in range(0, len(images), batch):
                    stacked = torch.stack(images[start : start + batch])
                    trunk(stacked.contiguous(memory_format=layout))

    return run


def one_pass(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """48 losses at once, 25 references x 24 distortions."""
    table, images = distorted_set(args.data / "material-2afc")
    metrics = losses(networks)
    few = table.head(6)
    batch = Walk(None, torch.device("cpu")).batch_size(384, 512)  # type: ignore[arg-type]
    resident = list(images.values())
    forward = {}
    for name, layout in (
        ("as torchvision gives it", torch.contiguous_format),
        ("channels-last", torch.channels_last),
    ):
        bare(metrics, resident[:6], batch, layout)()
        forward[name] = seconds(bare(metrics, resident, batch, layout))
    pair = [(images[r][None], images[d][None]) for r, d in few.itertuples(index=False)][:3]
    alone = {"the very modules": 0.0, "as lpips and its like do": 0.0}
    with torch.inference_mode():
        for metric in metrics.values():
            network = metric.backbone.network
            theirs = package(TAPS[network.name][0], network, "cpu")
            for who, call in (
                ("the very modules", metric),
                ("as lpips and its like do", partial(_as_packages_do, metric, theirs)),
            ):
                call(*pair[0])
                alone[who] += seconds(lambda c=call: [c(x, y) for x, y in pair])
    ours = {}
    for compile_ in (True, False):
        options = Options(args.device, compile=compile_)
        score(few, images.__getitem__, metrics, options)
        ours[compile_] = seconds(lambda o=options: score(table, images.__getitem__, metrics, o))
    work = f"{len(metrics)} losses, {len(table)} pairs, {len(images)} images of 384 x 512"
    yield work, "ours, compiled", f"{ours[True]:.1f} s", ""
    yield work, "ours, without a compiler", f"{ours[False]:.1f} s", ""
    for name, time_ in forward.items():
        ratios = (
            f"ours {ours[True] / time_:.2f}, without a compiler {ours[False] / time_:.2f} of it"
        )
        yield work, f"bare forward passes, {name}, batches of {batch}", f"{time_:.1f} s", ratios
    for who, time_ in alone.items():
        whole = time_ / len(pair) * len(table)
        ratio = f"ours {whole / ours[True]:.0f} times as fast"
        what = f"one loss at a time, pair by pair, {who} ({len(pair)} pairs a loss timed)"
        yield work, what, f"{whole:.0f} s", ratio
    with_gram = losses(networks, gram=True)
    options = Options(args.device, compile=True)
    score(few, images.__getitem__, with_gram, options)
    more = seconds(lambda: score(table, images.__getitem__, with_gram, options))
    ratio = f"{more / forward['as torchvision gives it']:.2f} of the bare forward passes"
    yield (
        work,
        f"ours, with Gram losses at every tap ({len(with_gram)} losses)",
        f"{more:.1f} s",
        ratio,
    )


def stored(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """A second run after one loss was added, images from disk."""
    table, images = distorted_set(args.data / "material-2afc")
    metrics = losses(networks)
    taps = TAPS["alexnet"][1]
    terms = [Term(tap, "l2", n + 1.0) for n, tap in enumerate(taps)]
    added = FeatureLoss(metrics["alex l2"].backbone, terms)
    with tempfile.TemporaryDirectory() as folder:
        rows, load = saved(table, images, Path(folder))
        options = Options(args.device, compile=True, store=f"{folder}/store")
        score(rows.head(6), load, metrics, Options(args.device, compile=True))
        first = seconds(lambda: score(rows, load, metrics, options))
        second = seconds(lambda: score(rows, load, {**metrics, "added": added}, options))
    work = "the same from disk, a second run after one loss was added"
    yield work, "first run", f"{first:.1f} s", ""
    yield work, "second run", f"{second:.2f} s", f"{100 * second / first:.1f} % of the first"


def shared_images(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """LPIPS-alex alone on the 3,000 triplets of material-appearance."""
    ours = losses(networks)["lpips alex"]
    theirs = package("alex", ours.backbone.network, args.device)
    yield from _beside(args, "LPIPS-alex", ours, "lpips", theirs, batch=25, count=4)


def vgg_sized(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """ST-LPIPS on a VGG16, whose wheel has its weights, on the same triplets."""
    ours = build(adapters.find("stlpips:vgg"), networks).at(None)
    theirs = importlib.import_module("stlpips_pytorch.stlpips")
    inner = theirs.LPIPS(net="vgg", variant="shift_tolerant", verbose=False).to(args.device)
    yield from _beside(args, "ST-LPIPS on a VGG16", ours, "stlpips", inner, batch=5, count=2)


def _beside(
    args: argparse.Namespace, name: str, loss: torch.nn.Module, package: str,
    theirs: torch.nn.Module, *, batch: int, count: int,
) -> Iterator[tuple[str, ...]]:  # fmt: skip
    """One metric on the 3,000 triplets of material-appearance, and its package on some of them."""
    dataset = material(args.data / "material-2afc")
    table = dataset.judgements[0].table
    images = {key: dataset.load(key).to(args.device) for key in sorted(set(table["reference"]))}
    ours = {name: loss}
    triplets = [table.iloc[n * batch : (n + 1) * batch] for n in range(count)]
    rival = _evaluation(theirs, triplets, images, args.device) / (batch * count) * len(table)
    options = Options(args.device, compile=True)
    score(pairs(table).head(6), images.__getitem__, ours, options)
    own = seconds(lambda: score(pairs(table), images.__getitem__, ours, options), args.device)
    work = f"{name}, {len(table):,} triplets over {len(images)} images of 298 x 298"
    yield work, "ours", f"{own:.2f} s", ""
    ratio = f"ours {rival / own:.0f} times as fast"
    yield work, f"{package}, batches of {batch} triplets ({count} timed)", f"{rival:.0f} s", ratio


def no_shared_images(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """LPIPS-alex alone on 10,000 triplets of 64 x 64 without a common image."""
    count, timed = 10_000, 40
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3 * count, 3, 64, 64, generator=generator).to(args.device)
    table = pd.DataFrame(
        {
            side: [f"{3 * n + i}" for n in range(count)]
            for i, side in enumerate(("reference", "a", "b"))
        }
    )
    images = {f"{n}": image for n, image in enumerate(noise)}
    ours = {"lpips": losses(networks)["lpips alex"]}
    theirs = package("alex", ours["lpips"].backbone.network, args.device)
    triplets = [table.iloc[n * 50 : (n + 1) * 50] for n in range(timed)]
    rival = _evaluation(theirs, triplets, images, args.device) / (50 * timed) * count
    options = Options(args.device, compile=True)
    wanted = pairs(table)
    score(wanted.head(600), images.__getitem__, ours, options)
    own = seconds(lambda: score(wanted, images.__getitem__, ours, options), args.device)
    work = f"LPIPS-alex, {count:,} triplets of 64 x 64, no image twice"
    yield work, "ours", f"{own:.1f} s", ""
    ratio = f"ours {rival / own:.2f} times as fast"
    yield work, f"lpips, batches of 50, two calls ({timed} timed)", f"{rival:.1f} s", ratio


def _evaluation(
    theirs: torch.nn.Module, batches: list[pd.DataFrame], images: dict[str, Tensor], device: str
) -> float:
    """Seconds of the lpips package's own evaluation: two calls a batch of triplets."""

    def run(some: list[pd.DataFrame]) -> None:
        with torch.inference_mode():
            for batch in some:
                reference, a, b = (
                    torch.stack([images[k] for k in batch[side]])
                    for side in ("reference", "a", "b")
                )
                theirs(reference, a, normalize=True)
                theirs(reference, b, normalize=True)

    run(batches[:1])
    return seconds(lambda: run(batches), device)


#: Scores pairs of noise made on the fly and prints the peak memory of the process in MiB.
MEASURED = """
import resource, sys
import pandas as pd, torch
from perceptbench.losses import load_loss
from perceptbench.scoring.engine import score
def load(key):
    return torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(int(key)))
rows = [(str(n // 20 * 100), str(n // 20 * 100 + 1 + n % 20)) for n in range(int(sys.argv[1]))]
metrics = {name: load_loss(name) for name in ("random-alex-l2", "pyramid-unit")}
score(pd.DataFrame(rows, columns=["reference", "distorted"]), load, metrics)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """Peak memory of a whole process, for few pairs and for many."""
    peaks = {}
    for count in (1_000, 20_000):
        call = [sys.executable, "-c", MEASURED, str(count)]
        found = subprocess.run(call, check=True, capture_output=True, text=True)
        peaks[count] = float(found.stdout)
        ratio = f"{peaks[count] / peaks[1_000]:.2f} of that for 1,000"
        yield (
            "peak memory, two losses, 96 x 96",
            f"{count:,} pairs",
            f"{peaks[count]:.0f} MiB",
            ratio,
        )


def start_up(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """What the command line costs before it does anything."""
    for command in (["--help"], ["metrics", "list"]):
        call = [sys.executable, "-m", "perceptbench", *command]
        subprocess.run(call, check=True, capture_output=True)
        wall = seconds(lambda c=call: subprocess.run(c, check=True, capture_output=True))
        yield "start-up", f"perceptbench {' '.join(command)}", f"{wall:.2f} s", ""


def gpu(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """48 losses on a GPU, images resident and from disk, beside the bare forward passes."""
    table, images = distorted_set(args.data / "material-2afc")
    metrics = {name: metric.to(args.device) for name, metric in losses(networks).items()}
    resident = {key: image.to(args.device) for key, image in images.items()}
    for precision in ("fp32", "bf16"):
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        options = Options(args.device, precision=precision, compile=True, workers=8)
        layout = torch.contiguous_format
        forward = bare(metrics, [i.to(kind) for i in resident.values()], 40, layout)
        with torch.autocast("cuda", dtype=kind, enabled=precision == "bf16"):
            forward()
            ceiling = seconds(forward, args.device)
        with tempfile.TemporaryDirectory() as folder:
            rows, files = saved(table, images, Path(folder))
            loaders = {
                "resident": (table, resident.__getitem__),
                "from disk": (rows, files),
            }
            for where, (rows, load) in loaders.items():
                score(rows.head(24), load, metrics, options)
                own = seconds(lambda r=rows, ld=load, o=options: score(r, ld, metrics, o), "cuda")
                share = ceiling / own
                bound = (
                    "the networks"
                    if share > 0.5
                    else "comparing"
                    if where == "resident"
                    else "decoding"
                )
                yield (
                    f"48 losses on the GPU, {precision}, images {where}",
                    f"{len(images) / own:.0f} images/s",
                    f"{own:.2f} s",
                    f"{share:.2f} of the forward-only ceiling; bound by {bound}",
                )


#: Classical metrics, as piq names what we compute in two halves.
CLASSICAL = {
    "ssim": "ssim", "ms-ssim": "multi_scale_ssim", "gmsd": "gmsd", "mdsi": "mdsi",
    "fsim": "fsim", "vif": "vif_p", "haarpsi": "haarpsi", "vsi": "vsi",
}  # fmt: skip


def classical(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """Classical metrics alone and together, 25 references x 24 distortions; piq on a tenth."""
    table, images = distorted_set(args.data / "material-2afc")
    images = {key: image.to(args.device) for key, image in images.items()}
    found = catalogue()
    ours = {name: build(found.metrics[name], networks).at(None) for name in CLASSICAL}
    rival, batch, tenth = {}, 6, table.head(60)
    work = f"{len(table)} pairs, {len(images)} images of 384 x 512"
    options = Options(args.device)
    with torch.inference_mode():
        for name, theirs in CLASSICAL.items():
            function = partial(getattr(piq, theirs), data_range=1.0, reduction="none")

            def run(some: pd.DataFrame, function: Callable[..., Tensor] = function) -> None:
                for start in range(0, len(some), batch):
                    rows = some.iloc[start : start + batch]
                    x, y = (torch.stack([images[k] for k in rows[c]]) for c in rows)
                    function(y, x)

            run(table.head(batch))
            rival[name] = seconds(lambda r=run: r(tenth), args.device) * len(table) / len(tenth)
    for name, metrics in {**{n: {n: m} for n, m in ours.items()}, "all together": ours}.items():
        score(table.head(6), images.__getitem__, metrics, options)
        own = seconds(lambda m=metrics: score(table, images.__getitem__, m, options), args.device)
        theirs = sum(rival.values()) if name == "all together" else rival[name]
        ratio = f"ours {theirs / own:.1f} times as fast"
        yield work, f"{name}, piq {theirs:.0f} s (a tenth timed)", f"{own:.1f} s", ratio


def standard_set(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """The whole standard set on material-appearance beside its networks' bare forward passes."""
    dataset = material(args.data / "material-2afc")
    built, _, _ = build_metrics(select([], catalogue()), args.data / "weights")
    metrics = {m.info.name: m.at(None) for m in built}
    sizes = {m.info.name: m.info.min_size for m in built}
    wanted = pairs(dataset.judgements[0].table)
    keys = sorted({*wanted["reference"], *wanted["distorted"]})
    images = {key: dataset.load(key).to(args.device) for key in keys}
    clock = Clock()
    options = Options(args.device)
    score(wanted.head(6), images.__getitem__, metrics, options, min_size=sizes)
    own = seconds(
        lambda: score(wanted, images.__getitem__, metrics, options, min_size=sizes, clock=clock),
        args.device,
    )
    passes = make_plan(metrics).passes

    def forward() -> None:
        with torch.inference_mode():
            for image in images.values():
                for one in passes:
                    one.backbone(image[None])

    forward()
    bare_passes = seconds(forward, args.device)
    work = f"standard set, {len(wanted):,} pairs over {len(images)} images of 298 x 298"
    yield work, f"ours, {len(metrics)} metrics", f"{own:.1f} s", str(clock)
    ratio = f"ours {own / bare_passes:.1f} times that"
    yield work, f"bare forward passes of {len(passes)} networks", f"{bare_passes:.1f} s", ratio


def first_run(args: argparse.Namespace, networks: Networks) -> Iterator[tuple[str, ...]]:
    """`perceptbench run` without weights: cold, again from the store, and its --dry-run."""
    with tempfile.TemporaryDirectory() as folder:
        home = ["--weights-dir", folder, "--cache-dir", f"{folder}/cache"]
        for who, more in {
            "--dry-run": ["--dry-run"],
            "cold store": ["-o", f"{folder}/1"],
            "a second run": ["-o", f"{folder}/2"],
        }.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            call = [sys.executable, "-m", "perceptbench", "run", *home, *more]
            wall = seconds(lambda c=call: subprocess.run(c, check=True, capture_output=True))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            user, kernel = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            said = f"{user:.0f} s of user time, {kernel:.0f} s in the kernel"
            yield "perceptbench run, no weights", who, f"{wall:.1f} s", said


PARTS = {
    "one-pass": one_pass,
    "classical": classical,
    "standard-set": standard_set,
    "first-run": first_run,
    "stored": stored,
    "shared-images": shared_images,
    "vgg-sized": vgg_sized,
    "no-shared-images": no_shared_images,
    "memory": memory,
    "start-up": start_up,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--device", default="auto")
    options.add_argument("--part", choices=[*PARTS, "gpu"], action="append")
    args = options.parse_args()
    args.device = choose_device(args.device)
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    networks = Networks(args.data / "weights")
    everything = [*PARTS, "gpu"] if args.device.startswith("cuda") else list(PARTS)
    rows = []
    for part in args.part or everything:
        for row in {**PARTS, "gpu": gpu}[part](args, networks):
            rows.append(row)
            print(*row, sep=" | ", flush=True)
    print("\n" + format_table(("work", "who", "time", "ratio"), rows))


if __name__ == "__main__":
    main()
