"""Tensors that are kept from call to call, and when none can be."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

#: A number, or a tuple of such.
Values = float | Sequence["Values"]
Made = TypeVar("Made")
#: How many results are kept of a function of the size of images.
KEPT = 32


def transformed() -> bool:
    """Whether a transform of torch.func is at work, outside of a graph that is being compiled."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def traced(tensor: Tensor) -> bool:
    """Whether a tracer or a transform of torch.func looks on: no value can be read or kept."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or transformed()
        or tensor.is_meta
        or isinstance(tensor, FakeTensor)
    )


def kept(make: Callable[..., Made], most: int | None = KEPT) -> Callable[..., Made]:
    """Keeps the last `most` results of a function of (arguments, type, device); None: all.

    But where a tracer looks on: what it makes is no tensor for other calls, and none of those is
    one for it.

    Returns
    -------
    A function of (a tensor of that type on that device, arguments).
    """
    remembered = lru_cache(maxsize=most)(make)

    def made(like: Tensor, *arguments: Values) -> Made:
        # Not inference tensors: one that trains may need them after one that scores.
        with torch.inference_mode(False):
            return (make if traced(like) else remembered)(*arguments, like.dtype, like.device)

    return made


@partial(kept, most=None)  # there are as many as the losses have, and any may be of every step
def _constant(values: Values, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def constant(values: Values, like: Tensor) -> Tensor:
    """Numbers, in tuples, as a tensor of the type and on the device of another one.

    It is kept: to send it to an accelerator again would make the training step wait for that.
    """
    return _constant(like, values)
