"""What to compute for a set of metrics: networks to run once, primitives to take once.

A primitive is one number of a pair: a distance at a tap under a head, or whatever an opaque
metric says of two images. A metric is a weighted sum of primitives, so that losses which differ
in their weights alone differ in a dot product. A primitive's id is a digest of all that decides
its value (but the images), which is also what the store knows it by.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from perceptbench.losses.backbones import Backbone
from perceptbench.losses.composite import Composite
from perceptbench.losses.config import CODE_VERSION
from perceptbench.losses.distances import Distance
from perceptbench.losses.feature_loss import FeatureLoss
from perceptbench.losses.inputs import Input

Metric = Callable[[Tensor, Tensor], Tensor]
#: What `embed` gives: a tensor (N, ...), or several.
Embedding = Tensor | tuple[Tensor, ...]
Comparing = Callable[[Embedding, Embedding], Tensor]


@dataclass(frozen=True, eq=False)
class Primitive:
    """A distance at a tap.

    Attributes
    ----------
    node : the network's own name of the tap.
    how : the distance.
    head : weights (K,) of its components; None where they count alike.
    """

    node: str
    how: Distance
    head: Tensor | None

    def id(self, address: str) -> str:
        """Digest of all that decides its value, for the address of its pass."""
        head = None if self.head is None else self.head.detach().double().cpu().tolist()
        return _digest([address, self.node, self.how.name, head])


@dataclass
class FeaturePass:
    """One network with one input handling, and every primitive any loss needs of it.

    Attributes
    ----------
    backbone : the network, stopped at the deepest tap needed.
    title : what it is, for people.
    address : digest of all that decides its activations (but the images and their scale).
    primitives : id -> primitive.
    """

    backbone: Backbone
    title: str
    address: str
    primitives: dict[str, Primitive] = field(default_factory=dict)


@dataclass(frozen=True)
class Opaque:
    """A metric that sees the images themselves.

    Attributes
    ----------
    call : (reference, distorted), two (N, 3, H, W) -> (N,); of one in two halves, unused.
    title : whose it is.
    stored : whether what decides its values is known, so that they can be kept.
    min_size : smallest image side it is defined for.
    """

    call: Metric
    title: str
    stored: bool
    min_size: int = 1

    @property
    def halves(self) -> tuple[Callable[[Tensor], Embedding], Comparing] | None:
        """`embed` and `compare` of a metric that has both; None of one that sees pairs only."""
        embed, compare = (getattr(self.call, name, None) for name in ("embed", "compare"))
        return (embed, compare) if callable(embed) and callable(compare) else None

    @property
    def fuses(self) -> bool:
        """Whether `compare` is many small steps, which a compiler makes one of (`Halves.fuses`)."""
        return bool(getattr(self.call, "fuses", False))


@dataclass
class Plan:
    """Passes over networks, opaque metrics, and every metric as a weighted sum of primitives.

    Attributes
    ----------
    passes : the networks.
    opaque : id -> opaque metric.
    metrics : name -> [(id of a primitive, factor)].
    """

    passes: list[FeaturePass] = field(default_factory=list)
    opaque: dict[str, Opaque] = field(default_factory=dict)
    metrics: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    @property
    def primitives(self) -> list[str]:
        """The ids of all primitives."""
        return [id_ for p in self.passes for id_ in p.primitives] + list(self.opaque)

    @property
    def groups(self) -> dict[str, list[str]]:
        """Address in the store -> ids of the primitives that are kept there together."""
        found: dict[str, list[str]] = {}
        for feature_pass in self.passes:  # those of several scales have one address
            found.setdefault(feature_pass.address, []).extend(feature_pass.primitives)
        return found | {id_: [id_] for id_, opaque in self.opaque.items() if opaque.stored}

    def users(self, id_: str) -> list[str]:
        """The metrics that need a primitive."""
        return [name for name, terms in self.metrics.items() if id_ in dict(terms)]

    def combine(self, values: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Metric -> its distances, from the primitives' values; all float64."""
        return {
            name: np.sum([factor * values[id_] for id_, factor in terms], axis=0)
            for name, terms in self.metrics.items()
        }


