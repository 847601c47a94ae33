"""Judged items as the HTML page needs them: scatter points, and image strips of disputed ones."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from perceptbench.datasets.manifest import Manifest, find_manifest
from perceptbench.errors import PerceptbenchError
from perceptbench.reporting.disputed import Items, answer, disputed
from perceptbench.reporting.leaderboard import Column, estimate
from perceptbench.reporting.result import Run

#: Disputed items shown of each judgement table.
DISPUTED = 8
#: Numbers in the scatter plots of one page, and points of one plot: for the file's size.
NUMBERS, MOST_POINTS, LEAST_POINTS = 200_000, 1500, 200
PEOPLE_TITLE = {
    "p_b": "share of people who find b closer",
    "p_same": "share of people who see no difference",
    "quality": "quality as people rate it",
    "impairment": "impairment as people rate it",
}


class Images:
    """The images a page names, each once; it counts them by their place in `known`."""

    def __init__(self, run: Run) -> None:
        table = run.pictures
        keys = zip(table["dataset"], table["image"], strict=True)
        self._pictures = dict(zip(keys, table["picture"], strict=True))
        self._manifests = {
            name: known_manifest(name) for name in {p.dataset for p in run.judgements}
        }
        self._places: dict[tuple[str, str], int] = {}
        #: ``key``, ``picture`` (a data URI or None) and ``words``, its manifest's, of each
        self.known: list[dict[str, str | None]] = []

    def place(self, dataset: str, key: str) -> int:
        """The image's place in `known`."""
        if (dataset, key) not in self._places:
            self._places[dataset, key] = len(self.known)
            picture = self._pictures.get((dataset, key))
            manifest = self._manifests[dataset]
            words = manifest.in_words(key) if manifest else ""
            self.known.append(
                {"key": key, "picture": picture and data_uri(picture), "words": words}
            )
        return self._places[dataset, key]


def known_manifest(dataset: str) -> Manifest | None:
    """None of a dataset of the user's own."""
    try:
        return find_manifest(dataset)
    except PerceptbenchError:
        return None


def data_uri(picture: bytes) -> str:
    """A PNG or JPEG file as a data URI."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def item_sets(run: Run, tables: Sequence[Items], images: Images) -> list[dict[str, Any]]:
    """The points of the scatter plots, one entry a judgement table.

    Tables of many items are thinned evenly: the page says how many it shows.
    """
    budget = NUMBERS // max(1, sum(len(items.metrics) for items in tables))
    most = min(MOST_POINTS, max(LEAST_POINTS, budget))
    return [_item_set(run, items, images, most) for items in tables]


def _item_set(run: Run, items: Items, images: Images, most: int) -> dict[str, Any]:
    total, part, said = len(items.images), items.part, answer(items.part)
    shown = np.arange(total) if total <= most else np.arange(most) * total // most
    return {
        "title": items.title + f" ({most:,} of {total:,} items shown)" * (total > most),
        "protocol": part.protocol,
        "answer": said,
        "people_title": PEOPLE_TITLE[said],
        "roles": list(items.images.columns),
        "rows": [
            [images.place(part.dataset, key) for key in row]
            for row in items.images.iloc[shown].itertuples(index=False)
        ],
        "people": [_rounded(v) for v in items.people[shown]],
        "signal": [[_rounded(v) for v in column] for column in items.signal[shown].T],
        "told": _told(run, items),
        "curves": _curves(run, items),
    }


def _curves(run: Run, items: Items) -> list[dict[str, Any] | None]:
    part, table = items.part, run.curves
    key = table[["dataset", "slice", "protocol"]] == [part.dataset, part.slice, part.protocol]
    here = table[key.all(axis=1)]
    points = {
        metric: {side: [_rounded(v) for v in rows[side]] for side in "xy"}
        for metric, rows in here.groupby("metric")
    }
    return [points.get(metric) for metric in items.metrics]


def _rounded(value: float) -> float | None:
    """Four significant digits: finer than a pixel of a plot."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _told(run: Run, items: Items) -> list[str]:
    """``srcc 0.384 [0.029, 0.663]``: the leaderboard's figures of one table, for each metric."""
    said: dict[str, list[str]] = {metric: [] for metric in items.metrics}
    for statistic in items.part.statistics:
        column = Column(items.part.dataset, items.part.slice, statistic)
        rows = column.rows(run.agreement).dropna(subset="value")
        for metric, *figure in rows[["metric", "value", "low", "high"]].itertuples(index=False):
            if metric in said:
                said[metric].append(f"{statistic} {estimate(*figure, places=3)}")
    return [", ".join(figures) for figures in said.values()]


def disputed_strips(items: Items, images: Images) -> dict[str, Any] | None:
    """The most disputed items of one judgement table; None where there are none."""
    strips = [_strip(items, item, images) for item in disputed(items, DISPUTED)]
    return {"title": items.title, "strips": strips} if strips else None


def _strip(items: Items, item: int, images: Images) -> dict[str, Any]:
    shown = []
    for role, key in items.images.iloc[item].items():
        place = images.place(items.part.dataset, key)
        words = images.known[place]["words"]
        shown.append({"role": role, "name": key, "words": words, "place": place})
    about = ""
    if not any(image["words"] for image in shown):  # only files: ``blur, level 3``
        row = items.about.iloc[item].dropna()
        about = ", ".join(
            f"level {v}".removesuffix(".0") if c == "level" else str(v) for c, v in row.items()
        )
    sides = _sides_2afc if items.part.protocol == "2afc" else _sides
    said = {"people": _people_say(items, item), "sides": sides(items, item)}
    return {"images": shown, "about": about, **said}


def _people_say(items: Items, item: int) -> str:
    value = items.people[item]
    if answer(items.part) == "p_b":
        side, share = ("b", value) if value >= 0.5 else ("a", 1 - value)
        return f"{100 * share:.0f} % of people find {side} closer to the reference"
    if answer(items.part) == "p_same":
        return f"{100 * value:.0f} % of people see no difference"
    badness = items.people if answer(items.part) == "impairment" else -items.people
    worse = (badness > badness[item]).sum()
    return (
        f"people: {answer(items.part)} {value:.3g}; they find {worse:,} of the "
        f"{len(badness) - 1:,} other items less alike"
    )


def _sides_2afc(items: Items, item: int) -> list[dict[str, Any]]:
    signal = items.signal[item]
    sides = (("find a closer:", signal < 0), ("find b closer:", signal > 0),
             ("see no difference:", signal == 0))  # fmt: skip
    return [_side(items, title, np.flatnonzero(which)) for title, which in sides if which.any()]


def _sides(items: Items, item: int) -> list[dict[str, Any]]:
    rank = items.ranks[item]
    order = np.argsort(rank, kind="stable")
    known = [int(i) for i in order if np.isfinite(rank[i])]
    thirds = (("among the most alike:", [i for i in known if rank[i] < 1 / 3]),
              ("in the middle:", [i for i in known if 1 / 3 <= rank[i] <= 2 / 3]),
              ("among the least alike:", [i for i in known if rank[i] > 2 / 3]))  # fmt: skip
    return [_side(items, title, which) for title, which in thirds if which]


def _side(items: Items, title: str, which: Iterable[int]) -> dict[str, Any]:
    return {"title": title, "metrics": [{"index": int(i), "name": items.metrics[i]} for i in which]}
