"""Activations inside a network, taken by forward hooks.

One pass over an image (`explore`) shows what there is: the output of every module, in the order in
which they end (``NAME_1`` is that of a module's second call), the keys and queries of an attention
as ``NAME.k`` and ``NAME.q``, and what the network itself gives, ``embedding``. A copy of the
network that takes some of these (`tapped`) is left at the last of them (`read`).
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from perceptbench.losses.networks import Kind

#: What a network gives in the end; of tokens the class token or their pooled mean.
EMBEDDING = "embedding"
#: Layers by the ends of their names -> the attention's part they are, for people to look for.
ATTENTION = ("k", "q", "key", "query", "k_proj", "q_proj")


class _Left(BaseException):
    """Leaves a network in the middle; no Exception, which its own code might catch."""


@dataclass(frozen=True)
class Spot:
    """Where an activation is met.

    Attributes
    ----------
    module : name of the module, "" for the network itself.
    call : number of its call in a pass, from 0.
    part : ``output``; ``embedding``: that of the whole network, as one vector where it has one;
        ``heads``: the output (N, heads, tokens, C) as (N, tokens, heads C); ``k``, ``q``: computed
        from what a `MultiheadAttention` takes.
    kind : where the channels of a map are; None where that is not known.
    kept : whether it has to be copied, since the network writes over it later.
    before : how many modules have begun when it is met.
    """

    module: str
    call: int
    part: str = "output"
    kind: Kind | None = None
    kept: bool = False
    before: int = 0


class _Pass(threading.local):
    """What the hooks of one network share in one pass; each thread has its own.

    Attributes
    ----------
    total : how many activations there are to take.
    found : those that were taken.
    calls : module -> number of its calls so far.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.found: dict[str, Tensor] = {}
        self.calls: dict[str, int] = {}

    def __reduce__(self) -> tuple[type["_Pass"], tuple[int]]:
        return _Pass, (self.total,)


