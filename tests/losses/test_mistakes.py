"""Every known mistake is found in a file that makes it, and not in one that does not."""

import pytest

from perceptbench.losses.config import parse_loss, read_loss
from perceptbench.losses.mistakes import mistakes

BACKBONE = {"name": "resnet18", "weights": "imagenet"}
EARLY, LATE = ({"layer": layer, "distance": "l2"} for layer in ("layer1", "layer4"))
OBJECTIVE = "as a training objective"


def found(**table):
    return mistakes(parse_loss({"backbone": BACKBONE, "tap": [EARLY, LATE], **table}, "mine.toml"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"input": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, "input: black and white reach"),
        ({"input": {"value_range": [0, 255]}}, "input: black and white reach"),
        (
            {"backbone": {**BACKBONE, "frozen": False}},
            ("backbone: frozen = false", "detach_target: the network trains"),
        ),
        ({"tap": [LATE]}, "tap: only deep ones (the finest maps have 7 x 7"),
        ({"tap": [EARLY, {**LATE, "reduction": "sum"}]}, "tap: the reductions mean and sum"),
        (
            {"tap": [{**EARLY, "reduction": "sum"}, {**LATE, "reduction": "sum"}]},
            "tap: sums over taps of 25,088 to 200,704",
        ),
    ],
)
def test_a_known_mistake_is_named_with_its_reason(table, words):
    problems = found(**table)
    for start in (words,) if isinstance(words, str) else words:
        assert any(problem.startswith(start) for problem in problems), start


def test_a_sound_file_is_only_asked_for_a_pixel_term():
    (only,) = found()
    assert only.startswith(OBJECTIVE)
    same = {"input": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}
    assert len(found(backbone={**BACKBONE, "weights": "random"}, **same)) == 1
    assert not any("detach" in m for m in found(backbone={**BACKBONE, "frozen": False},
                                                detach_target=True))  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "lpips-alex",
        "squeeze-gram",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("lpips-vgg", "dists")),
    ],
)
def test_presets_have_no_mistake(name):
    assert [m for m in mistakes(*read_loss(name)) if not m.startswith(OBJECTIVE)] == []


def test_composites_are_looked_through():
    pixel, perceptual = {"pixel": "l1"}, {"loss": "alex-l2"}
    small = {"name": "small-discriminator", "weights": "random"}
    matching = {"matching": "batch", "layers": ["relu1"], "backbone": small}
    assert mistakes(parse_loss({"term": [pixel, perceptual]}, "x")) == []
    (only,) = mistakes(parse_loss({"term": [perceptual]}, "x"))
    assert only.startswith(OBJECTIVE)
    (only,) = mistakes(parse_loss({"term": [pixel, matching]}, "x"))
    assert 'use matching = "pair"' in only
