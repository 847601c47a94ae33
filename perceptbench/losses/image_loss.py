"""What all losses between two batches of images have in common."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceptbench.errors import UsageError
from perceptbench.losses.checks import Watch, check_batches
from perceptbench.losses.distances import exact


class ImageLoss(nn.Module):
    """A loss between images x and y, (N, 3, H, W) in [0, 1] (or (N, 1, H, W)) -> (N,).

    Distances are float32, or float64 where the images and the weights are.

    Parameters
    ----------
    mean : whether `forward` returns the batch's mean instead of (N,).
    spatial : whether it returns a map (N, 1, H, W) instead, whose mean over the places is the
        distance where nothing had to be brought to the size of the images.
    detach_target : whether no gradient goes to `y`.
    range : what happens to values outside [0, 1]: ``warn``, ``error``, ``clip`` or ``ignore``,
        see `perceptbench.losses.checks`.

    Raises
    ------
    UsageError : a map asked of a loss without places, or another `range`.

    Attributes
    ----------
    placeless : what has no places, neither for a map nor for weights; empty where all have.

    A loss is a subclass with a method `distances`, what `forward` gives of images that are checked.
    """

    placeless = ""

    def __init__(
        self,
        *,
        mean: bool = False,
        spatial: bool = False,
        detach_target: bool = False,
        range: str = "warn",
    ) -> None:
        super().__init__()
        if spatial and self.placeless:
            raise UsageError(f"{self.placeless} has no spatial map")
        self.mean, self.spatial, self.detach_target = mean, spatial, detach_target
        self.watch = Watch(range)

    def forward(
        self, x: Tensor, y: Tensor, weight: Tensor | None = None, *, checked: bool = False
    ) -> Tensor:
        """Distances between images x and y, both (N, 3, H, W) in [0, 1] (or (N, 1, H, W)).

        Parameters
        ----------
        x, y : floating point, of the same shape.
        weight : how much each place counts, (N, 1, H, W) or (1, 1, H, W), non-negative; the
            distance is then the mean with these weights, 0 for an image whose weights are all 0.
        checked : whether the images were checked already, by the loss that this one is a term of.

        Returns
        -------
        (N,), their mean (``mean``), or maps (N, 1, H, W) (``spatial``).

        Raises
        ------
        ValueError : shapes differ or are not those of images; values outside [0, 1], by `range`;
            a weight for a loss without places, or for a map, which is the caller's to weigh.
        TypeError : images that are not floating point.
        """
        seen = None
        if not checked:
            check_batches(x, y, weight)
            seen = self.watch.look(x, y)
            if self.watch.policy == "clip":
                x, y = x.clamp(0, 1), y.clamp(0, 1)
        if weight is not None and (self.placeless or self.spatial):
            raise ValueError(
                f"{self.placeless} has no places that `weight` could weigh"
                if self.placeless
                else "a map (spatial=True) is not averaged: multiply it with the weight instead"
            )
        if self.detach_target:
            y = y.detach()
        if x.shape[0] == 0:  # many a layer takes no empty batch
            found = exact(x).sum(1, keepdim=True) if self.spatial else exact(x).sum((1, 2, 3))
        else:
            found = self.distances(x, y, weight)
        if seen is not None:
            found = found + seen
        return found.mean() if self.mean else found

    def distances(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """(N,), or maps (N, 1, H, W) (``spatial``)."""
        raise NotImplementedError


def weighted_mean(places: Tensor, weight: Tensor) -> Tensor:
    """Mean of maps (N, K, h, w) over the places, (N, K), with weights (N or 1, 1, H, W).

    Weights are averaged over the areas of the maps' places.
    """
    weight = F.interpolate(weight.to(places), places.shape[-2:], mode="area")
    total = weight.sum((2, 3)).clamp_min(torch.finfo(places.dtype).tiny)
    return (places * weight).sum((2, 3)) / total


def as_large(places: Tensor, size: torch.Size) -> Tensor:
    """Maps (N, 1, h, w) scaled up bilinearly to the size of the images."""
    return F.interpolate(places, tuple(size), mode="bilinear", align_corners=False)
