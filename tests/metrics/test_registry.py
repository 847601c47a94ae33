"""The catalogue of metrics: own ones, plugins, broken plugins, wrong names."""

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
    "pyramid-l2", "pyramid-cosine", "pyramid-gram", "pyramid-unit", "nlpd",
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
