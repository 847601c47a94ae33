"""What a loss asks of the images it is given: one check for all losses.

Shape and type are looked at in every call. Values are looked at by a policy, the `range` of a loss:

- ``warn``: while gradients flow, values outside [0, 1] are a warning, once for each loss, and
  training goes on; without gradients, where a figure is asked for, they are an error;
- ``error``: they are always an error;
- ``clip``: they are clipped to [0, 1], beyond which no gradient flows;
- ``ignore``: values are not looked at.

NaN and infinity are treated like values outside the range, also under ``clip``, and the distance
of such an image is never a number. Of images on an accelerator the extremes are fetched without
waiting for it while gradients flow, so that a warning, or under ``error`` the exception, comes at
a later call. A compiled loss does the same. In an exported program, under ``torch.jit.trace`` and
the transforms of ``torch.func`` there are no values to look at.
"""

import itertools
import math
import warnings
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from perceptbench.errors import UsageError
from perceptbench.tensors import traced

RANGES = ("warn", "error", "clip", "ignore")
#: By how much values may pass the ends of [0, 1]: rounding of what made them.
TOLERANCE = 1e-4
#: Devices whose values can be read without waiting for them.
AT_HAND = ("cpu",)


def check_batches(x: Tensor, y: Tensor, weight: Tensor | None = None) -> None:
    """Raises unless x and y are two batches of images, and `weight` is a map for them.

    Raises
    ------
    ValueError : shapes that are not those of images, or differ; devices that differ.
    TypeError : values of another type than floating point.
    """
    if x.shape != y.shape or x.dim() != 4 or x.shape[1] not in (1, 3) or 0 in x.shape[2:]:
        raise ValueError(
            f"expected two batches (N, 3, H, W) of the same shape, got {tuple(x.shape)} "
            f"and {tuple(y.shape)}"
        )
    for images in (x, y):
        if not images.is_floating_point():
            how = ": pass images.float() / 255" if images.dtype == torch.uint8 else ""
            raise TypeError(f"losses take floating-point images in [0, 1], not {images.dtype}{how}")
    if x.device != y.device:
        raise ValueError(f"the images are on two devices, {x.device} and {y.device}")
    if weight is not None and (
        weight.dim() != 4
        or weight.shape[0] not in (1, x.shape[0])
        or weight.shape[1] != 1
        or weight.shape[2:] != x.shape[2:]
    ):
        raise ValueError(
            f"`weight` is a map (N, 1, H, W) or (1, 1, H, W) for images {tuple(x.shape)}, not "
            f"{tuple(weight.shape)}"
        )


class Watch:
    """Looks at the values of the images of one loss.

    Parameters
    ----------
    policy : one of RANGES.

    Raises
    ------
    UsageError : another policy.
    """

    def __init__(self, policy: str = "warn") -> None:
        if policy not in RANGES:
            raise UsageError(f"range is one of {', '.join(RANGES)}, not {policy!r}")
        self.policy, self.warned = policy, False
        self.number = next(_NUMBERS)
        _WATCHES[self.number] = self
        # On each accelerator: the extremes so far, and those that are on their way to the host.
        self._extremes: dict[torch.device, Tensor] = {}
        self._coming: dict[torch.device, tuple[Tensor, torch.Event]] = {}

    def __reduce__(self) -> tuple[type["Watch"], tuple[str]]:
        """A copy has seen nothing."""
        return Watch, (self.policy,)

    def look(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Looks at two batches; in a graph that is being compiled, lets the graph look.

        Returns
        -------
        None; while compiling a zero that must enter the result, lest the look be optimised away.

        Raises
        ------
        ValueError : values outside [0, 1], by the policy.
        """
        if self.policy == "ignore" or x.numel() == 0:
            return None
        flows = torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
        if torch.compiler.is_compiling():
            if torch.compiler.is_exporting():
                return None
            return _look(x.detach(), y.detach(), self.number, flows)
        if not traced(x):
            self.see(x.detach(), y.detach(), flows)
        return None

    def see(self, x: Tensor, y: Tensor, flows: bool) -> None:
        """Looks at values; `flows` says whether gradients do."""
        lenient = flows and self.policy != "error"
        if lenient and self.warned:
            return
        if x.device.type in AT_HAND or not flows:
            low, high = _extremes(x, y).tolist()
            self._judge(low, high, lenient)
        elif not (x.is_cuda and torch.cuda.is_current_stream_capturing()):
            self._see_later(_extremes(x, y), lenient)

    def _see_later(self, seen: Tensor, lenient: bool) -> None:
        """Judges what has arrived, and sends the extremes so far on their way if none are."""
        device = seen.device
        before = self._extremes.get(device)
        if before is not None:
            seen = torch.stack(
                [torch.minimum(before[0], seen[0]), torch.maximum(before[1], seen[1])]
            )
        self._extremes[device] = seen
        if device in self._coming:
            arrived, event = self._coming[device]
            if not event.query():
                return
            del self._coming[device]
            low, high = arrived.tolist()
            self._judge(low, high, lenient)
        host = torch.empty(2, dtype=seen.dtype, pin_memory=True)
        host.copy_(seen, non_blocking=True)
        event = torch.Event(device)
        event.record()
        self._coming[device] = host, event

    def _judge(self, low: float, high: float, lenient: bool) -> None:
        finite = math.isfinite(low) and math.isfinite(high)
        if finite and (self.policy == "clip" or (low >= -TOLERANCE and high <= 1 + TOLERANCE)):
            return
        self._extremes.clear()
        self._coming.clear()
        if not lenient:
            raise ValueError(_complaint(low, high))
        if not self.warned:
            self.warned = True
            warnings.warn(f"{_complaint(low, high)}; said once", stacklevel=2)


_NUMBERS = itertools.count()
_WATCHES: WeakValueDictionary[int, Watch] = WeakValueDictionary()


def _extremes(x: Tensor, y: Tensor) -> Tensor:
    """Lowest and highest value, (2,), NaN where one is."""
    (low_x, high_x), (low_y, high_y) = torch.aminmax(x), torch.aminmax(y)
    return torch.stack([torch.minimum(low_x, low_y), torch.maximum(high_x, high_y)])


def _complaint(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "images hold NaN or infinite values; losses take [0, 1]"
    if high > 2:
        cause = "images in 0 to 255: divide by 255"
    elif low < -0.5:
        cause = "images in [-1, 1]: pass (x + 1) / 2"
    else:
        cause = "clamp them, or pass range='clip'"
    return f"image values run from {low:.4g} to {high:.4g}; losses take [0, 1] ({cause})"


@torch.library.custom_op("perceptbench::look", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))
def _look(x: Tensor, y: Tensor, number: int, flows: bool) -> Tensor:
    watch = _WATCHES.get(number)
    if watch is not None:  # its loss is gone, its graph not yet
        watch.see(x, y, flows)
    return torch.zeros((), device=x.device)


@_look.register_fake
def _(x: Tensor, y: Tensor, number: int, flows: bool) -> Tensor:
    return torch.zeros((), device=x.device)
