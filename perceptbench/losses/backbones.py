"""Networks with named taps, frozen, stopped at the deepest tap that is read.

A frozen network is no part of the module that reads from it: its weights are no parameters, so that
nothing a training run does to its model reaches them, and are not in the state_dict. They follow
``.to`` and the device of the images; backbones over one network share them on every device.

Conventions
-----------
Images are float tensors (N, 3, H, W) in [0, 1], sRGB-coded, or (N, 1, H, W) grey; a backbone
resizes and normalises them itself (`Input`). A tap is a module of the network (``features.1``,
``blocks.11``; ``layer2.0.relu_1`` for its second call), of the VGGs also as in the literature
(``relu3_3``); an attention's keys (``blocks.11.attn.k``) or the ``embedding``, see `taps`; or
``image``: the image itself. ``TAP@0.5`` is a tap for the image at half its resolution. Activations
are always given as (N, C, H', W'), token sequences as the map they are tokens of, without class
and register tokens.
"""

import copy
import hashlib
import importlib
import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from perceptbench.errors import DataError, PerceptbenchError, UsageError, first_line, nearest
from perceptbench.losses import libraries, taps
from perceptbench.losses.distances import exact
from perceptbench.losses.inputs import SCALES, Input, default_input
from perceptbench.losses.networks import Kind, Layout, architecture, swap_pooling
from perceptbench.losses.weights import beside, not_weights, read_state
from perceptbench.tensors import transformed

