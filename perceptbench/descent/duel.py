"""Maximum differentiation: images that one metric holds equal and another finds most different.

Wang, Simoncelli, J. Vision 8(12):8, 2008, doi:10.1167/8.12.8. From a noisy version of the
reference, the images on the level set of one metric on which another is least and greatest: steps
along the gradient of the other, less its part along that of the first, and back onto the level
along the latter (Newton's step). People who judge such a pair judge the two metrics: unless both
say the same of every pair, one of them is wrong about it.

What is written: ``images/`` with references and pairs as 8-bit PNG; ``triplets.csv``, a 2AFC list
with an empty column ``p_b``; ``duel.csv``, what both metrics say; a page with the pictures.
"""

import io
from collections.abc import Sequence
from math import cos, pi
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from perceptbench.descent.engine import Loss, convene, objective
from perceptbench.descent.starts import tensor, uint8
from perceptbench.distortions import distort
from perceptbench.errors import Unavailable, UsageError
from perceptbench.metrics.protocol import MetricInfo
from perceptbench.reporting.gallery import Section, render, sheet
from perceptbench.reporting.leaderboard import format_table
from perceptbench.spreadsheet import to_csv

#: Relative difference of a value within which a metric holds two images equal.
TOLERANCE = 1e-3
#: Level of the noise ladder that a duel starts from; length of its first step over that noise.
NOISE, STRIDE = 3, 0.2
#: How far an 8-bit image is moved, from or to its reference, to be on the level: share, halvings.
REACH, HALVINGS = 0.2, 24


def differentiate(
    held: Loss,
    moved: Loss,
    start: Tensor,
    reference: Tensor,
    sign: int,
    steps: int,
    level: Tensor | None = None,
) -> Tensor:
    """The images at which `moved` is least (sign -1) or greatest (1) where `held` is at `level`.

    Parameters
    ----------
    held, moved : (images, references) -> (N,), differentiable in the first.
    start, reference : (N, 3, H, W) in [0, 1].
    steps : their length falls from STRIDE times the start's distance to 0 as a half cosine.
    level : (N,); default: of the start.

    Returns
    -------
    (N, 3, H, W) in [0, 1], nearly on the level; a local extreme, as every descent finds.

    Raises
    ------
    Unavailable : no gradient reaches the images.
    """
    x, radius = start, _norm(start - reference)
    for step in range(steps):
        value, across = _gradient(held, x, reference)
        _, along = _gradient(moved, x, reference)
        level = value if level is None else level
        square = _dot(across, across).clamp_min(1e-30)
        along = along - across * (_dot(along, across) / square)
        stride = STRIDE * (1 + cos(pi * step / steps)) / 2 * radius
        x = x + sign * along * (stride / _norm(along).clamp_min(1e-30))
        x = (x - across * ((value - level).view(-1, 1, 1, 1) / square)).clamp(0, 1)
    return x


