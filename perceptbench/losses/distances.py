"""What compares the activations of two images at a tap.

Conventions
-----------
Each distance is split in two. `embed` maps activations (N, C, H, W) to what is compared, once
an image; `compare` maps two embeddings to ``(N, K)`` primitives, once a pair. The distance at a
tap is the primitives' dot product with a head of K weights, so that losses which differ only in
their weights share all the work. K is 1, or the number of channels where these stay apart.

All but one vanish for identical activations, also where these are zero, are symmetric, and
never negative. The exception is ``contextual``, which is neither symmetric nor exactly zero for
identical activations: it compares sets of vectors, not places.

Reductions of ``l1``, ``l2`` and ``lp`` over channels and locations, which the others have fixed:
``mean`` per element, ``sum``, ``spatial_mean_channel_sum``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from perceptbench.errors import UsageError
from perceptbench.losses.fused import EPSILON, UnitSquares
from perceptbench.tensors import kept

#: Added by DISTS to both terms of its similarities (Ding et al. 2020, eq. 3 and 4).
DISTS_C = 1e-6
#: Directions at most that `sliced` looks along.
DIRECTIONS = 256
#: Locations a side that `contextual` compares at most.
POINTS = 32
REDUCTIONS = ("mean", "sum", "spatial_mean_channel_sum")


def exact(activations: Tensor) -> Tensor:
    """At least float32: squares of half-precision activations overflow."""
    return activations.float() if activations.itemsize < 4 else activations


def raw(activations: Tensor) -> Tensor:
    """The activations themselves."""
    return activations


def unit(activations: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Activations (N, C, H, W) scaled to unit length over the channels at each location.

    A location without any activation stays zero. Zhang et al. 2018, eq. 1. `epsilon`, added to
    the length, decides what a location of faint activation becomes; 1e-10 as in the authors'
    code.
    """
    # Not vector_norm: over a dimension that is not the last it takes ten times as long on a CPU.
    square = (activations * activations).sum(1, keepdim=True)
    # The floor keeps the root's derivative finite where nothing is active.
    norm = square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
    return activations / (norm + epsilon)


def unit_flat(activations: Tensor) -> Tensor:
    """Activations (N, C, H, W) as one vector (N, CHW, 1, 1) of unit length."""
    return unit(activations.flatten(1)[:, :, None, None])


def gram(activations: Tensor) -> Tensor:
    """Gram matrices (N, C, C) of activations (N, C, H, W), divided by C H W.

    Johnson, Alahi, Fei-Fei 2016, eq. 3.
    """
    n, c, h, w = activations.shape
    flat = activations.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def spatial_mean(activations: Tensor) -> Tensor:
    """Mean of each channel over the locations, (N, C, 1, 1)."""
    return activations.mean((2, 3), keepdim=True)


def power(difference: Tensor, p: float) -> Tensor:
    """|difference| to the power p, element by element."""
    if p == 2:
        return difference.square()
    size = difference.abs()
    if not 1 < p < 2:
        return size if p == 1 else size**p
    # The second derivative at 0 is infinite; taken as 0, as where nothing is active.
    zero = size == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, size) ** p)


def reduced_power(x: Tensor, y: Tensor, p: float, reduction: str) -> Tensor:
    """The p-th powers of the differences, reduced to (N, 1)."""
    powers = power(x - y, p)
    if reduction == "spatial_mean_channel_sum":
        return powers.flatten(2).mean(2).sum(1, keepdim=True)
    flat = powers.flatten(1)
    return flat.mean(1, keepdim=True) if reduction == "mean" else flat.sum(1, keepdim=True)


def fused_units(x: Tensor, y: Tensor, weights: Tensor, epsilon: float = EPSILON) -> Tensor:
    """What `channel_square` of `unit` gives times weights (C,), (N,), in one go."""
    found: Tensor = UnitSquares.apply(x, y, weights, epsilon)
    return found


