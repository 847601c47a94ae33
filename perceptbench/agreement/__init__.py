"""Judgements and scores in, agreement with people out. No image, no torch.

`evaluate` is the one call, `agreement` its table. `two_alternative`, `rating`, `logistic`,
`same_different` and `significance` hold the statistics as plain functions; `units` finds what
varies, `influence` how much each item matters, and `inference` makes intervals and p values of the
two; `items` and `figures` are what a table has of all this. `attained` and `standing` put datasets
together, `compare` two metrics.
"""

from perceptbench.agreement.evaluate import Evaluation, agreement, evaluate

__all__ = ["Evaluation", "agreement", "evaluate"]
