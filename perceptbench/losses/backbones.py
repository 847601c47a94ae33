"""Networks with named taps, frozen, stopped at the deepest tap that is read.

A frozen network is no part of the module that reads from it: its weights are no parameters, so that
nothing a training run does to its model reaches them, and are not in the state_dict. They follow
``.to`` and the device of the images; backbones over one network share them on every device.

Conventions
-----------
Images are float tensors (N, 3, H, W) in [0, 1], sRGB-coded, or (N, 1, H, W) grey; a backbone
resizes and normalises them itself (`Input`). A tap is a node of the network as
``torchvision.models.feature_extraction`` names it (``features.1``, ``layer2.0.relu``), for the
VGGs also as in the literature (``relu3_3``), or ``image``: the image itself. ``TAP@0.5`` is a tap
for the image at half its resolution. Activations are always given as (N, C, H', W'), token
sequences as the map they are tokens of.
"""

import copy
import hashlib
import importlib
import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from perceptbench.errors import DataError, PerceptbenchError, UsageError, first_line, nearest
from perceptbench.kinds import really
from perceptbench.losses.checks import transformed
from perceptbench.losses.distances import exact
from perceptbench.losses.inputs import SCALES, Input, default_input
from perceptbench.losses.networks import Layout, architecture, swap_pooling
from perceptbench.losses.weights import OWN

#: The tap that is the image itself, in [0, 1].
IMAGE = "image"
#: No network known needs more pixels a side.
SMALLEST_AT_MOST = 1024


