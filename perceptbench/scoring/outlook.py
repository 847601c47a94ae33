"""What a job will do and how long it will take, told before it is done."""

from dataclasses import dataclass

import torch

from perceptbench.scoring import crossed
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.engine import Job
from perceptbench.scoring.walk import Walk, keys_of

#: Of a metric that is compiled: the share of its time that it saves, and the seconds it takes.
FUSING_SAVES, FUSING_TAKES = 0.8, 10.0


@dataclass(frozen=True)
class Outlook:
    """A job as told to people.

    Attributes
    ----------
    images, pairs : unique ones.
    passes : (network and weights, input size, taps, primitives, images to encode).
    opaque : metrics that see the images themselves, with the pairs to compute.
    stored : share of the primitives of all pairs that is stored already.
    shards : parts in which it is computed.
    image_bytes : an encoded image with all that is kept of it; 0 where nothing is to do.
    seconds : how long it will take, about; None where no image can be read.
    """

    images: int
    pairs: int
    passes: list[tuple[str, str, int, int, int]]
    opaque: list[tuple[str, int]]
    stored: float
    shards: int
    image_bytes: int
    seconds: float | None

    def __str__(self) -> str:
        lines = [f"{self.pairs:,} pairs of {self.images:,} images; shards to do: {self.shards:,}"]
        for title, handling, taps, primitives, images in self.passes:
            lines.append(
                f"  network {title} ({handling}): {images:,} images forward, {taps} taps, "
                f"{primitives} distances a pair"
            )
        for pairs in dict.fromkeys(pairs for _, pairs in self.opaque):
            titles = ", ".join(title for title, count in self.opaque if count == pairs)
            lines.append(f"  on the images themselves, {pairs:,} pairs: {titles}")
        lines.append(f"  {100 * self.stored:.0f} % is stored already")
        if self.image_bytes:
            lines.append(f"  an encoded image takes {self.image_bytes / 2**20:.1f} MiB")
        took = "not known: no image can be read" if self.seconds is None else duration(self.seconds)
        return "\n".join([*lines, f"  about {took}"])


def outlook(job: Job) -> Outlook:
    """Looks at a job that has recalled what is stored, and tries a few of its pairs."""
    work = list(job.missing())
    everything = len(job.rows) * max(1, len(job.values))
    known = sum(int((values == values).sum()) for values in job.values.values())
    passes, opaque = [], []
    for feature_pass in job.plan.passes:
        mine = [rows for rows, ids in work if set(ids) & feature_pass.primitives.keys()]
        images = sum(len(keys_of(job.rows[n] for n in rows)) for rows in mine)
        backbone = feature_pass.backbone
        size = backbone.input.resize
        handling = "native size" if size == "none" else f"resized to {size}"
        counts = len(backbone.taps), len(feature_pass.primitives), images
        passes.append((feature_pass.title, handling, *counts))
    for id_, metric in job.plan.opaque.items():
        title = metric.title if metric.stored else f"{metric.title} (not stored)"
        opaque.append((title, sum(len(rows) for rows, ids in work if id_ in ids)))
    return Outlook(
        len(keys_of(job.rows)),
        len(job.rows),
        passes,
        opaque,
        known / everything if everything else 1.0,
        len(work),
        job.footprint if work else 0,
        _seconds(job, work),
    )


def _seconds(job: Job, work: list[tuple[list[int], list[str]]]) -> float | None:
    """Time for all that is missing, from that for one pair: what each image and each pair takes."""
    if not work:
        return 0.0
    rows, ids = work[0]
    for row in (job.rows[n] for n in rows):
        images = [(key, job.read(key)) for key in keys_of([row])]
        if all(image is not None for _, image in images):
            break
    else:
        return None
    assert job.footprint  # has warmed up
    clock = Clock()
    walk = Walk(job.plan, job.device, job.options.precision, clock=clock)
    with torch.inference_mode():
        walk.shard([row], ids, iter([(key, image) for key, image in images if image is not None]))
    per_image, per_pair = clock.seconds("image") / len(images), clock.seconds("pair")
    fused = [m.title for id_, m in job.plan.opaque.items() if m.fuses and id_ in ids]
    fused = fused if job.compiles() else []
    per_pair -= FUSING_SAVES * sum(clock.spent[title, "pair"] for title in fused)
    seconds = FUSING_TAKES * len(fused)
    for shard in ([job.rows[n] for n in rows] for rows, _ in work):
        encoded = len(keys_of(shard))
        seconds += per_image * encoded + per_pair * len(shard)
        if crossed.pays(shard, job.device):
            together = crossed.COST * encoded**2 / 2
            seconds += (together - len(shard)) * clock.spent["distances", "pair"]
    return seconds


def duration(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``.

    >>> duration(0.3), duration(95), duration(7500)
    ('less than a second', '1 min 35 s', '2 h 5 min')
    """
    if seconds < 1:
        return "less than a second"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
