"""The known mistakes of perceptual losses, looked for in a loss file.

Each is legal and sometimes meant; each has cost somebody a result. What is said is a sentence
with the reason.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from perceptbench.losses.backbones import IMAGE, Network, list_taps, load_network, split_scale
from perceptbench.losses.config import NAMED, LossConfig, TermRow, read_part, resolve_input

#: A tap counts as deep where its maps are this many times smaller than the image.
DEEP = 16


def mistakes(config: LossConfig, base: Path = Path()) -> list[str]:
    """What is doubtful in a loss, one sentence each; empty where nothing is.

    Parameters
    ----------
    config : see `config.parse_loss`.
    base : folder that paths in it are relative to.

    Raises
    ------
    UsageError : a tap or a term that does not exist.
    """
    if config.term:
        return _of_terms(config, base)
    if config.module is not None:
        return [_only_perceptual()]
    assert config.backbone is not None
    # The weights do not matter here, only the shapes.
    table = config.backbone
    network = load_network(table.name, pooling=table.pooling, **table.options())
    rows = {node: shape for _, node, shape in list_taps(network)}
    shapes = {}
    for row in config.tap:
        node = network.node(split_scale(row.layer)[0])
        # A module's name stands for the last node in it.
        last = next((n for n in reversed(rows) if n == node or n.startswith(f"{node}.")), IMAGE)
        shapes[row.layer] = rows[last]
    found = [problem for check in CHECKS if (problem := check(config, network, shapes))]
    return [*found, _only_perceptual()]


Shapes = dict[str, tuple[int, ...]]


def _normalisation(config: LossConfig, network: Network, shapes: Shapes) -> str:
    assert config.backbone is not None
    if config.backbone.weights == "random" or config.backbone.options():
        return ""
    ends = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    given, wanted = (i.normalise(ends) for i in (resolve_input(config, network), network.default))
    if torch.allclose(given, wanted, atol=0.02):
        return ""
    low, high = (f"{given[..., i].mean():.2f}" for i in (0, 1))
    right = [f"{wanted[..., i].mean():.2f}" for i in (0, 1)]
    return (
        f"input: black and white reach the network as {low} and {high}, its weights were trained "
        f"with {right[0]} and {right[1]} (means over channels); leave `mean`, `std` and "
        "`value_range` out"
    )


def _unfrozen(config: LossConfig, network: Network, shapes: Shapes) -> str:
    assert config.backbone is not None
    if config.backbone.frozen:
        return ""
    return "backbone: frozen = false, so training can lower the loss by moving the measure itself"


def _target(config: LossConfig, network: Network, shapes: Shapes) -> str:
    assert config.backbone is not None
    if config.backbone.frozen or config.detach_target:
        return ""
    return (
        "detach_target: the network trains and the target side is not detached, so the target's "
        "activations are pulled towards the output's; set detach_target = true"
    )


def _deep(config: LossConfig, network: Network, shapes: Shapes) -> str:
    sides = [shape[-1] for shape in shapes.values()]
    image = network.default.resize[0] if isinstance(network.default.resize, tuple) else 224
    if max(sides) * DEEP > image:
        return ""
    return (
        f"tap: only deep ones (the finest maps have {max(sides)} x {max(sides)} places for an "
        f"image of {image} x {image}): colour, fine texture and position hardly count; add an "
        "early tap"
    )


def _reductions(config: LossConfig, network: Network, shapes: Shapes) -> str:
    used = {row.reduction or "mean" for row in config.tap if row.distance in ("l1", "l2", "lp")}
    if len(used) < 2:
        return ""
    return (
        f"tap: the reductions {' and '.join(sorted(used))} are mixed, so the weights of the taps "
        "are not in one unit"
    )


def _sums(config: LossConfig, network: Network, shapes: Shapes) -> str:
    sizes = {math.prod(shapes[row.layer]) for row in config.tap if row.reduction == "sum"}
    if len(sizes) < 2:
        return ""
    return (
        f"tap: sums over taps of {min(sizes):,} to {max(sizes):,} activations, so the largest maps "
        'outweigh the others, and the more so the larger the image; use reduction = "mean"'
    )


Check = Callable[[LossConfig, Network, Shapes], str]
CHECKS: tuple[Check, ...] = (_normalisation, _unfrozen, _target, _deep, _reductions, _sums)


def _of_terms(config: LossConfig, base: Path) -> list[str]:
    found = []
    for row in config.term:
        if row.loss is not None:
            nested, folder = read_part(row.loss, base)
            inner = [m for m in mistakes(nested, folder) if m != _only_perceptual()]
            found += [f"{row.loss}: {problem}" for problem in inner]
    found += [problem for row in config.term if (problem := _matching(row))]
    if not any(row.pixel or row.loss in NAMED for row in config.term):
        found.append(_only_perceptual())
    return found


def _matching(row: TermRow) -> str:
    if row.matching != "batch":
        return ""
    return (
        'term: matching = "batch" compares means over a batch; at batch size 1, and when pairs '
        'are ranked, there is no batch; use matching = "pair" there'
    )


def _only_perceptual() -> str:
    return (
        "as a training objective: there is no pixel term, so that colour and what the network does "
        'not see may drift; add [[term]] pixel = "l1" in a composite file'
    )
