"""Losses in a training loop: derivatives of any order, tracers, bad images, frozen networks."""

import copy
import functools
import gc
import io
import pickle
import warnings
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from perceptbench.errors import UsageError
from perceptbench.losses import (
    NLPD,
    Backbone,
    Composite,
    FeatureLoss,
    FeatureMatching,
    Input,
    PixelLoss,
    Term,
    checks,
    load_loss,
    load_network,
)
from perceptbench.losses.classical import LOSSES as CLASSICAL
from perceptbench.losses.config import Networks, build_loss, parse_loss
from perceptbench.losses.distances import DISTANCES
from perceptbench.losses.pixel import KINDS
from perceptbench.metrics import memory
from perceptbench.scoring.cost import cost

#: Networks are looked through when they are loaded: once for all tests, which leave them alone.
network = functools.cache(load_network)


def pair(side=8, n=2, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 + 0.8 * torch.rand(2, n, 3, side, side, generator=generator, dtype=dtype)


def feature(distance="l2", name="small-cnn", taps=("relu1", "relu2"), **options):
    head = torch.ones(1, device="cpu") if distance == "unit_normalised" else None
    terms = [Term(t, distance, 0.5, head, p=1.5 if distance == "lp" else None) for t in taps]
    return FeatureLoss(Backbone(network(name, seed=1), taps), terms, **options)


def pyramid(distance="unit_normalised"):
    return feature(distance, "steerable-pyramid", ("octave1", "octave3"))


LOSSES = {
    **{f"pixel {kind}": lambda kind=kind: PixelLoss(kind) for kind in KINDS},
    **{name: lambda name=name: feature(name) for name in DISTANCES},
    "pyramid": pyramid,
    "matching": lambda: FeatureMatching(Backbone(network("small-cnn"), ["relu1"]), match="pair"),
    "nlpd": NLPD,
    **{name: lambda name=name: load_loss(name) for name in CLASSICAL},
    "composite": lambda: Composite({"a": (1.0, PixelLoss("l2")), "b": (2.0, feature("cosine"))}),
}
#: Sides of images that are large enough.
SIDES = {"nlpd": 33, "ssim": 12, "ms-ssim": 161, "haarpsi": 16, "vif": 41}


def along(loss, x, y):
    """The loss as a function of the way both images go along a line."""
    generator = torch.Generator().manual_seed(1)
    at_x, at_y = (torch.rand(2, *x.shape, generator=generator, dtype=x.dtype) - 0.5) / 10

    if isinstance(loss, FeatureMatching):
        at_y = torch.zeros_like(at_y)  # the real side is detached

    def value(t):
        return loss(x + t * at_x, y + t * at_y)

    return value, torch.zeros(1, dtype=x.dtype, requires_grad=True)


#: A test of the others is quick; their siblings SSIM, FSIM and VIF's pyramid, Haar wavelets, are.
DEAR = ("ms-ssim", "vif", "vsi")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in LOSSES
])  # fmt: skip
def test_second_derivatives_are_the_numerical_ones(name):
    side = SIDES.get(name, 8)
    x, y = pair(side, 1, torch.float64)
    value, at = along(LOSSES[name]().double(), x, y)
    assert torch.autograd.gradcheck(value, (at,), eps=1e-7, atol=1e-5, rtol=1e-3)
    assert torch.autograd.gradgradcheck(value, (at,), eps=1e-7, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_a_hessian_vector_product_is_finite_where_nothing_is_active(name):
    side = SIDES.get(name, 8)
    for level in (0.0, 0.5):
        x = torch.full((1, 3, side, side), level, requires_grad=True)
        (first,) = torch.autograd.grad(
            LOSSES[name]()(x, x.detach().clone()).square().sum(), x, create_graph=True
        )
        if first.requires_grad:
            (second,) = torch.autograd.grad(first.sum(), x, allow_unused=True)
            assert second is None or torch.isfinite(second).all()


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in LOSSES
])  # fmt: skip
def test_transforms_give_what_autograd_gives(name):
    x, y = pair(SIDES.get(name, 8), dtype=torch.float64)
    loss = LOSSES[name]().double()
    leaf = x.clone().requires_grad_()
    loss(leaf, y).sum().backward()
    close = torch.testing.assert_close
    close(torch.func.grad(lambda a: loss(a, y).sum())(x), leaf.grad)
    each = torch.func.vmap(lambda a, b: loss(a[None], b[None])[0])(x, y)
    close(each, loss(x, y))
    tangent = pair(x.shape[-1], dtype=torch.float64, seed=3)[0]
    value, slope = torch.func.jvp(lambda a: loss(a, y), (x,), (tangent,))
    close(value, loss(x, y))
    close(slope, (leaf.grad * tangent).sum((1, 2, 3)))
    with torch.autograd.forward_ad.dual_level():
        dual = loss(torch.autograd.forward_ad.make_dual(x, tangent), y)
        close(torch.autograd.forward_ad.unpack_dual(dual).tangent, slope)


