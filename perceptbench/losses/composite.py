"""Composite losses: weighted sums of pixel, perceptual, style and adversarial terms."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from perceptbench.errors import UsageError


class Composite(nn.Module):
    """sum_k w_k L_k(x, y).

    Parameters
    ----------
    terms : name -> (weight, module); each module maps (x, y) to (N,).

    Raises
    ------
    UsageError : no term, or a negative weight.

    Examples
    --------
    >>> from perceptbench.losses.pixel import PixelLoss
    >>> loss = Composite({"l1": (1.0, PixelLoss("l1")), "l2": (2.0, PixelLoss("l2"))})
    >>> loss(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5))
    tensor([1.])
    """

    def __init__(self, terms: Mapping[str, tuple[float, nn.Module]]) -> None:
        super().__init__()
        if not terms:
            raise UsageError("a composite loss needs at least one term")
        for name, (weight, _) in terms.items():
            if weight < 0:
                raise UsageError(f"composite loss: term {name!r} has the negative weight {weight}")
        self.term_weights = {name: float(weight) for name, (weight, _) in terms.items()}
        # A module's name must not hold a dot, a preset's or a file's may.
        self.parts = nn.ModuleList(module for _, module in terms.values())

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Each term's own (N,), before weighting: what one logs while training."""
        return {name: part(x, y) for name, part in zip(self.term_weights, self.parts, strict=True)}

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Weighted sum (N,) for images x (generated) and y (target), (N, 3, H, W) in [0, 1]."""
        found = self.terms(x, y)
        return torch.stack([self.term_weights[k] * v for k, v in found.items()]).sum(0)
