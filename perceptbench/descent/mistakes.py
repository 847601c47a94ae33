"""Mistakes in training that no ranking can show, each measured against doing it right.

A study measures one trouble, larger being worse, on the same images with and without the mistake.
Its claim, that the mistake costs, is *supported* (*refuted*) where the paired difference over
images is above (below) 0 with a p of Student's t, two-sided and corrected by Holm's method over all
claims, below 5 %; else it is *undecided*. The 95 % intervals are not corrected.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from perceptbench.agreement.inference import SIGNIFICANT, differences, holm
from perceptbench.descent.dead_leaves import dead_leaves
from perceptbench.descent.engine import RATE, Loss, Member, convene, descend, judge
from perceptbench.descent.measures import BLOCK, coefficients, invented, mean_t, panel_mean, removed
from perceptbench.descent.starts import degraded, tensor, uint8
from perceptbench.distortions import distort
from perceptbench.errors import DataError
from perceptbench.losses.backbones import Backbone
from perceptbench.losses.composite import Composite
from perceptbench.losses.config import load_loss
from perceptbench.losses.feature_loss import FeatureLoss
from perceptbench.losses.gan import Adversarial, FeatureMatching
from perceptbench.losses.networks import small_discriminator
from perceptbench.losses.pixel import PixelLoss
from perceptbench.metrics.protocol import MetricInfo
from perceptbench.reporting.gallery import Section, render, sheet
from perceptbench.reporting.leaderboard import estimate, format_table
from perceptbench.spreadsheet import to_csv
from perceptbench.study import REFUTED, SUPPORTED, UNDECIDED

#: Weight of LPIPS beside L1 in a composite, and of the discriminator's terms.
PERCEPTUAL, ADVERSARIAL, MATCHING = 0.1, 0.01, 0.1
#: Rate at which an extractor that is not frozen learns; rates of generator and discriminator.
EXTRACTOR_RATE, GENERATOR_RATE, DISCRIMINATOR_RATE = 1e-3, 2e-3, 2e-4
#: Computed images a generator is trained on; side of its crops; how many a step.
TRAINING, CROP, BATCH = 24, 32, 8
#: Batches of feature matching that are compared, how often each is drawn, discriminators.
BATCHES, DRAWS, DISCRIMINATORS = (2, 32), 12, 8
#: A generator takes this many steps for one of a descent.
LONGER = 3


@dataclass(frozen=True)
class Finding:
    """What a study found.

    Attributes
    ----------
    claim : that the mistake costs.
    trouble : what is measured; larger is worse.
    right, wrong : what is compared.
    values : of right and wrong, one a unit (an image, a discriminator), both (units,).
    picture : a JPEG file, and its caption.
    """

    claim: str
    trouble: str
    right: str
    wrong: str
    values: tuple[np.ndarray, np.ndarray]
    picture: tuple[str, bytes]


@dataclass(frozen=True)
class Bench:
    """What the studies share.

    Attributes
    ----------
    names, references : of the images, uint8 (n, H, W, 3).
    members : the panel.
    lpips : LPIPS on AlexNet, frozen; with L1 it is `composite`.
    steps, seed, device, weights_dir : see `engine.run`.
    """

    names: Sequence[str]
    references: np.ndarray
    members: Sequence[Member]
    lpips: FeatureLoss
    steps: int
    seed: int
    device: str
    weights_dir: Path | None

    @property
    def composite(self) -> nn.Module:
        return Composite({"l1": (1.0, PixelLoss("l1")), "lpips": (PERCEPTUAL, self.lpips)})

    def start(self, name: str) -> tuple[Tensor, Tensor]:
        """The images degraded in one way, and their references, (n, 3, H, W)."""
        worse = degraded(self.references, [name], self.seed)
        return tensor(worse, self.device), tensor(self.references, self.device)

    def end(
        self,
        loss: Loss,
        start: Tensor,
        reference: Tensor,
        also: Sequence[tuple[Tensor, float]] = (),
    ) -> Tensor:
        """Where a descent ends, (n, 3, H, W); `also` is trained with it."""
        return descend(loss, start, reference, self.steps, [self.steps], also=also)[0][0]

    def compare(
        self, name: str, right: Loss, wrong: Loss, also: Sequence[tuple[Tensor, float]] = ()
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Start, reference, and the ends done right and with the mistake, which trains `also`."""
        start, reference = self.start(name)
        ends = [self.end(right, start, reference), self.end(wrong, start, reference, also)]
        return start, reference, ends


# What is measured: (n,) of images, larger is worse.


def detail_lost(reference: Tensor, end: Tensor) -> np.ndarray:
    """1 minus the regression of the end's fine detail on the reference's: 0 all there, 1 none.

    Fine are the coefficients u + v >= BLOCK of the blocks' DCT.
    """
    r, e = (coefficients(images.cpu().numpy()) for images in (reference, end))
    u = np.arange(BLOCK)
    fine = (u[:, None] + u >= BLOCK)[:, None, :]  # as (u, column of blocks, v)
    cross, own = ((r * other * fine).reshape(len(r), -1).sum(1) for other in (e, r))
    return 1 - cross / own


