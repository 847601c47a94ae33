"""Statistics: published figures from published scores, scipy on the repeated sample, by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perceptbench.agreement import influence, two_alternative

# ShiftTolerant-LPIPS's per-triplet distances of BAPPS val, three subsets.
BAPPS = {
    "alex_vanilla": {"traditional": 77.4788, "cnn": 82.8708, "superres": 71.1883},
    "vgg_vanilla": {"traditional": 78.3475, "cnn": 83.6462, "superres": 71.1993},
}
# VQMTCrossVal: signed PLCC, SRCC, KRCC of distance against the raw human score.
SIGNED = {
    ("TID2013", "MOS", "mos"): {
        "DSSIM": (-0.7727, -0.8609, -0.6785),
        "SSIMULACRA": (-0.6628, -0.6733, -0.4851),
        "Butteraugli": (-0.6477, -0.7603, -0.5718),
    },
    ("LIVE2", "DMOS", "dmos_new"): {
        "DSSIM": (0.5763, 0.9549, 0.8135),
        "SSIMULACRA": (0.7828, 0.9136, 0.7404),
        "Butteraugli": (0.6989, 0.8996, 0.7183),
    },
}
SCIPY = {
    "srcc": lambda x, y: scipy.stats.spearmanr(x, y).statistic,
    "krcc": lambda x, y: scipy.stats.kendalltau(x, y).statistic,
    "plcc": lambda x, y: scipy.stats.pearsonr(x, y).statistic,
}


@pytest.mark.parametrize("model", BAPPS)
def test_2afc_of_the_published_bapps_distances(shared, model):
    for subset, published in BAPPS[model].items():
        path = shared / f"bapps-val-scores/twoAFC_model-{model}_distortion-{subset}.csv"
        rows = pd.read_csv(path, header=None, names=["path", "d0", "d1", "score", "h"])
        ours = two_alternative.score(rows.d0, rows.d1, rows.h)
        assert round(100 * ours.mean(), 4) == published
        np.testing.assert_allclose(ours, rows.score, atol=1e-6)


@pytest.mark.parametrize("source", SIGNED, ids=lambda s: s[0])
def test_signed_correlations_of_the_published_scores(shared, source):
    name, _, column = source
    scores = pd.read_csv(shared / f"published-scores/{name}.VQMT.csv")
    for metric, expected in SIGNED[source].items():
        found = tuple(
            round(f(scores[metric].to_numpy(), scores[column].to_numpy())[0], 4)
            for f in (influence.plcc, influence.srcc, influence.krcc)
        )
        assert found == expected
    if column == "mos":  # as agreement, a quality is turned: larger is then better
        assert influence.srcc(scores["DSSIM"], -scores[column])[0] == pytest.approx(
            0.8609, abs=5e-5
        )


def test_people_on_the_material_triplets(shared):
    answers = json.loads((shared / "material-2afc/answers_processed_test.json").read_text())
    votes = np.array(answers["agreement"], dtype=float)
    p_b = votes[:, 1] / votes.sum(1)
    assert two_alternative.human(p_b).mean() == pytest.approx(0.795246, abs=1e-6)
    assert two_alternative.two_people(p_b, votes.sum(1)).mean() == pytest.approx(0.714, abs=5e-4)
    assert two_alternative.oracle(p_b).mean() == pytest.approx(0.839706, abs=1e-6)


# Few distinct values, so that ties are common.
samples = st.integers(3, 12).flatmap(
    lambda n: st.tuples(
        hnp.arrays(float, n, elements=st.integers(0, 5).map(float)),
        hnp.arrays(float, n, elements=st.integers(0, 5).map(float)),
    )
)


@settings(max_examples=50, deadline=None)
@given(samples)
@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.filterwarnings("ignore")
def test_statistics_of_tied_items_are_scipys(name, sample):
    x, y = sample
    constant = np.ptp(x) == 0 or np.ptp(y) == 0
    expected = math.nan if constant else SCIPY[name](x, y)
    np.testing.assert_allclose(getattr(influence, name)(x, y)[0], expected, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(samples)
def test_rank_statistics_ignore_monotone_and_linear_ones_linear_changes(sample):
    x, y = sample
    for statistic, change in [
        (influence.srcc, np.exp),
        (influence.krcc, np.exp),
        (influence.plcc, lambda v: 1e-12 * v + 3e-12),
        (influence.stress, lambda v: 7 * v),
    ]:
        expected = statistic(x, y)[0]
        # STRESS is the root of a difference, which rounding can move by the root of epsilon.
        np.testing.assert_allclose(statistic(change(x), y)[0], expected, atol=1e-7)


def test_stress_by_hand():
    # 1 - (1*1 + 2*3 + 3*2)^2 / ((1 + 4 + 9) * (1 + 9 + 4)) = 1 - 169/196
    found, _ = influence.stress(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    assert found == pytest.approx(math.sqrt(27 / 196))


@pytest.mark.parametrize("statistic", [influence.srcc, influence.krcc, influence.plcc])
def test_a_constant_or_single_value_is_undefined_not_zero(statistic):
    assert np.isnan(statistic(np.full(3, 0.1), np.arange(3.0))[0])
    assert np.isnan(statistic(np.ones(1), np.full(1, 2.0))[0])


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(float, (2, 9), elements=st.integers(0, 4).map(float)),
    hnp.arrays(float, 9, elements=st.floats(0, 1)),
)
def test_swapping_the_two_images_changes_nothing(distances, p_b):
    a, b = distances
    np.testing.assert_allclose(
        two_alternative.score(a, b, p_b), two_alternative.score(b, a, 1 - p_b), atol=1e-12
    )
    assert (two_alternative.score(a, b, p_b) <= two_alternative.oracle(p_b) + 1e-12).all()


def test_a_missing_distance_is_no_tie():
    assert np.isnan(two_alternative.score([math.nan], [1.0], [0.3])).all()
