"""Numbers at the edge: nothing undefined without its reason, nothing out of range, no warning.

Every table of judgements meets every column of scores, in all protocols: constants, ties, one
item, infinities, NaN of one pair, denormals, distances whose squares or differences overflow.
"""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perceptbench.agreement import evaluate, influence, logistic, same_different, two_alternative
from perceptbench.datasets.judgements.protocols import Judgements, validate
from perceptbench.errors import DataError

#: Least and largest value of a statistic, by the start of its name; the first that fits holds.
RANGES = {
    "2afc_of_ceiling": (-np.inf, np.inf),
    "log_likelihood": (-np.inf, 0),
    **dict.fromkeys(("srcc", "krcc", "plcc"), (-1, 1)),
    **dict.fromkeys(("2afc", "jnd", "stress", "outlier", "auc", "cc_0"), (0, 1)),
    **dict.fromkeys(("rmse", "thr", "resolving"), (0, np.inf)),
}


def columns(n):
    """Metric -> its distances of n pairs."""
    ranks = np.random.default_rng(1).permutation(n).astype(float)

    def with_one(value):
        return np.where(np.arange(n) == n // 2, value, ranks)

    turns = np.where(ranks % 2 == 0, 1.0, -1.0)
    return {
        "plain": ranks + 1, "constant": np.full(n, 0.3), "zero": np.zeros(n),
        "negative": -ranks - 1, "ties": (ranks > n / 2).astype(float), "signs of 0": 0.0 * turns,
        "nan": np.full(n, np.nan), "one nan": with_one(np.nan), "inf": np.full(n, np.inf),
        "one inf": with_one(np.inf), "one -inf": with_one(-np.inf),
        "denormal": (ranks + 1) * 5e-324, "small": (ranks + 1) * 1e-200,
        "crowded": 1 + ranks * 2.3e-16, "huge": (ranks + 1) * 1e300, "widest": 1.7e308 * turns,
        "outlier": with_one(1.7e308), "spread": 10.0 ** ((ranks - n / 2) * 500 / n),
    }  # fmt: skip


def judged(protocol, n):
    """(name, columns) of judgements about n items."""
    ranks = np.random.default_rng(0).permutation(n).astype(float)
    share = ranks / max(n - 1, 1)
    if protocol != "rating":
        answer = {"2afc": "p_b", "same_different": "p_same"}[protocol]
        for value in (0.0, 0.5, 0.7, 1.0):
            yield f"all {value}", {answer: np.full(n, value)}
        yield "edge", {answer: np.where(ranks % 2 == 0, 5e-324, 1 - 1e-16)}
        for votes in (0, 1, 5, -3, np.nan, np.inf):
            yield f"{votes} votes", {answer: share, "votes": np.full(n, votes, dtype=float)}
        return
    sorts = {
        "ranks": ranks, "all equal": np.full(n, 3.0), "zero": np.zeros(n), "negative": -ranks - 1,
        "huge": (ranks + 1) * 9e99 / n, "denormal": ranks * 5e-324, "crowded": 1 + ranks * 2.3e-16,
    }  # fmt: skip
    for answer in ("quality", "impairment"):
        for name, values in sorts.items():
            yield f"{answer} {name}", {answer: values}
    spreads = (0, 1, np.nan, -1, np.inf, 1e300, 5e-324), (5,)
    for std, raters in [*itertools.product(*spreads), (1, 0), (1, 1), (1, np.inf), (1, 1 + 1e-9)]:
        known = {"std": np.full(n, float(std)), "raters": np.full(n, float(raters))}
        yield f"std {std} of {raters}", {"impairment": ranks, **known}


def tables(protocol, n, parts):
    images = ("distorted",) if protocol == "rating" else ("a", "b")
    for name, answers in judged(protocol, n):
        table = pd.DataFrame({c: [f"{c}{i}" for i in range(n)] for c in images}).assign(**answers)
        if protocol != "same_different":
            table["reference"] = [f"r{i // 3 if parts else i}" for i in range(n)]
        if parts:
            half = np.arange(n) % 2 == 0
            table = table.assign(
                category=np.where(half, "x", None), distortion=np.where(half, "blur", "jpeg"),
                level=np.where(half, np.nan, np.arange(n)),
            )  # fmt: skip
        yield name, validate(table, "the table")


def scores(table, protocol, n):
    given = columns(n)
    if protocol != "2afc":
        x, y = ("a", "b") if protocol == "same_different" else ("reference", "distorted")
        return pd.DataFrame({"reference": table[x], "distorted": table[y], **given})
    sides = [pd.DataFrame({"reference": table["reference"], "distorted": table["a"], **given})]
    turned = {m: v if len(set(v)) == 1 else v[::-1] for m, v in given.items()}
    return pd.concat([*sides, sides[0].assign(distorted=table["b"], **turned)])


def evaluated(protocol, table, observers=None, **options):
    n = len(table)
    statistics = {"2afc": ("2afc",), "same_different": ("jnd_ap",)}.get(protocol)
    statistics = statistics or ("srcc", "krcc", "plcc", *["stress"] * ("impairment" in table))
    part = Judgements("d", table, "all", (), statistics, observers=observers)
    options = {"stress_power": {"plain": 0.5, "ties": None}, **options}
    found = scores(table, protocol, n)
    return evaluate([part], found, metrics=list(columns(n)), **options)


def check(found, where):
    """That an evaluation keeps what the module's docstring says."""
    for row in found.table.itertuples():
        said = f"{where}: {row}"
        if np.isnan(row.value):
            assert row.note and np.isnan(row.low) and np.isnan(row.high), said
            assert np.isnan(row.first) and not row.best, said
            continue
        least, most = next(r for s, r in RANGES.items() if row.statistic.startswith(s))
        assert np.isfinite(row.value) and least <= row.value <= most + 1e-12, said
        if np.isnan(row.low):
            model = row.metric == "oracle" and "a model" in row.note
            assert np.isnan(row.high) and (
                model or "no interval" in row.note or "blind" in row.note
            ), said
        else:
            assert np.isfinite([row.low, row.high]).all() and row.low <= row.high, said
        if row.units < 5:  # so few things are certain of nothing
            assert np.isnan(row.low) and np.isnan(row.first), said
    pairs = found.comparisons
    assert np.isfinite(pairs["difference"].astype(float)).all(), where
    numbers = pairs[["low", "high", "p", "p_holm", "p_meng", "p_steiger"]].to_numpy(float)
    assert not np.isinf(numbers).any(), where


@pytest.mark.parametrize("protocol", ["2afc", "rating", "same_different"])
@pytest.mark.parametrize(("n", "parts"), [(1, False), (2, True), (7, True)])
def test_every_column_of_scores_meets_every_table_of_judgements(protocol, n, parts):
    every = list(tables(protocol, n, parts))
    # Of the dear ones, fits and Krasula's analysis, a few: the rest is among the slow tests.
    chosen = every[:: {1: 6, 2: 8, 7: 14}[n]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, table in chosen:
            check(evaluated(protocol, table), name)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["2afc", "rating", "same_different"])
@pytest.mark.parametrize("parts", [False, True])
def test_every_column_meets_every_table_of_more_items(protocol, parts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (1, 2, 3, 7, 16):
            for name, table in tables(protocol, n, parts):
                check(evaluated(protocol, table), name)


@pytest.mark.parametrize("answer", ["quality", "impairment"])
def test_observers_who_say_one_thing_only(answer):
    n = 6
    ratings = np.tile(np.arange(n, dtype=float)[:, None], 3)
    table = pd.DataFrame(
        {"reference": "r", "distorted": [f"d{i}" for i in range(n)], answer: ratings.mean(1)}
    ).assign(reference=[f"r{i // 2}" for i in range(n)])
    ratings[:, 0] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluated("rating", table, pd.DataFrame(ratings))
    check(found, "observers")
    human = found.table[(found.table["metric"] == "human") & (found.table["statistic"] == "srcc")]
    assert "all equal" in human["note"].item() and np.isnan(human["value"].item())


def test_the_reason_is_the_right_one():
    n = 6
    _, table = next(tables("rating", n, False))
    found = evaluated("rating", table.assign(quality=3.0)).table.set_index(["metric", "statistic"])
    assert found.loc[("plain", "srcc"), "note"] == "all judgements are equal"
    found = evaluated("rating", table).table.set_index(["metric", "statistic"])
    assert found.loc[("constant", "srcc"), "note"].startswith("blind")
    assert found.loc[("nan", "srcc"), "note"] == "no finite distance for any of 6 judgements"
    assert tuple(found.loc[("one nan", "srcc"), ["n", "of"]]) == (5, 6)
    # One pair of one metric: the others are what they were.
    assert found.loc[("plain", "srcc"), "n"] == n


def test_a_unit_changes_nothing_but_what_is_in_it():
    rng = np.random.default_rng(0)
    x, y = rng.random(20), rng.random(20)
    table = pd.DataFrame(
        {"reference": [f"r{i // 2}" for i in range(20)], "distorted": [f"d{i}" for i in range(20)],
         "impairment": y, "std": 0.1, "raters": 5}
    )  # fmt: skip
    given = table[["reference", "distorted"]].assign(
        one=x, huge=np.ldexp(x, 1000), tiny=np.ldexp(x, -1000)
    )
    part = Judgements("d", table, statistics=("srcc", "plcc", "stress"))
    names = ["one", "huge", "tiny"]
    found = evaluate([part], given, metrics=names).table
    value = found[found["metric"].isin(names)].pivot(index="statistic", columns="metric")
    for name in ("huge", "tiny"):
        for what in ("value", "low", "high"):
            scale = np.where(value.index.isin(["thr", "resolving_power"]), 1.0, 0.0)
            power = np.ldexp(1.0, {"huge": 1000, "tiny": -1000}[name])
            expected = value[what]["one"] * np.where(scale == 1, power, 1.0)
            np.testing.assert_allclose(value[what][name], expected, rtol=1e-6)


def test_few_items_are_no_proof():
    table = pd.DataFrame({"reference": ["r0", "r1"], "a": "a", "b": "b", "p_b": 1.0})
    given = pd.DataFrame({"reference": ["r0", "r0", "r1", "r1"], "distorted": ["a", "b"] * 2,
                          "right": [2.0, 1, 2, 1], "wrong": [1.0, 2, 1, 2]})  # fmt: skip
    part = Judgements("d", table, statistics=("2afc",))
    (pair,) = evaluate([part], given, metrics=["right", "wrong"]).comparisons.itertuples()
    assert pair.difference == 1 and np.isnan(pair.p_holm)  # two items tell nothing
    many = [
        frame.loc[frame.index.repeat(6)].assign(reference=[f"r{k}" for k in range(6 * len(frame))])
        for frame in (table.head(1), given.head(1))
    ]
    given = pd.concat([given.head(2).assign(reference=f"r{k}") for k in range(6)])
    (pair,) = evaluate([Judgements("d", many[0], statistics=("2afc",))], given,
                       metrics=["right", "wrong"]).comparisons.itertuples()  # fmt: skip
    assert pair.p == 2**-5  # six items on one side of two


def test_a_rating_beyond_all_measure_is_named():
    table = pd.DataFrame({"reference": "r", "distorted": ["d", "e"], "quality": [1.0, -1e101]})
    with pytest.raises(DataError, match=r"row 2: `quality` is '-1e\+101', not a number below"):
        validate(table, "t.csv")


edges = st.sampled_from(
    [0.0, -0.0, 1.0, 1 + 2.3e-16, -1.0, 5e-324, -5e-324, 1e-200, 1e200, 1.7e308, -1.7e308]
)
numbers = st.one_of(edges, st.floats(allow_nan=False, allow_infinity=False))
ratings = st.one_of(st.integers(0, 5).map(float), st.floats(-1e99, 1e99))


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 6))
def test_statistics_of_any_finite_numbers_are_in_range_or_undefined(data, n):
    x = data.draw(hnp.arrays(float, n, elements=numbers))
    y = data.draw(hnp.arrays(float, n, elements=ratings))
    p = data.draw(hnp.arrays(float, n, elements=st.floats(0, 1)))
    table = pd.DataFrame({"unit": data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2)))})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ofs = (influence.srcc, influence.krcc, influence.plcc, influence.stress)
        found = {of.__name__: of(x, y)[0] for of in ofs}
        found["jnd_ap"] = float(same_different.jnd_ap(x, p))
        found["2afc"] = float(two_alternative.score(x, x[::-1], p).mean())
        likelihood = two_alternative.cross_validated(x, x[::-1], p, table["unit"])
        curve = logistic.fit(x, y)(x)
    for name, value in found.items():
        least, most = next(r for s, r in RANGES.items() if name.startswith(s))
        assert np.isnan(value) or least - 1e-12 <= value <= most + 1e-12, name
    assert (np.isnan(likelihood) | (likelihood <= 0)).all()
    assert np.isfinite(curve).all()