#: The tap that is the image itself, in [0, 1].
IMAGE = "image"
#: Pixels a side of the image on which a network of any size is looked at; no network known needs
#: more than the second.
SIDE, SMALLEST_AT_MOST = 224, 1024
#: Logarithm of what a grid's rows to columns may differ from an image's height to width.
FITS = math.log(1.5)


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
    size, patch, call : as of `libraries.Built`.
    nodes : names of all that can be read, ``image`` first.
    found : what hooks can read; None of a network that names its own taps.
    """

    name: str
    module: nn.Module
    layout: Layout
    default: Input
    source: Path | None = None
    absent: frozenset[str] = frozenset()
    size: tuple[int, int] | None = None
    patch: int | None = None
    call: Mapping[str, Any] = field(default_factory=dict)
    nodes: list[str] = field(init=False)
    found: taps.Found | None = field(init=False, default=None)
    _copies: WeakValueDictionary[tuple[int, torch.device, torch.dtype], Tensor] = field(
        init=False, repr=False, default_factory=WeakValueDictionary
    )

    def __post_init__(self) -> None:
        own: Any = getattr(self.module, "taps", None)
        if own is not None:
            self.nodes = [IMAGE, *own]
            return
        self.found = self._explored()
        self.nodes = [IMAGE, *self.found.spots]

    def _explored(self) -> taps.Found:
        with torch.inference_mode(False), torch.no_grad():
            image = torch.zeros(1, 3, SIDE, SIDE, device="cpu", dtype=torch.float32)
            image = self.default.normalise(self.default.fit(image))
            try:
                # On meta nothing is computed, whatever weights there are, but torch imports its
                # compiler for that, which takes longer than a small network does.
                first, second = ("cpu", "meta") if architecture(self.name).own else ("meta", "cpu")
                try:
                    found = self._explored_on(image.to(first))
                except Exception:  # weights that lack, or own code that needs numbers
                    found = self._explored_on(image.to(second))
            except Exception as error:
                size = " x ".join(map(str, image.shape[2:]))
                raise UsageError(
                    f"backbone {self.name} cannot be run on an image of {size} "
                    f"({first_line(error)})"
                ) from None
        if len(found.called) < 2:
            raise UsageError(f"backbone {self.name} has no modules to read from")
        return found

    def _explored_on(self, image: Tensor) -> taps.Found:
        module = self.placed(self.module, image.device, torch.float32)
        return taps.explore(module, image, self.call, self.layout.kind)

    @property
    def telling(self) -> list[str]:
        """The nodes that a person would name; all of a network that names its own."""
        return self.nodes[1:] if self.found is None else taps.telling(self.found.spots)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that decides the activations: layers, their values, own code."""
        said = f"{self.name} {self.layout} {self.module!r}"
        digest = hashlib.sha256(said.encode())
        kind = type(self.module)
        if not kind.__module__.startswith("torchvision."):
            digest.update(inspect.getsource(inspect.getmodule(kind) or kind).encode())
        if architecture(self.name).library:
            digest.update(str(libraries.library(self.name).__version__).encode())
        for key, value in sorted(self.module.state_dict().items()):
            if not value.is_meta:
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).numpy())
        return digest.hexdigest()

    def reader(self, nodes: Sequence[str], own: bool = False) -> nn.Module:
        """What `read` takes to read some nodes, with weights of its `own` or the network's."""
        shared = {} if own else {id(t): t for t in _tensors(self.module)}
        module = copy.deepcopy(self.module, shared)
        if self.found is None:
            return _Reader(module, nodes)
        spots = {node: self.found.spots[node] for node in nodes}
        return taps.tapped(module, spots, self.found.called)

    def read(self, reader: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """Activations by node for what the network takes, which runs no deeper than it must."""
        if self.found is not None:
            return taps.read(reader, images, self.call)
        found: dict[str, Tensor] = reader(images)
        return found

    def placed(self, reader: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """A reader's copy on a device and of a type, whose weights all such copies share."""
        with torch.inference_mode(False), torch.no_grad():
            found = {id(t): self._placed(t, device, dtype) for t in _tensors(reader)}
            return copy.deepcopy(reader, found)

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
        if name in self.nodes:
            return name
        near = nearest(tap, [*aliases, *self.nodes[1:]]) or "."
        raise UsageError(
            f"backbone {self.name} has no tap {tap!r}{near} "
            f"`perceptbench metrics taps {self.name}` shows all"
        )

    def layout_at(self, node: str) -> Layout | None:
        """How the activation at a node is laid out; None where that is not known of a map."""
        if self.found is None:
            return self.layout
        kind: Kind | None = self.found.spots[node].kind
        # Of token sequences there is no kind to know.
        return replace(self.layout, kind=kind) if kind is not None else None


class _Reader(nn.Module):
    """A network that names its own taps, asked for some of them."""

    def __init__(self, module: nn.Module, nodes: Sequence[str]) -> None:
        super().__init__()
        self.module, self.nodes = module, tuple(nodes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.module(images, self.nodes)
        return found


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


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
    *,
    layout: Mapping[str, Any] | None = None,
    folder: Path | None = None,
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
    layout : what is to be known of its activations beyond what the network says: ``kind``,
        ``prefix_tokens``, ``grid``, see `networks.Layout`.
    folder : weights folder, in which the configuration of a network of transformers may lie.
    options : keyword arguments of the network's constructor, see `Architecture.options`.

    Raises
    ------
    UsageError : an unknown network, or one that cannot be built or read.
    DataError : the weights cannot be read or do not fit; names the file and the key.
    Unavailable : its library is not installed.
    """
    known = architecture(name)
    state = None if weights is None else read_state(weights, "network weights")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(seed)
            if known.library:
                built = libraries.build(
                    name, state, lambda file: beside(name, file, weights, folder)
                )
            else:
                built = _built(name, state, options)
    except PerceptbenchError:
        raise
    except Exception as error:  # torch and the libraries raise many kinds
        if weights is None:
            raise UsageError(f"backbone {name} cannot be built ({first_line(error)})") from None
        raise not_weights(weights, "network weights", error) from None
    finally:
        torch.set_default_dtype(default)
    module = built.module
    swap_pooling(module, pooling)
    for part in module.modules():
        if hasattr(part, "inplace"):
            # A tap before an in-place operation would otherwise be overwritten by it.
            part.inplace = False  # type: ignore[assignment]
    module.eval().requires_grad_(False)
    return Network(
        name, module, replace(built.layout, **(layout or {})), built.default, weights,
        built.absent, built.size, built.patch, built.call,
    )  # fmt: skip


def _built(name: str, state: libraries.State | None, options: dict[str, Any]) -> libraries.Built:
    """A network of torchvision's, ours, or a user's own."""
    known = architecture(name)
    # Nothing is initialised that is then overwritten: VGG16 has half a gigabyte of weights.
    with torch.device("meta" if state is not None and known.url else "cpu"):
        if known.own:
            module = own_module("backbone", known.build, options)
        else:
            from torchvision import models  # see networks.AlexNet

            module = getattr(models, known.build)(weights=None, **options)
    size = (known.size, known.size) if known.size else None
    default = default_input(known.normalised, size)
    layout = Layout(known.layout, 1 if known.layout == "tokens" else None)
    absent = libraries.fill(module, state, assign=True) if state is not None else frozenset()
    return libraries.Built(module, layout, default, size, absent=absent)


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
    UsageError : positions are to be interpolated in a network that cannot do that.

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
        if self.input.positions == "interpolated" and network.patch is None:
            raise UsageError(
                f"backbone {network.name} cannot interpolate its position embeddings: leave "
                "`positions` out of [input]"
            )
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
        trunk = network.reader(nodes, own=self.registered)
        trunk.requires_grad_(not self.frozen)
        lacking = network.absent.intersection(_read_by(trunk))
        if lacking:
            raise DataError(
                f"{network.source}: holds no {min(lacking)!r}; is it the file of this network?"
            )
        return trunk

    def _place(
        self,
        origin: nn.Module | None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Reads from a copy of `origin` on a device and of a type; default: from itself."""
        tensors = [] if origin is None else _tensors(origin)
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

    def weights(self) -> dict[str, Tensor]:
        """The parameters and buffers that the activations depend on, by the network's own names."""
        return {} if self.trunk is None else _read_by(self.trunk)

    def _read(self, images: Tensor, scale: float) -> dict[str, Tensor]:
        """Activations at the taps of one input scale, for images of that scale."""
        images = self.input.fit(images)
        reads = {tap: node for tap, (node, own) in self.reads.items() if own == scale}
        at: dict[str, Tensor] = {}
        if self.trunk is not None and set(reads.values()) != {IMAGE}:
            self._check_size(images)
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
                at = self.network.read(self.trunk, ready)
            except RuntimeError as error:
                self._blame_size(ready, error)
                raise
        return {
            tap: images if node == IMAGE else _as_map(at[node], node, self.network, images)
            for tap, node in reads.items()
        }

    def _check_size(self, images: Tensor) -> None:
        """Raises ValueError for a size that the network has no position embeddings for."""
        size, given = self.network.size, tuple(images.shape[-2:])
        if size is None or given == size or self.input.positions == "interpolated":
            return
        other = 'positions = "interpolated" or ' if self.network.patch is not None else ""
        raise ValueError(
            f"backbone {self.network.name} has position embeddings for {size[0]} x {size[1]} "
            f"pixels, not for {given[0]} x {given[1]}; give [input] {other}"
            f"resize = [{size[0]}, {size[1]}]"
        )

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
                self.network.read(self.trunk, images.new_zeros(1, 3, side, side))
        except RuntimeError:
            return False
        return True

    @property
    def _dtype(self) -> torch.dtype | None:
        """The type of the weights; None where there are none."""
        if self.trunk is None:
            return None
        # Not a list of all: this is asked in every pass.
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


def _read_by(trunk: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers that a reader reads, by the network's own names."""
    # Of a network that names its own taps it is not known which weights they need.
    read = trunk.module if isinstance(trunk, _Reader) else trunk
    return read.state_dict(keep_vars=True)


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


def _as_map(activation: Any, node: str, network: Network, images: Tensor) -> Tensor:
    """Activations for a batch of images as the network takes them, as (N, C, H', W').

    Raises
    ------
    UsageError : it is no such thing, or it is not known where its channels or places are.
    """
    shape = tuple(getattr(activation, "shape", ()))
    where = f"backbone {network.name}: tap {node!r}"
    if shape[:1] == (images.shape[0],):
        if len(shape) == 2:
            return activation[:, :, None, None]
        if len(shape) == 4:
            layout = network.layout_at(node)
            if layout is None:
                raise UsageError(
                    f"{where} gives {shape}, and where its channels are is not known; say `layout` "
                    "in [backbone]"
                )
            return activation.permute(0, 3, 1, 2) if layout.kind == "nhwc" else activation
        said = network.layout.prefix_tokens is not None or network.layout.grid is not None
        if len(shape) == 3 and (said or network.layout.kind == "tokens"):
            height, width = images.shape[-2:]
            prefix, grid = _grid(int(shape[1]), network.layout, height / width, where)
            return activation[:, prefix:].transpose(1, 2).unflatten(2, grid)
    what = f"shape {shape}" if shape else type(activation).__name__
    hint = "; if these are tokens, say `prefix_tokens` in [backbone]" if len(shape) == 3 else ""
    raise UsageError(f"{where} gives no map of activations ({what}{hint})")


def _grid(tokens: int, layout: Layout, ratio: float, where: str) -> tuple[int, tuple[int, int]]:
    """Number of prefix tokens, and rows and columns of the others, for an image's height / width.

    Raises
    ------
    UsageError : the tokens make no such grid.
    """
    rows, columns = layout.grid or (0, 0)
    prefix = layout.prefix_tokens
    if prefix is None:
        if not layout.grid and ratio != 1:
            raise UsageError(
                f"{where} gives {tokens} tokens for an image that is not square; say "
                "`prefix_tokens` in [backbone]"
            )
        prefix = tokens - (rows * columns if layout.grid else math.isqrt(tokens) ** 2)
    count = tokens - prefix
    if not layout.grid:
        sides = [n for n in range(1, count + 1) if count % n == 0]
        rows = min(sides, key=lambda n: abs(math.log(n * n / count / ratio)), default=0)
        columns = count // rows if rows else 0
    # Half a patch may be left over at either side.
    fits = rows and (layout.grid or abs(math.log(rows / columns / ratio)) < FITS)
    if prefix < 0 or not fits or rows * columns != count:
        raise UsageError(
            f"{where} gives {tokens} tokens, which are no grid after {prefix} others; say "
            "`prefix_tokens` or `grid` in [backbone]"
        )
    return prefix, (rows, columns)


def list_taps(
    network: Network, side: int = SIDE, everything: bool = False
) -> list[tuple[str, str, tuple[int, ...]]]:
    """Every tap that gives a map: (name in the literature or "", node, (C, H', W')).

    Parameters
    ----------
    side : of the square image that H' and W' are for, where the network takes any size.
    everything : all modules, not only what people name.
    """
    aliases = architecture(network.name).aliases
    names = {node: alias for alias, node in aliases.items()}
    nodes = network.nodes[1:] if everything else network.telling
    image = torch.zeros(1, 3, side, side, device="cpu", dtype=torch.float32)
    with torch.inference_mode():
        fitted = network.default.fit(image)
        found = network.read(network.reader(nodes), network.default.normalise(fitted))
    rows = [("", IMAGE, tuple(image.shape[1:]))]
    for node in nodes:
        try:
            shape = tuple(_as_map(found[node], node, network, fitted).shape[1:])
        except UsageError:
            continue
        rows.append((names.get(node, ""), node, shape))
    return rows
