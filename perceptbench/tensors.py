"""Tensors that are kept from call to call, and when none can be."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

#: A number, or a tuple of such.
Values = float | Sequence["Values"]


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


def constant(values: Values, like: Tensor) -> Tensor:
    """Numbers, in tuples, as a tensor of the type and on the device of another one.

    It is kept: to send it to an accelerator again would make the training step wait for that.
    """
    make = _constant.__wrapped__ if traced(like) else _constant
    return make(values, like.dtype, like.device)


@cache
def _constant(values: Values, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Not an inference tensor: one that trains may need it after one that scores.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