def tokens():
    pytest.importorskip("timm", reason="timm is not installed")
    vit = network("timm:test_vit", seed=1)
    given = vit.default.model_dump() | {"resize": "none", "multiple": 16}
    backbone = Backbone(
        vit, ["blocks.0", "blocks.1.attn.k"], Input(**given | {"positions": "interpolated"})
    )
    return FeatureLoss(backbone, [Term(tap, "cosine") for tap in backbone.taps])


def exported(loss, x, y, tmp_path):
    """Of any number of images; and as it comes back from a file."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(loss, (x, y), dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(program, tmp_path / "loss.pt2")
    return torch.export.load(tmp_path / "loss.pt2").module()


def as_onnx(loss, x, y, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    path, batch = str(tmp_path / "loss.onnx"), torch.export.Dim("batch")
    torch.onnx.export(
        loss, (x, y), path, input_names=["x", "y"], dynamo=True, verbose=False,
        dynamic_shapes=({0: batch}, {0: batch}),
    )  # fmt: skip
    session = runtime.InferenceSession(path)
    return lambda x, y: torch.from_numpy(session.run(None, {"x": x.numpy(), "y": y.numpy()})[0])


def compiled(**options):
    return lambda loss, x, y, tmp_path: torch.compile(loss, **options)


#: Way -> what it makes of a loss; whether it takes another number of images; relative tolerance.
WAYS = {
    "export": (exported, True, 1e-5),
    "trace": (lambda loss, x, y, tmp_path: torch.jit.trace(loss, (x, y)), False, 1e-5),
    "whole": (compiled(backend="aot_eager", fullgraph=True), False, 1e-5),
    "inductor": (compiled(), True, 1e-4),
    "inductor, whole": (compiled(fullgraph=True), True, 1e-4),
    "onnx": (as_onnx, True, 1e-3),
}
TRACED = {
    **LOSSES,
    "lpips": lambda: feature("unit_normalised", "alexnet", ("features.1", "features.4")),
    "tokens": tokens,
}
#: What is tried in every run of the tests; to export the pyramid takes seconds.
QUICK = {("unit_normalised", "export"), ("unit_normalised", "trace"), ("pyramid", "trace")}
#: Those that are compiled: of each kind one, since the rest is hours of a compiler's work; not
#: CIEDE2000, which alone takes two minutes at any size, and jumps where hues lie half a turn apart:
#: a pixel rounded otherwise moves its gradient.
COMPILED = ("l1", "unit_normalised", "swd", "lpips", "tokens", "ssim")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param(name, way, id=f"{name}, {way}",
                     marks=[] if (name, way) in QUICK else pytest.mark.slow)
        for name in TRACED for way in WAYS
        if "inductor" not in way or name in COMPILED
    ],
)  # fmt: skip
def test_what_tracers_make_is_the_loss_and_leaves_it_alone(name, way, tmp_path):
    torch.compiler.reset()  # its limit counts the modules of all tests
    make, any_number, tolerance = WAYS[way]
    x, y = pair(max(48, SIDES.get(name, 0)))
    loss = TRACED[name]()
    expected = loss(x, y)
    call = make(loss, x, y, tmp_path)
    for images in [(x, y), pair(x.shape[-1], 5, seed=7)][: 1 + any_number]:
        torch.testing.assert_close(
            call(*images), TRACED[name]()(*images), rtol=tolerance, atol=tolerance * 1e-2
        )
    again = TRACED[name]()(x, y)  # a new module, after it
    assert type(again) is torch.Tensor and torch.equal(again, expected)
    assert torch.equal(loss(x, y), expected)
    if way == "whole" or "inductor" in way:
        ours, theirs = (
            torch.autograd.grad(one(leaf, y).sum(), leaf)[0]
            for one, leaf in ((f, x.clone().requires_grad_()) for f in (loss, call))
        )
        assert (ours - theirs).norm() <= 1e-3 * ours.norm()


CHECKED = {"l1": lambda **o: PixelLoss("l1", **o), "ciede2000": lambda **o: load_loss("ciede2000",
           **o), "nlpd": NLPD, "feature": feature,
           **{name: lambda name=name, **o: load_loss(name, **o) for name in CLASSICAL
              if SIDES.get(name, 8) <= 40},
           "matching": lambda **o: FeatureMatching(lambda images: [images], **o),
           "composite": lambda **o: Composite({"a": (1, PixelLoss("l1"))}, **o)}  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_images_that_are_no_images_are_refused(name):
    loss, (x, y) = CHECKED[name](), pair(40)
    for wrong in ((x, y[:1]), (x, y[:, :1]), (x[0], y[0]), (x, y[0, 0]), (x[..., :0], y[..., :0])):
        with pytest.raises(ValueError, match="two batches"):
            loss(*wrong)
    with pytest.raises(TypeError, match=r"floating-point.*uint8: pass images.float\(\) / 255"):
        loss((x * 255).byte(), (y * 255).byte())
    for value in (float("nan"), float("inf"), -float("inf")):
        bad = x.clone()
        bad[0, 0, 5, 5] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            loss(bad, y)
        with pytest.raises(ValueError, match="NaN or infinite"):
            loss(y, bad)
        with pytest.warns(UserWarning, match="NaN or infinite"):
            got = CHECKED[name](range="warn")(bad.clone().requires_grad_(), y)
        assert not torch.isfinite(got[0])


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *((name, False) for name in CHECKED),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in ("l1", "feature")),
    ],
)
def test_one_policy_for_values_outside_the_range(name, compiled):
    if compiled:
        torch.compiler.reset()  # its limit counts the modules of all tests
    x, y = pair(40)
    outside = {"clamp them": x + 0.2, r"\[-1, 1\]": 2 * x - 1, "divide by 255": x * 255}

    def make(policy):
        loss = CHECKED[name](range=policy)
        return torch.compile(loss, backend="aot_eager", fullgraph=True) if compiled else loss

    with pytest.raises(UsageError, match="range is one of"):
        CHECKED[name](range="loud")
    for cause, images in list(outside.items())[: 1 if compiled else 3]:
        with pytest.raises(ValueError, match=cause):
            make("warn")(images, y)
        leaf = images.clone().requires_grad_()
        loss = make("warn")
        with pytest.warns(UserWarning, match=cause):
            assert loss(leaf, y).requires_grad
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loss(leaf, y).sum().backward()  # said once
            make("ignore")(leaf, y)
            clipped = make("clip")(leaf, y)
        torch.testing.assert_close(clipped, CHECKED[name]()(images.clamp(0, 1), y))
        with pytest.raises(ValueError, match=cause):
            make("error")(leaf, y)


def test_a_compiled_loss_still_looks_at_the_range():
    torch.compiler.reset()
    loss, (x, y) = torch.compile(PixelLoss("l1"), backend="aot_eager", fullgraph=True), pair(8)
    with pytest.raises(ValueError, match="divide by 255"):
        loss(x * 255, y)
    torch.testing.assert_close(loss(x, y), PixelLoss("l1")(x, y))


class Later:
    """Stands in for an event of a device: what is sent has arrived when the test says so."""

    arrived = False

    def __init__(self, device): ...

    def record(self): ...

    def query(self):
        return Later.arrived


class Waits(TorchDispatchMode):
    """Fails where a value is read from the device, or numbers of Python's are sent to it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        assert func is not aten._local_scalar_dense.default, "the step waits for a value"
        assert func is not aten.lift_fresh.default, "the step waits for numbers to be sent"
        return func(*args, **(kwargs or {}))


