"""NLPD: the values of plenoptic, gradients, and its place among losses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.colour import luma
from perceptbench.datasets.images import read_image
from perceptbench.errors import UsageError
from perceptbench.losses import NLPD, load_loss
from perceptbench.losses.config import (
    Networks,
    build_loss,
    fingerprint,
    parse_loss,
    read_loss,
    resolve,
)
from perceptbench.losses.mistakes import mistakes
from perceptbench.metrics.registry import build, catalogue


def pair(*size, seed=0, dtype=torch.float64):
    return torch.rand(2, 2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("name", "value"), [("p0", 0.5604530471), ("p1", 1.2186952526)])
def test_the_lpips_example_has_the_value_of_plenoptic_2_1_1(shared, name, value):
    ref, other = (
        read_image(shared / f"lpips-example/ex_{n}.png")[None].double() for n in ("ref", name)
    )
    # 8-bit values: read as float32, a rounding below 1e-7.
    assert float(NLPD()(ref, other)) == pytest.approx(value, abs=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=10, deadline=None)
@given(st.integers(33, 80), st.integers(33, 80), st.integers(0, 99))
def test_it_is_plenoptics_for_any_size(height, width, seed):
    metric = pytest.importorskip("plenoptic", reason="plenoptic is not installed").metric
    x, y = pair(height, width, seed=seed)
    expected = metric.nlpd(luma(x), luma(y))[:, 0]
    torch.testing.assert_close(NLPD()(x, y), expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(NLPD()(luma(x), luma(y)), expected, rtol=0, atol=1e-8)


def test_identical_images_are_at_zero_with_a_finite_gradient_and_sides_may_be_changed():
    x, y = pair(40, 37, dtype=torch.float32)
    assert torch.equal(NLPD()(x, x), torch.zeros(2))
    torch.testing.assert_close(NLPD()(x, y), NLPD()(y, x))
    torch.testing.assert_close(NLPD()(x[1:], y[1:]), NLPD()(x, y)[1:])
    for other in (x.clone(), y, torch.full_like(x, 0.5)):
        leaf = x.clone().requires_grad_()
        NLPD()(leaf, other).sum().backward()
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad.abs().sum() == 0) == torch.equal(other, x)


def test_gradients_are_the_numerical_ones():
    x, y = (images[:1, :1] for images in pair(33, 34))
    directions = torch.rand(3, *x.shape, generator=torch.Generator().manual_seed(1)).double() - 0.5

    def along(t):
        return NLPD()(x + torch.einsum("k,kncij->ncij", t, directions), y)

    assert torch.autograd.gradcheck(along, (torch.zeros(3).double().requires_grad_(),))


def test_the_mean_and_the_detached_target():
    x, y = pair(40, 40)
    torch.testing.assert_close(NLPD(mean=True)(x, y), NLPD()(x, y).mean())
    x.requires_grad_()
    y.requires_grad_()
    NLPD(detach_target=True)(x, y).sum().backward()
    assert x.grad.abs().sum() > 0 and y.grad is None


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="needs 33 pixels a side, an image has 40 x 32"):
        NLPD()(*pair(32, 40))


def test_it_is_a_preset_a_metric_and_a_term():
    x, y = pair(40, 40, dtype=torch.float32)
    alone = load_loss("nlpd")
    assert isinstance(alone, NLPD)
    metric = build(catalogue().metrics["nlpd"], Networks())
    torch.testing.assert_close(metric.at(None)(x, y), alone(x, y))
    assert metric.info.min_size == 33 and metric.identity(None) == metric.hash
    tables = {"term": [{"pixel": "l1"}, {"loss": "nlpd", "weight": 0.1}]}
    both = build_loss(parse_loss(tables, "mine.toml"), Networks())
    torch.testing.assert_close(both(x, y), (x - y).abs().mean((1, 2, 3)) + 0.1 * alone(x, y))
    assert len(mistakes(*read_loss("nlpd"))) == 1 and not mistakes(parse_loss(tables, "x"))
    with pytest.raises(UsageError, match=r"nlpd: NLPD has no spatial map"):
        load_loss("nlpd", spatial=True)


def test_a_loss_file_may_name_any_module(tmp_path, monkeypatch):
    code = "import torch\nclass Worst(torch.nn.Module):\n    def forward(self, x, y):\n        "
    (tmp_path / "own_losses.py").write_text(code + "return (x - y).abs().flatten(1).amax(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = parse_loss({"module": "own_losses:Worst"}, "mine.toml")
    loss = build_loss(config, Networks())
    x, y = pair(8, 8)
    torch.testing.assert_close(loss(x, y), (x - y).abs().amax((1, 2, 3)))
    resolved = resolve(config, loss)
    assert len(resolved["source"]) == 16 and fingerprint(resolved) != fingerprint(
        {**resolved, "source": ""}
    )
    for module, message in {
        "own_losses:Best": "mine.toml: loss own_losses:Best cannot be built .AttributeError",
        "builtins:list": "mine.toml: loss builtins:list gives list, not a torch.nn.Module",
    }.items():
        with pytest.raises(UsageError, match=message):
            build_loss(parse_loss({"module": module}, "m"), Networks(), source="mine.toml")
    with pytest.raises(UsageError, match="key `module` beside other keys"):
        parse_loss({"module": "own_losses:Worst", "detach_target": True}, "mine.toml")
