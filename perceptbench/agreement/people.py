"""How far people agree with each other, and how many of them are enough.

Conventions
-----------
``votes`` are in long form, as `Judgements.votes`: ``item``, ``rater``, ``value``, and maybe
``adaptive``. Questions that an adaptive sampler chose are in no ceiling: it asks what is hard.
"""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import bdtrc, betaincinv, roots_legendre

from perceptbench.agreement import rating, two_alternative
from perceptbench.agreement.units import FEWEST
from perceptbench.datasets.judgements.protocols import Judgements, value_column

Array = NDArray[np.float64]

#: A ceiling is settled where it is this close to that of infinitely many raters: a point.
POINT = 0.01
#: Raters that `enough` tries at most.
MOST = 10_000


def unbiased(votes: pd.DataFrame) -> pd.DataFrame:
    """The votes that a ceiling may be taken from: on questions that no earlier answer chose."""
    return votes[~votes["adaptive"].astype(bool)] if "adaptive" in votes else votes


def counted(votes: pd.DataFrame | None) -> int:
    """How many raters vary beside the images in intervals: all, or none where they are too few."""
    raters = 0 if votes is None else votes["rater"].nunique()
    return raters if raters >= FEWEST else 0


def pairs_agree(count: ArrayLike, total: ArrayLike, square: ArrayLike) -> Array:
    """Chance that two different votes agree, from the sums of vote^0, vote and vote^2.

    (k (k - 1) + (n - k) (n - k - 1)) / (n (n - 1)) with k of n for b; NaN below two votes.
    """
    n, b, own = (np.asarray(x, dtype=float) for x in (count, total, square))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 1, (b**2 + (n - b) ** 2 - n + 2 * b - 2 * own) / (n * (n - 1)), np.nan)


def two_people(votes: pd.DataFrame) -> pd.Series:
    """`pairs_agree` by item, of the items with two votes or more: unbiased for any number of them.

    Votes are choices, in [0, 1]; 0.5, neither, agrees by half with every answer. Each counts as a
    person's, a second one by the same rater too. The mean is what a person reaches against another.

    >>> two_people(pd.DataFrame({"item": 0, "rater": list("wxyz"), "value": [1, 1, 1, 0]})).tolist()
    [0.5]
    """
    given = unbiased(votes)
    sums = given.assign(square=given["value"].astype(float) ** 2).groupby("item").agg(
        n=("value", "size"), b=("value", "sum"), own=("square", "sum")
    )  # fmt: skip
    sums = sums[sums["n"] > 1]
    found = pairs_agree(sums["n"], sums["b"], sums["own"])
    return pd.Series(found, index=sums.index, name="agreement")


def variance_components(votes: pd.DataFrame) -> tuple[float, float, float]:
    """Variances of items, of raters and of the rest in ratings, none below 0.

    Henderson's first method (1953, Biometrics 9) for the random model without interaction: sums of
    squares are set equal to their expectations. Where everybody rated everything once it is the
    analysis of variance behind Shrout and Fleiss's ICC(2,.).
    """
    y = votes["value"].to_numpy(float)
    y = y - y.mean()
    item, _ = pd.factorize(votes["item"])
    rater, _ = pd.factorize(votes["rater"])
    n, total = len(y), y.sum()
    by_item, by_rater = np.bincount(item), np.bincount(rater)
    cell = votes.groupby([item, rater]).size()
    i, j = (cell.index.get_level_values(level).to_numpy() for level in (0, 1))
    square = cell.to_numpy(float) ** 2
    left = [
        (y**2).sum(),
        (np.bincount(item, y) ** 2 / by_item).sum(),
        (np.bincount(rater, y) ** 2 / by_rater).sum(),
        total**2 / n,
    ]
    right = [
        [n, n, n, n],
        [n, n, (square / by_item[i]).sum(), len(by_item)],
        [n, (square / by_rater[j]).sum(), n, len(by_rater)],
        [n, (by_item.astype(float) ** 2).sum() / n, (by_rater.astype(float) ** 2).sum() / n, 1.0],
    ]
    _, of_items, of_raters, rest = np.linalg.lstsq(np.array(right), np.array(left), rcond=None)[0]
    return max(float(of_items), 0.0), max(float(of_raters), 0.0), max(float(rest), 0.0)


