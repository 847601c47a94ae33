"""Metrics of other libraries: listed as they are, with the numbers of the library's own call."""

import functools
import importlib
import importlib.util

import numpy as np
import piq
import pytest
import torch
import torchmetrics.functional.image as tm

from perceptbench.datasets.images import read_image
from perceptbench.errors import Unavailable, UsageError
from perceptbench.losses.config import Networks
from perceptbench.metrics import adapters
from perceptbench.metrics.registry import build


@pytest.fixture(scope="module")
def pair():
    """Smooth images without a black pixel, and noisy versions."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, 3, 24, 23, generator=generator)
    base = torch.nn.functional.interpolate(base, (192, 184), mode="bicubic").clamp(0.2, 0.8)
    noise = 0.05 * torch.randn(base.shape, generator=generator)
    return base, (base + noise).clamp(0.01, 1)


@pytest.fixture(scope="module")
def example(shared):
    """The LPIPS authors' example: (ref, ref), (p0, p1)."""
    ref, p0, p1 = (
        read_image(shared / "lpips-example" / f"ex_{k}.png") for k in ("ref", "p0", "p1")
    )
    return torch.stack([ref, ref]), torch.stack([p0, p1])


@functools.cache
def metric(name, weights=None):
    return build(adapters.find(name), Networks(weights)).at(None)


def needs(package):
    reason = f"the package {package} is not installed"
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=reason)


def formulas(library):
    """Names of what fetches no weights, of a library that may be absent."""
    try:
        found = adapters.offered(library)
    except Unavailable:
        return []
    slow = {"pyiqa:mad"}  # many seconds a pair
    return [n for n, i in found.items() if not (i.downloads or i.weights_dir or n in slow)]


LISTED = [n for library in ("piq", "torchmetrics", "pyiqa") for n in formulas(library)]
# These number identical images with infinity.
INFINITE = {"torchmetrics:peak_signal_noise_ratio" + x for x in ("", "_with_blocked_effect")}


@pytest.mark.parametrize("name", [n for n in LISTED if n not in INFINITE])
def test_identical_images_have_distance_zero_and_noise_a_greater_one(name, pair):
    reference, distorted = pair
    compare = metric(name)
    zero, far = compare(reference, reference), compare(reference, distorted)
    assert zero.abs().max() < 5e-3  # UQI adds an epsilon to its denominators
    assert (far > zero).all()


@pytest.mark.parametrize("name", sorted(INFINITE & set(LISTED)))
def test_psnr_of_torchmetrics_points_the_right_way(name, pair):
    reference, distorted = pair
    near = (reference + distorted) / 2
    assert (metric(name)(reference, distorted) > metric(name)(reference, near)).all()


def test_a_metric_needs_the_image_size_it_says(pair):
    for name in LISTED:
        info = adapters.find(name)
        reference, distorted = (x[..., : info.min_size, : info.min_size] for x in pair)
        assert torch.isfinite(metric(name)(reference, distorted)).all(), name


@pytest.mark.parametrize("name", [n for n in formulas("piq")])
def test_piq_is_called_with_the_reference_as_target(name, pair):
    reference, distorted = pair
    function = getattr(piq, name.partition(":")[2])
    own = function(distorted, reference, data_range=1.0, reduction="none")
    info = adapters.find(name)
    got = metric(name)(reference, distorted)
    own = info.identical - own if info.higher_is_better else own
    torch.testing.assert_close(got, own)


@pytest.mark.parametrize("name", [n for n in formulas("torchmetrics")])
def test_torchmetrics_is_called_pair_by_pair(name, pair):
    info = adapters.find(name)
    function = getattr(tm, info.options["function"])
    options = {k: v for k, v in info.options.items() if k != "function"}
    scale = info.value_range[1]
    for i in (0, 1):
        x, y = (image[i : i + 1] * scale for image in pair)
        if info.colour_space == "luma":
            weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
            x, y = ((image * weights).sum(1, keepdim=True) for image in (x, y))
        own = float(function(y, x, **options))
        got = metric(name)(*pair)[i].item()
        expected = (info.identical or 0) - own if info.higher_is_better else own
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_vif_of_torchmetrics_is_fed_eight_bit_values(pair):
    """In [0, 1] its noise variance of 2 swamps every image: noise would raise the similarity."""
    got = metric("torchmetrics:visual_information_fidelity")(*pair)
    assert (got > 0.3).all()
    assert (1 - tm.visual_information_fidelity(pair[1], pair[0]) < 0.1).all()


@needs("pyiqa")
@pytest.mark.parametrize("name", formulas("pyiqa"))
def test_pyiqa_is_called_as_it_is(name, pair):
    import pyiqa

    reference, distorted = pair
    info = adapters.find(name)
    own = pyiqa.create_metric(name.partition(":")[2], device="cpu")(distorted, reference)
    expected = (info.identical or 0) - own if info.higher_is_better else own
    torch.testing.assert_close(metric(name)(reference, distorted), expected)


