"""The distance of LPIPS in one go: what `unit` and `channel_square` give, with less memory traffic.

Written out operation by operation, the distance of two activations makes ten passes over memory
and keeps as many maps for the backward pass. Here it is taken in pieces that stay in a CPU's
cache, and nothing but the activations themselves and their norms is kept.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from perceptbench.tensors import traced, transformed

#: Added to the norm (`distances.unit`) where nothing else is asked for.
EPSILON = 1e-10
#: Bytes of one operand of a piece on a CPU, whose last cache should hold a few of them; smaller
#: ones cost more in calls. A GPU takes everything at once.
PIECE_BYTES = 1 << 20


class UnitSquares(torch.autograd.Function):
    """Mean over the locations of sum_c w_c (u_c - v_c)^2, u and v of unit length over channels.

    ``UnitSquares.apply(x, y, w, epsilon)``: two (N, C, H, W) and (C,) -> (N,); epsilon is added
    to the lengths. Differentiable with respect to x and y, any number of times: where the gradient
    is itself differentiated, it is written out operation by operation. Fastest where the channels
    lie side by side in memory. See `fusible`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weights: Tensor, epsilon: float) -> Tensor:
        a, b = rows(x), rows(y)
        norm_a, norm_b = (t.new_empty(len(t), 1) for t in (a, b))
        values = a.new_empty(len(a))
        for piece in pieces(a):
            u = _unit(a[piece], epsilon, norm_a[piece])
            # Not addcmul: fused with the product, the difference of equal values is not 0.
            u -= _unit(b[piece], epsilon, norm_b[piece])
            torch.mv(u.square_(), weights, out=values[piece])
        ctx.save_for_backward(x, y, weights, norm_a, norm_b)
        ctx.epsilon = epsilon
        return values.view(len(x), -1).mean(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, y, weights, norm_a, norm_b = ctx.saved_tensors
        # The pieces below are written in place, which no graph and no vmap can follow.
        if torch.is_grad_enabled() or transformed():
            return *_written_out(x, y, weights, ctx.epsilon, gradient), None, None
        a, b = rows(x), rows(y)
        at_x, at_y = (
            torch.empty_like(t) if needed else None
            for t, needed in zip((a, b), ctx.needs_input_grad, strict=False)
        )
        places = len(a) // len(x)
        outer = ((2 / places) * gradient).repeat_interleave(places)[:, None]
        for piece in pieces(a):
            scale_a, scale_b = (_scale(norm[piece], ctx.epsilon) for norm in (norm_a, norm_b))
            u, v = a[piece] * scale_a, b[piece] * scale_b
            at = torch.sub(u, v).mul_(weights).mul_(outer[piece])
            if at_x is not None:
                _through_norm(u, norm_a[piece], scale_a, at, out=at_x[piece])
            if at_y is not None:
                _through_norm(v, norm_b[piece], scale_b, at.neg_(), out=at_y[piece])
        return _as_map(at_x, x), _as_map(at_y, y), None, None


def fusible(x: Tensor, y: Tensor, weights: Tensor) -> bool:
    """Whether `UnitSquares` can be asked: no tracer, no transform, no forward-mode derivative."""
    tensors = (x, y, weights)
    return not (
        traced(x)
        or weights.requires_grad
        or any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
    )


def _written_out(
    x: Tensor, y: Tensor, weights: Tensor, epsilon: float, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients for x and y as differentiable operations."""
    directions, scales = [], []
    for t in (x, y):
        # As in `distances.unit`.
        norm = (t * t).sum(1, keepdim=True).clamp_min(torch.finfo(t.dtype).tiny).sqrt()
        directions.append(t / norm)
        scales.append(1 / (norm + epsilon))
    u, v = x * scales[0], y * scales[1]
    share = 2 / (x.shape[2] * x.shape[3]) * gradient[:, None, None, None]
    at = share * weights[:, None, None] * (u - v)
    return (
        scales[0] * (at - directions[0] * (u * at).sum(1, keepdim=True)),
        -scales[1] * (at - directions[1] * (v * at).sum(1, keepdim=True)),
    )


def rows(activations: Tensor) -> Tensor:
    """Activations (N, C, H, W) as one row a location, (N H W, C), contiguous."""
    return activations.permute(0, 2, 3, 1).reshape(-1, activations.shape[1]).contiguous()


def pieces(a: Tensor) -> Iterator[slice]:
    """Slices of rows (R, C) that fit the cache."""
    step = len(a)
    if a.device.type == "cpu":
        step = max(1, PIECE_BYTES // (a.shape[1] * a.itemsize))
    for start in range(0, len(a), step):
        yield slice(start, start + step)


def _unit(a: Tensor, epsilon: float, norm: Tensor) -> Tensor:
    """Rows brought to unit length; puts their lengths into `norm`, (R, 1)."""
    return a * _scale(torch.linalg.vector_norm(a, dim=1, keepdim=True, out=norm), epsilon)


def _scale(norm: Tensor, epsilon: float) -> Tensor:
    return (norm + epsilon).reciprocal_()


def _through_norm(u: Tensor, norm: Tensor, scale: Tensor, gradient: Tensor, out: Tensor) -> None:
    """Puts the gradient for a into `out`, given that for u = a * scale."""
    # At |a| = 0 the norm's subgradient is 0, as autograd takes it; u is 0 there, too.
    share = (norm * scale).clamp_min_(1e-20)  # |a| / (|a| + epsilon)
    radial = torch.linalg.vecdot(u, gradient)[:, None].div_(share)
    torch.addcmul(gradient, u, radial, value=-1, out=out).mul_(scale)


def _as_map(gradient: Tensor | None, like: Tensor) -> Tensor | None:
    if gradient is None:
        return None
    n, _, h, w = like.shape
    return gradient.view(n, h, w, -1).permute(0, 3, 1, 2)
