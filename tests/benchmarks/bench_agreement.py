"""How much faster the cluster bootstrap is than a loop over scipy on the same resamples.

    python tests/benchmarks/bench_agreement.py [--metrics 50] [--resamples 2000]

10,125 items in 81 clusters (the size of KADID-10k), ratings with ties; SRCC, KRCC and PLCC of
every metric on every resample. Scipy is timed on a few of the very same resamples, right before
and after ours, its time scaled to all of them; the values must be equal to 1e-9.
"""

import argparse
import time

import numpy as np
import pandas as pd
import scipy.stats

from perceptbench.agreement.correlations import correlations
from perceptbench.agreement.resampling import bootstrap

SCIPY = {
    "srcc": scipy.stats.spearmanr,
    "krcc": scipy.stats.kendalltau,
    "plcc": scipy.stats.pearsonr,
}


def data(items: int, clusters: int, metrics: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(0)
    badness = np.round(rng.uniform(1, 5, items), 2)
    distances = badness[:, None] + rng.normal(0, np.linspace(0.5, 2, metrics), (items, metrics))
    return distances, badness, pd.DataFrame({"reference": np.arange(items) % clusters})


def scipy_loop(distances, badness, weights, found, metrics) -> float:
    """Seconds for scipy's statistics of some metrics on some resamples, the values checked."""
    seconds = 0.0
    for r, counts in enumerate(weights):
        repeated = np.repeat(np.arange(len(counts)), counts.astype(int))
        for m in metrics:
            x, y = distances[repeated, m], badness[repeated]
            start = time.perf_counter()
            values = {name: float(f(x, y).statistic) for name, f in SCIPY.items()}
            seconds += time.perf_counter() - start
            for name, value in values.items():
                assert abs(found[name][r, m] - value) < 1e-9, (name, r, m)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10125)
    parser.add_argument("--clusters", type=int, default=81)
    parser.add_argument("--metrics", type=int, default=50)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--checked", type=int, default=10, help="resamples given to scipy, twice")
    options = parser.parse_args()
    distances, badness, table = data(options.items, options.clusters, options.metrics)
    resampler = bootstrap(table, ("reference",), options.resamples, (0,))
    weights = next(iter(resampler))
    found, ours = {}, {}
    first = {name: correlations(name, distances[:, :2], badness, resampler) for name in SCIPY}
    chosen = range(0, options.metrics, max(1, options.metrics // 5))
    before = scipy_loop(distances, badness, weights[: options.checked], first, [0, 1])
    for name in SCIPY:
        start = time.perf_counter()
        found[name] = correlations(name, distances, badness, resampler)
        ours[name] = time.perf_counter() - start
        print(f"{name}: {ours[name]:.2f} s")
    after = scipy_loop(distances, badness, weights[: options.checked], found, chosen)
    per_figure = (before + after) / (options.checked * (2 + len(chosen)))
    loop = per_figure * options.resamples * options.metrics
    total = sum(ours.values())
    print(
        f"{options.resamples} resamples x {options.metrics} metrics x {options.items} items: "
        f"{total:.1f} s; a loop over scipy {loop:.0f} s (scaled from "
        f"{options.checked * (2 + len(chosen))} of {options.resamples * options.metrics} figures): "
        f"{loop / total:.0f} times faster, values equal to 1e-9"
    )


if __name__ == "__main__":
    main()
