"""The one-pass engine: the same numbers as pair by pair, each image encoded once."""

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from torch._dynamo.utils import counters

from perceptbench.errors import DataError, UsageError
from perceptbench.losses import Backbone, FeatureLoss, Input, Term, load_network
from perceptbench.losses.backbones import Network
from perceptbench.losses.classical.phase import FSIM
from perceptbench.losses.classical.structural import SSIM
from perceptbench.losses.networks import Layout
from perceptbench.metrics.pixel import mae, mse
from perceptbench.scoring import job, walk
from perceptbench.scoring.clock import Clock
from perceptbench.scoring.engine import Options, prepare, score

TAPS = ["features.1", "features.4"]


class Images:
    """Loads seeded noise by key, counting how often each image is asked for."""

    def __init__(self, sizes):
        self.sizes, self.loaded = sizes, Counter()

    def __call__(self, key):
        if key not in self.sizes:
            raise DataError(f"{key}: there is no such image")
        self.loaded[key] += 1
        generator = torch.Generator().manual_seed(sum(key.encode()))
        return torch.rand(3, *self.sizes[key], generator=generator)


@pytest.fixture(scope="module")
def losses():
    """Four losses over one network, with its forward passes counted image by image."""
    network = load_network("squeezenet1_1")
    network.images = 0

    def count(module, inputs):
        network.images += len(inputs[0])

    network.module.features[0].register_forward_pre_hook(count)
    heads = [torch.rand(64), torch.rand(128)]
    kinds = {"l2": [None] * 2, "l1": [None] * 2, "gram": [None] * 2, "unit_normalised": heads}
    made = {
        kind: FeatureLoss(
            Backbone(network, TAPS),
            [Term(t, kind, w, h) for t, w, h in zip(TAPS, (1.0, 0.3), heads, strict=True)],
        )
        for kind, heads in kinds.items()
    }
    return network, made


def all_pairs(keys):
    rows = [(a, b) for a in keys for b in keys if a != b]
    return pd.DataFrame(rows, columns=["reference", "distorted"])


def test_scores_are_those_of_the_losses_called_pair_by_pair(losses):
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcde"})
    pairs = all_pairs("abcde")
    table = score(pairs, images, {**metrics, "mse": mse}).table
    assert list(table.columns) == ["reference", "distorted", *metrics, "mse"]
    for name, metric in {**metrics, "mse": mse}.items():
        alone = [
            metric(images(r)[None], images(d)[None]).item()
            for r, d in zip(pairs.reference, pairs.distorted, strict=True)
        ]
        np.testing.assert_allclose(table[name], alone, rtol=1e-5)


def test_each_backbone_runs_once_per_unique_image(losses):
    network, metrics = losses
    images = Images({k: (40, 48) for k in "abcdefgh"})
    network.images = 0
    score(all_pairs("abcdefgh"), images, metrics)  # 56 pairs, four losses
    assert network.images == 8
    assert set(images.loaded.values()) == {1}


def test_little_memory_costs_passes_not_correctness(losses):
    network, metrics = losses
    images = Images({k: (40, 48) for k in "abcdef"})
    pairs = all_pairs("abcdef")
    roomy = score(pairs, images, metrics).table
    network.images = 0
    tight = score(pairs, images, metrics, Options(memory=1)).table
    np.testing.assert_allclose(tight[list(metrics)], roomy[list(metrics)], rtol=1e-6)


def test_images_are_let_go_when_no_pair_needs_them(losses, monkeypatch):
    _, metrics = losses
    monkeypatch.setattr(walk, "CPU_PIXELS_OF_SMALL", 1)  # one image a batch
    alive = []
    compare = walk._Shard._compare

    def watch(self, new):
        compare(self, new)
        alive.append(len(self.there))

    monkeypatch.setattr(walk._Shard, "_compare", watch)
    keys = {f"{r}{d}": (40, 48) for r in "xy" for d in range(6)} | {"x": (40, 48), "y": (40, 48)}
    rows = [(r, f"{r}{d}") for r in "xy" for d in range(6)]
    score(pd.DataFrame(rows, columns=["reference", "distorted"]), Images(keys), metrics)
    assert max(alive) == 1 and alive[-1] == 0


