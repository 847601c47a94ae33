"""Tests of dependent correlations: the examples of the papers and of other programs."""

import numpy as np
import pytest

from perceptbench.agreement.significance.dependent_correlations import (
    meng_rosenthal_rubin,
    steiger,
)


def test_published_examples():
    # Meng, Rosenthal and Rubin 1992, their example: z = 1.68.
    z, p = meng_rosenthal_rubin(0.63, -0.03, -0.19, 15)
    assert round(float(z), 2) == 1.68 and round(float(p) / 2, 3) == 0.047
    # Silver, Hittner and May 2006 (depcor): .3 against .4, correlated .5, 100 cases.
    z, p = meng_rosenthal_rubin(0.3, 0.4, 0.5, 100)
    assert (round(float(z), 4), round(float(p), 4)) == (-1.0707, 0.2843)
    z, p = steiger(0.3, 0.4, 0.5, 100)
    assert (round(float(z), 4), round(float(p), 4)) == (-1.0718, 0.2838)
    # Steiger 1980, case A, as R's cocor has it.
    assert float(steiger(0.4, 0.5, 0.1, 103)[0]) == pytest.approx(-0.8887185, abs=5e-8)


@pytest.mark.parametrize("test", [meng_rosenthal_rubin, steiger])
def test_swapping_turns_the_sign_and_equal_correlations_do_not_differ(test):
    assert float(test(0.3, 0.5, 0.2, 50)[0]) == -float(test(0.5, 0.3, 0.2, 50)[0])
    assert [float(v) for v in test(0.4, 0.4, 1.0, 50)] == [0.0, 1.0]
    assert np.isnan(test(0.3, 0.4, 0.5, 3)).all()
