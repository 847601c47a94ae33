"""Activations of many images in, the primitives of many pairs out.

What is compared is prepared once an image (`Comparison.encode`): activations as rows of
channels, the lengths of these rows, Gram matrices and the like. All distances of a tap that are
sums over locations are then taken together, in one pass over the two activations: by a function
that ``torch.compile`` fuses, or in pieces that stay in a CPU's cache. Where most images are
compared with most others, `crossed` takes them of all images together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from perceptbench.losses.distances import Distance, Row, exact, power
from perceptbench.losses.fused import pieces, rows
from perceptbench.scoring import crossed
from perceptbench.scoring.plan import Primitive

#: Bytes of one operand of pairs that are compared together.
TOGETHER_BYTES = {"cpu": 1 << 22, "cuda": 1 << 28}
#: Bytes of one pair above which a CPU takes it alone: copying costs more than the call it saves.
ALONE_BYTES = 1 << 18
#: A tap of some pairs: activations of both sides (R, C), powers of their difference, and for each
#: epsilon the scales of both sides (R, 1) and the heads (C,) that weigh the squares.
Tap = tuple[Tensor, Tensor, Sequence[float], Sequence[tuple[Tensor, Tensor, Sequence[Tensor]]]]
#: A tap, and what makes of its activations what is compared.
Embedded = tuple[str, Any]
Kernel = Callable[[Sequence[Tap]], list[list[Tensor]]]


def row_values(taps: Sequence[Tap]) -> list[list[Tensor]]:
    """Sums over the channels at each location, made to be compiled.

    Returns
    -------
    For each tap (R,) for each power, then for each head.
    """
    found = []
    for x, y, powers, units in taps:
        apart = x - y
        sums = [power(apart, p).sum(1) for p in powers]
        for scale_x, scale_y, heads in units:
            square = (x * scale_x - y * scale_y).square()
            sums += [(square * head).sum(1) for head in heads]
        found.append(sums)
    return found


def row_values_in_pieces(taps: Sequence[Tap]) -> list[list[Tensor]]:
    """The same without a compiler, a piece of the rows at a time."""
    return [_in_pieces(*tap) for tap in taps]


def _in_pieces(
    x: Tensor,
    y: Tensor,
    powers: Sequence[float],
    units: Sequence[tuple[Tensor, Tensor, Sequence[Tensor]]],
) -> list[Tensor]:
    count = len(powers) + sum(len(heads) for _, _, heads in units)
    found = list(x.new_empty(count, len(x)))
    for piece in pieces(x):
        a, b = x[piece], y[piece]
        out = (values[piece] for values in found)
        apart = a - b if powers else a
        for p in powers:
            if p == 2:
                torch.linalg.vector_norm(apart, dim=1, out=next(out)).square_()
            else:
                torch.sum(power(apart, p), 1, out=next(out))
        for scale_x, scale_y, heads in units:
            # Not addcmul: fused with the product, the difference of equal values is not 0.
            square = (a * scale_x[piece]).sub_(b * scale_y[piece]).square_()
            for head in heads:
                torch.mv(square, head, out=next(out))
    return found


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

    def first(self, count: int) -> "Encoded":
        """The same of the first images."""
        return Encoded(
            {key: tensor[:count] for key, tensor in self.rows.items()},
            {key: tensor[:count] for key, tensor in self.scales.items()},
            {key: tensor[:count] for key, tensor in self.embeddings.items()},
        )


class Comparison:
    """Compares activations at the taps of one network.

    Parameters
    ----------
    primitives : id -> what to compute.
    kernel : `row_values_in_pieces`, or `row_values` compiled.
    together : whether `cross` takes what it can, and `compare` the rest.

    Attributes
    ----------
    ids : of the primitives.
    """

    def __init__(
        self, primitives: Mapping[str, Primitive], kernel: Kernel, together: bool = False
    ) -> None:
        self.kernel, self.ids = kernel, list(primitives)
        self._sums: dict[str, _Sums] = {}
        self._others: dict[Embedded, list[tuple[str, Distance, Tensor | None]]] = {}
        self._crossed_sums: dict[str, _Sums] = {}
        self._crossed_others: dict[Embedded, list[tuple[str, Distance, Tensor | None]]] = {}
        for id_, primitive in primitives.items():
            how = primitive.how
            sums, others = self._sums, self._others
            if together and crossed.possible(how):
                sums, others = self._crossed_sums, self._crossed_others
            if how.row is not None:
                sums.setdefault(primitive.node, _Sums()).add(id_, how.row, primitive.head)
            else:
                where = (primitive.node, how.embed)
                others.setdefault(where, []).append((id_, how, primitive.head))

    def encode(self, activations: Mapping[str, Tensor]) -> Encoded:
        """Prepares activations (M, C, H, W) by tap."""
        found = Encoded()
        for node, wanted in [*self._sums.items(), *self._crossed_sums.items()]:
            if node not in found.rows:  # both halves may want it
                activation = activations[node]
                found.rows[node] = exact(rows(activation)).unflatten(0, (len(activation), -1))
            for epsilon in wanted.heads:
                norm = torch.linalg.vector_norm(found.rows[node], dim=2, keepdim=True)
                found.scales[node, epsilon] = norm.add_(epsilon).reciprocal_()
        for node, embed in {**self._others, **self._crossed_others}:
            found.embeddings[node, embed] = embed(exact(activations[node]))
        return found

    @property
    def crosses(self) -> bool:
        """Whether `cross` takes anything."""
        return bool(self._crossed_sums or self._crossed_others)

    def cross(
        self, batches: Sequence[Encoded], i: Sequence[int], j: Sequence[int]
    ) -> dict[str, Tensor]:
        """Primitives (B,), float64, of the B pairs of images i and j, counted over the batches."""
        found = {}
        for node, wanted in self._crossed_sums.items():
            held = [batch.rows[node] for batch in batches]
            units = [
                ([batch.scales[node, epsilon] for batch in batches], [head for _, head in members])
                for epsilon, members in wanted.heads.items()
            ]
            totals = crossed.sums(held, list(wanted.powers), units)
            for id_, number, reduction in wanted.ids():
                found[id_] = totals[number] * _share(reduction, held[0])
        for where, members in self._crossed_others.items():
            held = [batch.embeddings[where].flatten(1)[..., None] for batch in batches]
            for id_, how, _ in members:
                power, reduction = crossed.POWERS[how.compare]
                found[id_] = crossed.sums(held, [power])[0] * _share(reduction, held[0])
        which = crossed.where(i, j, sum(len(tensor) for tensor in held)).to(held[0].device)
        return {id_: values[which] for id_, values in found.items()}

    def compare(
        self, x: Encoded, i: Sequence[int], y: Encoded, j: Sequence[int]
    ) -> dict[str, Tensor]:
        """Primitives (B,), float64, of the B pairs of images i of `x` and j of `y`."""
        found: dict[str, list[Tensor]] = {}
        if self._sums:
            held = [x.rows[node] for node in self._sums]
            for part in steps(held, len(i)):
                k, m = (places(which[part], held[0].device) for which in (i, j))
                self._take_sums(x, k, y, m, found)
        for (node, embed), wanted in self._others.items():
            at_x, at_y = x.embeddings[node, embed], y.embeddings[node, embed]
            for part in steps([at_x], len(i)):
                ex, ey = at_x[places(i[part], at_x.device)], at_y[places(j[part], at_y.device)]
                for id_, how, head in wanted:
                    values = how.compare(ex, ey).to(_widest(ex))
                    if head is not None:
                        values = values * head.to(values)
                    found.setdefault(id_, []).append(values.sum(1))
        return {id_: torch.cat(values) for id_, values in found.items()}

    def _take_sums(
        self,
        x: Encoded,
        i: slice | Tensor,
        y: Encoded,
        j: slice | Tensor,
        found: dict[str, list[Tensor]],
    ) -> None:
        """All sums over locations, of pairs that are taken together."""
        taps: list[Tap] = []
        for node, wanted in self._sums.items():
            a, b = (t.rows[node][k].flatten(0, 1) for t, k in ((x, i), (y, j)))
            units = [
                (
                    x.scales[node, epsilon][i].flatten(0, 1),
                    y.scales[node, epsilon][j].flatten(0, 1),
                    wanted.weights(epsilon, a),
                )
                for epsilon in wanted.heads
            ]
            taps.append((a, b, list(wanted.powers), units))
        for (node, wanted), values in zip(self._sums.items(), self.kernel(taps), strict=True):
            held = x.rows[node]
            totals = [v.view(-1, held.shape[1]).sum(1, dtype=_widest(v)) for v in values]
            for id_, number, reduction in wanted.ids():
                found.setdefault(id_, []).append(totals[number] * _share(reduction, held))


class _Sums:
    """The distances of one tap that are sums over locations.

    Attributes
    ----------
    powers : power -> [(id, reduction)].
    heads : epsilon -> [(id, head)].
    """

    def __init__(self) -> None:
        self.powers: dict[float, list[tuple[str, str]]] = {}
        self.heads: dict[float, list[tuple[str, Tensor | None]]] = {}
        self._weights: dict[float, list[Tensor]] = {}

    def add(self, id_: str, row: Row, head: Tensor | None) -> None:
        if row.power is None:
            self.heads.setdefault(row.epsilon, []).append((id_, head))
        else:
            self.powers.setdefault(row.power, []).append((id_, row.reduction))

    def weights(self, epsilon: float, like: Tensor) -> list[Tensor]:
        """The heads as (C,), equal weights where there is none."""
        if epsilon not in self._weights:
            ones = like.new_ones(like.shape[1])
            heads = (head for _, head in self.heads[epsilon])
            self._weights[epsilon] = [ones if h is None else ones * h.to(like) for h in heads]
        return self._weights[epsilon]

    def ids(self) -> Iterator[tuple[str, int, str]]:
        """(id, number of what the kernel gives, reduction) of every primitive."""
        for number, members in enumerate(self.powers.values()):
            yield from ((id_, number, reduction) for id_, reduction in members)
        every = (id_ for members in self.heads.values() for id_, _ in members)
        for number, id_ in enumerate(every, start=len(self.powers)):
            yield id_, number, Row.reduction


def _share(reduction: str, held: Tensor) -> float:
    """What a sum over rows (M, places, C) is multiplied by."""
    places, channels = held.shape[1:]
    return {"sum": 1.0, "mean": 1 / (places * channels)}.get(reduction, 1 / places)


def _widest(values: Tensor) -> torch.dtype:
    # Apple's mps backend has no float64.
    return torch.float32 if values.device.type == "mps" else torch.float64


def steps(held: Sequence[Tensor], count: int) -> list[slice]:
    """Which pairs are taken together."""
    device, each = held[0].device.type, max(1, *(tensor[:1].nbytes for tensor in held))
    step = max(1, TOGETHER_BYTES.get(device, 1 << 26) // each)
    if device == "cpu" and each > ALONE_BYTES:
        step = 1
    return [slice(start, start + step) for start in range(0, count, step)]


def places(which: Sequence[int], device: torch.device) -> slice | Tensor:
    """Numbers of images as an index, one that copies nothing where they lie side by side."""
    first = which[0]
    if all(number == first + n for n, number in enumerate(which)):
        return slice(first, first + len(which))
    return torch.tensor(which, device=device)
