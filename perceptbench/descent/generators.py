"""Mistakes in training a small network, a generator of images: see `mistakes`."""

from collections.abc import Callable
from itertools import accumulate, islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceptbench.descent.dead_leaves import dead_leaves
from perceptbench.descent.engine import judge
from perceptbench.descent.measures import invented, mean_t, panel_mean, removed
from perceptbench.descent.mistakes import PERCEPTUAL, Bench, Finding, detail_lost, picture
from perceptbench.descent.starts import tensor
from perceptbench.distortions import distort
from perceptbench.losses.composite import Composite
from perceptbench.losses.gan import Adversarial, FeatureMatching
from perceptbench.losses.networks import small_discriminator
from perceptbench.losses.pixel import PixelLoss
from perceptbench.reporting.leaderboard import estimate

#: Weights of the discriminator's terms beside the composite.
ADVERSARIAL, MATCHING = 0.01, 0.1
#: Rates of generator and discriminator.
GENERATOR_RATE, DISCRIMINATOR_RATE = 2e-3, 2e-4
#: Computed images a generator is trained on; side of its crops; how many a step.
TRAINING, CROP, BATCH = 24, 32, 8
#: Batches of feature matching that are compared, how often each is drawn, discriminators.
BATCHES, DRAWS, DISCRIMINATORS = (2, 32), 12, 8
#: A generator takes this many steps for one of a descent.
LONGER = 3
TASKS: dict[str, tuple[str, int]] = {
    "denoising": ("noise", 4),
    "2x super-resolution": ("resize", 2),
}
WAYS = {
    "pixel": "L1",
    "perceptual": "LPIPS only",
    "composite": f"L1 + {PERCEPTUAL} LPIPS",
    "adversarial": f"L1 + {PERCEPTUAL} LPIPS + {ADVERSARIAL} adversarial + {MATCHING} matching",
}
TROUBLES = ("degradation left, as the panel sees it", "energy invented", "fine detail lost")
#: Claim, which of TROUBLES, right, wrong.
CLAIMS = (
    ("a perceptual term alone leaves more than with a pixel term", 0, "composite", "perceptual"),
    ("a pixel term alone loses more detail than with a perceptual one", 2, "composite", "pixel"),
    ("adversarial and feature-matching terms invent", 1, "composite", "adversarial"),
)  # fmt: skip


def batch_means(bench: Bench) -> list[Finding]:
    """Relative variance of a generator's gradient: sum of variances over the squared mean."""
    rng = np.random.default_rng([bench.seed, 2])
    clean, noisy = _pool(bench, "noise")
    spread: dict[int, list[float]] = {size: [] for size in BATCHES}
    shown: dict[int, list[Tensor]] = {size: [] for size in BATCHES}
    for seed in range(DISCRIMINATORS):
        generator, discriminator = _networks(bench, seed)
        matching = FeatureMatching(_features(discriminator))
        for size in BATCHES:
            gradients = []
            for _ in range(DRAWS):
                real, other = (_crops(clean, noisy, rng, size) for _ in range(2))
                # The first image is the same in every batch, so that its gradient can be shown.
                output = generator(torch.cat([noisy[:1, :, :CROP, :CROP], other[1][1:]]))
                loss = matching(output, real[0]).mean()
                at_image, *at_weights = torch.autograd.grad(loss, [output, *generator.parameters()])
                gradients.append(torch.cat([g.flatten() for g in at_weights]))
                shown[size].append(at_image[0] / at_image[0].std() / 6 + 0.5)
            stacked = torch.stack(gradients)
            ratio = stacked.var(0).sum() / stacked.mean(0).square().sum()
            spread[size].append(float(ratio))
    few, many = BATCHES
    rows = {f"batch of {size}": torch.stack(shown[size][:5]) for size in BATCHES}
    columns = [f"draw {number}" for number in range(1, 6)]
    return [
        Finding(
            "Feature matching by batch means needs a large batch",
            "variance of a generator's gradient over its squared mean",
            f"a batch of {many}",
            f"a batch of {few}",
            (np.array(spread[many]), np.array(spread[few])),
            picture("The gradient at one and the same image of the batch", columns, rows),
        )
    ]


