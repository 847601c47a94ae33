"""What is computed once, what together, and what decides a stored number."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from perceptbench.losses import Backbone, Composite, FeatureLoss, Input, PixelLoss, Term
from perceptbench.losses.backbones import load_network
from perceptbench.metrics.pixel import mse
from perceptbench.scoring.plan import make_plan, tiles

TAPS = ["features.1", "features.4"]


@pytest.fixture(scope="module")
def network():
    return load_network("squeezenet1_1")


def loss(network, *terms, **options):
    return FeatureLoss(Backbone(network, [t.tap for t in terms], **options), terms)


def test_losses_that_differ_in_weights_share_all_their_primitives(network):
    plan = make_plan(
        {
            f"l2 {w}": loss(network, Term(TAPS[0], "l2", w), Term(TAPS[1], "l2", 1 - w))
            for w in (0.25, 0.5, 0.75)
        }
    )
    assert len(plan.passes) == 1 and len(plan.primitives) == 2
    values = dict(zip(plan.primitives, (np.array([4.0]), np.array([8.0])), strict=True))
    assert {k: v.item() for k, v in plan.combine(values).items()} == {
        "l2 0.25": 7.0, "l2 0.5": 6.0, "l2 0.75": 5.0
    }  # fmt: skip


def test_cosine_and_unit_normalised_are_one_primitive(network):
    equal = torch.ones(64)
    plan = make_plan(
        {
            "cosine": loss(network, Term(TAPS[0], "cosine")),
            "again": loss(network, Term(TAPS[0], "cosine", 3.0)),
            "lpips": loss(network, Term(TAPS[0], "unit_normalised", 1.0, 2 * equal)),
        }
    )
    assert len(plan.primitives) == 2
    assert plan.metrics["again"][0][1] == 3 * plan.metrics["cosine"][0][1]


def test_other_input_handling_is_another_pass(network):
    handling = Input(mean=(0.5,) * 3)
    plan = make_plan(
        {
            "as it was trained": loss(network, Term(TAPS[0], "l2")),
            "otherwise": loss(network, Term(TAPS[0], "l2"), input=handling),
        }
    )
    assert len(plan.passes) == 2 and len(set(plan.primitives)) == 2


def test_a_composite_joins_the_pass_of_its_feature_terms(network):
    perceptual = loss(network, Term(TAPS[0], "l2", 2.0))
    both = Composite({"pixel": (1.0, PixelLoss("l1")), "perceptual": (0.1, perceptual)})
    plan = make_plan({"perceptual": perceptual, "both": both}, identities={"both": "hash"})
    (feature_pass,) = plan.passes
    (distance,) = feature_pass.primitives
    assert dict(plan.metrics["both"])[distance] == pytest.approx(0.2)
    assert len(plan.opaque) == 1 and next(iter(plan.opaque.values())).stored


def test_an_id_changes_when_the_numbers_would(network):
    def address(*terms, model=network, precision="fp32", **options):
        (id_,) = make_plan({"x": loss(model, *terms, **options)}, precision=precision).primitives
        return id_

    head = torch.rand(64)
    term = Term(TAPS[0], "l2")
    assert address(term) == address(Term(TAPS[0], "l2", 5.0))  # a weight is no part of it
    assert address(term) == address(term, model=load_network("squeezenet1_1"))
    different = {
        address(term),
        address(Term(TAPS[1], "l2")),
        address(Term(TAPS[0], "l1")),
        address(Term(TAPS[0], "l2", reduction="sum")),
        address(Term(TAPS[0], "unit_normalised", 1.0, head)),
        address(Term(TAPS[0], "unit_normalised", 1.0, head + 1e-6)),
        address(term, model=load_network("squeezenet1_1", seed=1)),
        address(term, model=load_network("squeezenet1_1", pooling="average")),
        address(term, precision="bf16"),
        address(term, input=Input(resize=64)),
    }
    assert len(different) == 10


def test_what_decides_nothing_known_is_not_stored():
    plan = make_plan({"known": mse, "unknown": mse}, identities={"known": "mse 1"})
    assert sorted(o.title for o in plan.opaque.values() if o.stored) == ["known"]
    assert len(plan.groups) == 1


names = st.integers(0, 12).map(str)


@given(st.lists(st.tuples(names, names), min_size=1, max_size=60), st.integers(2, 8))
def test_every_pair_is_in_one_tile_of_few_images(rows, most):
    found = tiles(rows, most)
    assert sorted(n for tile in found for n in tile) == list(range(len(rows)))
    assert all(len({key for n in tile for key in rows[n]}) <= max(2, most) for tile in found)


def test_a_reference_and_its_distortions_stay_together():
    rows = [(f"r{r}", f"r{r} {d}") for r in range(10) for d in range(20)]
    found = tiles(rows, 64)
    assert len(found) == 4  # three references of 21 images each, and the last one
    assert sum(len({key for n in tile for key in rows[n]}) for tile in found) == 210


def test_all_against_all_is_cut_into_blocks():
    rows = [(str(a), str(b)) for a in range(40) for b in range(40) if a != b]
    found = tiles(rows, 20)
    loads = sum(len({key for n in tile for key in rows[n]}) for tile in found)
    assert loads <= 10 * 20 and len(found) <= 10  # not 1560 pairs of two images
