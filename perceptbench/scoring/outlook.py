"""What a job will do and how long it will take, told before it is done."""

import torch

from perceptbench.scoring import crossed
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.engine import Job
from perceptbench.scoring.walk import Walk, keys_of

#: Of a metric that is compiled: the share of its time that it saves, and the seconds it takes.
FUSING_SAVES, FUSING_TAKES = 0.8, 10.0


def outlook(job: Job) -> tuple[str, float | None]:
    """Looks at a job that has recalled what is stored, and tries one of its pairs.

    Returns
    -------
    What it will do, in lines for people; the seconds that it will take, about, None where no image
    can be read.
    """
    work = list(job.missing())
    images = len(keys_of(job.rows))
    lines = [f"{len(job.rows):,} pairs of {images:,} images; shards to do: {len(work):,}"]
    for feature_pass in job.plan.passes:
        mine = [rows for rows, ids in work if set(ids) & feature_pass.primitives.keys()]
        forward = sum(len(keys_of(job.rows[n] for n in rows)) for rows in mine)
        size = feature_pass.backbone.input.resize
        handling = "native size" if size == "none" else f"resized to {size}"
        lines.append(
            f"  network {feature_pass.title} ({handling}): {forward:,} images forward, "
            f"{len(feature_pass.backbone.taps)} taps, {len(feature_pass.primitives)} distances a "
            "pair"
        )
    titles: dict[int, list[str]] = {}
    for id_, metric in job.plan.opaque.items():
        pairs = sum(len(rows) for rows, ids in work if id_ in ids)
        kept = "" if metric.stored else " (not stored)"
        titles.setdefault(pairs, []).append(f"{metric.title}{kept}")
    for pairs, some in titles.items():
        lines.append(f"  on the images themselves, {pairs:,} pairs: {', '.join(some)}")
    everything = len(job.rows) * max(1, len(job.values))
    known = sum(int((values == values).sum()) for values in job.values.values())
    stored = known / everything if everything else 1.0
    lines.append(f"  {100 * stored:.0f} % is stored already")
    if work and job.footprint:
        lines.append(f"  an encoded image takes {job.footprint / 2**20:.1f} MiB")
    seconds = _seconds(job, work)
    took = "not known: no image can be read" if seconds is None else duration(seconds)
    return "\n".join([*lines, f"  about {took}"]), seconds


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
