"""Judgements and scores in, agreement with people out. No image, no torch.

`evaluate` is the one call, `agreement` its table. `two_alternative`, `rating`, `same_different`
and `significance` hold the statistics as plain functions; `resampling` the bootstrap,
`correlations` what makes it fast, `items` and `figures` what a table has of all this; `ranking`
compares the metrics, `compare` two of them.
"""

from perceptbench.agreement.evaluate import Evaluation, agreement, evaluate

__all__ = ["Evaluation", "agreement", "evaluate"]
