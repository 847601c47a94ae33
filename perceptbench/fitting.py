"""Weights of a feature loss learned from people's judgements: judgements -> distances -> weights.

The model and its objective are in `perceptbench.agreement.nonnegative`. Here the columns are made
(one a tap from the scoring engine, or with ``heads`` one a channel of a tap), training is kept
apart from testing, and the result is written as a loss file.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from tqdm import tqdm

from perceptbench.agreement import evaluate, nonnegative
from perceptbench.agreement.evaluate import Evaluation
from perceptbench.agreement.items import Items, collect
from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements, pairs
from perceptbench.errors import DataError, PerceptbenchError, UsageError, absent
from perceptbench.metrics.protocol import MetricInfo
from perceptbench.reporting.result import STRESS_POWER
from perceptbench.run import build_metrics, on_a_device, score_all
from perceptbench.scoring.options import DEFAULT, Options

if TYPE_CHECKING:
    from perceptbench.losses.feature_loss import FeatureLoss

FITTED, EQUAL = "fitted", "equal weights"
#: Distances that grow otherwise than as the square of the difference.
SCALES: dict[str, Literal["linear", "ordinal"]] = {
    "l1": "linear",
    "mean_feature": "linear",
    "contextual": "ordinal",
}
#: Distances whose primitives are one a channel, and what they are times these.
HEADED = {"unit_normalised": 1.0, "cosine": 0.5}
#: Bytes of prepared activations kept while per-channel distances are taken.
KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Form:
    """The loss whose weights are learned.

    Attributes
    ----------
    backbone : the table ``[backbone]`` of a loss file; paths in it absolute.
    heads : whether a weight is learned for every channel, as in LPIPS, or one for every tap.

    Raises
    ------
    UsageError : no tap, one given twice, or heads for a distance that has none.
    """

    backbone: dict[str, Any]
    taps: tuple[str, ...]
    distance: str = "unit_normalised"
    heads: bool = False

    def __post_init__(self) -> None:
        if not self.taps or len(set(self.taps)) < len(self.taps):
            raise UsageError(f"taps have to be different layers, got {', '.join(self.taps)}")
        if self.heads and self.distance not in HEADED:
            raise UsageError(
                f"per-channel heads need the distance {' or '.join(HEADED)}, not {self.distance!r}"
            )

    @property
    def scale(self) -> Literal["linear", "squared", "ordinal"]:
        """How the distance grows with the difference, see `MetricInfo`."""
        return SCALES.get(self.distance, "squared")

    def tables(self, weights: Sequence[float], heads: Sequence[Any] = ()) -> dict[str, Any]:
        """The tables of a loss file with these weights, one a tap; heads likewise."""
        rows = []
        for number, (layer, weight) in enumerate(zip(self.taps, weights, strict=True)):
            row: dict[str, Any] = {"layer": layer, "distance": self.distance, "weight": weight}
            if heads:
                row |= {"distance": "unit_normalised", "head": heads[number]}
            elif self.distance == "unit_normalised":
                row["head"] = [1.0]
            rows.append(row)
        return {"tap": rows, "backbone": self.backbone}

    def info(self, name: str, tables: dict[str, Any]) -> MetricInfo:
        """These tables as a metric."""
        return MetricInfo(name=name, title=name, source=name, loss=tables, scale=self.scale)


@dataclass
class Fit:
    """What `fit` found."""

    tables: dict[str, Any]  # of the loss file, fitted to everything in the training set
    weights: np.ndarray  # one a column of the fit, (k,)
    shares: dict[str, float]  # tap -> its part of the loss, on average over the training pairs
    cross_validated: Evaluation | None = None  # None where there are too few references
    tested: Evaluation | None = None
    notes: list[str] = field(default_factory=list)  # what has to be known to read the figures
    complete: bool = True  # whether every pair could be scored


@dataclass(frozen=True)
class _Columns:
    """Distances of the pairs of a dataset: scores (dataset, reference, distorted, k columns).

    `lost`: why pairs could not be scored, one reason a pair; they are not among the scores.
    """

    names: list[str]
    tap: list[int]
    scores: pd.DataFrame
    lost: list[str]

    def notes(self) -> list[str]:
        """What has to be said of the pairs that are lost."""
        if not self.lost:
            return []
        pairs = f"{len(self.lost)} of {len(self.lost) + len(self.scores)} pairs"
        return [f"{pairs} cannot be scored and are left out; the first: {self.lost[0]}"]

    @property
    def values(self) -> np.ndarray:
        return self.scores[self.names].to_numpy(float)

    def items(self, parts: Sequence[Judgements]) -> list[Items]:
        return [collect(part, self.scores, self.names, {}) for part in parts]


def fit(
    train: Dataset,
    form: Form,
    *,
    test: Dataset | None = None,
    beside: Sequence[MetricInfo] = (),
    folds: int = 5,
    ridge: float = nonnegative.RIDGE,
    weights_dir: Path | None = None,
    options: Options = DEFAULT,
    seed: int = 0,
) -> Fit:
    """Learns the weights of a loss, and measures them on references they were not learned from.

    Intervals are those of the judgements that are tested on and take the weights as they are.

    Parameters
    ----------
    train, test : 2AFC or ratings to learn from, others to measure on; see `of_split`.
    beside : metrics to measure, too.
    folds : of the cross-validation by reference, at least 2.
    ridge : see `agreement.nonnegative`.
    seed : of the folds and of the drawn pairs of ratings.

    Raises
    ------
    UsageError : a reference to test on is one that was trained on; neither a test set nor two
        references; nothing in 2AFC or ratings; an unknown tap, network or distance; heads in
        another precision than fp32 or over a cluster.
    DataError : nothing can be scored or learned.
    """
    for info in beside:
        if info.name in (FITTED, EQUAL):
            raise UsageError(f"a metric beside the fitted loss cannot be called {info.name!r} too")
    train = _fitting_parts(train)
    references = [r for part in train.judgements for r in part.table["reference"]]
    count = min(folds, len(set(references)))
    if test is not None:
        test = _fitting_parts(test)
        refuse_overlap(train, test)
    elif count < 2:
        raise UsageError(
            f"{train.name} has one reference: none can be left out; give --test a set to test on"
        )
    if form.heads and (options.precision, options.engine) != ("fp32", "local"):
        raise UsageError(
            "heads are learned in fp32 on this machine: leave out --precision, --engine"
        )
    options = on_a_device(options)
    columns = _columns(train, form, weights_dir, options)
    items = columns.items(train.judgements)
    weights = nonnegative.fit_items(items, ridge, seed)
    parts, tap = columns.values.mean(axis=0) * weights, np.asarray(columns.tap)
    shares = {t: float(parts[tap == n].sum() / parts.sum()) for n, t in enumerate(form.taps)}
    found = Fit(_tables(form, columns, weights), weights, shares)
    found.notes, found.complete = columns.notes(), not columns.lost
    if train.name not in found.tables.setdefault("trained_on", []):
        found.tables["trained_on"].append(train.name)

    def measured(dataset: Dataset, columns: _Columns, fitted: np.ndarray) -> Evaluation:
        scores = columns.scores[["dataset", "reference", "distorted"]].copy()
        scores[FITTED], scores[EQUAL] = fitted, columns.values.sum(axis=1)
        power = dict.fromkeys((FITTED, EQUAL), STRESS_POWER[form.scale])
        if beside:
            metrics, skipped, _ = build_metrics(beside, weights_dir)
            found.notes += [f"{name} is left out: {why}" for name, why in skipped.items()]
            if metrics:
                theirs = score_all([dataset], metrics, options, weights_dir)[0]
                scores = scores.merge(theirs, on=["dataset", "reference", "distorted"], how="left")
                power |= {m.info.name: STRESS_POWER[m.info.scale] for m in metrics}
        return evaluate(
            dataset.judgements, scores, metrics=list(power), stress_power=power, ranked_only=True
        )

    if count >= 2:
        fold_of = nonnegative.folds(references, count, seed)
        by_fold = nonnegative.held_out_weights(items, fold_of, ridge, seed)
        fold = columns.scores["reference"].map(fold_of).to_numpy()
        held_out = np.einsum("nk,nk->n", columns.values, by_fold[fold])
        found.cross_validated = measured(train, columns, held_out)
        for part in train.judgements:
            if shared := nonnegative.shared_images(part.table, fold_of):
                found.notes.append(
                    f"{part.dataset} {part.slice}: {shared:.0%} of the judgements left out show "
                    "an image that was also shown, with another reference, in training: the "
                    "cross-validated figure is one for new judgements, not for new images"
                )
    if test is not None:
        if shared := _seen(train, test):
            found.notes.append(
                f"{test.name}: {shared:.0%} of the judgements to test on show an image that was "
                "also shown, with another reference, in training"
            )
        columns = _columns(test, form, weights_dir, options)
        found.notes += columns.notes()
        found.complete &= not columns.lost
        found.tested = measured(test, columns, columns.values @ weights)
    return found


def of_split(dataset: Dataset, split: str | None) -> Dataset:
    """The judgements of one value of the column ``split``; all where none is named.

    Raises
    ------
    UsageError : there is no such column or value.
    """
    if split is None:
        return dataset
    having = [part for part in dataset.judgements if "split" in part.table]
    values = [part.table["split"].astype(str) for part in having]
    rows = [np.flatnonzero(column == split) for column in values]
    parts = tuple(p.rows(some) for p, some in zip(having, rows, strict=True) if len(some))
    if not parts:
        raise absent(dataset.name, "split", split, {name for column in values for name in column})
    return replace(dataset, judgements=parts)


def refuse_overlap(train: Dataset, test: Dataset) -> None:
    """Raises UsageError where a reference to test on is one that was trained on, by its pixels."""
    same = (train.name, train.folder) == (test.name, test.folder)
    advice = (
        "name disjoint splits (--train NAME:train --test NAME:val), another dataset, or leave out "
        "--test for the cross-validated figure"
    )
    ours, theirs = (
        sorted({r for part in dataset.judgements for r in part.table["reference"]})
        for dataset in (train, test)
    )
    shared = sorted(set(ours) & set(theirs)) if same else []
    if not shared:
        seen = {digest for key in ours if (digest := _pixels(train, key)) is not None}
        shared = [key for key in theirs if _pixels(test, key) in seen]
    if shared:
        raise UsageError(
            f"{len(shared)} of {len(theirs)} references of {test.name} to test on were trained "
            f"on ({shared[0]}): {advice}"
        )


def _seen(train: Dataset, test: Dataset) -> float:
    """Share of judgements to test on that show an image of the training set, by its name."""
    if (train.name, train.folder) != (test.name, test.folder):
        return 0.0
    ours, theirs = (
        [part.table[list(PROTOCOLS[part.protocol][1])] for part in dataset.judgements]
        for dataset in (train, test)
    )
    known = {image for images in ours for image in images.to_numpy().flat}
    return float(np.concatenate([images.isin(known).any(axis=1) for images in theirs]).mean())


def _pixels(dataset: Dataset, key: str) -> str | None:
    """Digest of an image; None where it cannot be read, which is told when it is scored."""
    try:
        image = dataset.load(key)
    except PerceptbenchError:
        return None
    content = f"{tuple(image.shape)}".encode() + image.numpy().tobytes()
    return hashlib.sha256(content).hexdigest()


def _fitting_parts(dataset: Dataset) -> Dataset:
    parts = tuple(p for p in dataset.judgements if p.protocol in ("2afc", "rating"))
    if not parts:
        raise UsageError(f"{dataset.name} has neither 2AFC judgements nor ratings to fit to")
    return replace(dataset, judgements=parts)


def _columns(dataset: Dataset, form: Form, weights_dir: Path | None, options: Options) -> _Columns:
    """The distances of all pairs, one column a tap or a channel of a tap."""
    if form.heads:
        return _channel_columns(dataset, form, weights_dir, options.device)
    names = [f"tap {n}" for n in range(len(form.taps))]
    infos = []
    for number, name in enumerate(names):
        alone = replace(form, taps=(form.taps[number],))
        infos.append(form.info(name, alone.tables([1.0])))
    metrics, skipped, _ = build_metrics(infos, weights_dir)
    if skipped:
        raise DataError(next(iter(skipped.values())))
    scores, failures, notes, _ = score_all([dataset], metrics, options, weights_dir)
    if notes:
        raise DataError(f"{dataset.name}: {next(iter(notes.values()))}")
    scores = scores.dropna(subset=names).drop_duplicates().reset_index(drop=True)
    return _Columns(names, list(range(len(names))), scores, list(failures["reason"]))


def _channel_columns(
    dataset: Dataset, form: Form, weights_dir: Path | None, device: str
) -> _Columns:
    """Mean squared difference of every channel of the unit-normalised activations at each tap."""
    import torch

    from perceptbench.losses.config import Networks, build_loss, parse_loss

    equal = form.tables([HEADED[form.distance]] * len(form.taps), [[1.0]] * len(form.taps))
    loss: FeatureLoss = build_loss(parse_loss(equal, "fit"), Networks(weights_dir)).to(device)  # type: ignore[assignment]
    table = pd.concat([pairs(part.table) for part in dataset.judgements]).drop_duplicates()
    kept: dict[str, list[torch.Tensor]] = {}

    def encoded(key: str) -> list[torch.Tensor]:
        if key not in kept:
            at = loss.backbone(dataset.load(key)[None].to(device))
            found = [how.embed(at[t.tap]) for t, how in zip(loss.terms, loss.how, strict=True)]
            size = sum(e.nbytes for e in found)
            while kept and (len(kept) + 1) * size > KEPT_BYTES:
                del kept[next(iter(kept))]
            kept[key] = found
        return kept[key]

    rows, values, widths, lost = [], [], [], []
    work = tqdm(table.itertuples(index=False), dataset.name, len(table), unit="pair", disable=None)
    with torch.inference_mode():
        for x, y in work:
            try:
                sides = encoded(x), encoded(y)
            except DataError as error:
                lost.append(str(error))
                continue
            if [a.shape for a in sides[0]] != [b.shape for b in sides[1]]:
                lost.append(f"{x} and {y} differ in size")
                continue
            each = [
                how.compare(a, b)[0] * term.weight
                for term, how, a, b in zip(loss.terms, loss.how, *sides, strict=True)
            ]
            widths = [len(v) for v in each]
            rows.append((dataset.name, x, y))
            values.append(torch.cat(each).cpu().numpy())
    if not rows:
        raise DataError(f"{dataset.name}: not one pair can be scored; the first: {lost[0]}")
    tap = [n for n, width in enumerate(widths) for _ in range(width)]
    names = [f"channel {n}" for n in range(len(tap))]
    keys = pd.DataFrame(rows, columns=["dataset", "reference", "distorted"])
    scores = keys.join(pd.DataFrame(np.stack(values).astype(float), columns=names))
    return _Columns(names, tap, scores, lost)


def _tables(form: Form, columns: _Columns, weights: np.ndarray) -> dict[str, Any]:
    if not form.heads:
        return form.tables([float(w) for w in weights])
    tap = np.asarray(columns.tap)
    heads = [[float(w) for w in weights[tap == n]] for n in range(len(form.taps))]
    alive = [HEADED[form.distance] if any(head) else 0.0 for head in heads]
    return form.tables(alive, heads)


def loss_toml(fit: Fit, title: str, scale: str, comments: Sequence[str] = ()) -> str:
    """The loss file of a fit.

    >>> print(loss_toml(Fit({"tap": [{"layer": "relu1", "weight": 0.5}], "trained_on": ["mine"],
    ...     "backbone": {"name": "alexnet"}}, np.ones(1), {}), "Mine", "squared", ["SRCC 0.9"]))
    # SRCC 0.9
    title = "Mine"
    scale = "squared"
    trained_on = ["mine"]
    tap = [
        { layer = "relu1", weight = 0.5 },
    ]
    <BLANKLINE>
    [backbone]
    name = "alexnet"
    <BLANKLINE>
    """
    tables = fit.tables
    lines = [f"# {line}" for text in comments for line in text.splitlines()]
    lines += [f"title = {_toml(title)}", f"scale = {_toml(scale)}"]
    lines += [f"trained_on = {_toml(tables['trained_on'])}", "tap = ["]
    for row in tables["tap"]:
        inner = ", ".join(f"{key} = {_toml(value)}" for key, value in row.items())
        lines.append(f"    {{ {inner} }},")
    lines += ["]", "", "[backbone]"]
    lines += [f"{key} = {_toml(value)}" for key, value in tables["backbone"].items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Strings, numbers and lists are written in TOML as in JSON."""
    return json.dumps(value, ensure_ascii=False)