def generators(bench: Bench) -> tuple[list[Finding], list[list[str]]]:
    """A small generator trained four ways for two tasks: claims, and a table of all."""
    found, table = [], []
    reference = tensor(bench.references, bench.device)
    members = [member for member in bench.members if member.name != "lpips-alex"]
    for task, (ladder, level) in TASKS.items():
        start = tensor(_worse(bench.references, ladder, level, bench.seed), bench.device)
        pool = _pool(bench, ladder, level)
        ends, trouble = {}, {}
        for way in ("pixel", "perceptual", "composite", "adversarial"):
            generator = _train(bench, pool, way)
            with torch.no_grad():
                ends[way] = end = generator(start)
            seen = np.stack([judge(members, images, reference) for images in (start, end)])
            gone = panel_mean(removed(seen[..., None]))[-1, :, 0]
            energy = invented(*(t.cpu().numpy() for t in (reference, start, end)))
            trouble[way] = [1 - gone, energy, detail_lost(reference, end)]
            told = [estimate(*mean_t(v[:, None]), places=2) for v in (gone, *trouble[way][1:])]
            table.append([task, WAYS[way], *told])
        rows = {"reference": reference, "input": start, **ends}
        shown = picture(f"{task}, images that were not trained on", bench.names, rows)
        found += [
            Finding(
                f"{task}: {claim}", TROUBLES[measured], WAYS[right], WAYS[wrong],
                (trouble[right][measured], trouble[wrong][measured]), shown,
            )
            for claim, measured, right, wrong in CLAIMS
        ]  # fmt: skip
    return found, table


class Generator(nn.Module):
    """Three 3 x 3 convolutions, 3,203 parameters, whose output is added to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> the same."""
        hidden = self.second(self.first(images).relu()).relu()
        return (images + self.last(hidden)).clamp(0, 1)


def _networks(bench: Bench, seed: int) -> tuple[Generator, nn.Sequential]:
    """A generator and a discriminator (logits from its last layer), seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, body = Generator(), small_discriminator()
        discriminator = nn.Sequential(*body, nn.Conv2d(128, 1, 1))
    return generator.to(bench.device), discriminator.to(bench.device)


def _features(discriminator: nn.Sequential) -> Callable[[Tensor], list[Tensor]]:
    def features(images: Tensor) -> list[Tensor]:
        after = accumulate(discriminator, lambda x, layer: layer(x), initial=images)
        layers = zip(discriminator, islice(after, 1, None), strict=True)
        return [x for layer, x in layers if isinstance(layer, nn.LeakyReLU)]

    return features


def _worse(images: np.ndarray, ladder: str, level: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 3])
    return np.stack([distort(image, ladder, level, rng) for image in images])


def _pool(bench: Bench, ladder: str, level: int = 4) -> tuple[Tensor, Tensor]:
    """The images to train on, and their degraded versions: none of them is a reference."""
    rngs = (np.random.default_rng([bench.seed, 1, number]) for number in range(TRAINING))
    clean = np.stack([dead_leaves(2 * CROP, rng) for rng in rngs])
    worse = _worse(clean, ladder, level, bench.seed + 1)
    return tensor(clean, bench.device), tensor(worse, bench.device)


def _crops(
    clean: Tensor, worse: Tensor, rng: np.random.Generator, count: int = BATCH
) -> tuple[Tensor, Tensor]:
    """The same random crops of both, (count, 3, CROP, CROP)."""
    which = rng.integers(len(clean), size=count)
    tops, lefts = rng.integers(CROP, size=(2, count))
    places = list(zip(which, tops, lefts, strict=True))
    found = [
        torch.stack([images[i, :, y : y + CROP, x : x + CROP] for i, y, x in places])
        for images in (clean, worse)
    ]
    return found[0], found[1]


def _train(bench: Bench, pool: tuple[Tensor, Tensor], way: str) -> Generator:
    """A generator trained on a `_pool` with one of WAYS."""
    rng = np.random.default_rng([bench.seed, 4])
    generator, discriminator = _networks(bench, bench.seed)
    loss: nn.Module = {"pixel": PixelLoss("l1"), "perceptual": bench.lpips}.get(
        way, bench.composite
    )
    if way == "adversarial":
        matching = FeatureMatching(_features(discriminator))
        terms = {"adversarial": (ADVERSARIAL, Adversarial(discriminator))}
        loss = Composite({"composite": (1.0, loss), **terms, "matching": (MATCHING, matching)})
    learns = torch.optim.Adam(generator.parameters(), lr=GENERATOR_RATE)
    watches = torch.optim.Adam(discriminator.parameters(), lr=DISCRIMINATOR_RATE)
    for _ in range(LONGER * bench.steps):
        target, given = _crops(*pool, rng)
        output = generator(given)
        if way == "adversarial":
            told = F.softplus(-discriminator(target)) + F.softplus(discriminator(output.detach()))
            watches.zero_grad()
            told.mean().backward()
            watches.step()
        learns.zero_grad()
        loss(output, target).mean().backward()
        learns.step()
    return generator
