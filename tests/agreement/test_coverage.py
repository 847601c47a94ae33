"""Statistical promises, kept in simulation: a small version of `bench_coverage.py`."""

import importlib.util
from pathlib import Path

import pytest

path = Path(__file__).parents[1] / "benchmarks" / "bench_coverage.py"
spec = importlib.util.spec_from_file_location("bench_coverage", path)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

#: Replications, and what chance adds to the bounds of so many: three standard errors, for there are
#: a dozen designs.
REPLICATIONS, CHANCE = 150, 5.4


@pytest.mark.slow
@pytest.mark.parametrize(
    "design",
    [
        d for d in bench.designs()
        if ((d.statistic, d.units) in {("srcc", 5), ("srcc", 25), ("srcc_within_reference", 10),
                                       ("2afc", 5), ("2afc", 42), ("2afc", 10)}
            and "shared" not in d.name)
        or (d.name == "votes of 10 people" and d.statistic == "2afc")
    ],
    ids=lambda d: f"{d.name} {d.statistic} {d.units}",
)  # fmt: skip
def test_intervals_cover_and_tests_keep_their_level(design):
    cover, reject = bench.measure(design, REPLICATIONS)
    assert design.cover[0] - CHANCE <= cover <= design.cover[1] + CHANCE
    assert design.reject[0] - CHANCE <= reject <= design.reject[1] + CHANCE


@pytest.mark.slow
def test_equal_metrics_are_seldom_called_different_over_datasets():
    wrong, missed = bench.complete_null(40)
    assert wrong <= 7 + 2 * 4 and missed <= 5
