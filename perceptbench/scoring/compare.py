"""Activations of many images in, the primitives of many pairs out.

What is compared is prepared once an image (`Comparison.encode`): activations as rows of
channels, the lengths of these rows, Gram matrices and the like. All distances of a tap that are
sums over locations are then taken together, in one pass over the two activations: by a function
that ``torch.compile`` fuses, or in pieces that stay in a CPU's cache.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from perceptbench.losses.distances import Distance, Row, power
from perceptbench.losses.fused import pieces, rows
from perceptbench.scoring.plan import Primitive

#: Bytes of one operand above which pairs are compared one by one: beyond the cache, putting
#: them together costs a CPU more than it saves. A GPU is given as much as fits easily.
TOGETHER_BYTES = {"cpu": 1 << 18, "cuda": 1 << 28, "mps": 1 << 26}

#: Scales of both sides (R, 1), and the heads (C,) that weigh the squares of their differences.
Units = Sequence[tuple[Tensor, Tensor, Sequence[Tensor]]]
Kernel = Callable[[Tensor, Tensor, Sequence[float], Units], list[Tensor]]


def row_values(x: Tensor, y: Tensor, powers: Sequence[float], units: Units) -> list[Tensor]:
    """Sums over the channels at each location, made to be compiled.

    Parameters
    ----------
    x, y : activations (R, C).
    powers : of |x - y|.
    units : see Units.

    Returns
    -------
    (R,) for each power, then for each head.
    """
    apart = x - y
    found = [power(apart, p).sum(1) for p in powers]
    for scale_x, scale_y, heads in units:
        square = (x * scale_x - y * scale_y).square()
        found += [(square * head).sum(1) for head in heads]
    return found


def row_values_in_pieces(
    x: Tensor, y: Tensor, powers: Sequence[float], units: Units
) -> list[Tensor]:
    """The same without a compiler, a piece of the rows at a time."""
    count = len(powers) + sum(len(heads) for _, _, heads in units)
    found = list(x.new_empty(count, len(x)))
    for piece in pieces(x):
        a, b = x[piece], y[piece]
        out = (values[piece] for values in found)
        apart = a - b if powers else a
        for p in powers:
            if p == 1:
                torch.linalg.vector_norm(apart, 1, dim=1, out=next(out))
            else:
                torch.sum(power(apart, p), 1, out=next(out))
        for scale_x, scale_y, heads in units:
            # Not addcmul: fused with the product, the difference of equal values is not 0.
            square = (a * scale_x[piece]).sub_(b * scale_y[piece]).square_()
            for head in heads:
                torch.mv(square, head, out=next(out))
    return found


def compiled(say: Callable[[str], Any]) -> Kernel:
    """`row_values` through ``torch.compile``; where that fails, said once, in pieces."""
    fused: Kernel = torch.compile(row_values, dynamic=True)
    failed: list[Exception] = []

    def kernel(x: Tensor, y: Tensor, powers: Sequence[float], units: Units) -> list[Tensor]:
        if not failed:
            try:
                return fused(x, y, powers, units)
            except Exception as error:  # dynamo, inductor and the C++ compiler raise many kinds
                failed.append(error)
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                say(f"torch.compile does not work here ({reason}); going on without it")
        return row_values_in_pieces(x, y, powers, units)

    return kernel


@dataclass
class Encoded:
    """What is compared of M images of one size.

    Attributes
    ----------
    rows : tap -> activations (M, H W, C).
    scales : (tap, epsilon) -> what brings each row to unit length, (M, H W, 1).
    embeddings : (tap, embed) -> (M, ...).
    """

    rows: dict[str, Tensor] = field(default_factory=dict)
    scales: dict[tuple[str, float], Tensor] = field(default_factory=dict)
    embeddings: dict[tuple[str, Any], Tensor] = field(default_factory=dict)

    def tensors(self) -> Iterator[Tensor]:
        """All that is held."""
        for held in (self.rows, self.scales, self.embeddings):
            yield from held.values()


class Comparison:
    """Compares activations at the taps of one network.

    Parameters
    ----------
    primitives : id -> what to compute.
    kernel : `row_values_in_pieces`, or what `compiled` gives.
    """

    def __init__(self, primitives: Mapping[str, Primitive], kernel: Kernel) -> None:
        self.kernel = kernel
        self.sums: dict[str, list[tuple[str, Row, Tensor | None]]] = {}
        self.others: dict[tuple[str, Any], list[tuple[str, Distance, Tensor | None]]] = {}
        for id_, primitive in primitives.items():
            how = primitive.how
            if how.row is not None:
                self.sums.setdefault(primitive.node, []).append((id_, how.row, primitive.head))
            else:
                where = (primitive.node, how.embed)
                self.others.setdefault(where, []).append((id_, how, primitive.head))

    def ids(self) -> list[str]:
        """The primitives that are computed."""
        sums = [id_ for wanted in self.sums.values() for id_, _, _ in wanted]
        return sums + [id_ for wanted in self.others.values() for id_, _, _ in wanted]

    def encode(self, activations: Mapping[str, Tensor]) -> Encoded:
        """Prepares activations (M, C, H, W) by tap."""
        found = Encoded()
        for node, wanted in self.sums.items():
            activation = activations[node]
            flat = _exact(rows(activation))
            found.rows[node] = flat.unflatten(0, (len(activation), -1))
            for epsilon in {row.epsilon for _, row, _ in wanted if row.power is None}:
                norm = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
                scale = norm.add_(epsilon).reciprocal_()
                found.scales[node, epsilon] = scale.unflatten(0, (len(activation), -1))
        for node, embed in self.others:
            found.embeddings[node, embed] = embed(_exact(activations[node]))
        return found

    def compare(
        self, x: Encoded, i: Sequence[int], y: Encoded, j: Sequence[int]
    ) -> dict[str, Tensor]:
        """Primitives (B,), float64, of the B pairs of images i of `x` and j of `y`."""
        found: dict[str, list[Tensor]] = {}
        for node in self.sums:
            for part in _steps(x.rows[node], len(i)):
                self._sum(node, x, i[part], y, j[part], found)
        for (node, embed), wanted in self.others.items():
            at_x, at_y = x.embeddings[node, embed], y.embeddings[node, embed]
            for part in _steps(at_x, len(i)):
                ex, ey = chosen(at_x, i[part]), chosen(at_y, j[part])
                for id_, how, head in wanted:
                    values = _double(how.compare(ex, ey))
                    if head is not None:
                        values = values * head.to(values)
                    found.setdefault(id_, []).append(values.sum(1))
        return {id_: torch.cat(values) for id_, values in found.items()}

    def _sum(
        self,
        node: str,
        x: Encoded,
        i: Sequence[int],
        y: Encoded,
        j: Sequence[int],
        found: dict[str, list[Tensor]],
    ) -> None:
        """All sums over the locations of one tap, for pairs that are taken together."""
        wanted = self.sums[node]
        a, b = (chosen(t.rows[node], k).flatten(0, 1) for t, k in ((x, i), (y, j)))
        powers = list(dict.fromkeys(row.power for _, row, _ in wanted if row.power is not None))
        order: list[str | float] = [*powers]
        units = []
        for epsilon in dict.fromkeys(row.epsilon for _, row, _ in wanted if row.power is None):
            heads = [
                (id_, _weights(head, a))
                for id_, row, head in wanted
                if row.power is None and row.epsilon == epsilon
            ]
            scale_x, scale_y = (
                chosen(t.scales[node, epsilon], k).flatten(0, 1) for t, k in ((x, i), (y, j))
            )
            units.append((scale_x, scale_y, [weights for _, weights in heads]))
            order += [id_ for id_, _ in heads]
        values = self.kernel(a, b, powers, units)
        places, channels = x.rows[node].shape[1:]
        totals: dict[str | float | None, Tensor] = {
            key: _double(value.view(len(i), places)).sum(1)
            for key, value in zip(order, values, strict=True)
        }
        for id_, row, _ in wanted:
            share = {"sum": 1, "mean": 1 / (places * channels)}.get(row.reduction, 1 / places)
            total = totals[id_ if row.power is None else row.power]
            found.setdefault(id_, []).append(total * share)


def _exact(activations: Tensor) -> Tensor:
    """At least float32: squares of half-precision activations overflow."""
    return activations.float() if activations.itemsize < 4 else activations


def _double(values: Tensor) -> Tensor:
    # Apple's mps backend has no float64.
    return values if values.device.type == "mps" else values.double()


def _weights(head: Tensor | None, like: Tensor) -> Tensor:
    """A head as (C,)."""
    ones = like.new_ones(like.shape[1])
    return ones if head is None else ones * head.to(like)


def _steps(held: Tensor, count: int) -> list[slice]:
    """How many pairs are taken together."""
    limit = TOGETHER_BYTES.get(held.device.type, 1 << 26)
    step = max(1, limit // max(1, held[:1].nbytes))
    return [slice(start, start + step) for start in range(0, count, step)]


def chosen(held: Tensor, which: Sequence[int]) -> Tensor:
    """Those of M images (M, ...), not copied where they lie side by side."""
    first = which[0]
    if list(which) == list(range(first, first + len(which))):
        return held[first : first + len(which)]
    return held[torch.tensor(which, device=held.device)]
