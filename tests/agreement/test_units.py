"""What varies is found from the tables, and the variance counts every two items that share it."""

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement.units import find, of_left_out
from perceptbench.datasets.judgements.protocols import Judgements


def part(**columns):
    extra = {"p_b": 0.5} if "b" in columns and "reference" in columns else {"quality": 1.0}
    extra = {"p_same": 0.5} if "reference" not in columns else extra
    return Judgements("toy", pd.DataFrame({**columns, **extra}))


def test_references_are_the_units_where_only_references_repeat():
    found = find(part(reference=list("rrssst"), distorted=list("abcdef")))
    assert (found.count, found.codes.shape, found.freedom) == (3, (6, 1), 2)
    assert [int(c) for c in np.unique(found.codes[:, 0], return_inverse=True)[1]] == [
        0,
        0,
        1,
        1,
        1,
        2,
    ]


def test_one_reference_of_all_does_not_vary_and_leaves_the_items():
    found = find(part(reference=["r"] * 6, distorted=list("abcdef")))
    assert (found.count, found.freedom) == (6, 5)


def test_images_in_several_roles_are_the_units():
    names = np.array([f"i{k}" for k in range(10)])
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(10)[:3] for _ in range(80)])
    found = find(part(reference=names[rows[:, 0]], a=names[rows[:, 1]], b=names[rows[:, 2]]))
    assert (found.count, found.codes.shape[1]) == (10, 3)
    assert found.freedom == pytest.approx(10 / 3 - 1)


def test_stimuli_in_pairs_are_the_units_and_rows_without_repeats_are_their_own():
    rows = [(f"s{i}", f"s{j}") for i in range(6) for j in range(i)]
    a, b = zip(*rows, strict=True)
    assert find(part(reference="blank", a=a, b=b)).count == 6
    assert find(part(a=list("abc"), b=list("ABC"))).count == 3


def test_a_manifest_says_more_never_less():
    table = pd.DataFrame({"reference": list("aabbcc"), "distorted": list("uvwxyz"), "quality": 1.0})
    table["camera"] = list("111122")
    plain = find(Judgements("toy", table))
    more = find(Judgements("toy", table, resample=("camera",)))
    less = find(Judgements("toy", table, resample=("distorted",)))
    assert (plain.count, more.count, less.count) == (3, 2, 3)


def test_a_part_in_which_a_unit_stands_everywhere_has_other_units():
    found = find(part(reference=list("rrrrss"), distorted=list("abcdef")))
    assert found.part(np.arange(4)).count == 4


def test_the_variance_counts_every_two_items_with_an_image_in_common():
    """Against the double sum of the definition, without the corrections for few units."""
    rng = np.random.default_rng(1)
    codes = np.stack([rng.permutation(40)[:3] for _ in range(300)])
    names = np.array([f"i{k}" for k in range(40)])
    units = find(part(reference=names[codes[:, 0]], a=names[codes[:, 1]], b=names[codes[:, 2]]))
    psi = rng.normal(size=(300, 1)) + rng.normal(size=40)[codes].sum(axis=1)[:, None]
    psi -= psi.mean()
    share = [[len(set(x) & set(y)) > 0 for y in codes.tolist()] for x in codes.tolist()]
    expected = float(psi[:, 0] @ np.array(share) @ psi[:, 0]) / 300**2
    # By inclusion and exclusion, without the correction 1 / (1 - share of the items).
    singles = np.bincount(codes.ravel(), np.repeat(psi[:, 0], 3)) / 300
    plain = (singles**2).sum()
    pairs: dict[tuple, float] = {}
    triples: dict[tuple, float] = {}
    for row, value in zip(codes.tolist(), psi[:, 0] / 300, strict=True):
        x, y, z = sorted(row)
        triples[x, y, z] = triples.get((x, y, z), 0) + value
        for key in ((x, y), (x, z), (y, z)):
            pairs[key] = pairs.get(key, 0) + value
    plain += sum(v**2 for v in triples.values()) - sum(v**2 for v in pairs.values())
    assert plain == pytest.approx(expected)
    assert expected < units.spread(psi).errors[0] ** 2 < 1.5 * expected


def test_one_unit_an_item_is_the_jackknife():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 2))
    units = find(part(reference=np.repeat(list("abcdef"), 10), distorted=np.arange(60).astype(str)))
    spread = units.spread(x - x.mean(axis=0))
    means = np.stack(
        [np.delete(x, slice(10 * g, 10 * g + 10), axis=0).mean(axis=0) for g in range(6)]
    )
    jackknife = of_left_out(means, 6)
    # The influence form takes the deviations from the figure of all, 6 / 5 of the variance.
    np.testing.assert_allclose(spread.errors**2 * 5 / 6, jackknife.errors**2)
    apart = x[:, 0] - x[:, 1]
    alone = units.spread((apart - apart.mean())[:, None])
    assert spread.differences[0][0, 1] == pytest.approx(alone.errors[0])