@dataclass(eq=False)
class Network:
    """A network with its weights, shared by all backbones that read from it.

    Attributes
    ----------
    name : as in `architecture`.
    module : the whole network, frozen, in evaluation mode.
    layout : of its activations.
    default : input handling it was made for.
    source : weights file, for errors; None for random weights.
    absent : names of weights that the file does not hold.
    """

    name: str
    module: nn.Module
    layout: Layout
    default: Input
    source: Path | None = None
    absent: frozenset[str] = frozenset()
    nodes: list[str] = field(init=False)
    _copies: WeakValueDictionary[tuple[int, torch.device, torch.dtype], Tensor] = field(
        init=False, repr=False, default_factory=WeakValueDictionary
    )

    def __post_init__(self) -> None:
        own: Any = getattr(self.module, "taps", None)
        if own is not None:
            self.nodes = [IMAGE, *own]
            return
        try:
            self.nodes = get_graph_node_names(self.module, suppress_diff_warning=True)[1]
        except Exception as error:  # tracing runs the network's own code
            reason = first_line(error)
            raise UsageError(f"backbone {self.name} cannot be traced ({reason})") from None

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that decides the activations: layers, their values, own code."""
        digest = hashlib.sha256(f"{self.name} {self.layout} {self.module!r}".encode())
        kind = type(self.module)
        if not kind.__module__.startswith("torchvision."):
            digest.update(inspect.getsource(inspect.getmodule(kind) or kind).encode())
        for key, value in sorted(self.module.state_dict().items()):
            if not value.is_meta:
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def reader(self, nodes: Sequence[str], own: bool = False) -> nn.Module:
        """Maps what the network takes to {node: activation}, no deeper than it must.

        With weights of its `own`, or the network's.
        """
        module = copy.deepcopy(self.module) if own else self.module
        if hasattr(module, "taps"):
            return _Reader(module, nodes)
        return create_feature_extractor(module, list(nodes), suppress_diff_warning=True)

    def placed(self, reader: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """A reader's copy on a device and of a type, whose weights all such copies share."""
        with torch.inference_mode(False), torch.no_grad():
            tensors = [*reader.parameters(), *reader.buffers()]
            return copy.deepcopy(reader, {id(t): self._placed(t, device, dtype) for t in tensors})

    def _placed(self, tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        dtype = dtype if tensor.is_floating_point() else tensor.dtype
        if (tensor.device, tensor.dtype) == (device, dtype):
            return tensor
        key = (id(tensor), device, dtype)
        found = self._copies.get(key)
        if found is None:
            found = tensor.detach().to(device, dtype)
            if isinstance(tensor, nn.Parameter):
                found = nn.Parameter(found, requires_grad=False)
            self._copies[key] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_copies"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _copies=WeakValueDictionary())

    def __deepcopy__(self, memo: Any) -> "Network":
        return self

    def node(self, tap: str) -> str:
        """The node a tap stands for; raises UsageError with the nearest taps."""
        aliases = architecture(self.name).aliases
        name = aliases.get(tap, tap)
        inner = any(node.startswith(f"{name}.") for node in self.nodes)
        if name == IMAGE or inner or name in self.nodes[1:]:
            return name
        near = nearest(tap, [*aliases, *self.nodes[1:]]) or "."
        raise UsageError(
            f"backbone {self.name} has no tap {tap!r}{near} "
            f"`perceptbench metrics taps {self.name}` shows all"
        )


class _Reader(nn.Module):
    """A network that names its own taps, asked for some of them."""

    def __init__(self, module: nn.Module, nodes: Sequence[str]) -> None:
        super().__init__()
        self.module, self.nodes = module, tuple(nodes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.module(images, self.nodes)
        return found


def split_scale(tap: str) -> tuple[str, float]:
    """The tap without its input scale, and that; raises UsageError for one that is none.

    >>> split_scale("relu3_3@0.5"), split_scale("relu3_3")
    (('relu3_3', 0.5), ('relu3_3', 1.0))
    """
    name, mark, text = tap.partition("@")
    try:
        scale = float(text) if mark else 1.0
    except ValueError:
        scale = 0.0
    low, high = SCALES
    if not low <= scale <= high:
        raise UsageError(
            f"tap {tap!r}: after @ comes an input scale like 0.5, from {low:g} to {high:g}"
        )
    return name, scale


def at_scale(tap: str, scale: float) -> str:
    """The tap at an input scale, on top of the one it has: the inverse of `split_scale`."""
    name, own = split_scale(tap)
    return f"{name}@{own * scale!r}" if own * scale != 1 else name


def load_network(
    name: str,
    weights: Path | None = None,
    seed: int = 0,
    pooling: str = "max",
    **options: Any,
) -> Network:
    """Builds a network and loads its weights.

    Parameters
    ----------
    name : as in `architecture`, or ``module:callable``.
    weights : a state dict; may hold only the leading part (``features.*``), which is checked
        when taps are read. None draws the weights at random with the network's own
        initialisation.
    seed : of that random initialisation; the global generator is left as it was.
    pooling : ``max`` as it is, or every max pooling swapped for ``average`` or ``l2``.
    options : keyword arguments of the network's constructor, see `Architecture.options`.

    Raises
    ------
    UsageError : an unknown network, or one that cannot be built or traced.
    DataError : the weights cannot be read or do not fit; names the file and the key.
    """
    known = architecture(name)
    own = ":" in known.build
    # Nothing is initialised that is then overwritten: VGG16 has half a gigabyte of weights.
    device = "meta" if weights is not None and not own else "cpu"
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(seed)
            module = _build(known.build, options)
    finally:
        torch.set_default_dtype(default)
    swap_pooling(module, pooling)
    absent = _load(module, weights) if weights is not None else frozenset()
    for part in module.modules():
        if hasattr(part, "inplace"):
            # A tap before an in-place operation would otherwise be overwritten by it.
            part.inplace = False  # type: ignore[assignment]
    module.eval().requires_grad_(False)
    handling = default_input(known.normalised, known.size)
    return Network(name, module, known.layout, handling, weights, absent)


def _build(build: str, options: dict[str, Any]) -> nn.Module:
    if ":" not in build:
        model: nn.Module = getattr(torchvision.models, build)(weights=None, **options)
        return model
    return own_module("backbone", build, options)


def own_module(kind: str, name: str, options: dict[str, Any]) -> nn.Module:
    """What the callable of ``module:callable`` returns.

    Raises
    ------
    UsageError : it cannot be had, or is no nn.Module; says of which `kind` it was to be.
    """
    path, _, attribute = name.partition(":")
    try:
        model = getattr(importlib.import_module(path), attribute)(**options)
    except PerceptbenchError:
        raise
    except Exception as error:  # a user's own code
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{kind} {name} cannot be built ({reason})") from None
    if not isinstance(model, nn.Module):
        raise UsageError(f"{kind} {name} gives {type(model).__name__}, not a torch.nn.Module")
    return model


def _load(module: nn.Module, path: Path) -> frozenset[str]:
    """Loads what the file holds; the names of what it does not."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        wanted = module.state_dict()
        held = {key: state[key] for key in wanted if key in state}
        module.load_state_dict(held, strict=False, assign=True)
    except Exception as error:  # torch raises many kinds for a file that is no state dict
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = really(path, *OWN) or lines[-1].strip()
        raise DataError(f"{path}: cannot be read as network weights ({reason})") from None
    return frozenset(wanted) - frozenset(held)


class Backbone(nn.Module):
    """Maps images to the activations at named taps.

    Attributes
    ----------
    trunk : what reads from the network; None where the only tap is the image.
    origin, place : of a frozen network, the trunk it was read with and the device and type its
        copy `trunk` is at; no place where there are no weights.

    Parameters
    ----------
    network : see `load_network`; backbones may share one, the scoring engine then runs it once.
    taps : names of the taps to read, ``TAP@SCALE`` for one at another resolution of the image.
    input : what is done to an image first; default: what the network was made for.
    frozen : no gradient for its weights, evaluation mode always, also while one trains. A network
        that is not frozen is a copy of the backbone's own.
    registered : whether the weights of a frozen network, in a copy of the backbone's own, are among
        its parameters and in its state_dict; a checkpoint that has them can be loaded either way.

    Raises
    ------
    UsageError : a tap the network does not have.
    DataError : the weights file lacks what a tap needs.

    Examples
    --------
    >>> backbone = Backbone(load_network("alexnet"), ["features.1", "features.4"])
    >>> [tuple(a.shape) for a in backbone(torch.zeros(1, 3, 64, 64)).values()]
    [(1, 64, 15, 15), (1, 192, 7, 7)]
    """

    trunk: nn.Module | None
    origin: nn.Module | None
    place: tuple[torch.device, torch.dtype] | None

    def __init__(
        self,
        network: Network,
        taps: Sequence[str],
        input: Input | None = None,
        frozen: bool = True,
        registered: bool = False,
    ) -> None:
        super().__init__()
        self.registered = registered or not frozen
        self.network, self.taps, self.frozen = network, tuple(taps), frozen
        self.input = input or network.default
        split = {tap: split_scale(tap) for tap in taps}
        self.reads = {tap: (network.node(name), scale) for tap, (name, scale) in split.items()}
        #: The network's own name of each tap, at its input scale.
        self.nodes = {tap: at_scale(node, scale) for tap, (node, scale) in self.reads.items()}
        self.scales = tuple(dict.fromkeys(scale for _, scale in self.reads.values()))
        inner = [node for node in dict.fromkeys(n for n, _ in self.reads.values()) if node != IMAGE]
        trunk = self._read_at(inner) if inner else None
        if self.registered:
            self.trunk, self.place = trunk, None
        else:
            self._place(trunk)
            self.register_load_state_dict_pre_hook(_without_trunk)
        self.eval()

    def _read_at(self, nodes: Sequence[str]) -> nn.Module:
        """What reads from the network, which is then looked through for weights that lack."""
        network = self.network
        trunk: Any = network.reader(nodes, own=self.registered)
        trunk.requires_grad_(not self.frozen)
        _rectify_in_place(trunk)
        # Of a network that names its own taps it is not known which weights they need.
        read = network.module if isinstance(trunk, _Reader) else trunk
        lacking = network.absent.intersection(read.state_dict())
        if lacking:
            raise DataError(
                f"{network.source}: holds no {min(lacking)!r}; is it the file of this network?"
            )
        if self.registered or isinstance(trunk, _Reader):
            return trunk
        return fx.GraphModule(trunk, trunk.eval_graph)  # can be copied and pickled

    def _place(
        self,
        origin: nn.Module | None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Reads from a copy of `origin` on a device and of a type; default: from itself."""
        tensors = [] if origin is None else [*origin.parameters(), *origin.buffers()]
        first = next((t for t in tensors if t.is_floating_point()), None)
        trunk, place = origin, None
        if origin is not None and first is not None:
            place = device or first.device, dtype or first.dtype
            if place != (first.device, first.dtype):
                trunk = self.network.placed(origin, *place)
        # Not as attributes: those would be submodules.
        self.__dict__.update(origin=origin, trunk=trunk, place=place)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Backbone":
        super()._apply(fn, recurse)
        if self.place is not None:
            # What it does to the values is not asked: `to_empty` must not empty the weights.
            device, dtype = self.place
            there = fn(torch.empty(0, device=device, dtype=dtype))
            if (there.device, there.dtype) != self.place:
                self._place(self.origin, there.device, there.dtype)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """A frozen network is shared with the copy."""
        if not self.registered:
            memo |= {id(module): module for module in (self.origin, self.trunk)}
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def __getstate__(self) -> dict[str, Any]:
        """Of a frozen network the copy on a device is left out, and made again where it is used."""
        state = dict(self.__dict__)
        if not self.registered:
            state.update(trunk=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self.registered:
            self._place(self.origin, dtype=self.place and self.place[1])

    def weights(self) -> dict[str, Tensor]:
        """Its network's parameters and buffers by their names in a state_dict."""
        return {} if self.trunk is None else self.trunk.state_dict(prefix="trunk.", keep_vars=True)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Activations by tap, each (N, C, H', W'), for images (N, 1 or 3, H, W) in [0, 1]."""
        if self.place is not None and images.device != self.place[0]:
            # What wraps a model for several devices moves parameters only.
            self._place(self.origin, images.device, self.place[1])
        images = self._exact(images)
        found: dict[str, Tensor] = {}
        for scale in self.scales:
            found |= self._read(self.input.scaled(images, scale), scale)
        return {tap: found[tap] for tap in self.taps}

    def _read(self, images: Tensor, scale: float) -> dict[str, Tensor]:
        """Activations at the taps of one input scale, for images of that scale."""
        images = self.input.fit(images)
        reads = {tap: node for tap, (node, own) in self.reads.items() if own == scale}
        at: dict[str, Tensor] = {}
        if self.trunk is not None and set(reads.values()) != {IMAGE}:
            ready = self.input.normalise(images)
            kind = ready.device.type
            if (kind == "cpu" or torch.is_autocast_enabled(kind)) and not transformed():
                # oneDNN, and a GPU's tensor cores, then have no layout to convert around every
                # convolution. In full precision cuDNN is faster with what it is given; a vmap knows
                # no layouts.
                ready = ready.contiguous(memory_format=torch.channels_last)
            if not torch.is_autocast_enabled(kind):
                ready = ready.to(self._dtype or ready.dtype)
            try:
                at = self.trunk(ready)
            except RuntimeError as error:
                self._blame_size(ready, error)
                raise
        return {
            tap: images if node == IMAGE else _as_map(at[node], tap, self.network, images.shape[0])
            for tap, node in reads.items()
        }

    def _blame_size(self, images: Tensor, error: RuntimeError) -> None:
        """Raises ValueError where images (N, 3, H, W) are smaller than the network can take."""
        if isinstance(error, torch.OutOfMemoryError) or images.shape[0] == 0:
            return
        low, high = min(images.shape[2:]), SMALLEST_AT_MOST
        if low >= high or not self._takes(images, high):
            return
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._takes(images, middle) else (middle + 1, high)
        height, width = images.shape[2:]
        if min(height, width) < low:
            raise ValueError(
                f"{self.network.name} as far as {', '.join(self.taps)} needs images of at least "
                f"{low} pixels a side, one has {width} x {height}"
            ) from error

    def _takes(self, images: Tensor, side: int) -> bool:
        assert self.trunk is not None
        try:
            with torch.no_grad():
                self.trunk(images.new_zeros(1, 3, side, side))
        except RuntimeError:
            return False
        return True

    @property
    def _dtype(self) -> torch.dtype | None:
        """The type of the weights; None where there are none."""
        if self.trunk is None:
            return None
        tensors = itertools.chain(self.trunk.parameters(), self.trunk.buffers())
        return next((t.dtype for t in tensors if t.is_floating_point()), None)

    def _exact(self, images: Tensor) -> Tensor:
        """Images as float64 where the network is, else as float32; of either without weights."""
        if self._dtype is None:
            return exact(images)
        return images.double() if self._dtype == torch.float64 else images.float()

    def train(self, mode: bool = True) -> "Backbone":
        """A frozen one stays in evaluation mode: a measure must not change while one trains."""
        return super().train(mode and not self.frozen)


def _without_trunk(
    backbone: nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any
) -> None:
    """Leaves out of a checkpoint the weights that were in it when networks were submodules."""
    for key in [key for key in state_dict if key.startswith(f"{prefix}trunk.")]:
        del state_dict[key]


def frozen_weights(module: nn.Module) -> dict[str, Tensor]:
    """Weights of the frozen networks in a module, by the names a state_dict would have."""
    return {
        f"{name}.{key}" if name else key: value
        for name, part in module.named_modules()
        if isinstance(part, Backbone) and not part.registered
        for key, value in part.weights().items()
    }


def _rectify_in_place(trunk: Any) -> None:
    """Lets a ReLU overwrite a convolution's or normalisation's output that nothing else reads."""
    before = (nn.Conv2d, nn.BatchNorm2d)
    if isinstance(trunk, _Reader):
        return  # has no graph
    for graph in (trunk.train_graph, trunk.eval_graph):
        for node in graph.nodes:
            if node.op != "call_module" or type(trunk.get_submodule(node.target)) is not nn.ReLU:
                continue
            source = node.args[0]
            if source.op != "call_module" or len(source.users) > 1:
                continue
            if isinstance(trunk.get_submodule(source.target), before):
                with graph.inserting_after(node):
                    new = graph.call_function(F.relu, (source,), {"inplace": True})
                node.replace_all_uses_with(new)
                graph.erase_node(node)
    trunk.graph = trunk.eval_graph  # compiles it anew


def _as_map(activation: Tensor, tap: str, network: Network, batch: int) -> Tensor:
    """Activations of a batch as (N, C, H', W'); raises UsageError for what is no such thing."""
    shape = tuple(getattr(activation, "shape", ()))
    if len(shape) == 4 and shape[0] == batch:
        return activation.permute(0, 3, 1, 2) if network.layout == "nhwc" else activation
    if len(shape) == 3 and shape[0] == batch and network.layout == "tokens":
        side = int(shape[1] ** 0.5)
        tokens = activation[:, shape[1] - side * side :]  # a class token comes first
        return tokens.transpose(1, 2).unflatten(2, (side, side))
    if len(shape) == 2 and shape[0] == batch:
        return activation[:, :, None, None]
    what = f"shape {shape}" if shape else type(activation).__name__
    raise UsageError(f"backbone {network.name}: tap {tap!r} gives no map of activations ({what})")


def list_taps(network: Network, side: int = 224) -> list[tuple[str, str, tuple[int, ...]]]:
    """Every tap that gives a map: (name in the literature or "", node, (C, H', W')).

    Parameters
    ----------
    side : of the square image that H' and W' are for, where the network takes any size.
    """
    aliases = architecture(network.name).aliases
    names = {node: alias for alias, node in aliases.items()}
    nodes = network.nodes[1:]
    image = torch.zeros(1, 3, side, side, device="cpu", dtype=torch.float32)
    with torch.inference_mode():
        found = network.reader(nodes)(network.default.normalise(network.default.fit(image)))
    rows = [("", IMAGE, tuple(image.shape[1:]))]
    for node in nodes:
        try:
            shape = tuple(_as_map(found[node], node, network, 1).shape[1:])
        except UsageError:
            continue
        rows.append((names.get(node, ""), node, shape))
    return rows
