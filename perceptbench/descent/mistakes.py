"""Mistakes in training that no ranking can show, each measured against doing it right.

A study measures one trouble, larger being worse, on the same images with and without the mistake.
Those of an image that is optimised stand here, those of a network that is trained in `generators`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceptbench.descent.engine import RATE, Loss, Member, descend
from perceptbench.descent.measures import BLOCK, coefficients
from perceptbench.descent.starts import degraded, tensor, uint8
from perceptbench.losses.backbones import Backbone
from perceptbench.losses.composite import Composite
from perceptbench.losses.config import load_loss
from perceptbench.losses.feature_loss import FeatureLoss
from perceptbench.losses.pixel import PixelLoss
from perceptbench.reporting.gallery import sheet

#: Weight of LPIPS beside L1 in a composite.
PERCEPTUAL = 0.1
#: Rate at which an extractor that is not frozen learns.
EXTRACTOR_RATE = 1e-3


@dataclass(frozen=True)
class Finding:
    """What a study found."""

    claim: str  # that the mistake costs
    trouble: str  # what is measured; larger is worse
    right: str
    wrong: str
    values: tuple[np.ndarray, np.ndarray]  # of both, one a unit (image, discriminator), (units,)
    picture: tuple[str, bytes]  # caption and JPEG file


@dataclass(frozen=True)
class Bench:
    """What the studies share."""

    names: Sequence[str]
    references: np.ndarray  # uint8 (n, H, W, 3)
    members: Sequence[Member]  # the panel
    lpips: FeatureLoss  # LPIPS on AlexNet, frozen; with L1 it is `composite`
    steps: int
    seed: int
    device: str
    weights_dir: Path | None

    @property
    def composite(self) -> nn.Module:
        return Composite({"l1": (1.0, PixelLoss("l1")), "lpips": (PERCEPTUAL, self.lpips)})

    def compare(
        self, name: str, right: Loss, wrong: Loss, also: Sequence[tuple[Tensor, float]] = ()
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The images degraded in one way, their references, and where descents end that are done
        right and with the mistake, which trains `also`; each (n, 3, H, W)."""
        worse = degraded(self.references, [name], self.seed)
        start, reference = tensor(worse, self.device), tensor(self.references, self.device)
        ends = [
            descend(loss, start, reference, self.steps, [self.steps], also=more)[0][0]
            for loss, more in ((right, ()), (wrong, also))
        ]
        return start, reference, ends


def picture(caption: str, columns: Sequence[str], rows: dict[str, Tensor]) -> tuple[str, bytes]:
    """A caption and the pictures under it, rows of images (n, 3, H, W) in named columns."""
    return caption, sheet(columns, {name: list(uint8(images)) for name, images in rows.items()})


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
            picture("Deblurring by AlexNet's features", bench.names, rows),
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
            picture("Where LPIPS drives an image, with and without L1", bench.names, rows),
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
            picture("Denoising by LPIPS", bench.names, rows),
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
            picture("Denoising by L1 and LPIPS", bench.names, rows),
        )
    ]
