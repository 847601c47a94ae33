"""Do intervals cover and p values reject as often as they say? By simulation, seeded.

    python tests/benchmarks/bench_coverage.py [--replications 400] [--only 2afc]

Each design draws datasets whose truth is known (from far more units), and asks perceptbench's own
`evaluate` for the interval of one metric and the p of two that are equally good. Printed as a
Markdown table: the share of 95 % intervals that cover, the share of true nulls rejected at 5 %.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from perceptbench.agreement import evaluate
from perceptbench.agreement.standing import standing
from perceptbench.datasets.judgements.protocols import Judgements

Generator = np.random.Generator


@dataclass(frozen=True)
class Design:
    """One way to make a dataset.

    Attributes
    ----------
    name, statistic : as printed.
    make : units -> judgements and scores of the metrics ``a`` and ``b``, equally good.
    units : how many.
    many : units from which the truth is taken, and how often.
    cover, reject : what must hold, in per cent.
    """

    name: str
    statistic: str
    make: Callable[[Generator, int], tuple[Judgements, pd.DataFrame]]
    units: int
    many: tuple[int, int]
    cover: tuple[float, float]
    reject: tuple[float, float]


def ratings(
    rng: Generator, references: int, skewed: bool = False, statistic: str = "srcc"
) -> tuple:
    """References x 20 items; people and each metric have an effect of the reference."""
    per = 20
    own = np.repeat(np.arange(references), per)
    n = len(own)
    quality = rng.normal(size=n)
    people = quality + 0.5 * rng.normal(size=references)[own] + 0.3 * rng.normal(size=n)
    a, b = (
        quality + 0.5 * rng.normal(size=references)[own] + 0.8 * rng.normal(size=n) for _ in "ab"
    )
    if skewed:  # tied ratings, noise that grows, distances with a tail
        people = np.round(np.exp(people / 2) * (2 + 0.3 * rng.normal(size=n)))
        a, b = np.exp(a / 2), np.exp(b / 2)
    table = pd.DataFrame({
        "reference": [f"r{k}" for k in own], "distorted": [f"d{k}" for k in range(n)],
        "impairment": people,
    })  # fmt: skip
    scores = table[["reference", "distorted"]].assign(a=a, b=b)
    return Judgements("ratings", table, statistics=(statistic,)), scores


def triplets(rng: Generator, references: int) -> tuple:
    """References x 15 triplets with images of their own; five votes each."""
    per = 15
    own = np.repeat(np.arange(references), per)
    n = len(own)
    apart = rng.normal(size=n)
    p = rng.binomial(5, 1 / (1 + np.exp(-2 * apart))) / 5
    names = {s: [f"{s}{k}" for k in range(n)] for s in "ab"}
    table = pd.DataFrame({"reference": [f"r{k}" for k in own], **names, "p_b": p, "votes": 5})
    said = {
        m: apart + 0.6 * rng.normal(size=references)[own] + 0.8 * rng.normal(size=n) for m in "ab"
    }
    sides = [
        pd.DataFrame({"reference": table["reference"], "distorted": table[s],
                      **{m: (s == "a") * v for m, v in said.items()}})
        for s in "ab"
    ]  # fmt: skip
    return Judgements("triplets", table, statistics=("2afc",)), pd.concat(sides)


def shared(rng: Generator, images: int) -> tuple:
    """3,000 triplets over shared images, as material-appearance has them; five votes each."""
    place = rng.normal(size=(images, 3))

    def distances(of: np.ndarray) -> np.ndarray:
        return np.linalg.norm(of[:, None] - of[None], axis=-1)

    reference = rng.integers(0, images, 3000)
    a = (reference + rng.integers(1, images, 3000)) % images
    b = (reference + rng.integers(1, images, 3000)) % images
    reference, a, b = (x[a != b] for x in (reference, a, b))
    true = distances(place)
    p = rng.binomial(5, 1 / (1 + np.exp(-2 * (true[reference, a] - true[reference, b])))) / 5
    names = np.array([f"i{k}" for k in range(images)])
    table = pd.DataFrame({"reference": names[reference], "a": names[a], "b": names[b], "p_b": p})
    i, j = np.indices((images, images)).reshape(2, -1)
    scores = pd.DataFrame({"reference": names[i], "distorted": names[j]})
    for metric in "ab":
        own = distances(place + 0.5 * rng.normal(size=place.shape))
        own = (
            own
            * np.exp(0.3 * rng.normal(size=images))
            * np.exp(0.2 * rng.normal(size=(images, images)))
        )
        scores[metric] = own.ravel()
    return Judgements("shared", table, statistics=("2afc",)), scores


def stimuli(rng: Generator, count: int) -> tuple:
    """All pairs of stimuli against one blank field; four observers."""
    i, j = np.triu_indices(count, 1)
    strength = rng.normal(size=count)
    p = rng.binomial(4, 1 / (1 + np.exp(-2 * (strength[j] - strength[i])))) / 4
    names = np.array([f"s{k}" for k in range(count)])
    table = pd.DataFrame({"reference": "blank", "a": names[i], "b": names[j], "p_b": 1 - p})
    scores = pd.DataFrame({"reference": "blank", "distorted": names})
    for metric in "ab":
        scores[metric] = strength + 0.8 * rng.normal(size=count)
    return Judgements("stimuli", table, statistics=("2afc",)), scores


def voted(rng: Generator, images: int, raters: int = 20, protocol: str = "2afc") -> tuple:
    """Votes of people who differ in what they look at; each metric looks at more of it or less."""
    quality, other = rng.normal(size=(2, images))
    item, rater = (x.ravel() for x in np.indices((images, raters)))
    taste = rng.normal(size=raters)[rater] * other[item]
    names = {"reference": [f"r{k}" for k in range(images)]}
    if protocol == "2afc":
        value = rng.random(len(item)) < 1 / (1 + np.exp(-1.5 * quality[item] - taste))
        names |= {"a": "a", "b": "b"}
    else:
        bias = 0.5 * rng.normal(size=raters)[rater]
        value = quality[item] + bias + 0.7 * taste + 0.8 * rng.normal(size=len(item))
        names |= {"distorted": "a"}
    votes = pd.DataFrame({"item": item, "rater": rater.astype(str), "value": value.astype(float)})
    by = votes.groupby("item")["value"]
    judged = {"p_b": by.mean(), "votes": raters}
    if protocol == "rating":
        judged = {"impairment": by.mean(), "std": by.std(), "raters": raters}
    table = pd.DataFrame(names).assign(**judged)
    said = {
        m: quality + sign * 0.7 * other + 0.4 * rng.normal(size=images)
        for m, sign in (("a", 1), ("b", -1))
    }
    sides = [
        pd.DataFrame({"reference": names["reference"], "distorted": s,
                      **{m: (s == "a") * v for m, v in said.items()}})
        for s in "ab"
    ]  # fmt: skip
    statistics = ("2afc",) if protocol == "2afc" else ("srcc", "plcc")
    return Judgements("voted", table, statistics=statistics, votes=votes), pd.concat(sides)


def voting(raters: int, protocol: str) -> Callable[[Generator, int], tuple]:
    """Votes of so many people."""
    return lambda rng, images: voted(rng, images, raters, protocol)


def skewed(rng: Generator, references: int) -> tuple:
    """Skewed, tied, heteroscedastic ratings."""
    return ratings(rng, references, skewed=True)


def rated(statistic: str) -> Callable[[Generator, int], tuple]:
    """Ratings ranked by a statistic."""
    return lambda rng, references: ratings(rng, references, statistic=statistic)


SMALL = {5: ((90, 100), (0, 8)), 10: ((91, 100), (0, 8)), 25: ((93, 97), (3, 7))}
PAIRS, SKEWED = ((92, 98), (1, 7)), ((91, 100), (0, 8))
VOTES = ((93, 97), (3, 7))
SHARED = {25: ((92, 100), (0, 8)), 100: ((93, 98), (2, 7))}
RATED = ("srcc", "krcc", "plcc", "srcc_within_reference", "plcc_logistic4")


def designs() -> list[Design]:
    """Every design, with what must hold of it."""
    found = [
        Design("rating", statistic, rated(statistic), units, (400, 25), *SMALL[units])
        for statistic in RATED
        for units in SMALL
    ]
    found += [
        Design("2afc by reference", "2afc", triplets, units, (2000, 10), *SMALL[units])
        for units in SMALL
    ]
    found += [
        Design("2afc, all pairs of stimuli", "2afc", stimuli, units, (150, 60), *PAIRS)
        for units in (10, 25, 42)
    ]
    found += [
        Design("2afc, 3,000 triplets over shared images", "2afc", shared, units, (100, 400), *must)
        for units, must in SHARED.items()
    ]
    found += [
        Design("skewed, tied, heteroscedastic ratings", "srcc", skewed, units, (400, 25), *SKEWED)
        for units in SMALL
    ]
    found += [
        Design(f"votes of {raters} people", statistic, voting(raters, protocol), 40, (600, 60),
               *VOTES)
        for raters in (10, 20, 30)
        for protocol, statistic in (("2afc", "2afc"), ("rating", "srcc"), ("rating", "plcc"))
    ]  # fmt: skip
    return found


def truth(design: Design) -> float:
    """The figure of metric a on far more units."""
    rng = np.random.default_rng(987)
    units, times = design.many
    values = []
    for _ in range(times):
        part, scores = design.make(rng, units)
        part = replace(part, votes=None)  # of the figure only the value is wanted
        values.append(_row(part, scores, design.statistic)["value"])
    return float(np.mean(values))


def _row(part: Judgements, scores: pd.DataFrame, statistic: str) -> pd.Series:
    table = evaluate([part], scores, metrics=["a"], ranked_only=True).table
    rows = table[(table["metric"] == "a") & (table["statistic"] == statistic)]
    return rows.iloc[0]


def measure(design: Design, replications: int, seed: int = 0) -> tuple[float, float]:
    """Per cent of intervals that cover, and of true nulls that are rejected."""
    known = truth(design)
    rng = np.random.default_rng(seed)
    covered, rejected = [], []
    for _ in range(replications):
        part, scores = design.make(rng, design.units)
        found = evaluate([part], scores, metrics=["a", "b"], ranked_only=True)
        rows = found.table[found.table["statistic"] == design.statistic].set_index("metric")
        covered.append(rows.loc["a", "low"] <= known <= rows.loc["a", "high"])
        (pair,) = found.comparisons[found.comparisons["statistic"] == design.statistic].itertuples()
        rejected.append(pair.p < 0.05)
        assert (pair.low > 0 or pair.high < 0) == (pair.p < 0.05)
    return 100 * float(np.mean(covered)), 100 * float(np.mean(rejected))


def complete_null(replications: int, metrics: int = 12, datasets: int = 3) -> tuple[float, float]:
    """Equal metrics on some datasets: per cent of runs with a false difference in the standing,
    and of metrics whose places do not hold every place (all places are true)."""
    rng = np.random.default_rng(5)
    wrong, missed = [], []
    names = [f"m{k:02d}" for k in range(metrics)]
    for _ in range(replications):
        parts, tables = [], []
        for d in range(datasets):
            part, _ = ratings(rng, 25)
            truth = part.table["impairment"].to_numpy()
            own = part.table[["reference", "distorted"]].assign(dataset=f"d{d}")
            for name in names:
                own[name] = truth + rng.normal(size=len(truth))
            parts.append(Judgements(f"d{d}", part.table, statistics=("srcc",)))
            tables.append(own)
        scores = pd.concat(tables, ignore_index=True)
        found = evaluate(parts, scores, metrics=names, ranked_only=True)
        keys = [(f"d{d}", "all", "srcc") for d in range(datasets)]
        places = standing(found.table, found.comparisons, keys)
        whole = (places["first"] == 1) & (places["last"] == metrics)
        wrong.append(not whole.all())
        missed.append(1 - whole.mean())
    return 100 * float(np.mean(wrong)), 100 * float(np.mean(missed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--only", default="", help="designs whose name has this")
    options = parser.parse_args()
    print("| design | statistic | units | covers | must | rejects | must |  |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for design in designs():
        if options.only in design.name:
            cover, reject = measure(design, options.replications)
            low, high = design.cover
            least, most = design.reject
            fine = low <= cover <= high and least <= reject <= most
            print(
                f"| {design.name} | {design.statistic} | {design.units} | {cover:.1f} % | "
                f"{low:g} to {high:g} | {reject:.1f} % | {least:g} to {most:g} | "
                f"{'' if fine else 'missed'} |",
                flush=True,
            )
    if options.only in "complete null":
        wrong, missed = complete_null(max(20, options.replications // 4))
        print(
            f"\nComplete null, 12 equal metrics on 3 datasets: a false difference in {wrong:.1f} % "
            f"of runs (at most 7); places that miss a true one: {missed:.1f} % (at most 5)."
        )


if __name__ == "__main__":
    main()
