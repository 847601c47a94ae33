"""Losses that ask a discriminator: feature matching, and the generator's adversarial term."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceptbench.errors import UsageError
from perceptbench.losses.distances import exact
from perceptbench.losses.image_loss import ImageLoss, as_large, weighted_mean

Features = Sequence[Tensor] | Mapping[str, Tensor]


class FeatureMatching(ImageLoss):
    """L1 between a discriminator's features of generated and of real images.

    sum_l w_l |E phi_l(x) - phi_l(y)|_1 in one of two forms. ``batch``: the expectation over
    batch and space of both sides is compared, one number for the batch, given to every image of
    it (Salimans et al. 2016, arXiv:1606.03498, section 3.1, with L1 and over space too): it
    says nothing of a single pair and is no metric. ``pair``: activations are compared place by
    place, a mean for each image (Wang et al. 2018, pix2pixHD, arXiv:1711.11585, eq. 4).

    Parameters
    ----------
    features : maps images (N, 3, H, W) to the activations to match, a sequence or a mapping of
        tensors (N, C, ...); a discriminator, a `Backbone`, or a function around one.
    weights : one a tap; default 1 each.
    match : ``batch`` or ``pair``.

    options : see `ImageLoss`; maps and weights for ``pair`` only.

    The real side `y` is detached: the generator must not move the target.
    """

    def __init__(
        self,
        features: Callable[[Tensor], Features],
        weights: Sequence[float] | None = None,
        match: str = "batch",
        **options: Any,
    ) -> None:
        if match not in ("batch", "pair"):
            raise UsageError(f"feature matching: match must be 'batch' or 'pair', not {match!r}")
        if match == "batch":
            self.placeless = "feature matching over the batch"
        super().__init__(**options)
        self.features, self.tap_weights, self.match = features, weights, match

    def distances(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `ImageLoss`, for generated images x and real ones y."""
        if self.match == "batch" and len(x) == 1:
            warnings.warn(
                "feature matching over a batch of one image compares two single images' means; "
                "use a larger batch, or match='pair'",
                stacklevel=2,
            )
        at_x = _listed(self.features(x))
        with torch.no_grad():
            at_y = _listed(self.features(y.detach()))
        weights = self.tap_weights or [1.0] * len(at_x)
        if not len(at_x) == len(at_y) == len(weights):
            raise ValueError(f"{len(weights)} weights for {len(at_x)} and {len(at_y)} activations")
        with torch.autocast(x.device.type, enabled=False):
            parts = [
                w * self._distance(exact(a), exact(b), weight, x.shape[-2:])
                for w, a, b in zip(weights, at_x, at_y, strict=True)
            ]
            if self.match == "batch":
                parts = [part.expand(x.shape[0]) for part in parts]
            return torch.stack(parts).sum(0)

    def _distance(self, x: Tensor, y: Tensor, weight: Tensor | None, size: torch.Size) -> Tensor:
        if self.match == "pair":
            apart = (x - y).abs()
            if not self.spatial and weight is None:
                return apart.flatten(1).mean(1)
            if apart.dim() != 4:
                raise ValueError(f"feature matching: features {tuple(x.shape)} have no places")
            places = apart.mean(1, keepdim=True)
            return as_large(places, size) if weight is None else weighted_mean(places, weight)[:, 0]
        # Channels stay apart: mean over everything else.
        return (
            (x.transpose(0, 1).flatten(1).mean(1) - y.transpose(0, 1).flatten(1).mean(1))
            .abs()
            .mean()
        )


class Adversarial(nn.Module):
    """The generator's adversarial term, as a loss of (x, y) that ignores y.

    Parameters
    ----------
    discriminator : images (N, 3, H, W) -> logits (N, ...), high where it takes them for real.
    kind : ``non_saturating`` (Goodfellow et al. 2014), ``least_squares`` (Mao et al. 2017) or
        ``hinge`` (Lim, Ye 2017).
    """

    def __init__(
        self, discriminator: Callable[[Tensor], Tensor], kind: str = "non_saturating"
    ) -> None:
        super().__init__()
        if kind not in ADVERSARIAL:
            raise UsageError(f"unknown adversarial loss {kind!r}; one of {', '.join(ADVERSARIAL)}")
        self.discriminator, self.of = discriminator, ADVERSARIAL[kind]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N,) for generated images x."""
        return self.of(exact(self.discriminator(x))).flatten(1).mean(1)


ADVERSARIAL: dict[str, Callable[[Tensor], Tensor]] = {
    "non_saturating": lambda logits: F.softplus(-logits),
    "least_squares": lambda logits: (logits - 1).square(),
    "hinge": lambda logits: -logits,
}


def _listed(features: Features) -> list[Tensor]:
    return list(features.values() if isinstance(features, Mapping) else features)