@needs("pyiqa")
def test_pyiqa_lists_its_own_full_reference_models():
    import pyiqa

    listed = {name.partition(":")[2]: i for name, i in adapters.offered("pyiqa").items()}
    assert set(listed) == set(pyiqa.list_models(metric_mode="FR"))
    for name, info in listed.items():
        config = pyiqa.default_model_configs.DEFAULT_CONFIGS[name]
        assert info.higher_is_better != config.get("lower_better", False)


def test_a_table_lists_what_the_library_has():
    """Every full-reference function of the installed version, under its own name."""
    absent = {
        "piq": {"inception_score", "total_variation", "brisque"},  # no reference
        "torchmetrics": {
            "arniqa", "image_gradients", "total_variation", "perceptual_path_length",  # likewise
            "quality_with_no_reference", "spatial_distortion_index",  # more than two images
            "learned_perceptual_image_patch_similarity",  # as lpips-alex and so on
        },
    }  # fmt: skip
    has = {
        "piq": {n for n in dir(piq) if callable(getattr(piq, n)) and n.islower()},
        "torchmetrics": set(tm.__all__),
    }
    for library, names in has.items():
        listed = {name.partition(":")[2] for name in adapters.offered(library)}
        assert names - absent[library] <= listed


def test_what_the_installed_version_lacks_is_not_listed(monkeypatch):
    monkeypatch.setattr(adapters, "_names", lambda package, where: {"ssim": None})
    assert list(adapters.offered("piq")) == ["piq:ssim"]


def test_unknown_names_get_the_nearest_and_absent_libraries_the_command(monkeypatch):
    with pytest.raises(UsageError, match=r"no metric 'piq:sim'; did you mean .*piq:ssim"):
        adapters.find("piq:sim")
    with pytest.raises(UsageError, match="did you mean piq"):
        adapters.find("pig:ssim")
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'perceptbench\[pyiqa\]'"):
        build(adapters.find("pyiqa:topiq_fr"), Networks())
    with pytest.raises(Unavailable, match=r"pip install 'perceptbench\[pyiqa\]'"):
        adapters.offered("pyiqa")


@pytest.mark.usefixtures("undrawn")
def test_lpips_is_the_package_with_weights_from_the_weights_folder(example, weights):
    # The values of its authors' example, see the data's README.
    found = {}
    for net in ("alex", "alex-v0.0", "alex-baseline", "squeeze"):
        whole = metric(f"lpips:{net}", weights)
        found[net] = whole(*example)
        torch.testing.assert_close(whole.compare(*map(whole.embed, example)), found[net])
    for net, values in {"alex": [0.721881, 0.137566], "squeeze": [0.711048, 0.147902]}.items():
        torch.testing.assert_close(found[net], torch.tensor(values), atol=1e-5, rtol=0)
    old = found["alex-v0.0"]
    assert old[0] > old[1] and abs(old[0] - 0.721881) > 0.01


@needs("flip_evaluator")
def test_flip_of_the_example(example):
    got = metric("flip:ldr")(*example)
    torch.testing.assert_close(got, torch.tensor([0.353771, 0.473340]), atol=1e-6, rtol=0)
    flip = importlib.import_module("flip_evaluator")
    x, y = (np.ascontiguousarray(i[0].permute(1, 2, 0).numpy()) for i in example)
    assert got[0].item() == pytest.approx(flip.evaluate(x, y, "LDR")[1], abs=1e-6)
    near = build(adapters.find("flip:ldr"), Networks()).at(20.0)(*example)
    own = flip.evaluate(x, y, "LDR", parameters={"ppd": 20.0})[1]
    assert near[0].item() == pytest.approx(own, abs=1e-6) and near[0] != got[0]


@needs("pycvvdp")
@pytest.mark.filterwarnings("ignore:metric cvvdp")
def test_colorvideovdp_of_the_example_in_jod_below_ten(example):
    got = 10 - metric("cvvdp:standard_4k")(*example)
    torch.testing.assert_close(got, torch.tensor([6.527115, 5.173489]), atol=1e-4, rtol=0)
    phone = 10 - metric("cvvdp:standard_phone")(*example)
    assert (phone > got).all()  # smaller on the retina: less to be seen
    listed = adapters.offered("cvvdp")
    assert "cvvdp:standard_hdr_pq" not in listed  # shows no sRGB-coded images


def test_weights_that_cannot_be_fetched_are_a_reason_and_said_before(tmp_path, monkeypatch, capsys):
    for proxy in ("https_proxy", "http_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("torchmetrics:lpips-alex", "piq:pieapp"):
        with pytest.raises(Unavailable, match="its weights come from"):
            build(adapters.find(name), Networks())
        assert f"{name} fetches its weights from" in capsys.readouterr().err