def sum_square(x: Tensor, y: Tensor) -> Tensor:
    """Sum of squared differences (of matrices: the squared Frobenius norm), (N, 1)."""
    return (x - y).square().flatten(1).sum(1, keepdim=True)


def channel_square(x: Tensor, y: Tensor) -> Tensor:
    """Mean square of each channel's difference over the locations, (N, C)."""
    return (x - y).square().mean((2, 3))


def structure_texture(x: Tensor, y: Tensor) -> Tensor:
    """1 - l and 1 - s of every channel, (N, 2C): DISTS (Ding et al. 2020, eq. 3 and 4).

    l compares the channels' means (texture), s their covariance (structure).
    """
    mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
    from_x, from_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
    variance_x, variance_y = from_x.square().mean((2, 3)), from_y.square().mean((2, 3))
    covariance = (from_x * from_y).mean((2, 3))
    texture = (mean_x - mean_y).square() / (mean_x.square() + mean_y.square() + DISTS_C)
    # 1 - s with the difference taken before the division: 0 for identical activations.
    apart = (variance_x + variance_y - 2 * covariance) / (variance_x + variance_y + DISTS_C)
    return torch.cat([texture, apart], dim=1)


def points(activations: Tensor) -> Tensor:
    """Activations as vectors at no more than POINTS x POINTS locations, (N, C, P).

    Larger maps are averaged down, so that `contextual` compares at most a million pairs.
    """
    height, width = (min(side, POINTS) for side in activations.shape[2:])
    return F.adaptive_avg_pool2d(activations, (height, width)).flatten(2)


def contextual(x: Tensor, y: Tensor) -> Tensor:
    """Contextual distance of two sets of vectors (N, C, P), (N, 1).

    Mechrez, Talmi, Zelnik-Manor 2018, arXiv:1803.02077, eq. 2 to 5, bandwidth 0.5: each vector
    of `y` looks for its nearest in `x`, wherever it is. Minus the logarithm of the similarity.
    """
    mean = y.mean(2, keepdim=True)
    u, v = (F.normalize(t - mean, dim=1, eps=1e-10) for t in (x, y))
    apart = 1 - u.transpose(1, 2) @ v
    relative = apart / (apart.amin(2, keepdim=True) + 1e-5)
    likeness = torch.softmax((1 - relative) / 0.5, dim=2)
    return -likeness.amax(1).mean(1, keepdim=True).log()


def sorted_channels(activations: Tensor) -> Tensor:
    """Each channel's activations (N, C, H, W) in their order, (N, C, H W)."""
    return activations.flatten(2).sort(2).values


