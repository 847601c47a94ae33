"""Feature losses: a weighted sum of distances between activations at taps of a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perceptbench.errors import UsageError
from perceptbench.losses.backbones import Backbone
from perceptbench.losses.distances import DISTANCES, Distance


@dataclass(frozen=True)
class Term:
    """One summand: what is compared where, and how much it weighs.

    Attributes
    ----------
    tap : a tap of the backbone.
    distance : a key of DISTANCES.
    weight : factor of this summand, non-negative.
    head : per-channel weights (C,) for ``unit_normalised``, else None.
    """

    tap: str
    distance: str
    weight: float = 1.0
    head: Tensor | None = None

    @property
    def how(self) -> Distance:
        """The entry of DISTANCES."""
        return DISTANCES[self.distance]


class FeatureLoss(nn.Module):
    """sum over taps l of w_l * d(phi_l(x), phi_l(y)).

    Covers the content loss (l1, l2), cosine distance, Gram (style) loss and LPIPS.

    Parameters
    ----------
    backbone : network whose taps include those of the terms; stays frozen.
    terms : the summands, at least one.

    Raises
    ------
    UsageError : no term, or a head where the distance takes none, or none where it needs one.

    Examples
    --------
    >>> from perceptbench.losses.backbones import load_trunk
    >>> backbone = Backbone("alexnet", ["features.1"], load_trunk("alexnet", 1))
    >>> loss = FeatureLoss(backbone, [Term("features.1", "l2")])
    >>> x = torch.rand(2, 3, 32, 32)
    >>> loss(x, x)
    tensor([0., 0.])
    """

    def __init__(self, backbone: Backbone, terms: Sequence[Term]) -> None:
        super().__init__()
        if not terms:
            raise UsageError("a feature loss needs at least one tap")
        for term in terms:
            if (term.head is None) == (term.how.head is None):
                needs = "needs" if term.how.head is None else "takes no"
                raise UsageError(f"distance {term.distance!r} {needs} per-channel head")
        self.backbone = backbone
        self.terms = tuple(terms)
        for number, term in enumerate(terms):
            self.register_buffer(f"head{number}", term.head)

    def weights(self, number: int) -> Tensor:
        """What the primitives of term `number` are multiplied with: (C,), or (1,) for all."""
        term = self.terms[number]
        head = getattr(self, f"head{number}")
        if head is None:
            assert term.how.head is not None
            head = torch.tensor([term.how.head], device=self.backbone.mean.device)
        return term.weight * head

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances (N,) between images x and y, both (N, 3, H, W) in [0, 1].

        Raises
        ------
        ValueError : shapes differ, not (N, 3, H, W), or values outside [0, 1].
        """
        check_images(x, y)
        at_x, at_y = self.backbone(x), self.backbone(y)
        total = x.new_zeros(len(x))
        for number, term in enumerate(self.terms):
            embed, measure = term.how.embed, term.how.measure
            primitives = measure(embed(at_x[term.tap]) - embed(at_y[term.tap]))
            total = total + (primitives * self.weights(number)).sum(1)
        return total


def check_images(x: Tensor, y: Tensor) -> None:
    """Raises ValueError unless x and y are two equal batches of images in [0, 1]."""
    if x.shape != y.shape or x.dim() != 4 or x.shape[1] != 3:
        raise ValueError(
            f"expected two batches (N, 3, H, W) of the same shape, got {tuple(x.shape)} "
            f"and {tuple(y.shape)}"
        )
    for batch in (x, y):
        low, high = (float(v) for v in torch.aminmax(batch.detach()))
        if not (low >= -1e-4 and high <= 1 + 1e-4):
            raise ValueError(
                f"image values run from {low:.4g} to {high:.4g}; losses take [0, 1] "
                "(images in [-1, 1]: pass (x + 1) / 2)"
            )
