"""Where the time of a run went."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

#: Metrics that are named in `Clock.__str__`.
NAMED = 3


class Clock:
    """Seconds by what they were spent on.

    Attributes
    ----------
    spent : (what, ``image``, ``pair`` or empty: what it is done once for) -> seconds.
    metrics : those of `what` that are metrics.
    """

    def __init__(self) -> None:
        self.spent: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.metrics: set[str] = set()

    @contextmanager
    def time(self, what: str, once: str = "", metric: bool = False) -> Iterator[None]:
        """Counts the time inside. On a GPU it is that of giving the work, not of doing it."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what, once] += time.perf_counter() - began
            if metric:
                self.metrics.add(what)

    def seconds(self, once: str) -> float:
        """What was spent on things done once an image, or once a pair."""
        return sum(took for (_, of), took in self.spent.items() if of == once)

    def __str__(self) -> str:
        """One sentence.

        >>> clock = Clock()
        >>> clock.spent.update({("networks", "image"): 2.0, ("fsim", "image"): 5.0})
        >>> clock.metrics.add("fsim")
        >>> str(clock)
        'Took 7.0 s: metrics 5.0 s (fsim 5.0), networks 2.0 s.'
        """
        by_name: defaultdict[str, float] = defaultdict(float)
        for (what, _), took in self.spent.items():
            by_name[what] += took
        total = sum(by_name.values())
        own = sorted(((by_name.pop(name), name) for name in self.metrics), reverse=True)
        by_name["metrics"] = sum(took for took, _ in own)
        first = [f"{name} {took:.1f}" for took, name in own[:NAMED]]
        first += [f"others {sum(took for took, _ in own[NAMED:]):.1f}"] if own[NAMED:] else []
        parts = [
            f"{what} {took:.1f} s" + (f" ({', '.join(first)})" if what == "metrics" else "")
            for what, took in sorted(by_name.items(), key=lambda entry: -entry[1])
            if took >= 0.05
        ]
        return f"Took {total:.1f} s: {', '.join(parts)}."
