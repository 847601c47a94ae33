"""Scale values from choices between two images of one reference, so that they rank as ratings do.

Conventions
-----------
Choices are judgements of ``reference, a, b, p_b`` with ``votes`` (1 where there is no such
column), ``p_b`` the share of people who found b better. An image's quality q is such that b is
chosen with chance F(q_b - q_a): the logistic function of Bradley and Terry (1952,
doi:10.1093/biomet/39.3-4.324), or the normal one of Thurstone's case V (1927,
doi:10.1037/h0070288; one unit is the deviation of a difference). Nothing was compared across
references: the qualities of a reference have mean 0 and mean nothing beside another's; within a
reference they rank.

The fit is penalised maximum likelihood: RIDGE times the sum of squares keeps an image that always
won finite. Errors are of the sandwich kind (Huber 1967; White 1982), robust to votes that vary
more than the model says; with single votes, those of one person count as dependent.
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit, log_ndtr, ndtr, ndtri

from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.errors import DataError

Array = NDArray[np.float64]
Model = Literal["bradley-terry", "thurstone"]

RIDGE = 1e-3
STEPS, CHANGE = 200, 1e-10


def scale(part: Judgements, model: Model = "bradley-terry") -> tuple[pd.DataFrame, list[str]]:
    """A rating table of the images that were chosen between, and what there is to say of it.

    ``reference, distorted, quality, low, high, std, raters``: a 95 % interval and, as of any
    rating, the deviation and number of votes, so that std / sqrt(raters) is the standard error.

    Raises
    ------
    DataError : the judgements are none of this protocol.
    """
    if part.protocol != "2afc":
        raise DataError(f"{part.dataset}: scale values need reference, a, b and p_b or choice")
    table, votes = part.table, part.votes
    weight = table["votes"].to_numpy(float) if "votes" in table else np.ones(len(table))
    found, said = [], []
    for reference, rows in table.groupby("reference", sort=False).indices.items():
        names = pd.unique(pd.concat([table["a"].iloc[rows], table["b"].iloc[rows]]))
        place = pd.Series(range(len(names)), index=names)
        a, b = (np.asarray(place[table[side].iloc[rows]], dtype=np.intp) for side in "ab")
        p = table["p_b"].to_numpy(float)[rows]
        groups, group = connected_components(coo_matrix((p + 1, (a, b)), (len(names),) * 2))
        if groups > 1:
            said.append(f"{reference}: its images fall into {groups} groups never compared")
        quality = fit(a, b, p, weight[rows], len(names), model)
        if votes is None:
            item = who = np.arange(len(rows), dtype=np.intp)
            value, n = p, weight[rows]
        else:
            own = votes[votes["item"].isin(rows)]
            item = np.asarray(pd.Series(range(len(rows)), index=rows)[own["item"]], dtype=np.intp)
            value, n = own["value"].to_numpy(float), np.ones(len(own))
            who = pd.factorize(own["rater"])[0]
        cov = sandwich(quality, a[item], b[item], value, n, who, model)
        middle = (group[:, None] == group) / np.bincount(group)[group]  # each group's mean
        quality = quality - middle @ quality
        rest = np.eye(len(names)) - middle
        error = np.sqrt(np.diag(rest @ cov @ rest.T))
        raters = np.bincount(np.r_[a, b], np.r_[weight[rows], weight[rows]], len(names))
        found.append(
            pd.DataFrame(
                {
                    "reference": reference,
                    "distorted": names,
                    "quality": quality,
                    "low": quality - ndtri(0.975) * error,
                    "high": quality + ndtri(0.975) * error,
                    "std": error * np.sqrt(raters),
                    "raters": raters,
                }
            )
        )
    said.append("qualities are comparable within a reference only: their mean is 0 in each")
    return pd.concat(found, ignore_index=True), said


def fit(
    a: NDArray[np.intp], b: NDArray[np.intp], p: Array, n: Array, images: int, model: Model,
    ridge: float = RIDGE,
) -> Array:  # fmt: skip
    """Qualities (images,) that maximise the penalised likelihood, by damped Fisher scoring.

    `a, b` (choices,) are the images that were shown, `p, n` (choices,) the share of the votes for
    b and their number.
    """

    def loss(q: Array) -> float:
        d = q[b] - q[a]
        log = log_expit if model == "bradley-terry" else log_ndtr
        return float(-(n * (p * log(d) + (1 - p) * log(-d))).sum() + ridge * (q**2).sum())

    quality = np.zeros(images)
    best = loss(quality)
    for _ in range(STEPS):
        score, info = _derivatives(quality, a, b, p, n, model)
        gradient = np.zeros(images)
        np.add.at(gradient, b, score)
        np.add.at(gradient, a, -score)
        gradient -= 2 * ridge * quality
        step = np.linalg.solve(_information(info, a, b, images, ridge), gradient)
        while (now := loss(quality + step)) > best and np.abs(step).max() > CHANGE:
            step = step / 2
        quality, best = quality + step, min(now, best)
        if np.abs(step).max() < CHANGE:
            break
    return quality - quality.mean()


def sandwich(
    quality: Array, a: NDArray[np.intp], b: NDArray[np.intp], p: Array, n: Array,
    who: NDArray[np.intp], model: Model, ridge: float = RIDGE,
) -> Array:  # fmt: skip
    """Covariance (images, images) of fitted qualities; rows of the same `who` are dependent.

    A row of n > 1 votes (its p their share) counts as n independent ones of one person each.
    """
    images = len(quality)
    _, info = _derivatives(quality, a, b, p, n, model)
    bread = np.linalg.inv(_information(info, a, b, images, ridge))
    if (n > 1).any():
        yes, _ = _derivatives(quality, a, b, np.ones_like(p), np.ones_like(p), model)
        no, _ = _derivatives(quality, a, b, np.zeros_like(p), np.ones_like(p), model)
        meat = _information(n * (p * yes**2 + (1 - p) * no**2), a, b, images, 0.0)
        return bread @ meat @ bread
    score, _ = _derivatives(quality, a, b, p, n, model)
    people = int(who.max()) + 1
    by_person = np.zeros((people, images))
    np.add.at(by_person, (who, b), score)
    np.add.at(by_person, (who, a), -score)
    correction = people / max(people - 1, 1)
    return correction * bread @ (by_person.T @ by_person) @ bread


def _derivatives(
    quality: Array, a: NDArray[np.intp], b: NDArray[np.intp], p: Array, n: Array, model: Model
) -> tuple[Array, Array]:
    """Score of each row with respect to q_b - q_a, and its expected information."""
    d = quality[b] - quality[a]
    if model == "bradley-terry":
        f = expit(d)
        return n * (p - f), n * f * (1 - f)
    f = np.clip(ndtr(d), 1e-12, 1 - 1e-12)
    density = np.exp(-(d**2) / 2) / np.sqrt(2 * np.pi)
    slope = density / (f * (1 - f))
    return n * (p - f) * slope, n * density * slope


def _information(
    info: Array, a: NDArray[np.intp], b: NDArray[np.intp], images: int, ridge: float
) -> Array:
    """Sum of info (e_b - e_a)(e_b - e_a)' with twice the ridge on the diagonal."""
    found = 2 * ridge * np.eye(images)
    for x, y, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
        np.add.at(found, (x, y), sign * info)
    return found