def _gradient(loss: Loss, images: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    x = images.detach().requires_grad_()
    value = loss(x, reference)
    if not value.requires_grad:
        raise Unavailable("no gradient reaches the images")
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum((1, 2, 3), keepdim=True)


def _norm(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt()


def on_level(held: Loss, images: Tensor, reference: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """The images in 8 bits, moved along the line from their reference until `held` is at `level`.

    Returns
    -------
    (N, 3, H, W), multiples of 1/255; how far off each is, relative to its level (N,).
    """
    best, off = images, torch.full_like(level, torch.inf)
    low, high = torch.full_like(level, 1 - REACH), torch.full_like(level, 1 + REACH)
    for _ in range(HALVINGS):
        factor = (low + high) / 2
        line = reference + factor.view(-1, 1, 1, 1) * (images - reference)
        rounded = (line.clamp(0, 1) * 255).round() / 255
        with torch.no_grad():
            value = held(rounded, reference)
        error = (value / level - 1).abs()
        better = error < off
        best = torch.where(better.view(-1, 1, 1, 1), rounded, best)
        off = torch.where(better, error, off)
        below = value < level
        low, high = torch.where(below, factor, low), torch.where(below, high, factor)
    return best, off


def duel(
    infos: Sequence[MetricInfo],
    names: Sequence[str],
    references: np.ndarray,
    *,
    steps: int,
    seed: int = 0,
    device: str = "cpu",
    weights_dir: Path | None = None,
    command: str = "",
) -> tuple[str, dict[str, bytes], list[str]]:
    """The table for the terminal, the files, and the pairs that could not be held equal.

    `infos` are the two metrics, `names, references` as of `starts.references`.

    Raises
    ------
    UsageError : not two different metrics.
    Unavailable : one of them cannot be had, or has no gradient.
    """
    if len(infos) != 2:
        raise UsageError("a duel is between two different metrics")
    metrics, _, skipped = convene(infos, references.shape[1], device, weights_dir)
    for name, why in skipped.items():
        raise Unavailable(f"{name}: {why}")
    calls = {metric.info.name: objective(metric) for metric in metrics}
    a, b = (info.name for info in infos)
    noisy = [distort(image, "noise", NOISE, np.random.default_rng([seed, number]))
             for number, image in enumerate(references)]  # fmt: skip
    start, reference = tensor(np.stack(noisy), device), tensor(references, device)
    pairs = {}
    with tqdm(total=4, unit="descent", disable=None) as bar:
        for held, moved in ((a, b), (b, a)):
            with torch.no_grad():
                level = calls[held](start, reference)
            for side, sign in (("least", -1), ("most", 1)):
                far = differentiate(calls[held], calls[moved], start, reference, sign, steps)
                pairs[held, side] = on_level(calls[held], far, reference, level)
                bar.update()
    rows, lost = [], []
    for held, moved in ((a, b), (b, a)):
        for number, name in enumerate(names):
            off = max(float(pairs[held, side][1][number]) for side in ("least", "most"))
            if not off <= TOLERANCE:
                lost.append(
                    f"{name}: {held} cannot be held equal, it differs by {off:.2g} of itself"
                )
                continue
            row = {"image": name, "number": number, "held": held, "moved": moved, "off": off}
            with torch.no_grad():
                for side in ("least", "most"):
                    image = pairs[held, side][0][number : number + 1]
                    for kind, metric in (("held", held), ("moved", moved)):
                        value = calls[metric](image, reference[number : number + 1])
                        row[f"{kind} {side}"] = float(value)
            rows.append(row)
    if not rows:
        raise Unavailable(f"not one pair could be held equal; the first: {lost[0]}")
    pictures = {key: uint8(images) for key, (images, _) in pairs.items()}
    return _files(pd.DataFrame(rows), pictures, references, seed, steps, command, lost)


def _files(
    table: pd.DataFrame,
    pictures: dict[tuple[str, str], np.ndarray],
    references: np.ndarray,
    seed: int,
    steps: int,
    command: str,
    lost: list[str],
) -> tuple[str, dict[str, bytes], list[str]]:
    files: dict[str, bytes] = {}
    shown: dict[tuple[str, str], dict[str, list[np.ndarray]]] = {}
    triplets = []
    rng = np.random.default_rng(seed)
    order = list(dict.fromkeys(table["held"]))
    for row in table.to_dict("records"):
        held, number = row["held"], row["number"]
        reference = f"images/{number:03d}-reference.png"
        sides = [f"images/{number:03d}-{order.index(held) + 1}-{s}.png" for s in ("least", "most")]
        files[reference] = _png(references[number])
        for path, side in zip(sides, ("least", "most"), strict=True):
            files[path] = _png(pictures[held, side][number])
        first, second = sides if rng.random() < 0.5 else sides[::-1]
        triplets.append((reference, first, second, "", f"{held} equal"))
        images = [references[number], *(pictures[held, side][number] for side in ("least", "most"))]
        shown.setdefault((held, row["moved"]), {})[row["image"]] = images
    listed = pd.DataFrame(triplets, columns=["reference", "a", "b", "p_b", "category"])
    listed = listed.iloc[rng.permutation(len(listed))]
    files |= {"triplets.csv": to_csv(listed).encode(), "duel.csv": to_csv(table).encode()}
    body = [
        [str(row["image"]), row["held"], row["moved"], f"{row['off']:.1e}",
         f"{row['moved least']:.4g}", f"{row['moved most']:.4g}"]
        for row in table.to_dict("records")
    ]  # fmt: skip
    a, b = order[0], next(iter(shown))[1]
    lead = (
        f"Pairs that {a} holds equal, to {TOLERANCE:g} of its value, and {b} finds most and least "
        f"different from the reference, and the reverse: {len(table)} pairs, {steps} steps each. "
        "Which of the two is right about them, people say: fill in p_b of triplets.csv."
    )
    sections = [
        Section("What the two say", READING, HEADER, body),
        Section("Look", pictures={
            f"{held} says that both are equally far from the reference, {moved} that they are not":
            sheet(["reference", f"least ({moved})", f"most ({moved})"], rows)
            for (held, moved), rows in shown.items()
        }),
        *([Section("Pairs that are missing", header=("pair",), rows=[[why] for why in lost])]
          if lost else []),
    ]  # fmt: skip
    page = render("duel", f"{a} against {b}", lead, sections, command)
    return f"{lead}\n\n{format_table(HEADER, body)}", files | page, lost


HEADER = ("image", "held equal", "the other", "held to", "other, least", "other, most")
READING = (
    "Both images of a pair lie on one level of the metric that is held, that of white noise on the "
    "reference; the other's values on that level, least and most, in its own units. The farther "
    "these are apart, the less the first metric knows of what the second sees."
)


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
