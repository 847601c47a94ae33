"""Composite losses: weighted sums of pixel, perceptual, style and adversarial terms."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from perceptbench.errors import UsageError
from perceptbench.losses.image_loss import ImageLoss


class Composite(ImageLoss):
    """sum_k w_k L_k(x, y).

    Images are checked once, for all terms of ours, and a target detached for every term.

    Parameters
    ----------
    terms : name -> (weight, module); each module maps (x, y) to (N,), or to one number, which is
        then given to every image of the batch; to a map (N, 1, H, W) where `spatial` is asked for.
    options : see `ImageLoss`.

    Raises
    ------
    UsageError : no term, a negative weight, or a term that is `spatial` where this is not, or the
        other way round.

    Examples
    --------
    >>> from perceptbench.losses.pixel import PixelLoss
    >>> loss = Composite({"l1": (1.0, PixelLoss("l1")), "l2": (2.0, PixelLoss("l2"))})
    >>> loss(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5))
    tensor([1.])
    """

    def __init__(self, terms: Mapping[str, tuple[float, nn.Module]], **options: Any) -> None:
        if not terms:
            raise UsageError("a composite loss needs at least one term")
        for name, (weight, part) in terms.items():
            if weight < 0:
                raise UsageError(f"composite loss: term {name!r} has the negative weight {weight}")
            placed = isinstance(part, ImageLoss) and not part.placeless
            if not placed and not self.placeless:
                self.placeless = f"composite loss: term {name!r}"
            if placed and part.spatial != options.get("spatial", False):
                raise UsageError(
                    f"composite loss: term {name!r} has spatial={part.spatial}, unlike the whole"
                )
        super().__init__(**options)
        self.term_weights = {name: float(weight) for name, (weight, _) in terms.items()}
        # A module's name must not hold a dot, a preset's or a file's may.
        self.parts = nn.ModuleList(module for _, module in terms.values())

    def terms(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
        """Each term's own (N,), before weighting: what one logs while training."""
        return self._each(x, y, weight, {})

    def distances(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `ImageLoss`: the weighted sum for images x (generated) and y (target)."""
        found = self._each(x, y, weight, {"checked": True})
        return torch.stack([self.term_weights[k] * v for k, v in found.items()]).sum(0)

    def _each(
        self, x: Tensor, y: Tensor, weight: Tensor | None, options: dict[str, bool]
    ) -> dict[str, Tensor]:
        shape = (x.shape[0], *((1, *x.shape[2:]) if self.spatial else ()))
        found = {}
        for name, part in zip(self.term_weights, self.parts, strict=True):
            value = part(x, y, weight, **options) if isinstance(part, ImageLoss) else part(x, y)
            if value.dim() and value.shape != shape:
                raise ValueError(
                    f"composite loss: term {name!r} gives {tuple(value.shape)}, not {shape}"
                )
            found[name] = value.expand(shape)
        return found