def drift(reference: Tensor, end: Tensor) -> np.ndarray:
    """Root mean squared difference of the mean colours of blocks, in 8-bit steps."""
    means = F.avg_pool2d(end - reference, BLOCK)
    return 255 * means.square().mean((1, 2, 3)).sqrt().cpu().numpy()


def left(reference: Tensor, start: Tensor, end: Tensor) -> np.ndarray:
    """Distance from the reference, root mean square, as a share of the start's."""
    root = [(x - reference).square().mean((1, 2, 3)).sqrt() for x in (end, start)]
    return (root[0] / root[1]).cpu().numpy()


# The studies.


def deep_layers(bench: Bench) -> list[Finding]:
    even = load_loss("alex-l2", bench.weights_dir).to(bench.device)
    assert isinstance(even, FeatureLoss)
    terms = [replace(term, weight=4.0**k) for k, term in enumerate(even.terms)]
    deep = FeatureLoss(even.backbone, terms)
    start, reference, ends = bench.compare("blur", even, deep)
    rows = {"reference": reference, "start": start, "even": ends[0], "deep": ends[1]}
    return [
        Finding(
            "Deep layers that weigh more (four times the one before) blur",
            "fine detail of the reference that is not there at the end, from blur",
            "alex-l2, taps of equal weight",
            "alex-l2, weights 1, 4, 16, 64, 256",
            (detail_lost(reference, ends[0]), detail_lost(reference, ends[1])),
            _picture("Deblurring by AlexNet's features", bench.names, rows),
        )
    ]


def only_perceptual(bench: Bench) -> list[Finding]:
    found: list[list[np.ndarray]] = []
    rows: dict[str, Tensor] = {}
    for name in ("noise", "blur"):
        start, reference, ends = bench.compare(name, bench.composite, bench.lpips)
        found.append([drift(reference, end) for end in ends])
        rows |= {"reference": reference, name: start}
        rows |= {f"{name}: with L1": ends[0], f"{name}: LPIPS only": ends[1]}
    with_l1, alone = np.mean(found, axis=0)
    return [
        Finding(
            "A perceptual term without a pixel term lets colours drift",
            f"error of mean colours of {BLOCK} x {BLOCK} pixels, 8-bit steps, from noise and blur",
            f"L1 + {PERCEPTUAL} LPIPS",
            "LPIPS only",
            (with_l1, alone),
            _picture("Where LPIPS drives an image, with and without L1", bench.names, rows),
        )
    ]


def not_frozen(bench: Bench) -> list[Finding]:
    backbone, terms = bench.lpips.backbone, bench.lpips.terms
    own = Backbone(backbone.network, backbone.taps, backbone.input, frozen=False)
    loss = FeatureLoss(own, terms).to(bench.device)
    trained = [(weights, EXTRACTOR_RATE) for weights in loss.parameters()]
    start, reference, ends = bench.compare("noise", bench.lpips, loss, trained)
    with torch.no_grad():
        before, after = (part(start, reference).cpu().numpy() for part in (bench.lpips, loss))
    rows = {"reference": reference, "start": start, "frozen": ends[0], "not frozen": ends[1]}
    return [
        Finding(
            "An extractor left unfrozen loses its meaning",
            "share of the distance between start and reference that it no longer sees afterwards",
            "LPIPS, frozen",
            "LPIPS, its network trained along",
            (0 * before, 1 - after / before),
            _picture("Denoising by LPIPS", bench.names, rows),
        )
    ]


def not_detached(bench: Bench) -> list[Finding]:
    composite = bench.composite
    target = tensor(bench.references, bench.device).requires_grad_()
    start, reference, ends = bench.compare(
        "noise", composite, lambda x, _: composite(x, target.clamp(0, 1)), [(target, RATE)]
    )
    rows = {"reference": reference, "start": start, "detached": ends[0]}
    rows |= {"not detached": ends[1], "its target": target.detach().clamp(0, 1)}
    return [
        Finding(
            "A target that is not detached comes to meet the output",
            "distance from the true reference at the end, as a share of the start's (noise)",
            f"L1 + {PERCEPTUAL} LPIPS, target detached",
            "the same, target learned too",
            (left(reference, start, ends[0]), left(reference, start, ends[1])),
            _picture("Denoising by L1 and LPIPS", bench.names, rows),
        )
    ]


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
            _picture("The gradient at one and the same image of the batch", columns, rows),
        )
    ]


TASKS: dict[str, tuple[str, int]] = {
    "denoising": ("noise", 4),
    "2x super-resolution": ("resize", 2),
}


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
        picture = _picture(f"{task}, images that were not trained on", bench.names, rows)
        found += [
            Finding(
                f"{task}: {claim}", TROUBLES[measured], WAYS[right], WAYS[wrong],
                (trouble[right][measured], trouble[wrong][measured]), picture,
            )
            for claim, measured, right, wrong in CLAIMS
        ]  # fmt: skip
    return found, table


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