def make_plan(
    metrics: Mapping[str, Any],
    *,
    identities: Mapping[str, str] | None = None,
    min_size: Mapping[str, int] | None = None,
    precision: str = "fp32",
) -> Plan:
    """Takes metrics apart into primitives.

    Parameters
    ----------
    metrics : name -> a FeatureLoss, a Composite, or any callable (reference, distorted) -> (N,).
    identities : metric that is no FeatureLoss -> what decides its values, if that is known.
    min_size : metric -> smallest image side in pixels it is defined for.
    precision : of the networks, see `engine.score`.
    """
    plan = Plan()
    found: dict[tuple[int, Input, float], FeaturePass] = {}
    nodes: dict[tuple[int, Input, float], dict[str, None]] = {}
    for name, metric in metrics.items():
        plan.metrics[name] = []
        for number, (factor, part) in enumerate(_parts(metric)):
            if not isinstance(part, FeatureLoss):
                identity = (identities or {}).get(name)
                key = _digest(["opaque", identity or name, precision, number])
                title = name if part is metric else f"{name}, term {number + 1}"
                smallest = (min_size or {}).get(name, 1)
                plan.opaque[key] = Opaque(part, title, identity is not None, smallest)
                plan.metrics[name].append((key, factor))
                continue
            backbone = part.backbone
            for tap, primitive, weight in _primitives(part):
                # A pass a scale: where one is too small for the network, the others still are.
                where = (id(backbone.network), backbone.input, backbone.reads[tap][1])
                if where not in found:
                    found[where] = _start(backbone, precision)
                nodes.setdefault(where, {})[primitive.node] = None
                id_ = primitive.id(found[where].address)
                found[where].primitives.setdefault(id_, primitive)
                plan.metrics[name].append((id_, factor * weight))
    for where, feature_pass in found.items():
        first = feature_pass.backbone
        device = next((t.device for t in first.weights().values()), torch.device("cpu"))
        feature_pass.backbone = Backbone(first.network, list(nodes[where]), first.input).to(device)
        plan.passes.append(feature_pass)
    return plan


def _parts(metric: Any) -> list[tuple[float, Any]]:
    """A composite's terms with their weights; anything else as its own only term."""
    if not isinstance(metric, Composite):
        return [(1.0, metric)]
    weights = metric.term_weights.values()
    found = []
    for weight, part in zip(weights, metric.parts, strict=True):
        found += [(weight * factor, inner) for factor, inner in _parts(part)]
    return [(weight, part) for weight, part in found if weight] or [(1.0, metric)]


def _start(backbone: Backbone, precision: str) -> FeaturePass:
    network, handling = backbone.network, backbone.input
    decides = [CODE_VERSION, network.fingerprint, handling.model_dump(mode="json"), precision]
    weights = network.source.name if network.source else "random weights"
    if not any(True for _ in network.module.parameters()):
        weights = "no weights"
    return FeaturePass(backbone, f"{network.name}, {weights}", _digest(decides))


def _primitives(loss: FeatureLoss) -> Iterable[tuple[str, Primitive, float]]:
    """(tap, primitive, factor) of every term of a feature loss."""
    for number, (term, how) in enumerate(zip(loss.terms, loss.how, strict=True)):
        head: Tensor | None = getattr(loss, f"head{number}")
        factor = term.weight * (1.0 if how.head is None else how.head)
        yield term.tap, Primitive(loss.backbone.nodes[term.tap], how, head), factor


def _digest(decides: Any) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]


def tiles(rows: Sequence[tuple[str, str]], most: int) -> list[list[int]]:
    """Groups pairs so that each group needs few images, and each image is in few groups.

    Pairs that hang together (a reference and its distortions; the images of a triplet) stay
    together where they have no more than `most` images. Where they have more, as when all are
    compared with all, the images are cut into blocks of half as many, and a group is what two
    blocks share.

    Parameters
    ----------
    rows : (reference, distorted) of every pair.
    most : images of a group, at least 2.

    Returns
    -------
    The numbers of the rows of each group.
    """
    number: dict[str, int] = {}
    for row in rows:
        for key in row:
            number.setdefault(key, len(number))
    ends = np.array([[number[a], number[b]] for a, b in rows]).reshape(-1, 2)
    links = coo_array((np.ones(len(rows)), (ends[:, 0], ends[:, 1])), shape=(len(number),) * 2)
    component = connected_components(links, directed=False)[1]
    size = np.bincount(component)
    parts: dict[tuple[int, ...], list[int]] = {}
    half = max(1, most // 2)
    for place, (a, b) in enumerate(ends.tolist()):
        home = int(component[a])
        blocks = sorted((a // half, b // half)) if size[home] > most else []
        parts.setdefault((home, *blocks), []).append(place)
    return _packed(list(parts.values()), ends, most)


def _packed(parts: list[list[int]], ends: NDArray[np.intp], most: int) -> list[list[int]]:
    """Joins neighbouring parts as long as they have no more than `most` images together."""
    groups: list[list[int]] = []
    images: set[int] = set()
    for part in parts:
        new = set(ends[part].ravel().tolist())
        if groups and len(images | new) <= most:
            groups[-1] += part
            images |= new
        else:
            groups.append(list(part))
            images = new
    return [sorted(group) for group in groups]
