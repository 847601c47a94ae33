"""The distance of LPIPS in one go: what `unit` and `channel_square` give, with less memory traffic.

Written out operation by operation, the distance of two activations makes ten passes over memory
and keeps as many maps for the backward pass. Here they are taken in pieces that stay in a CPU's
cache, and nothing but the activations themselves and their norms is kept.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Added to the norm (`distances.unit`).
EPSILON = 1e-10
#: Bytes of one operand of a piece on a CPU, whose last cache should hold a few of them; smaller
#: ones cost more in calls. A GPU takes everything at once.
PIECE_BYTES = 1 << 21


class UnitSquares(torch.autograd.Function):
    """Mean over the locations of (u - v)^2, u and v the channel-unit-normalised activations.

    ``UnitSquares.apply(x, y)``: two (N, C, H, W) -> (N, C). Once differentiable.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        a, b = x.flatten(2), y.flatten(2)
        total = x.new_zeros(x.shape[:2])
        scale_a, scale_b = (t.new_empty(t.shape[0], 1, t.shape[2]) for t in (a, b))
        buffers: list[Tensor] = []
        for piece in _pieces(a):
            u, v = buffers = _buffers(a[piece], 2, buffers)
            _unit(a[piece], scale_a[piece], out=u)
            _unit(b[piece], scale_b[piece], out=v)
            # Not addcmul: fused with the product, the difference of equal values is not 0.
            total[piece[0]] += u.sub_(v).square_().sum(2)
        ctx.save_for_backward(x, y, scale_a, scale_b)
        return total / a.shape[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y, scale_a, scale_b = ctx.saved_tensors
        a, b = x.flatten(2), y.flatten(2)
        at_x, at_y = (
            torch.empty_like(t) if needed else None
            for t, needed in zip((a, b), ctx.needs_input_grad, strict=True)
        )
        weight = (2 / a.shape[2]) * gradient[..., None]
        buffers: list[Tensor] = []
        for piece in _pieces(a):
            u, v, at = buffers = _buffers(a[piece], 3, buffers)
            torch.mul(a[piece], scale_a[piece], out=u)
            torch.mul(b[piece], scale_b[piece], out=v)
            torch.sub(u, v, out=at).mul_(weight[piece[0]])
            if at_x is not None:
                _through_norm(u, scale_a[piece], at, at_x[piece])
            if at_y is not None:
                _through_norm(v, scale_b[piece], at.neg_(), at_y[piece])
        return (
            at_x.view_as(x) if at_x is not None else None,
            at_y.view_as(y) if at_y is not None else None,
        )


def _pieces(a: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of (N, C, P): some whole images, or some locations of one."""
    images, channels, places = a.shape
    most = PIECE_BYTES // (channels * a.itemsize) if a.device.type == "cpu" else images * places
    together = max(1, most // places)
    for image in range(0, images, together):
        step = places if together > 1 or places <= most else max(1, most)
        for place in range(0, places, step):
            yield slice(image, image + together), slice(None), slice(place, place + step)


def _buffers(like: Tensor, count: int, old: list[Tensor]) -> list[Tensor]:
    """The last piece's buffers where they fit: fresh memory costs more than the arithmetic."""
    if old and old[0].shape == like.shape:
        return old
    return [torch.empty_like(like) for _ in range(count)]


def _unit(a: Tensor, scale: Tensor, out: Tensor) -> None:
    """Puts activations of unit length into `out`, what they are multiplied with into `scale`."""
    # vector_norm over a dimension that is not the last takes ten times as long on a CPU.
    torch.sum(torch.mul(a, a, out=out), 1, keepdim=True, out=scale)
    torch.mul(a, scale.sqrt_().add_(EPSILON).reciprocal_(), out=out)


def _through_norm(u: Tensor, scale: Tensor, gradient: Tensor, out: Tensor) -> None:
    """Puts the gradient for a into `out`, given that for u = a * scale."""
    # At |a| = 0 the norm's subgradient is 0, as autograd takes it; u is 0 there, too.
    share = (1 - EPSILON * scale).clamp_min_(1e-20)  # |a| / (|a| + epsilon)
    radial = torch.mul(u, gradient, out=out).sum(1, keepdim=True).div_(share)
    torch.addcmul(gradient, u, radial, value=-1, out=out).mul_(scale)
