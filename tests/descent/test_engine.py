"""Descents: Adam's steps, batches, what is kept, who takes no part."""

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench.descent import engine, page, starts, summary
from perceptbench.errors import DataError, Unavailable
from perceptbench.metrics.registry import catalogue, parse_info, select


def l2(x, y):
    return (x - y).square().mean((1, 2, 3))


def test_adams_first_step_is_its_rate_and_images_stay_in_range():
    reference = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    start = torch.tensor([0.01, 0.1, 0.5]).view(1, 3, 1, 1)
    images, own = engine.descend(l2, start, reference, 1, [0, 1])
    after = torch.tensor([0.0, 0.1 + engine.RATE, 0.5 + engine.RATE])
    assert torch.allclose(images[1].flatten(), after, atol=1e-6)
    assert torch.equal(images[0], start) and own.shape == (2, 1)


def test_an_image_goes_the_same_way_in_any_batch():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(3, 3, 8, 8, generator=generator) for _ in range(2))
    together, _ = engine.descend(l2, x, y, 20, [20])
    alone, _ = engine.descend(l2, x[1:2], y[1:2], 20, [20])
    assert torch.allclose(together[0, 1], alone[0, 0], atol=1e-6)


def test_mse_comes_home():
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(1, 3, 8, 8, generator=generator)
    x = (y + 0.1 * torch.randn(y.shape, generator=generator)).clamp(0, 1)
    images, own = engine.descend(l2, x, y, 100, [100])
    assert own[-1] < 1e-4 * own[0] and (images[0] - y).abs().max() < 0.01


def test_what_is_no_number_and_what_has_no_gradient_is_refused():
    x, y = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    with pytest.raises(DataError, match="is no number for 1 of 1 images, at once"):
        engine.descend(lambda a, b: l2(a, b) / 0, x, y, 3, [3])
    # A root has none at 0, where one of the two images is.
    two = torch.cat([x, y / 2])
    said = "has a gradient that is no number for 1 of 2 images, at once"
    with pytest.raises(DataError, match=said):
        engine.descend(lambda a, b: a.sqrt().mean((1, 2, 3)), two, torch.cat([y, y]), 3, [3])
    with pytest.raises(Unavailable, match="no gradient"):
        engine.descend(lambda a, b: l2(a.detach(), b), x, y, 3, [3])


MODULE = """
def no_number(reference, distorted):
    return (reference - distorted).abs().mean((1, 2, 3)) * float("nan")

def rounded(reference, distorted):
    return (reference - distorted.round().detach()).abs().mean((1, 2, 3))
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """(folder, a run of three losses there)."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stepwise_metric.py").write_text(MODULE)
    infos = select(["mse", "mae", "psnr"], catalogue())
    broken = parse_info({"metric": "stepwise_metric:rounded"}, "rounded", "here")
    silent = parse_info({"metric": "stepwise_metric:no_number"}, "silent", "here")
    large = select(["ms-ssim"], catalogue())
    names, references = starts.references(None, 2, 16, 0)

    def again():
        return engine.run(
            [*infos, broken, *large], [*infos, silent], names, references,
            ["noise", "blur", "other"], steps=20, folder=tmp_path / "kept",
        )  # fmt: skip

    return tmp_path / "kept", again


def test_a_run_names_who_takes_no_part(work):
    found = work[1]()
    assert list(found.found) == ["mse", "mae", "psnr"]
    assert found.panel == ["mse", "mae"]  # decibels have an order, but no size
    assert "no gradient" in found.skipped["rounded"]
    assert found.skipped["silent"].startswith("failed as a judge: the distance of silent is no")
    assert found.skipped["ms-ssim"] == "needs images of 161 pixels a side"


def _refuse(*arguments, **options):
    raise Unavailable("descends again")


def test_what_is_done_is_not_done_again_unless_it_is_damaged(work, monkeypatch):
    folder, again = work
    first = again()
    files = sorted(folder.glob("*.npz"))
    assert len(files) == 3
    with monkeypatch.context() as patched:
        patched.setattr(engine, "descend", _refuse)
        second = again()
    assert list(second.found) == list(first.found)
    for name, before in first.found.items():
        for key, value in vars(before).items():
            assert np.array_equal(value, getattr(second.found[name], key)), key
    files[0].write_bytes(b"PK\x03\x04 cut off")
    third = again()
    assert all(np.array_equal(third.found[n].own, d.own) for n, d in first.found.items())


def test_perfect_recovery_is_1_and_0_and_nothing_done_is_0_and_0(work):
    found = work[1]()
    done = found.found["mse"]
    looks, n = done.distances.shape[0], done.distances.shape[2]
    base = {"looks": done.looks, "own": done.own, "images": done.images, "seconds": 1.0}
    distances = np.ones((looks, 2, n))
    found.found = {
        "idle": engine.Descent(**base, distances=distances, invented=np.zeros((looks, n))),
        "perfect": engine.Descent(
            **base, invented=np.zeros((looks, n)),
            distances=distances * np.linspace(1, 0, looks)[:, None, None],
        ),
    }  # fmt: skip
    table = summary.summary(found).set_index("metric")
    bounds = ["removed", "removed low", "removed high", "invented", "invented low"]
    assert table.loc["perfect", bounds].tolist() == [1, 1, 1, 0, 0]
    assert table.loc["idle", bounds].tolist() == [0, 0, 0, 0, 0]
    assert table["monotone"].tolist() == [1, 1] and table["judges"].tolist() == [2, 2]


def test_a_loss_does_not_judge_itself_and_the_way_is_told(work):
    found = work[1]()
    panel = summary.by_judge(found).set_index("metric")
    assert np.isnan(panel.loc["mse", "mse"]) and panel.loc["mse", "mae"] > 0.3
    table = summary.summary(found).set_index("metric")
    assert table.loc["mse", "removed"] == pytest.approx(panel.loc["mse", "mae"])
    assert table.loc["mse", "judges"] == 1 and table.loc["psnr", "judges"] == 2
    paths = summary.by_start(found)
    way = paths[(paths["metric"] == "mse") & (paths["start"] == "noise")]
    assert way["removed"].is_monotonic_increasing and way["own"].is_monotonic_decreasing
    assert way["own"].iloc[0] == 1 and way["removed"].iloc[0] == 0 and way["step"].max() == 20


def test_the_page_escapes_names_and_loads_nothing(work):
    found = work[1]()
    nasty = "<img src=x onerror=alert(1)>|*a*"
    found.found[nasty] = found.found.pop("mae")
    found.names[0] = nasty
    text, files = page.files(found, 20, f"perceptbench descend -m '{nasty}'")
    html = files["descend.html"].decode()
    assert (
        "<img src=x" not in html
        and "&lt;img src=x" in html
        and "http:" not in html
        and "https:" not in html
    )
    assert "default-src 'none'" in html and html.count("data:image/jpeg") == 3
    markdown = files["descend.md"].decode()
    assert "<img" not in markdown.rpartition("Made by")[0] and "(descend-1.jpg)" in markdown
    assert files["descend-1.jpg"].startswith(b"\xff\xd8") and "mse" in text
    written = pd.read_csv(pd.io.common.BytesIO(files["descend.csv"]))
    assert set(written["metric"]) == {"mse", "psnr", nasty}
