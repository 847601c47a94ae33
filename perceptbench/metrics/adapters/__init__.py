"""Foreign libraries behind the metric protocol of `perceptbench.metrics.registry`."""