def test_the_check_never_waits_for_an_accelerator(monkeypatch):
    """On a CPU that is taken for one; what arrives later is judged in the step it has arrived."""
    monkeypatch.setattr(checks, "AT_HAND", ())
    monkeypatch.setattr(torch, "Event", Later)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: empty(*a, **k))
    (x, y), Later.arrived = pair(8), False
    for policy, expect in (
        ("warn", lambda: pytest.warns(UserWarning, match=r"from 0\.1.* to 1\.1")),
        ("error", lambda: pytest.raises(ValueError, match=r"from 0\.1.* to 1\.1")),
    ):
        loss = feature("unit_normalised", range=policy)
        Later.arrived = False
        with Waits():
            loss(x.clone().requires_grad_(), y).sum().backward()
            loss((x + 0.2).requires_grad_(), y)  # once, while nothing is fetched
            loss(x.clone().requires_grad_(), y)
        Later.arrived = True
        loss(x.clone().requires_grad_(), y)  # the first values, which were good
        with expect():
            loss(x.clone().requires_grad_(), y)
    with pytest.raises(ValueError, match="losses take"), torch.no_grad():
        loss(x + 0.2, y)  # where no gradient flows at once


@pytest.mark.parametrize("name", TRACED)
def test_no_training_step_waits_for_the_device(name, monkeypatch):
    monkeypatch.setattr(checks, "AT_HAND", ())
    monkeypatch.setattr(torch, "Event", Later)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: empty(*a, **k))
    x, y = pair(SIDES.get(name, 48 if name in ("lpips", "tokens") else 24))
    loss, Later.arrived = TRACED[name](), False
    for mode in (nullcontext(), Waits()):  # what is made once is made in the first step
        with mode:
            loss(x.clone().requires_grad_(), y).sum().backward()
    with pytest.raises(AssertionError, match="waits for a value"), Waits():
        bool(x.sum() > 0)