def icc(votes: pd.DataFrame, raters: float = 1) -> float:
    """ICC(2,k), absolute agreement of the mean of k `raters` drawn at random (Shrout, Fleiss 1979).

    ICC(2,1) is that of one. NaN where votes do not vary. Raters may lack items, see
    `variance_components`.
    """
    items, people, rest = variance_components(unbiased(votes))
    whole = items + (people + rest) / raters
    return items / whole if whole > 0 else float("nan")


def mos_ceiling(single: float, raters: float) -> float:
    """Correlation of the mean of so many raters with that of infinitely many: no metric has more.

    The square root of Spearman and Brown's reliability, where `single` is ICC(2,1).
    """
    return float(np.sqrt(raters * single / (1 + (raters - 1) * single)))


def majority_ceiling(agreement: float, raters: int) -> float:
    """How often one more person agrees with the majority of so many, ties by half.

    People's shares are taken to be Beta distributed, symmetric about 1/2, such that two people
    agree with chance `agreement`, which is at least 1/2.
    """
    if not 0.5 < agreement < 1:
        return min(max(agreement, 0.5), 1.0)
    # E[p^2 + (1-p)^2] of Beta(s, s) is (s + 1) / (2 s + 1).
    s = brentq(lambda s: (s + 1) / (2 * s + 1) - agreement, 1e-9, 1e9)
    x, weight = roots_legendre(200)
    p = betaincinv(s, s, (x + 1) / 2)
    # More than half of them, and at least half: the mean counts ties by half.
    wins = (bdtrc(raters // 2, raters, p) + bdtrc((raters - 1) // 2, raters, p)) / 2
    return float((weight / 2 * (p * wins + (1 - p) * (1 - wins))).sum())


def enough(ceiling: Callable[[int], float], limit: float) -> int | None:
    """The fewest raters from which on a ceiling, which rises with them, is within POINT of its
    limit for infinitely many; None for more than MOST."""
    raters = bisect_left(range(1, MOST + 1), True, key=lambda k: limit - ceiling(k) < POINT) + 1
    return raters if raters <= MOST else None


def raters_enough(votes: pd.DataFrame) -> int | None:
    """How many raters an item needs for the ceiling of its judgements to move by POINT at most.

    Of choices the ceiling is `majority_ceiling`, of ratings (a value beyond [0, 1]) `mos_ceiling`.
    None where no number up to MOST is enough, or people do not agree at all.
    """
    if votes["value"].between(0, 1).all():
        agreement = float(two_people(votes).mean())
        if not agreement > 0.5:
            return None
        limit = float(two_alternative.ceiling(agreement))
        # Of two raters the majority says what one does: even numbers add nothing.
        half = enough(lambda k: majority_ceiling(agreement, 2 * k - 1), limit)
        return None if half is None else 2 * half - 1
    single = icc(votes)
    return enough(lambda k: mos_ceiling(single, k), 1.0) if single > 0 else None


def in_words(part: Judgements) -> list[str]:
    """How far the people behind votes agree, and how many are enough, in sentences."""
    votes = part.votes
    if votes is None:
        return []
    if part.protocol == "rating":
        size = int(votes.groupby("item").size().median())
        means = rating.reliability(
            part.table[value_column(part.table)], part.table["std"], part.table["raters"]
        )
        known = "" if np.isnan(means) else f"; reliability of the means {means:.3f}"
        said = [f"ICC(2,1) {icc(votes):.3f}, ICC(2,{size}) {icc(votes, size):.3f}{known}"]
    else:
        agree = two_people(votes)
        if agree.empty:
            return ["no item has two votes that a ceiling may be taken from"]
        said = [
            f"two people agree in {agree.mean():.4f} of cases ({len(agree):,} items with two votes "
            "or more)"
        ]
    number = raters_enough(votes)
    if number is None:
        return [*said, "no number of raters settles the ceiling"]
    what = "raters an item are enough for the ceiling to move by less than a point"
    return [*said, f"{number:,} {what}"]
