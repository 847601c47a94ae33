"""Full-reference models of pyiqa."""

import importlib

from torch import Tensor, nn


class Model(nn.Module):
    """What a model, of ``pyiqa.list_models(metric_mode="FR")``, says of pairs (N, 3, H, W) in
    [0, 1], (N,), gradients included."""

    def __init__(self, model: str) -> None:
        super().__init__()
        package = importlib.import_module("pyiqa")
        # As a loss: the plain call would cut the gradient, the number is the same.
        self.inner = package.create_metric(model, as_loss=True, loss_reduction="none", device="cpu")

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self.inner(distorted, reference).reshape(len(reference))