def mean_absolute(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference, (N, 1). Of `sorted_channels`: the mean over channels of the
    Wasserstein distance (of order 1) between what a channel says in either image, wherever.
    """
    return (x - y).abs().flatten(1).mean(1, keepdim=True)


#: Drawn once and for all: a tracer that saw it drawn would draw anew in every call.
_DRAWN = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0), device="cpu",
                     dtype=torch.float32)  # fmt: skip


def directions(channels: int) -> Tensor:
    """Random directions in the space of channels, of unit length, (D, C), the same always.

    As many as there are channels, no more than DIRECTIONS, fewer of more than 4096 channels.
    """
    count = min(channels, DIRECTIONS, len(_DRAWN) // channels)
    return F.normalize(_DRAWN[: count * channels].view(count, channels), dim=1)


@kept
def _directions(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return directions(channels).to(device, dtype)


def sliced(activations: Tensor) -> Tensor:
    """Activations (N, C, H, W) along some directions, sorted, (N, D, H W)."""
    along = _directions(activations, int(activations.shape[1]))
    return sorted_channels(along @ activations.flatten(2))


def mean_square(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference, (N, 1). Of `sliced`: the squared sliced Wasserstein distance (of
    order 2; Bonneel, Rabin, Peyre, Pfister 2015) between the channel vectors of two images.
    """
    return (x - y).square().flatten(1).mean(1, keepdim=True)


def log_softmax(activations: Tensor) -> Tensor:
    """Logarithm of the softmax over the channels at each location, (N, C, H, W)."""
    return torch.log_softmax(activations, 1)


def jensen_shannon_map(x: Tensor, y: Tensor) -> Tensor:
    """Jensen-Shannon divergence at each location, for logarithms of p and q, (N, 1, H, W).

    (KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2, in nats. With d = (log p - log q) / 2 this is
    sum ((p - q) d - (p + q) log cosh d) / 2, which is 0 for equal p and q and keeps its digits for
    nearly equal ones.
    """
    p, q, half = x.exp(), y.exp(), (x - y) / 2
    size = half.abs()
    log_cosh = size + torch.log1p(torch.expm1(-2 * size) / 2)
    total = ((p - q) * half - (p + q) * log_cosh).sum(1, keepdim=True) / 2
    return total.clamp_min(0)  # rounding


def symmetric_kl_map(x: Tensor, y: Tensor) -> Tensor:
    """Half of KL(p, q) + KL(q, p) at each location, for logarithms of p and q, (N, 1, H, W)."""
    return ((x.exp() - y.exp()) * (x - y)).sum(1, keepdim=True) / 2


def jensen_shannon(x: Tensor, y: Tensor) -> Tensor:
    """The mean of `jensen_shannon_map` over the locations, (N, 1)."""
    return jensen_shannon_map(x, y).mean((2, 3))


def symmetric_kl(x: Tensor, y: Tensor) -> Tensor:
    """The mean of `symmetric_kl_map` over the locations, (N, 1)."""
    return symmetric_kl_map(x, y).mean((2, 3))


def mean_structure_texture(x: Tensor, y: Tensor) -> Tensor:
    """The mean of `structure_texture` over channels and both terms, (N, 1)."""
    return structure_texture(x, y).mean(1, keepdim=True)


@dataclass(frozen=True)
class Row:
    """What is summed over the channels of one location, for a distance that is a sum of these.

    The scoring engine takes all such distances of a tap in one pass over the activations.

    Attributes
    ----------
    power : |x - y|^p; None: weights * (u - v)^2, u and v being x and y at unit length.
    reduction : of the sums, one of REDUCTIONS.
    epsilon : added to the lengths.
    """

    power: float | None = None
    reduction: str = "spatial_mean_channel_sum"
    epsilon: float = EPSILON


@dataclass(frozen=True)
class Distance:
    """How activations are compared: a per-image and a per-pair half, and the head.

    Attributes
    ----------
    name : with its parameters.
    embed : (N, C, H, W) -> what is compared.
    compare : two embeddings -> (N, K).
    head : the weight of every primitive where no head is given; None where one must be.
    pointwise : two embeddings -> (N, K, H, W), whose spatial mean is what `compare` gives; None
        where there is no such map.
    fused : two activations and weights (K,) -> (N,), the same as `compare` of their embeddings
        times the weights, faster; or None.
    row : the same as a sum over locations; None where it is none.
    """

    name: str
    embed: Callable[[Tensor], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]
    head: float | None = 1.0
    pointwise: Callable[[Tensor, Tensor], Tensor] | None = None
    fused: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    row: Row | None = None


def _powers_map(x: Tensor, y: Tensor, p: float, reduction: str) -> Tensor:
    powers = power(x - y, p)
    if reduction == "mean":
        return powers.mean(1, keepdim=True)
    scale = powers.shape[2] * powers.shape[3] if reduction == "sum" else 1
    return scale * powers.sum(1, keepdim=True)


def _squares_map(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square()


#: Distances that have one form. For unit vectors 1 - cos = |u - v|^2 / 2; this form does not
#: cancel for similar images and gives 0, not 1, where both activations are zero.
FIXED = {
    "cosine": Distance("unit squares", unit, channel_square, 0.5, _squares_map, fused_units, Row()),
    "cosine_flat": Distance("flat unit squares", unit_flat, sum_square, head=0.5),
    "unit_normalised": Distance(
        "unit squares", unit, channel_square, None, _squares_map, fused_units, Row()
    ),
    # Squared Frobenius norm, Johnson et al. 2016, eq. 4.
    "gram": Distance("gram", gram, sum_square),
    "structure_texture": Distance("mean structure and texture", raw, mean_structure_texture),
    "contextual": Distance("contextual", points, contextual),
    # Of the literature on foundation features; Ghildyal, Barman, Zadtootaghaj 2025,
    # arXiv:2409.07650, take them over windows of 8 x 8 numbers of tokens by channels, here over
    # the channels at a location, or the locations of a channel.
    "wsd": Distance("wasserstein", sorted_channels, mean_absolute),
    "swd": Distance("sliced wasserstein", sliced, mean_square),
    "jsd": Distance("jensen-shannon", log_softmax, jensen_shannon, 1.0, jensen_shannon_map),
    "skld": Distance("symmetric kl", log_softmax, symmetric_kl, 1.0, symmetric_kl_map),
}
#: The same with a learned head instead of equal weights.
HEADED = {"structure_texture": Distance("structure and texture", raw, structure_texture, head=None)}
#: Powers of differences: name -> (embed, p; None where the caller says it).
POWERS = {
    "l1": (raw, 1.0),
    "l2": (raw, 2.0),
    "lp": (raw, None),
    "mean_feature": (spatial_mean, 1.0),
}
DISTANCES = (*POWERS, *FIXED)


@cache
def distance(
    name: str,
    p: float | None = None,
    reduction: str | None = None,
    headed: bool = False,
    epsilon: float | None = None,
) -> Distance:
    """The distance of a name; equal arguments give the same object.

    Parameters
    ----------
    name : one of DISTANCES.
    p : the power of ``lp``, at least 1.
    reduction : one of REDUCTIONS (default ``mean``), for ``l1``, ``l2``, ``lp``, ``mean_feature``.
    headed : whether the primitives are weighted by a head.
    epsilon : added to the lengths of ``cosine`` and ``unit_normalised``, default EPSILON.

    Raises
    ------
    UsageError : an unknown name, or parameters that do not go with it.
    """
    if name not in DISTANCES:
        raise UsageError(f"unknown distance {name!r}; one of {', '.join(DISTANCES)}")
    if (p is None) == (name == "lp"):
        raise UsageError(f"distance {name!r} {'needs a' if p is None else 'takes no'} power `p`")
    if epsilon is not None and (name not in FIXED or FIXED[name].embed is not unit):
        raise UsageError(f"distance {name!r} takes no `epsilon`")
    if name in FIXED:
        if reduction is not None:
            raise UsageError(f"distance {name!r} takes no `reduction`: it has its own")
        found = HEADED.get(name, FIXED[name]) if headed else FIXED[name]
        if epsilon not in (None, EPSILON) and found.embed is unit:
            found = replace(
                found,
                name=f"unit squares, epsilon {epsilon!r}",
                embed=partial(unit, epsilon=epsilon),
                fused=partial(fused_units, epsilon=epsilon),
                row=Row(epsilon=epsilon),
            )
    else:
        embed, power_of_name = POWERS[name]
        exponent = p if power_of_name is None else power_of_name
        assert exponent is not None
        if reduction not in (None, *REDUCTIONS):
            raise UsageError(f"unknown reduction {reduction!r}; one of {', '.join(REDUCTIONS)}")
        if exponent < 1:
            raise UsageError(f"distance 'lp': the power must be at least 1, not {exponent:g}")
        how = reduction or "mean"
        found = Distance(
            f"{embed.__name__} power {exponent!r} {how}",
            embed,
            partial(reduced_power, p=exponent, reduction=how),
            pointwise=partial(_powers_map, p=exponent, reduction=how),
            row=Row(exponent, how) if embed is raw else None,
        )
    if headed != (found.head is None):
        raise UsageError(
            f"distance {name!r} {'takes no' if headed else 'needs a'} per-channel head"
        )
    return found
