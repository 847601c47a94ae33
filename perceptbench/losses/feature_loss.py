"""Feature losses: a weighted sum of distances between activations at taps of a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from perceptbench.errors import UsageError
from perceptbench.losses.backbones import Backbone
from perceptbench.losses.distances import Distance, distance, exact


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


class FeatureLoss(nn.Module):
    """sum over taps l of w_l * d(phi_l(x), phi_l(y)).

    Covers the content loss (l1, l2), cosine distance, Gram (style) loss, LPIPS and DISTS.
    Differentiable with respect to either image. Distances are taken in float32 also under
    autocast.

    Parameters
    ----------
    backbone : network whose taps include those of the terms.
    terms : the summands, at least one.
    mean : whether `forward` returns the batch's mean instead of (N,).
    spatial : whether `forward` returns a map (N, 1, H, W) instead: each tap's differences at
        their places, scaled up bilinearly to the size of the images.
    detach_target : whether no gradient goes to `y`; its activations are then not kept.
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
        mean: bool = False,
        spatial: bool = False,
        detach_target: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if not terms:
            raise UsageError("a feature loss needs at least one tap")
        self.backbone = backbone
        self.terms = tuple(terms)
        self.how = tuple(term.how for term in terms)
        for number, (term, how) in enumerate(zip(self.terms, self.how, strict=True)):
            if spatial and how.pointwise is None:
                raise UsageError(f"distance {term.distance!r} has no spatial map")
            self.register_buffer(f"head{number}", term.head)
        self.mean, self.spatial = mean, spatial
        self.detach_target, self.checkpointing = detach_target, checkpointing

    def weights(self, number: int) -> Tensor:
        """What the primitives of term `number` are multiplied with: (K,), or (1,) for all."""
        head = getattr(self, f"head{number}")
        if head is None:
            head = torch.tensor([self.how[number].head])
        weighted: Tensor = self.terms[number].weight * head
        return weighted

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances between images x and y, both (N, 3, H, W) in [0, 1] (or (N, 1, H, W)).

        Returns
        -------
        (N,), their mean (``mean``), or maps (N, 1, H, W) (``spatial``).

        Raises
        ------
        ValueError : shapes differ, are not those of images, or values outside [0, 1].
        """
        check_images(x, y)
        at_x = self._activations(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_target):
            at_y = self.backbone(y)
        with torch.autocast(x.device.type, enabled=False):
            parts = [
                self._term(number, exact(at_x[term.tap]), exact(at_y[term.tap]), x.shape[-2:])
                for number, term in enumerate(self.terms)
            ]
            total = torch.stack(parts).sum(0)
        return total.mean() if self.mean else total

    def _activations(self, x: Tensor) -> dict[str, Tensor]:
        if self.checkpointing and torch.is_grad_enabled():
            found: dict[str, Tensor] = checkpoint(self.backbone, x, use_reentrant=False)
            return found
        result: dict[str, Tensor] = self.backbone(x)
        return result

    def _term(self, number: int, x: Tensor, y: Tensor, size: torch.Size) -> Tensor:
        how = self.how[number]
        weights = self.weights(number).to(x)
        if how.fused is not None and not self.spatial and not torch.compiler.is_compiling():
            return how.fused(x, y, weights.expand(x.shape[1]))
        ex, ey = how.embed(x), how.embed(y)
        if not self.spatial:
            return (how.compare(ex, ey) * weights).sum(1)
        assert how.pointwise is not None
        places = (how.pointwise(ex, ey) * weights[:, None, None]).sum(1, keepdim=True)
        return F.interpolate(places, tuple(size), mode="bilinear", align_corners=False)


def check_images(x: Tensor, y: Tensor) -> None:
    """Raises ValueError unless x and y are two equal batches of images in [0, 1]."""
    if x.shape != y.shape or x.dim() != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"expected two batches (N, 3, H, W) of the same shape, got {tuple(x.shape)} "
            f"and {tuple(y.shape)}"
        )
    if torch.compiler.is_compiling():
        return  # looking at values would break the graph
    for batch in (x, y):
        low, high = (float(v) for v in torch.aminmax(batch.detach()))
        if not (low >= -1e-4 and high <= 1 + 1e-4):
            raise ValueError(
                f"image values run from {low:.4g} to {high:.4g}; losses take [0, 1] "
                "(images in [-1, 1]: pass (x + 1) / 2)"
            )
