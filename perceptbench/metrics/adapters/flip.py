"""FLIP (flip-evaluator), the authors' own implementation, on the CPU."""

import importlib

import numpy as np
import torch
from torch import Tensor


def ldr(reference: Tensor, distorted: Tensor, *, pixels_per_degree: float) -> Tensor:
    """Mean LDR-FLIP error of pairs (N, 3, H, W) in [0, 1], sRGB-coded, (N,); 0: identical."""
    evaluate = importlib.import_module("flip_evaluator").evaluate
    values = []
    for x, y in zip(_arrays(reference), _arrays(distorted), strict=True):
        parameters = {"ppd": float(pixels_per_degree)}
        _, mean, _ = evaluate(x, y, "LDR", applyMagma=False, parameters=parameters)
        values.append(float(mean))
    return torch.tensor(values, device=reference.device)


def _arrays(images: Tensor) -> list[np.ndarray]:
    """Each image as contiguous float32 (H, W, 3)."""
    channels_last = images.detach().float().permute(0, 2, 3, 1).cpu().numpy()
    return [np.ascontiguousarray(image) for image in channels_last]
