"""ST-LPIPS runs from its wheel alone, and gives what others published image by image."""

import sys

import pandas as pd
import pytest
import torch

from perceptbench.datasets.images import read_image
from perceptbench.losses.config import Networks
from perceptbench.metrics import adapters
from perceptbench.metrics.registry import build

pytest.importorskip("stlpips_pytorch", reason="the package stlpips-pytorch is not installed")
#: An image of LIVE's release 2 at hand.
FILE = "gblur/img18.bmp"


def metric(name):
    return build(adapters.find(name), Networks(None)).at(None)


@pytest.mark.parametrize("net", ["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def test_the_published_value_of_an_image_is_met(net, shared):
    folder = shared / "live-subset" / "live"
    if not folder.is_dir():
        pytest.skip(f"real photographs not found: {folder} does not exist")
    table = pd.read_parquet(shared / "natural-scores" / "live.parquet")
    distorted = read_image(folder / FILE)[None]
    met = 0
    for row in table[table["distorted"] == FILE.partition("/")[2]].itertuples():
        path = folder / "refimgs" / row.reference
        reference = read_image(path)[None] if path.is_file() else torch.empty(0)
        if reference.shape != distorted.shape:
            continue
        # LIVE's names repeat from distortion to distortion: PSNR tells which is meant.
        psnr = -10 * (reference - distorted).square().mean().log10()
        if abs(psnr - row.psnr) < 1e-3:
            found = metric(f"stlpips:{net}")(reference, distorted).item()
            assert found == pytest.approx(getattr(row, f"stlpips_{net}"), abs=2e-6)
            met += 1
    assert met == 1


def test_it_needs_nothing_that_it_does_not_use(monkeypatch):
    """What stands in for such packages is gone afterwards; distances are zero for the same."""
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    compute = metric("stlpips:alex")
    assert compute(x, x).tolist() == [0, 0]
    assert (compute(x, 1 - x) > 0).all()
    halves = compute.compare(compute.embed(x), compute.embed(1 - x))
    torch.testing.assert_close(halves, compute(x, 1 - x))
    import perceptbench.metrics.adapters.stlpips as module

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    module._package()
    assert not any(getattr(sys.modules.get(name), "__spec__", 1) is None for name in module.UNUSED)