def test_a_pairs_score_does_not_depend_on_its_company(losses):
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcd"} | {k: (64, 64) for k in "pq"})
    rows = [("a", "b"), ("p", "q"), ("a", "c"), ("d", "b")]
    pairs = pd.DataFrame(rows, columns=["reference", "distorted"])
    together = score(pairs, images, metrics).table
    for i in range(len(pairs)):
        alone = score(pairs.iloc[[i]], images, metrics).table
        np.testing.assert_allclose(
            together.loc[i, list(metrics)].astype(float), alone.loc[0, list(metrics)].astype(float),
            rtol=1e-6,
        )  # fmt: skip


def test_an_unreadable_image_and_a_size_mismatch_fail_their_pairs_only(losses):
    _, metrics = losses
    images = Images({"a": (40, 48), "b": (40, 48), "wide": (40, 64)})
    rows = [("a", "b"), ("a", "missing"), ("a", "wide")]
    found = score(pd.DataFrame(rows, columns=["reference", "distorted"]), images, metrics)
    assert found.table[list(metrics)].notna().all(axis=1).tolist() == [True, False, False]
    reasons = found.failures.set_index("distorted")["reason"]
    assert reasons["missing"] == "missing: there is no such image"
    assert reasons["wide"] == "the images differ in size: 48 x 40 and 64 x 40 pixels"


def test_a_failing_metric_costs_its_own_column_only():
    def raises(x, y):
        raise RuntimeError("out of ideas\nmore")

    def wrong_shape(x, y):
        return (x - y).abs()

    def not_finite(x, y):
        return torch.full((len(x),), float("inf"))

    images = Images({k: (8, 8) for k in "ab"})
    metrics = {"raises": raises, "shape": wrong_shape, "inf": not_finite, "mae": mae}
    found = score(all_pairs("ab"), images, metrics, min_size={"mae": 4})
    assert found.table["mae"].notna().all()
    assert found.table[["raises", "shape", "inf"]].isna().all(axis=None)
    assert found.notes["raises"] == "failed: RuntimeError: out of ideas"
    assert "returned shape (2, 3, 8, 8), not (2,)" in found.notes["shape"]
    assert found.notes["inf"] == "gave no finite value for some pairs"


def test_a_metric_is_not_asked_about_images_it_is_not_defined_for():
    found = score(
        all_pairs("ab"), Images({k: (8, 8) for k in "ab"}), {"mse": mse}, min_size={"mse": 9}
    )
    assert found.table["mse"].isna().all()
    assert found.notes["mse"] == "needs images of at least 9 pixels a side"


def test_images_too_small_for_the_network_do_not_stop_the_walk(losses):
    _, metrics = losses
    found = score(all_pairs("ab"), Images({k: (4, 4) for k in "ab"}), {**metrics, "mse": mse})
    assert found.table["mse"].notna().all()
    assert found.table["l2"].isna().all() and found.notes["l2"].startswith("failed")


def test_a_batch_filled_up_gives_the_bits_of_a_full_one(losses):
    """Scored together with others or not, a pair has the same distances."""
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcdefg"})
    pairs = all_pairs("abcdefg")
    together = score(pairs, images, metrics).table
    apart = [score(pairs.iloc[[n]], images, metrics).table for n in range(0, len(pairs), 5)]
    apart = pd.concat(apart, ignore_index=True)
    pd.testing.assert_frame_equal(together.iloc[::5].reset_index(drop=True), apart, rtol=1e-6)


@pytest.mark.slow
def test_compiled_distances_are_those_in_pieces(losses):
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcd"})
    plain = score(all_pairs("abcd"), images, metrics, Options("cpu", compile=False)).table
    fused = score(all_pairs("abcd"), images, metrics, Options("cpu", compile=True)).table
    pd.testing.assert_frame_equal(plain, fused, rtol=1e-6)
    twin = pd.DataFrame({"reference": ["a"], "distorted": ["a"]})
    same = score(twin, images, metrics, Options("cpu", compile=True)).table
    assert (same[list(metrics)] == 0).all(axis=None)


