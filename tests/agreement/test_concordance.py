"""Concordant pairs item by item: the definition, on ties and groups of any size."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perceptbench.agreement.concordance import concordance, smaller_before

few = st.integers(0, 4).map(float)
samples = st.integers(0, 30).flatmap(
    lambda n: st.tuples(
        hnp.arrays(float, n, elements=few),
        hnp.arrays(float, n, elements=few),
        hnp.arrays(int, n, elements=st.integers(0, 3)),
    )
)


@settings(max_examples=80, deadline=None)
@given(samples)
def test_every_count_is_that_of_the_definition(sample):
    x, y, groups = sample
    found = concordance(x, y, groups)
    same = groups[:, None] == groups
    signs = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    for name, expected in {
        "net": signs * same,
        "below_x": (x < x[:, None]) & same,
        "below_y": (y < y[:, None]) & same,
        "tied_x": (x == x[:, None]) & same,
        "tied_y": (y == y[:, None]) & same,
        "size": same,
    }.items():
        np.testing.assert_array_equal(getattr(found, name), expected.sum(axis=1), err_msg=name)


@given(st.integers(1, 70).flatmap(lambda n: st.permutations(range(n))))
def test_smaller_entries_before_each_one(order):
    order = np.array(order)
    expected = [(order[:i] < value).sum() for i, value in enumerate(order)]
    np.testing.assert_array_equal(smaller_before(order), expected)