class Model(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.net = nn.Conv2d(3, 3, 3, padding=1)
        self.loss = small_lpips(**options)


def small_lpips(**options):
    table = {
        "backbone": {"name": "small-cnn", "weights": "random"},
        "tap": [{"layer": "relu2", "distance": "unit_normalised", "head": [1.0]}],
    }
    return build_loss(parse_loss(table, "small"), Networks(), **options)


def test_a_frozen_network_is_no_part_of_the_model_that_holds_it():
    model, (x, y) = Model(), pair(16)
    assert sum(p.numel() for p in model.parameters()) == 84
    assert set(model.state_dict()) == {"net.weight", "net.bias"}
    before = model.loss(x, y)
    model.requires_grad_(False).requires_grad_(True).train()
    optimiser = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model.loss(model.net(x).sigmoid(), y).mean().backward()
        optimiser.step()
    assert torch.equal(model.loss(x, y), before)
    old = Model(registered=True)
    old.loss.load_state_dict({k: v * 0.5 for k, v in old.loss.state_dict().items()})
    assert "loss.backbone.trunk.conv1.weight" in old.state_dict()
    model.load_state_dict(old.state_dict())  # a checkpoint from when networks were submodules
    assert torch.equal(model.loss(x, y), before) and not torch.equal(old.loss(x, y), before)
    model.to_empty(device="cpu")
    assert torch.equal(model.loss(x, y), before)
    # 3 x 16, 16 x 32 kernels of 3 x 3 and biases
    assert cost(small_lpips())["parameters"] == cost(small_lpips(registered=True))["parameters"]
    assert cost(small_lpips())["parameters"] == 9 * (3 * 16 + 16 * 32) + 16 + 32


def test_a_frozen_network_follows_and_is_shared():
    (x, y), loss = pair(16), small_lpips()
    expected = loss(x, y)
    copied = copy.deepcopy(loss)
    assert copied.backbone.trunk is loss.backbone.trunk
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    for other in (pickle.loads(pickle.dumps(loss)), torch.load(file, weights_only=False)):
        assert torch.equal(other(x, y), expected)
    copied.half()
    assert {p.dtype for p in copied.backbone.trunk.parameters()} == {torch.float16}
    torch.testing.assert_close(copied(x, y), expected, rtol=0.02, atol=1e-4)
    assert torch.equal(loss(x, y), expected) and torch.equal(copied.float()(x, y), expected)
    network = load_network("small-cnn")
    first, second = (Backbone(network, [tap]).double() for tap in ("relu1", "relu2"))
    assert first.trunk.conv1.weight is second.trunk.conv1.weight
    with torch.inference_mode():
        small = small_lpips().double()
        small(x, y)
    leaf = x.double().requires_grad_()
    small(leaf, y.double()).sum().backward()
    assert leaf.grad.abs().sum() > 0


def test_a_frozen_term_and_one_that_trains_do_not_decide_for_each_other():
    network, x = load_network("small-cnn"), pair(16)[0]
    for order in ((True, False), (False, True)):
        parts = [Backbone(network, ["relu1"], frozen=frozen) for frozen in order]
        trains = {frozen: list(b.parameters()) for frozen, b in zip(order, parts, strict=True)}
        assert not trains[True] and all(p.requires_grad for p in trains[False])
        frozen = parts[order.index(True)]
        before = frozen(x)["relu1"]
        for p in trains[False]:
            p.data.zero_()
        assert torch.equal(frozen(x)["relu1"], before)
        assert not parts[order.index(False)](x)["relu1"].any()


TERMS = [{"pixel": "l1"}, {"loss": "feature.toml", "weight": 0.1},
         {"matching": "pair", "layers": ["relu1"],
          "backbone": {"name": "small-discriminator", "weights": "random"}},
         {"loss": "charbonnier"}]  # fmt: skip


def composite(folder, terms=TERMS, **options):
    (folder / "feature.toml").write_text(
        '[backbone]\nname = "small-cnn"\nweights = "random"\n[[tap]]\nlayer = "relu1"\n'
        'distance = "l2"\n'
    )
    return build_loss(parse_loss({"term": terms}, "c"), Networks(), folder, **options)


def test_the_options_of_a_composite_hold_for_every_term(tmp_path):
    x, y = pair(16)
    plain = composite(tmp_path)(x, y)
    torch.testing.assert_close(composite(tmp_path, mean=True)(x, y), plain.mean())
    places = composite(tmp_path, spatial=True)(x, y)
    assert places.shape == (2, 1, 16, 16)
    leaf, target = x.clone().requires_grad_(), y.clone().requires_grad_()
    composite(tmp_path, detach_target=True)(leaf, target).sum().backward()
    assert target.grad is None and leaf.grad.abs().sum() > 0
    table = {"term": [{"pixel": "l1"}], "detach_target": True}
    build_loss(parse_loss(table, "c"), Networks())(leaf, target).sum().backward()
    assert target.grad is None
    batch = [{**TERMS[2], "matching": "batch"}, {"pixel": "l1"}]
    with pytest.raises(UsageError, match="feature matching over the batch has no spatial map"):
        composite(tmp_path, batch, spatial=True)
    with pytest.raises(UsageError, match="term 'l1' has spatial=True, unlike the whole"):
        Composite({"l1": (1.0, PixelLoss("l1", spatial=True))})
    both = Composite({"a": (1.0, PixelLoss("l1", mean=True)), "b": (1.0, PixelLoss("l1"))})
    one = PixelLoss("l1")(x, y)
    torch.testing.assert_close(both(x, y), one + one.mean())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.float64, pytest.param(torch.bfloat16, marks=pytest.mark.slow)],
)
def test_images_of_every_type_are_taken_and_no_images_give_none(name, dtype):
    x, y = pair(max(48, SIDES.get(name, 0)))
    x, y = (x * 255).round() / 255, (y * 255).round() / 255
    loss = LOSSES[name]()
    got = loss(x.to(dtype), y.to(dtype).float())
    assert got.dtype == torch.float32 if dtype != torch.float64 else got.dtype.itemsize >= 4
    torch.testing.assert_close(got.float(), loss(x, y), rtol=0.2, atol=1e-3)
    none = x[:0].to(dtype).requires_grad_()
    value = loss(none, y[:0])
    assert value.shape == (0,) and value.dtype.itemsize >= 4
    value.sum().backward()


