"""Which networks to run, and which primitives to take, for a set of metrics.

A feature loss is a weighted sum of primitives (see `perceptbench.losses.distances`). Losses over
the same network share its activations; losses that compare these in the same way share the
primitives and differ in a dot product. Every other metric sees the images themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from perceptbench.losses.backbones import Backbone
from perceptbench.losses.feature_loss import FeatureLoss
from perceptbench.losses.inputs import Input

Embed = Callable[[Tensor], Tensor]
Compare = Callable[[Tensor, Tensor], Tensor]
Primitive = tuple[str, Embed, Compare]


@dataclass
class FeaturePass:
    """One network, every primitive any loss needs of it, and the losses as dot products.

    Attributes
    ----------
    backbone : the network with the union of the taps.
    primitives : (tap, embed) -> how these embeddings are compared.
    losses : metric name -> [((tap, embed, compare) of a primitive, its weights (K,))].
    """

    backbone: Backbone
    primitives: dict[tuple[str, Embed], list[Compare]] = field(default_factory=dict)
    losses: dict[str, list[tuple[Primitive, Tensor]]] = field(default_factory=dict)

    def encode(self, images: Tensor) -> dict[tuple[str, Embed], Tensor]:
        """Embeddings of a batch (N, 3, H, W) by (tap, embed), one forward pass."""
        activations = self.backbone(images)
        return {(tap, embed): embed(activations[tap]) for tap, embed in self.primitives}

    def compare(self, x: Mapping[Any, Tensor], y: Mapping[Any, Tensor]) -> dict[Primitive, Tensor]:
        """All primitives (N, K) of two batches of embeddings."""
        found = {}
        for key, ways in self.primitives.items():
            for compare in ways:
                found[*key, compare] = compare(x[key], y[key])
        return found

    def combine(self, primitives: Mapping[Primitive, Tensor]) -> dict[str, Tensor]:
        """Distances (N,) of every loss, float64."""
        exact = {key: p.double() for key, p in primitives.items()}
        return {
            name: torch.stack([(exact[key] * w).sum(1) for key, w in terms]).sum(0)
            for name, terms in self.losses.items()
        }


@dataclass(frozen=True)
class Plan:
    """What a walk over the pairs computes: passes over networks, and opaque metrics."""

    passes: list[FeaturePass]
    opaque: dict[str, Callable[[Tensor, Tensor], Tensor]]

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics."""
        return [name for p in self.passes for name in p.losses] + list(self.opaque)


def make_plan(metrics: Mapping[str, Any]) -> Plan:
    """Groups feature losses by the network they share; keeps everything else opaque.

    Parameters
    ----------
    metrics : name -> a FeatureLoss, or any callable (reference, distorted) -> (N,).
    """
    shared: dict[tuple[int, Input], list[tuple[str, FeatureLoss]]] = {}
    opaque = {}
    for name, metric in metrics.items():
        if isinstance(metric, FeatureLoss):
            key = (id(metric.backbone.network), metric.backbone.input)
            shared.setdefault(key, []).append((name, metric))
        else:
            opaque[name] = metric
    return Plan([_feature_pass(losses) for losses in shared.values()], opaque)


def _feature_pass(losses: list[tuple[str, FeatureLoss]]) -> FeaturePass:
    first = losses[0][1].backbone
    taps = dict.fromkeys(term.tap for _, loss in losses for term in loss.terms)
    device = next((p.device for p in first.parameters()), torch.device("cpu"))
    backbone = Backbone(first.network, list(taps), first.input).to(device)
    result = FeaturePass(backbone)
    for name, loss in losses:
        result.losses[name] = []
        for number, term in enumerate(loss.terms):
            embed, compare = term.how.embed, term.how.compare
            ways = result.primitives.setdefault((term.tap, embed), [])
            if compare not in ways:
                ways.append(compare)
            weights = loss.weights(number).double().to(device)
            result.losses[name].append(((term.tap, embed, compare), weights))
    return result