@dataclass(eq=False)
class _Tap:
    """A forward hook that takes what one module shows; an object, so that it can be copied."""

    at: str
    spots: dict[str, Spot]
    one: _Pass

    def __call__(
        self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        number = self.one.calls.get(self.at, 0)
        self.one.calls[self.at] = number + 1
        for name, spot in self.spots.items():
            if spot.call == number:
                tensor = _part(spot.part, module, given, named, output)
                assert tensor is not None  # as it was when it was explored
                self.one.found[name] = tensor.clone() if spot.kept else tensor
        if len(self.one.found) == self.one.total:
            raise _Left


def tapped(network: Any, spots: Mapping[str, Spot], called: Sequence[str]) -> nn.Module:
    """A network, a copy that is the caller's own, made to take the activations at `spots`.

    It keeps only the weights that these depend on, or may depend on. A module may use weights of
    one in it that it never calls (`MultiheadAttention` does). So those stay whose innermost module
    that is called at all is called before the last of `spots`.
    """
    begun = set(called[: max(spot.before for spot in spots.values())])
    for at, module in network.named_modules():
        owner = at
        while owner and owner not in called:
            owner = owner.rpartition(".")[0]
        if owner not in begun:
            module._parameters.clear()
            module._buffers.clear()
    network.one_pass = _Pass(len(spots))
    wanted: dict[str, dict[str, Spot]] = {}
    for name, spot in spots.items():
        wanted.setdefault(spot.module, {})[name] = spot
    for at, some in wanted.items():
        tap = _Tap(at, some, network.one_pass)
        network.get_submodule(at).register_forward_hook(tap, with_kwargs=True)
    tapped_network: nn.Module = network
    return tapped_network


def read(network: Any, images: Tensor, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """The activations that a `tapped` network takes, by name; it runs no further than the last."""
    one = network.one_pass
    found: dict[str, Tensor] = {}
    one.found, one.calls = found, {}
    try:
        with suppress(_Left):
            network(images, **options)
    finally:
        one.found = {}
    return found


@dataclass(frozen=True)
class Found:
    """What a pass over an image met.

    Attributes
    ----------
    spots : activations by name, in the order in which they are met.
    called : names of all modules that were called, in the order in which they began.
    """

    spots: dict[str, Spot]
    called: tuple[str, ...]


def explore(network: nn.Module, images: Tensor, options: Mapping[str, Any], kind: Kind) -> Found:
    """Every activation there is.

    Parameters
    ----------
    network : in evaluation mode; a copy, whose hooks are left on it.
    images : (N, 3, H, W) that it takes.
    options : keyword arguments of its call.
    kind : layout of its maps; ``tokens`` where it is not known.
    """
    met: list[tuple[str, Spot, Tensor, int]] = []
    calls: dict[str, int] = {}
    begun: dict[str, None] = {}
    kinds: dict[int, Kind | None] = {id(images): "nchw"}

    def begin(at: str, *_: Any) -> None:
        begun.setdefault(at)

    def end(
        at: str, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        number = calls[at] = calls.get(at, -1) + 1
        for name, part in _parts(module, at).items():
            tensor = _part(part, module, given, named, output)
            if tensor is None:
                continue
            where = kinds.get(id(tensor)) or _kind(module, given, tensor, kinds, kind)
            kinds[id(tensor)] = where
            spot = Spot(at, number, part, where, before=len(begun))
            met.append((f"{name}_{number}" if number else name, spot, tensor, tensor._version))

    for at, module in network.named_modules():
        module.register_forward_pre_hook(partial(begin, at))
        module.register_forward_hook(partial(end, at), with_kwargs=True)
    network(images, **options)
    # All tensors are held until here: no two have one id, and what was written over is known.
    spots = {n: replace(spot, kept=t._version != version) for n, spot, t, version in met}
    return Found(spots, tuple(begun))


def telling(spots: Mapping[str, Spot]) -> list[str]:
    """Those that a person would name: blocks, stages, parts at the top, attention keys, the end.

    Blocks and stages are what has a number in a list of its like: ``blocks.11``, ``stages.0``.
    """
    found = []
    for name, spot in spots.items():
        last = name.rpartition(".")[2]
        whole = spot.module == name and (last.isdigit() or "." not in name)
        if whole or spot.part != "output" or last in ATTENTION:
            found.append(name)
    return found


def _parts(module: nn.Module, at: str) -> dict[str, str]:
    """Name -> part, of all that a call of a module shows."""
    if not at:
        return {EMBEDDING: "embedding"}
    owner, _, last = at.rpartition(".")
    if last in ("k_norm", "q_norm"):  # timm's attention calls them with a head a channel
        return {at: "output", f"{owner}.{last[0]}": "heads"}
    if isinstance(module, nn.MultiheadAttention):
        return {at: "output", f"{at}.k": "k", f"{at}.q": "q"}
    return {at: "output"}


def _part(
    part: str, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any
) -> Tensor | None:
    """One part of what a call shows; None where it is no tensor."""
    if part in ("k", "q"):
        return _projected(part, module, given, named)
    if part == "embedding":
        output = _embedding(output)
    if isinstance(output, (tuple, list)):  # an attention with its weights
        output = output[0] if output else None
    if not isinstance(output, Tensor):
        return None
    if part == "heads":
        return output.transpose(1, 2).flatten(2) if output.dim() == 4 else None
    return output


def _embedding(output: Any) -> Any:
    """What transformers give as one vector, else the class token; anything else as it is."""
    pooled = getattr(output, "pooler_output", None)
    if pooled is not None:
        return pooled
    hidden = getattr(output, "last_hidden_state", None)
    return output if hidden is None else hidden[:, 0] if hidden.dim() == 3 else hidden


def _projected(
    part: str, module: Any, given: tuple[Any, ...], named: dict[str, Any]
) -> Tensor | None:
    """Keys or queries (N, tokens, C) of a `MultiheadAttention`, which has no module for them."""
    place, name = (1, "key") if part == "k" else (0, "query")
    tokens = given[place] if len(given) > place else named.get(name)
    if module.in_proj_weight is None or not isinstance(tokens, Tensor) or tokens.dim() != 3:
        return None
    rows = slice(place * module.embed_dim, (place + 1) * module.embed_dim)
    bias = module.in_proj_bias
    found = F.linear(tokens, module.in_proj_weight[rows], None if bias is None else bias[rows])
    return found if module.batch_first else found.transpose(0, 1)


def _kind(
    module: nn.Module,
    given: tuple[Any, ...],
    tensor: Tensor,
    kinds: Mapping[int, Kind | None],
    usual: Kind,
) -> Kind | None:
    """Where the channels of a map are: as its layer says, as in what it was made of, as usual."""
    if tensor.dim() != 4:
        return None
    if "2d" in type(module).__name__:  # Conv2d, and timm's LayerNorm2d and the like
        return "nchw"
    if isinstance(module, (nn.Linear, nn.LayerNorm)):
        return "nhwc"
    source = given[0] if given else None
    if isinstance(source, Tensor) and source.shape == tensor.shape and id(source) in kinds:
        return kinds[id(source)]
    return None if usual == "tokens" else usual