def test_another_default_type_or_device_changes_nothing():
    x, y = pair(40)
    for name in (
        "pyramid",
        "unit_normalised",
        "nlpd",
        "ciede2000",
        "fsim",
        "vsi",
        "watson-ahumada",
    ):
        expected = LOSSES[name]()(x, y)
        for put, what, back in (
            (torch.set_default_dtype, torch.float64, torch.float32),
            (torch.set_default_device, "meta", None),
        ):
            put(what)
            try:
                got = LOSSES[name]()(x, y)
            finally:
                put(back)
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_too_small_an_image_names_the_smallest_size():
    loss = feature("l2", "alexnet", ("features.7",))
    with pytest.raises(ValueError, match=r"alexnet as far as features.7 needs.* 31 .*16 x 40"):
        loss(*(t[..., :16] for t in pair(40)))
    assert torch.isfinite(loss(*pair(31))).all()


def test_losses_have_the_names_of_their_metrics():
    x, y = pair(40)
    for name, of in {"mse": (x - y).square(), "mae": (x - y).abs()}.items():
        torch.testing.assert_close(load_loss(name)(x, y), of.mean((1, 2, 3)))
        torch.testing.assert_close(load_loss(name, mean=True)(x, y), of.mean())
    assert torch.equal(load_loss("charbonnier")(x, y), PixelLoss("charbonnier")(x, y))
    torch.testing.assert_close(load_loss("ciede2000")(x, y), PixelLoss("ciede2000")(x, y))
    assert isinstance(load_loss("nlpd"), NLPD)
    assert torch.equal(load_loss("ssim", mean=True)(x, y), load_loss("ssim")(x, y).mean())
    with pytest.raises(UsageError, match="SSIM has no spatial map"):
        load_loss("ssim", spatial=True)
    tables = {"term": [{"loss": "mse"}, {"loss": "gmsd", "weight": 0.5}]}
    both = build_loss(parse_loss(tables, "c"), Networks())(x, y)
    torch.testing.assert_close(both, load_loss("mse")(x, y) + 0.5 * load_loss("gmsd")(x, y))
    for name in ("psnr", "vmaf"):
        with pytest.raises(UsageError, match=f"{name} is a metric and no loss"):
            load_loss(name)
    with pytest.raises(UsageError, match="'charbonier'; did you mean charbonnier"):
        load_loss("charbonier")