@pytest.mark.slow
def test_compiled_metrics_are_what_they_are_otherwise():
    """Of single pairs of the first size; other ones are compared as they are."""
    metrics = {"ssim": SSIM(), "fsim": FSIM()}
    images = Images({k: (200, 210) for k in "abc"} | {k: (96, 200) for k in "xy"})
    pairs = pd.concat([all_pairs("abc"), all_pairs("xy")], ignore_index=True)
    pairs.loc[len(pairs)] = ["a", "a"]
    plain = score(pairs, images, metrics, Options("cpu", compile=False)).table
    counters.clear()
    fused = score(pairs, images, metrics, Options("cpu", compile=True)).table
    assert counters["stats"]["unique_graphs"] == 2
    pd.testing.assert_frame_equal(plain, fused, rtol=1e-5)
    assert (fused.iloc[-1][list(metrics)] == 0).all()


def test_what_pays_is_compiled():
    """Many pixels of metrics of many small steps; not of others, nor of a few."""
    images = {"a": torch.zeros(3, 512, 512), "b": torch.zeros(3, 512, 512)}
    rows = pd.DataFrame({"reference": "a", "distorted": "b"}, index=range(1200))
    assert prepare(rows, images.__getitem__, {"ssim": SSIM()}).compiles()
    assert not prepare(rows.head(1000), images.__getitem__, {"ssim": SSIM()}).compiles()
    assert not prepare(rows, images.__getitem__, {"mse": mse}).compiles()


def test_where_nothing_can_be_compiled_it_is_said_once(losses, monkeypatch, capsys):
    def no_compiler(*args):
        raise RuntimeError("no C++ compiler\nin sight")

    monkeypatch.setattr(torch, "compile", lambda *args, **options: no_compiler)
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abc"})
    found = score(all_pairs("abc"), images, metrics, Options("cpu", compile=True))
    assert found.table.notna().all(axis=None) and not found.notes
    assert capsys.readouterr().err.count("torch.compile does not work here (no C++ compiler)") == 1


def test_lack_of_memory_halves_the_batch_and_goes_on(losses, monkeypatch, capsys):
    _, metrics = losses
    encode = walk.Walk.encode

    def small(self, pixels, passes):
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, pixels, passes)

    monkeypatch.setattr(walk.Walk, "encode", small)
    images = Images({k: (40, 48) for k in "abcdefghij"})
    found = score(all_pairs("abcdefghij"), images, metrics).table
    assert found.notna().all(axis=None)
    assert "out of memory: going on with half as many images" in capsys.readouterr().err


def test_a_metric_that_lacks_memory_is_asked_about_fewer_pairs():
    def small(x, y):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return mse(x, y)

    found = score(all_pairs("abcd"), Images({k: (8, 8) for k in "abcd"}), {"small": small})
    assert found.table["small"].notna().all() and not found.notes


def test_worker_processes_load_the_same_images(losses):
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcd"})
    pairs = pd.concat(
        [all_pairs("abcd"), pd.DataFrame([["a", "?"]], columns=["reference", "distorted"])]
    )
    here = score(pairs, images, metrics, Options("cpu", workers=0))
    there = score(pairs, images, metrics, Options("cpu", workers=2))
    pd.testing.assert_frame_equal(here.table, there.table)
    assert here.failures.equals(there.failures) and len(there.failures) == 1


def test_a_loader_that_raises_costs_its_pairs_only(tmp_path):
    def load(key):
        if key == "b":
            raise KeyError("b")
        return torch.zeros(3, 40, 48)

    options = Options("cpu", store=str(tmp_path))
    found = score(all_pairs("abc"), load, {"mse": mse}, options)
    assert len(found.failures) == 4 and "b: cannot be loaded (KeyError" in found.failures.reason[0]


def test_a_lower_precision_says_what_it_changes(losses):
    _, metrics = losses
    images = Images({k: (40, 48) for k in "abcde"})
    found = score(all_pairs("abcde"), images, metrics, Options("cpu", precision="bf16"))
    assert set(found.precision) == set(metrics)
    assert all(0.5 < rho <= 1 for rho in found.precision.values())
    assert score(all_pairs("ab"), images, metrics).precision == {}


