"""Judgements and scores in, agreement with people out. No image, no torch.

`agreement` is the one call; `two_alternative` and `rating` hold the statistics as plain
functions, `resampling` the bootstrap.
"""

from perceptbench.agreement.evaluate import agreement

__all__ = ["agreement"]