@pytest.mark.parametrize("name", ["l1", "l2", "lp", "cosine", "unit_normalised", "pixel l1",
                                  "pixel ciede2000", "matching", "nlpd", "composite",
                                  "pyramid"])  # fmt: skip
def test_a_weight_is_a_mean_over_places(name):
    x, y = pair(40)
    loss = LOSSES[name]()
    ones, half = torch.ones(1, 1, 40, 40), torch.zeros(2, 1, 40, 40)
    half[..., :20] = 3.0
    torch.testing.assert_close(loss(x, y, weight=ones), loss(x, y), rtol=1e-4, atol=1e-6)
    elsewhere = torch.cat([x[..., :20], y[..., 20:]], -1)  # wrong where it does not count
    inside, outside = (loss(elsewhere, x, weight=w) for w in (half, 1 - half / 3))
    assert (inside < 0.4 * outside).all()
    assert torch.equal(loss(x, y, weight=0 * half), torch.zeros(2))
    if name == "pixel l1":
        expected = (x - y).abs()[..., :20].mean((1, 2, 3))
        torch.testing.assert_close(loss(x, y, weight=half), expected)


def test_a_weight_needs_places_and_its_shape():
    x, y = pair(16)
    with pytest.raises(ValueError, match="distance 'gram' has no places"):
        feature("gram")(x, y, weight=torch.ones(1, 1, 16, 16))
    with pytest.raises(ValueError, match=r"map \(N, 1, H, W\)"):
        feature("l2")(x, y, weight=torch.ones(16, 16))
    with pytest.raises(ValueError, match="multiply it with the weight"):
        feature("l2", spatial=True)(x, y, weight=torch.ones(1, 1, 16, 16))


#: What they keep between steps differs: heads, windows by size, constants, what their terms keep.
STEADY = ("unit_normalised", "pyramid", "nlpd", "ssim", "composite")


@pytest.mark.slow
@pytest.mark.parametrize("name", STEADY)
def test_memory_over_a_thousand_steps_is_flat(name):
    loss, (x, y) = LOSSES[name](), pair(max(16, SIDES.get(name, 0)))
    image, held = x.clone().requires_grad_(), []
    optimiser = torch.optim.SGD([image], lr=1e-3)
    for step in range(1000):
        optimiser.zero_grad()
        loss(image.clamp(0, 1), y).mean().backward()
        optimiser.step()
        if step in (200, 999):
            gc.collect()
            held.append((memory.used("cpu"), len(gc.get_objects())))
    (bytes_before, objects_before), (bytes_after, objects_after) = held
    assert bytes_after - bytes_before < 4 << 20
    assert objects_after - objects_before < 100
