"""Feature losses: a weighted sum of distances between activations at taps of a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from perceptbench.errors import UsageError
from perceptbench.losses.backbones import Backbone, split_scale
from perceptbench.losses.distances import Distance, distance, exact
from perceptbench.losses.fused import fusible
from perceptbench.losses.image_loss import ImageLoss, as_large, weighted_mean
from perceptbench.tensors import traced, transformed


@dataclass(frozen=True)
class Term:
    """One summand: what is compared where, and how much it weighs.

    Attributes
    ----------
    tap : a tap of the backbone.
    distance : one of DISTANCES.
    weight : factor of this summand, non-negative.
    head : weights (K,) of the primitives: (C,) for ``unit_normalised``, (2C,) for
        ``structure_texture``, where it may also be None (their mean), or (1,), the same for
        all; else None.
    p, reduction, epsilon : see `distances.distance`.
    """

    tap: str
    distance: str
    weight: float = 1.0
    head: Tensor | None = None
    p: float | None = None
    reduction: str | None = None
    epsilon: float | None = None

    @property
    def how(self) -> Distance:
        """What is computed; raises UsageError where the parameters do not go together."""
        headed = self.head is not None
        return distance(self.distance, self.p, self.reduction, headed, self.epsilon)


class FeatureLoss(ImageLoss):
    """sum over taps l of w_l * d(phi_l(x), phi_l(y)).

    Covers the content loss (l1, l2), cosine distance, Gram (style) loss, LPIPS and DISTS.
    Differentiable with respect to either image. Distances are taken in float32 also under
    autocast.

    Parameters
    ----------
    backbone : network whose taps include those of the terms.
    terms : the summands, at least one.
    spatial : whether `forward` returns a map (N, 1, H, W) instead: each tap's differences at
        their places, scaled up bilinearly to the size of the images.
    detach_target : whether no gradient goes to `y`; its activations are then not kept.
    mean, range : see `ImageLoss`.
    checkpointing : whether the backbone's activations of `x` are computed a second time in the
        backward pass instead of being kept from the forward pass on: only those at the taps
        are. For LPIPS and one 384 x 512 image that is 185 instead of 364 MiB with VGG16, 17
        instead of 21 with AlexNet, whose every ReLU is a tap (target detached).

    Raises
    ------
    UsageError : no term, wrong parameters of a distance, or a map asked of one without.

    Examples
    --------
    >>> from perceptbench.losses.backbones import load_network
    >>> backbone = Backbone(load_network("alexnet"), ["features.1"])
    >>> loss = FeatureLoss(backbone, [Term("features.1", "l2")])
    >>> x = torch.rand(2, 3, 32, 32)
    >>> loss(x, x)
    tensor([0., 0.])
    """

    def __init__(
        self,
        backbone: Backbone,
        terms: Sequence[Term],
        *,
        checkpointing: bool = False,
        **options: Any,
    ) -> None:
        if not terms:
            raise UsageError("a feature loss needs at least one tap")
        how = tuple(term.how for term in terms)
        for term, of_term in zip(terms, how, strict=True):
            if of_term.pointwise is None:
                self.placeless = f"distance {term.distance!r}"
        super().__init__(**options)
        self.backbone, self.terms, self.how = backbone, tuple(terms), how
        for number, term in enumerate(self.terms):
            if backbone.registered:
                self.register_buffer(f"head{number}", term.head)
            else:
                setattr(self, f"head{number}", term.head)  # as its network, no part of the state
        if not backbone.registered:
            self.register_load_state_dict_pre_hook(_without_heads)
        self.checkpointing = checkpointing

    def weights(self, number: int, like: Tensor) -> Tensor:
        """What the primitives of term `number` are multiplied with: (K,), or (1,) for all."""
        weight, head = self.terms[number].weight, getattr(self, f"head{number}")
        if head is None:
            share = self.how[number].head
            assert share is not None
            return like.new_full((1,), weight * share)
        if (head.device, head.dtype) != (like.device, like.dtype):
            given = self.terms[number].head
            assert given is not None
            with torch.inference_mode(False):
                head = (head if self.backbone.registered else given).to(like)
            if not (self.backbone.registered or traced(like)):
                setattr(self, f"head{number}", head)
        weighted: Tensor = weight * head
        return weighted

    def distances(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `ImageLoss`; the network runs under autocast, what follows in full precision."""
        at_x = self._activations(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_target):
            at_y = self.backbone(y)
        with torch.autocast(x.device.type, enabled=False):
            parts = [
                self._term(number, exact(at_x[term.tap]), exact(at_y[term.tap]), weight, x.shape)
                for number, term in enumerate(self.terms)
            ]
            return torch.stack(parts).sum(0)

    def _activations(self, x: Tensor) -> dict[str, Tensor]:
        if self.checkpointing and torch.is_grad_enabled() and not transformed():
            found: dict[str, Tensor] = checkpoint(self.backbone, x, use_reentrant=False)
            return found
        result: dict[str, Tensor] = self.backbone(x)
        return result

    def _term(
        self, number: int, x: Tensor, y: Tensor, weight: Tensor | None, shape: torch.Size
    ) -> Tensor:
        how, weights = self.how[number], self.weights(number, x)
        whole = weight is None and not self.spatial
        if whole and how.fused is not None and fusible(x, y, weights):
            return how.fused(x, y, weights.expand(x.shape[1]))
        ex, ey = how.embed(x), how.embed(y)
        if whole:
            return (how.compare(ex, ey) * weights).sum(1)
        assert how.pointwise is not None
        places = (how.pointwise(ex, ey) * weights[:, None, None]).sum(1, keepdim=True)
        if weight is None:
            return as_large(places, shape[-2:])
        scale = split_scale(self.terms[number].tap)[1]
        return weighted_mean(places, self.backbone.input.fit_weight(weight, scale))[:, 0]


def _without_heads(loss: nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
    """Leaves out of a checkpoint the heads that were in it when networks were submodules."""
    for number in range(len(loss.terms)):  # type: ignore[arg-type]
        state_dict.pop(f"{prefix}head{number}", None)
