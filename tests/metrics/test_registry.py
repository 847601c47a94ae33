"""The catalogue of metrics: own ones, plugins, broken plugins, wrong names."""

import re
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from perceptbench.errors import Unavailable, UsageError
from perceptbench.metrics import registry
from perceptbench.metrics.registry import build, catalogue, select

STANDARD = {
    "mse", "mae", "psnr", "ssim", "ms-ssim", "gmsd", "fsim", "vif", "ciede2000", "watson-ahumada",
    "squeeze-l2", "squeeze-l1", "squeeze-cosine", "squeeze-gram", "lpips-squeeze",
    "alex-l2", "alex-l1", "alex-cosine", "alex-gram", "lpips-alex", "random-alex-l2",
    "pyramid-l2", "pyramid-gram", "pyramid-unit", "visible-contrast", "nlpd",
}  # fmt: skip


def test_the_standard_set_is_what_a_run_ranks():
    assert {i.name for i in select([], catalogue())} == STANDARD


def test_vgg_comes_when_asked_for():
    assert [i.name for i in select(["lpips-vgg"], catalogue())] == ["lpips-vgg"]


def test_unknown_metrics_get_the_nearest_names():
    with pytest.raises(UsageError, match=r"no metric 'lpips-alx'; did you mean lpips-alex"):
        select(["lpips-alx"], catalogue())


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Installs entry points into a module `plug` made of the given source."""

    def install(source, *points):
        (tmp_path / "plug.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("plug", None)
        found = [EntryPoint(name, value, registry.GROUP) for name, value in points]
        monkeypatch.setattr(registry, "entry_points", lambda group: found)

    return install


def test_a_plugin_is_a_class_or_a_function(plugins):
    plugins(
        """
        class Worst:
            def __call__(self, x, y):
                return (x - y).abs().amax((1, 2, 3))
        def mean(x, y):
            return (x - y).mean((1, 2, 3)).abs()
        """,
        ("worst", "plug:Worst"),
        ("mean", "plug:mean"),
    )
    import torch

    found = catalogue()
    for name, value in {"worst": 0.5, "mean": 0.25}.items():
        x = torch.zeros(1, 3, 2, 2)
        y = x.clone()
        y[..., 0] = 0.5
        assert build(found.metrics[name], None).at(None)(x, y).item() == value


def test_broken_plugins_are_named_and_cost_nothing_else(plugins):
    plugins(
        "raise RuntimeError('no licence key')",
        ("gone", "nowhere.at.all:Metric"),
        ("raises", "plug:Metric"),
        ("losses", "perceptbench.losses.presets"),
    )
    found = catalogue()
    assert "there is no module" in found.broken["gone"]
    assert "lpips-alex" in found.metrics
    with pytest.raises(UsageError, match="gone cannot be used"):
        select(["gone"], found)
    with pytest.raises(Unavailable, match="no licence key"):
        build(found.metrics["raises"], None)


def test_a_metric_whose_package_is_missing_says_what_to_install():
    info = catalogue().metrics["ssim"].model_copy(update={"requires": ("no_such_package",)})
    with pytest.raises(Unavailable, match="pip install no_such_package"):
        build(info, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3\n", "key `title`"),
        ("titel = 'x'\n", "key `titel`"),
        ("title = 'x'\n", r"needs either a loss .* or a key `metric`"),
        ("title = \n", "not valid TOML"),
    ],
)
def test_a_faulty_file_is_named_with_its_key(tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        select([str(tmp_path / "bad.toml")], catalogue())
    assert "bad.toml" in str(error.value)


def test_a_plugin_says_what_it_needs_and_which_way_it_points(plugins):
    plugins(
        """
        class Similar:
            "Closeness of luma."
            colour_space, value_range, min_size = "luma", (0.0, 255.0), 4
            higher_is_better, identical, scale = True, 255.0, "squared"
            citation, version = "Somebody 2020", "7"
            def __call__(self, x, y):
                assert x.shape[1] == 1 and x.max() > 1
                return 255 - (x - y).abs().mean((1, 2, 3))
        def better(x, y):
            return -(x - y).abs().mean((1, 2, 3))
        better.higher_is_better = True
        """,
        ("similar", "plug:Similar"),
        ("better", "plug:better"),
    )
    import torch

    x = torch.full((2, 3, 8, 8), 0.5)
    y = torch.stack([x[0], x[0] * 0.5])
    metric = build(catalogue().metrics["similar"], None)
    assert (metric.info.title, metric.info.min_size) == ("Closeness of luma.", 4)
    assert (metric.info.scale, metric.info.citation) == ("squared", "Somebody 2020")
    torch.testing.assert_close(metric.at(None)(x, y), torch.tensor([0.0, 63.75]))
    better = build(catalogue().metrics["better"], None)
    assert better.info.scale == "ordinal"  # its zero is not known
    torch.testing.assert_close(better.at(None)(x, y), torch.tensor([0.0, 0.25]))


def test_a_plugin_that_hands_in_a_loss_joins_ours(plugins):
    plugins(
        """
        LOSS = {
            "backbone": {"name": "small-cnn", "weights": "random"},
            "tap": [{"layer": "relu1", "distance": "l2"}],
        }
        class Mine:
            loss = LOSS
        """,
        ("table", "plug:LOSS"),
        ("attribute", "plug:Mine"),
    )
    from perceptbench.losses.config import Networks
    from perceptbench.losses.feature_loss import FeatureLoss

    networks, found = Networks(), catalogue()
    built = [build(found.metrics[name], networks) for name in ("table", "attribute")]
    assert all(isinstance(metric.at(None), FeatureLoss) for metric in built)
    assert built[0].hash == built[1].hash is not None
    assert built[0].at(None).backbone.network is built[1].at(None).backbone.network


def test_a_plugin_that_hangs_at_import_or_declares_nonsense_is_unavailable(plugins, monkeypatch):
    monkeypatch.setattr(registry, "PATIENCE", 0.3)
    plugins("import time; time.sleep(1)", ("slow", "plug:Metric"))
    with pytest.raises(Unavailable, match=r"gave no answer within 0\.3 s"):
        build(catalogue().metrics["slow"], None)
    monkeypatch.setattr(registry, "PATIENCE", 60)
    plugins(
        """
        class Odd:
            colour_space = "cmyk"
        number = 3
        """,
        ("odd", "plug:Odd"),
        ("number", "plug:number"),
    )
    with pytest.raises(Unavailable, match="attribute `colour_space` is 'cmyk'"):
        build(catalogue().metrics["odd"], None)
    with pytest.raises(Unavailable, match="no class, function or loss"):
        build(catalogue().metrics["number"], None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return (x - y).abs()", r"returned shape"),
        ("return 1.0", "returned float"),
        ("raise ValueError('no licence key')", "no licence key"),
        ("return x.mean((1, 2, 3)) * float('nan')", "finite"),
        ("import time; time.sleep(5)", r"no answer within 0\.3 s"),
    ],
)
def test_a_plugin_that_misbehaves_costs_its_own_column_only(plugins, body, reason):
    plugins(f"def bad(x, y):\n    {body}\nbad.timeout = 0.3\n", ("bad", "plug:bad"))
    import pandas as pd
    import torch

    from perceptbench.metrics.pixel import mse
    from perceptbench.scoring.engine import score

    pairs = pd.DataFrame({"reference": ["0"], "distorted": ["1"]})
    bad = build(catalogue().metrics["bad"], None).at(None)
    found = score(pairs, lambda key: torch.full((3, 8, 8), int(key) / 2), {"bad": bad, "mse": mse})
    assert found.table["mse"].item() == 0.25 and found.table["bad"].isna().all()
    assert list(found.notes) == ["bad"]
    assert re.search(reason, found.notes["bad"])
