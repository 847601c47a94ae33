"""How to score. Without torch, so that a command line can be read quickly."""

from dataclasses import dataclass
from typing import Literal, get_args

from perceptbench.errors import UsageError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Options:
    """How to score; nothing here but `precision` changes the numbers beyond rounding.

    Attributes
    ----------
    device : ``auto`` (the GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision : of the networks: ``fp32``; ``tf32`` (convolutions on recent GPUs round their
        inputs), ``bf16``, ``fp16`` (autocast). Distances are always taken in float32.
    memory : bytes of activations held at a time; None: half of what is free.
    workers : processes that load images; None chooses.
    store : folder or URL of finished primitives; None: nothing is kept.
    compile : whether what compares goes through ``torch.compile``; None: where it pays.
    engine : ``local``, or ``ray``: shards are tasks of a Ray cluster, one processor or GPU each.
    ray_address : of a running cluster; None: one is started on this machine.

    Raises
    ------
    UsageError : there is no such precision.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    memory: int | None = None
    workers: int | None = None
    store: str | None = None
    compile: bool | None = None
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        known = get_args(Precision)
        if self.precision not in known:
            raise UsageError(
                f"there is no precision {self.precision!r}; there are {', '.join(known)}"
            )


DEFAULT = Options()


def parse_size(text: str) -> int:
    """``8G``, ``500M``, ``1.5 GiB`` -> bytes; raises ValueError.

    >>> parse_size("1.5G") == parse_size("1536 MiB") == 3 << 29
    True
    """
    plain = text.strip().upper().removesuffix("B").removesuffix("I").rstrip()
    unit = plain[-1:] if plain[-1:] in _UNITS and plain[-1:] else ""
    number = float(plain.removesuffix(unit))
    if not 0 < number < float("inf"):
        raise ValueError(f"{text!r} is no size; give bytes, or a number with K, M, G or T")
    return int(number * _UNITS[unit])
