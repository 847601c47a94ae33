"""Colour differences: published numbers in, published agreement of formulas out."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench import colour
from perceptbench.agreement import influence
from perceptbench.datasets.files import Files
from perceptbench.datasets.judgements.protocols import pairs
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest
from perceptbench.datasets.stimuli.combvd import FILES, combvd
from perceptbench.datasets.stimuli.macadam_osa import macadam_osa
from perceptbench.errors import DataError
from perceptbench.losses.classical.colours import CIEDE2000
from perceptbench.metrics.pixel import mse
from perceptbench.run import run
from perceptbench.scoring.engine import score
from perceptbench.scoring.options import Options

CPU = Options(device="cpu")


def test_macadams_pairs_are_the_published_ones(shared):
    published = pd.read_csv(shared / "psychophysics" / "macadam1974_osa_pairs.csv", dtype=str)
    dataset = macadam_osa()
    table = dataset.judgements[0].table
    assert (table.reference == "tile/" + published.tile1).all()
    assert (table.distorted == "tile/" + published.tile2).all()
    np.testing.assert_array_equal(table.impairment, published.perceived_difference.astype(float))
    for row in published.iloc[[0, 40, 60]].itertuples():
        xyz = colour.linear_to_xyz(colour.srgb_decode(dataset.load(f"tile/{row.tile1}").double()))
        x, y, z = xyz[:, 0, 0].tolist()
        got = (x / (x + y + z), y / (x + y + z), 100 * y)
        assert got == pytest.approx((float(row.x1), float(row.y1), float(row.Y1)), abs=2e-5)


def test_stress_of_formulas_on_macadams_pairs():
    """CIEDE2000 .2227, square root of MSE .348; the difference is clipping to sRGB."""
    dataset = macadam_osa()
    table = dataset.judgements[0].table
    found = score(pairs(table), dataset.load, {"ciede2000": CIEDE2000(), "mse": mse}).table
    scored = table.merge(found, on=["reference", "distorted"])
    people = scored.impairment.to_numpy()
    for distance, stress, within in (
        (scored.ciede2000, 0.2227, 0.002), (np.sqrt(scored.mse), 0.348, 0.001)
    ):  # fmt: skip
        found, _ = influence.stress(distance.to_numpy(float), people)
        assert found == pytest.approx(stress, abs=within)


def combvd_folder(shared, folder, rows_each=None):
    """The six tables in their published form, made from the CSV of the same numbers."""
    table = pd.read_csv(shared / "psychophysics" / "combvd_pairs.csv")
    for name, path in FILES.items():
        rows = table[table.subset == name][:rows_each]
        white = rows[["Xw", "Yw", "Zw"]].iloc[0].tolist()
        lab = np.concatenate([rows[["L1", "a1", "b1"]], rows[["L2", "a2", "b2"]]])
        lab, index = np.unique(lab, axis=0, return_inverse=True)
        xyz = colour.lab_to_xyz(
            torch.from_numpy(lab.T[..., None]), torch.tensor(white).double().view(3, 1, 1)
        )
        content = {
            "reference_white": white,
            "dv": rows.dV.tolist(),
            "pairs": index.reshape(2, -1).T.tolist(),
            "xyz": xyz[..., 0].T.tolist(),
        }
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def some(shared, tmp_path_factory):
    """The first rows of each table."""
    return combvd_folder(shared, tmp_path_factory.mktemp("data") / "vsl", 200)


@pytest.mark.slow
@pytest.mark.parametrize("metrics", [("mse", "ciede2000"), ("lpips-alex",)], ids=str)
def test_combvd_reproduces_the_reference_scores(shared, tmp_path, weights, metrics):
    from perceptbench.metrics.registry import catalogue, select

    manifest = find_manifest("combvd")
    folder = combvd_folder(shared, tmp_path / "data" / "vsl")
    dataset = load_dataset(manifest, folder.parent, tmp_path)  # checks the counts
    infos = select(metrics, catalogue())
    result = run([dataset], infos, weights_dir=weights, options=CPU)
    whole = result.agreement[result.agreement["slice"] == "all"]
    figures = whole.set_index(["metric", "statistic"])
    for expected in (e for e in manifest.published if e.metric in metrics):
        got = figures.loc[(expected.metric, expected.statistic)]
        assert got.value == pytest.approx(expected.value, abs=0.001), expected
        assert got.low < got.value < got.high
    assert "human" not in set(result.agreement.metric)


def test_combvd_triplets_share_a_colour_within_one_set_and_differ(some):
    triplets, ratings = (part.table for part in combvd(Files(some, "combvd")).judgements)
    assert triplets.p_b.isin([0, 1]).all() and (triplets.a != triplets.b).all()
    known = {}
    for row in ratings.itertuples():
        for one, other in ((row.reference, row.distorted), (row.distorted, row.reference)):
            known.setdefault((row.category, one, other), set()).add(row.impairment)
    for row in triplets[::23].itertuples():
        a, b = (known[row.category, row.reference, side] for side in (row.a, row.b))
        assert any((y < x) == row.p_b for x in a for y in b)


def test_combvd_patches_have_their_lab_against_the_displays_white(some):
    dataset = combvd(Files(some, "combvd"))
    white = colour.linear_to_xyz(torch.ones(3, 1, 1).double())
    for key in dataset.judgements[1].table["reference"].iloc[[5, 150, 600]]:
        patch = dataset.load(key).double()
        lab = colour.xyz_to_lab(colour.linear_to_xyz(colour.srgb_decode(patch)), white)
        torch.testing.assert_close(lab[:, 3, 7], torch.tensor([float(v) for v in key.split(",")],
                                   dtype=torch.float64), atol=0.06, rtol=0)  # fmt: skip


def test_a_combvd_file_that_is_missing_or_wrong_is_named(some, tmp_path):
    with pytest.raises(DataError, match=r"bfd-d65\.json is nowhere below"):
        combvd(Files(tmp_path, "combvd"))
    (tmp_path / "bfd_p").mkdir()
    for content in ("[", "{}", '{"xyz": [[1, 2]], "reference_white": [1, 1, 1]}'):
        (tmp_path / "bfd_p" / "bfd-d65.json").write_text(content)
        with pytest.raises(
            DataError, match=r"bfd-d65\.json: (not a COMBVD table|is not valid JSON)"
        ):
            combvd(Files(tmp_path, "combvd"))