STUDIES: tuple[Callable[[Bench], list[Finding]], ...] = (
    deep_layers, only_perceptual, not_frozen, not_detached, batch_means,
)  # fmt: skip


def verdicts(findings: Sequence[Finding]) -> pd.DataFrame:
    """`mistakes.csv`, one row a claim.

    ``claim, trouble, right, wrong``, the ``right value`` and ``wrong value``, ``difference``
    (wrong minus right) with its interval, ``p_holm``, ``units``, ``verdict``.
    """
    rows = []
    for finding in findings:
        right, wrong = finding.values
        apart, n = wrong - right, len(right)
        error = apart.std(ddof=1) / np.sqrt(n)
        low, high, p = (float(v) for v in differences(apart.mean(), error, n - 1, n))
        rows.append([
            finding.claim, finding.trouble, finding.right, finding.wrong,
            right.mean(), wrong.mean(), apart.mean(), low, high, p, n,
        ])  # fmt: skip
    columns = ["claim", "trouble", "right", "wrong", "right value", "wrong value"]
    columns += ["difference", "low", "high", "p_holm", "units"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p_holm"].to_numpy(float))
    clear = table["p_holm"] < SIGNIFICANT
    signs = [clear & (table["difference"] > 0), clear & (table["difference"] < 0)]
    return table.assign(verdict=np.select(signs, [SUPPORTED, REFUTED], UNDECIDED))


def files(
    judges: Sequence[MetricInfo],
    names: Sequence[str],
    references: np.ndarray,
    *,
    steps: int,
    seed: int,
    device: str,
    weights_dir: Path | None,
    command: str = "",
) -> tuple[str, dict[str, bytes]]:
    """The verdicts for the terminal; ``mistakes.csv`` and the page.

    Raises
    ------
    Unavailable : AlexNet's weights cannot be had.
    DataError : no metric of the panel can be had.
    """
    lpips = load_loss("lpips-alex", weights_dir).to(device)
    assert isinstance(lpips, FeatureLoss)
    _, members, skipped = convene(judges, references.shape[1], device, weights_dir)
    if not [member for member in members if member.name != "lpips-alex"]:
        why = "; ".join(f"{name} {reason}" for name, reason in skipped.items())
        raise DataError(f"no metric of the panel is left beside lpips-alex ({why or 'none named'})")
    bench = Bench(names, references, members, lpips, steps, seed, device, weights_dir)
    findings = []
    with tqdm(total=len(STUDIES) + 1, unit="study", disable=None) as bar:
        for study in STUDIES:
            findings += study(bench)
            bar.update()
        trained, table = generators(bench)
        bar.update()
    result = verdicts([*findings, *trained])
    header, rows = VERDICTS, [_verdict(row) for row in result.to_dict("records")]
    pictures = dict(finding.picture for finding in [*findings, *trained])
    judged_by = ", ".join(member.name for member in members)
    sections = [
        Section("Verdicts", READING, header, rows),
        Section("Pictures", pictures=pictures),
        Section(
            "A small generator", f"3,203 parameters, {LONGER * steps} steps on computed images; "
            f"judged on others, by {judged_by}, without LPIPS on AlexNet, which three of them "
            "were trained with.", GENERATORS, table,
        ),
    ]  # fmt: skip
    lead = (
        f"{(result['verdict'] == SUPPORTED).sum()} of {len(result)} claims are supported, on "
        f"{len(names)} images of {references.shape[1]} x {references.shape[1]} pixels and "
        f"{steps} steps; the verdicts hold for these."
    )
    page = render("mistakes", "What do mistakes in training cost?", lead, sections, command)
    text = f"{lead}\n\n{format_table(header, rows)}"
    return text, {"mistakes.csv": to_csv(result).encode()} | page


VERDICTS = ("claim", "trouble measured", "right", "mistake", "difference", "p (Holm)", "verdict")
GENERATORS = ("task", "loss", "degradation removed", "energy invented", "fine detail lost")
READING = (
    "A claim says that a mistake costs. The trouble is measured on the same images done right and "
    "with the mistake; the difference is mistake minus right, with the 95 % interval of Student's "
    "t over images (feature matching: over discriminators). p is corrected by Holm's method over "
    "all claims; undecided is no evidence that a mistake is harmless."
)


def _verdict(row: Mapping[Any, Any]) -> list[str]:
    ends = (row[name] for name in ("difference", "low", "high"))
    difference = estimate(*ends, places=3, sign="+")
    sides = [f"{row[side]}: {row[f'{side} value']:.3f}" for side in ("right", "wrong")]
    p = f"{row['p_holm']:.2g}"
    return [str(row["claim"]), str(row["trouble"]), *sides, difference, p, str(row["verdict"])]


def _picture(caption: str, columns: Sequence[str], rows: dict[str, Tensor]) -> tuple[str, bytes]:
    return caption, sheet(columns, {name: list(uint8(images)) for name, images in rows.items()})