class Amplified(torch.nn.Module):
    """Activations beyond what half precision holds, 65504."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3)
        self.second = torch.nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.second(self.first(x) * 1e6)


@pytest.mark.parametrize(("precision", "fits"), [("fp32", True), ("bf16", True), ("fp16", False)])
def test_activations_that_overflow_are_no_silent_number(precision, fits):
    torch.manual_seed(0)
    network = Network("made:amplified", Amplified(), Layout("nchw"), Input())
    kinds = {"l2": None, "l1": None, "cosine": None, "gram": None, "mean_feature": None}
    metrics = {k: FeatureLoss(Backbone(network, ["second"]), [Term("second", k)]) for k in kinds}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(
            all_pairs("abcd"), Images({k: (24, 24) for k in "abcd"}), metrics,
            Options("cpu", precision=precision),
        )  # fmt: skip
    if fits:
        assert found.table.notna().all(axis=None) and not found.notes
        return
    for name in kinds:
        assert not np.isinf(found.table[name]).any()
        if found.table[name].isna().any():
            assert found.notes[name] == "gave no finite value for some pairs in fp16"
            assert found.precision[name] is None
    assert set(found.notes) == set(kinds)


def test_equal_scores_have_no_rank_correlation_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(
            all_pairs("ab"), Images(dict.fromkeys("ab", (24, 24))),
            {"same": lambda x, y: torch.ones(len(x))}, Options("cpu", precision="bf16"),
        )  # fmt: skip
    assert found.precision == {"same": None}


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="fp32, tf32, bf16, fp16"):
        Options(precision="fp8")


class TestStored:
    """With a store, nothing is computed twice."""

    @pytest.fixture
    def options(self, tmp_path):
        return Options("cpu", store=str(tmp_path / "store"))

    def test_a_second_run_computes_nothing(self, losses, options):
        network, metrics = losses
        images = Images({k: (40, 48) for k in "abcd"})
        first = score(all_pairs("abcd"), images, metrics, options).table
        network.images = 0
        second = score(all_pairs("abcd"), images, metrics, options).table
        assert network.images == 0
        pd.testing.assert_frame_equal(first, second, check_exact=True)

    def test_other_weights_compute_nothing_other_pairs_only_themselves(self, losses, options):
        network, metrics = losses
        images = Images({k: (40, 48) for k in "abcdef"})
        score(all_pairs("abcd"), images, {"l2": metrics["l2"]}, options)
        network.images = 0
        backbone = Backbone(network, TAPS)
        other = FeatureLoss(backbone, [Term(t, "l2", w) for t, w in zip(TAPS, (3, 1), strict=True)])
        score(all_pairs("abcd"), images, {"other": other}, options)
        assert network.images == 0
        score(all_pairs("abcdef"), images, {"other": other}, options)
        assert network.images == 6  # the new pairs need the old images, too
        network.images = 0
        score(pd.concat([all_pairs("ab"), all_pairs("ef")]), images, {"other": other}, options)
        assert network.images == 0

    def test_an_image_is_known_by_its_content_not_its_name(self, losses, options):
        network, metrics = losses
        images = Images({k: (40, 48) for k in ("ab", "ba", "cd")})  # equal sums, equal noise
        score(pd.DataFrame({"reference": ["cd"], "distorted": ["ab"]}), images, metrics, options)
        network.images = 0
        score(pd.DataFrame({"reference": ["cd"], "distorted": ["ba"]}), images, metrics, options)
        assert network.images == 0

    def test_metrics_of_unknown_making_are_computed_anew(self, options):
        calls = []

        def counted(x, y):
            calls.append(len(x))
            return mse(x, y)

        images = Images({k: (8, 8) for k in "ab"})
        for _ in range(2):
            score(all_pairs("ab"), images, {"counted": counted}, options)
        assert sum(calls) == 4
        for _ in range(2):
            score(all_pairs("ab"), images, {"m": counted}, options, identities={"m": "counted 1"})
        assert sum(calls) == 6

    def test_a_stopped_run_goes_on_where_it_was(self, losses, options, monkeypatch):
        monkeypatch.setattr(job, "SHARD_IMAGES", 4)
        network, metrics = losses
        rows = [(f"r{n}", f"d{n}") for n in range(20)]
        pairs = pd.DataFrame(rows, columns=["reference", "distorted"])
        images = Images({key: (40, 48) for row in rows for key in row})
        undisturbed = score(pairs, images, metrics, Options("cpu")).table

        class Stopping(Images):
            def __call__(self, key):
                if key == "d13":
                    raise KeyboardInterrupt
                return super().__call__(key)

        stopping = Stopping(images.sizes)
        stopping.identify = lambda key: key
        images.identify = lambda key: key
        with pytest.raises(KeyboardInterrupt):
            score(pairs, stopping, metrics, options)
        network.images = 0
        resumed = score(pairs, images, metrics, options).table
        pd.testing.assert_frame_equal(undisturbed, resumed, check_exact=True)
        assert 14 <= network.images <= 18  # shards of two pairs, six of ten were kept


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_the_gpu_gives_the_numbers_of_the_cpu(losses):
    _, metrics = losses
    images = Images({k: (64, 64) for k in "abcd"})
    cpu = score(all_pairs("abcd"), images, metrics).table
    gpu = score(all_pairs("abcd"), images, metrics, Options(device="cuda")).table
    np.testing.assert_allclose(gpu[list(metrics)], cpu[list(metrics)], rtol=1e-4)


class Halved:
    """Root mean squared error in two halves, which counts what it is asked."""

    def __init__(self, embedding="tensor"):
        self.embedding, self.embedded, self.compared = embedding, 0, 0

    def embed(self, images):
        self.embedded += len(images)
        if self.embedding == "tuple":
            return images[:, :1], images[:, 1:]
        return images if self.embedding == "tensor" else images[0]

    def compare(self, x, y):
        assert isinstance(x, tuple) == (self.embedding == "tuple")
        self.compared += 1
        x, y = (torch.cat(e, 1) if isinstance(e, tuple) else e for e in (x, y))
        return (x - y).square().mean((1, 2, 3)).sqrt()


@pytest.mark.parametrize("embedding", ["tensor", "tuple"])
def test_a_metric_in_two_halves_embeds_each_image_once(embedding):
    metric = Halved(embedding)
    images = Images({k: (40, 48) for k in "abcdef"} | {k: (16, 16) for k in "pq"})
    pairs = pd.concat([all_pairs("abcdef"), all_pairs("pq")], ignore_index=True)
    found = score(pairs, images, {"halved": metric, "mse": mse})
    np.testing.assert_allclose(found.table["halved"] ** 2, found.table["mse"], rtol=1e-5)
    embedded_to_see_how_large_it_is = metric.embedded - 8
    assert embedded_to_see_how_large_it_is in {0, 1} and not found.notes


def test_an_embedding_of_no_use_costs_its_own_column_only():
    found = score(
        all_pairs("ab"), Images({k: (8, 8) for k in "ab"}), {"bad": Halved("wrong"), "mse": mse}
    )
    assert found.table["mse"].notna().all() and found.table["bad"].isna().all()
    assert found.notes["bad"].startswith("failed: ValueError: embed returned (3, 8, 8), not (")


def test_a_metric_in_two_halves_is_not_asked_about_images_it_is_not_defined_for():
    metric = Halved()
    found = score(
        all_pairs("ab"), Images({k: (8, 8) for k in "ab"}), {"m": metric}, min_size={"m": 9}
    )
    assert found.notes["m"] == "needs images of at least 9 pixels a side"
    assert metric.embedded == metric.compared == 0


def test_the_clock_tells_what_is_done_an_image_from_what_is_done_a_pair(losses):
    _, metrics = losses
    clock = Clock()
    score(
        all_pairs("abc"), Images({k: (40, 48) for k in "abc"}),
        {"l2": metrics["l2"], "halved": Halved(), "mse": mse}, clock=clock,
    )  # fmt: skip
    of = {"networks": "image", "distances": "pair", "images": "image", "mse": "pair"}
    assert all(clock.spent[key] > 0 for key in of.items())
    assert clock.spent["halved", "image"] > 0 and clock.spent["halved", "pair"] > 0
    assert clock.metrics == {"halved", "mse"} and str(clock).startswith("Took ")
