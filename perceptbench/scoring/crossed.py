"""Distances of many images with one another: activations are read once a piece, not once a pair.

Where most images of a shard are compared with most others, as in triplets over few images, a piece
of the activations of all of them fits a processor's cache, and all distances are taken of it there.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench.losses.distances import Distance, mean_absolute, mean_square, sum_square

#: Images from which on this pays, and the share of all their pairs that must be wanted.
IMAGES, SHARE = 16, 1 / 4
#: Of the time that a pair takes alone, what each pair there could be takes here, about.
COST = 1 / 16
#: Bytes of a piece of all images together.
PIECE_BYTES = {"cpu": 1 << 20, "cuda": 1 << 28}
#: Comparisons of embeddings that are sums of powers: the power, and the reduction.
POWERS: dict[Callable[[Tensor, Tensor], Tensor], tuple[float, str]] = {
    sum_square: (2.0, "sum"),
    mean_square: (2.0, "mean"),
    mean_absolute: (1.0, "mean"),
}


def pays(rows: Sequence[tuple[str, str]], device: torch.device) -> bool:
    """Whether so many of the pairs there could be are wanted that all of them are taken."""
    images = len({key for row in rows for key in row})
    enough = len(set(map(frozenset, rows))) >= SHARE * images * (images - 1) / 2
    return images >= IMAGES and enough and device.type in PIECE_BYTES


def possible(how: Distance) -> bool:
    """Whether a distance is a sum of absolute differences or of squares."""
    if how.row is not None:
        return how.row.power in (None, 1.0, 2.0)
    return how.compare in POWERS


def sums(
    rows: Sequence[Tensor],
    powers: Sequence[float],
    units: Sequence[tuple[Sequence[Tensor], Sequence[Tensor | None]]] = (),
) -> list[Tensor]:
    """Sums over channels and places of the differences of all pairs of N images at one tap.

    Parameters
    ----------
    rows : activations (M, places, C) of batches of M images, N in all.
    powers : of the differences, 1 or 2.
    units : scales (M, places, 1) of the batches' rows, and heads (C,) that weigh the squares of
        the scaled rows' differences; None: 1.

    Returns
    -------
    For each power, then for each head, (N (N - 1) / 2 + 1,) in float64: pairs in the order of
    `torch.pdist`, then a 0, that of an image and itself.
    """
    totals: list[Tensor] = []
    scales = [_pieces(scale, rows) for scale, _ in units]
    for piece, *scaled in zip(_pieces(rows, rows), *scales, strict=True):
        values = [_distances(piece, power) for power in powers]
        for scale, (_, heads) in zip(scaled, units, strict=True):
            unit = piece * scale
            values += [_weighted(unit, head) for head in heads]
        # Added up at once: large images have thousands of pieces.
        totals = [a + b for a, b in zip(totals, values, strict=True)] if totals else values
    return [F.pad(total, (0, 1)) for total in totals]


def _pieces(tensors: Sequence[Tensor], rows: Sequence[Tensor]) -> Iterator[Tensor]:
    """Pieces of all images, (N, L, K), as long as pieces of `rows` may be."""
    first, images = rows[0], sum(len(batch) for batch in rows)
    length = max(1, PIECE_BYTES[first.device.type] // (images * first[0, 0].nbytes))
    for parts in zip(*(batch.split(length, 1) for batch in tensors), strict=True):
        yield torch.cat(parts)


def _distances(piece: Tensor, power: float) -> Tensor:
    found = torch.pdist(piece.flatten(1), power).double()
    return found.square() if power == 2 else found


def _weighted(unit: Tensor, head: Tensor | None) -> Tensor:
    """Weighted squares of differences; weights below zero are taken apart."""
    if head is None:
        return _distances(unit, 2)
    above = _distances(unit * head.clamp_min(0).sqrt(), 2)
    below = (-head).clamp_min(0).sqrt()
    return above - _distances(unit * below, 2) if below.any() else above


def where(i: Sequence[int], j: Sequence[int], images: int) -> Tensor:
    """Where `sums` of so many images has the pairs of images i and j."""
    first, second = torch.tensor([i, j]).sort(0).values
    place = first * (2 * images - first - 3) // 2 + second - 1
    return torch.where(first == second, images * (images - 1) // 2, place)
