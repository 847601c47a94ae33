"""`datasets export`: what is written is the dataset again, as a user's own files."""

import numpy as np
import pandas as pd
import pytest
import torch

from perceptbench.agreement import agreement
from perceptbench.datasets.export import export
from perceptbench.datasets.judgements.protocols import pairs
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest
from perceptbench.datasets.readers.table import judgement_file
from perceptbench.errors import DataError, UsageError
from perceptbench.metrics.pixel import mse
from perceptbench.scoring.engine import score


def test_computed_stimuli_come_back_to_the_last_bit(tmp_path):
    dataset = load_dataset(find_manifest("modelfest"), None, tmp_path)
    files = export(dataset, tmp_path / "out")
    assert [f.name for f in files] == [
        f"modelfest-{part.slice}-{part.protocol}.csv" for part in dataset.judgements
    ]
    for part, file in zip(dataset.judgements, files, strict=True):
        again = judgement_file(file)
        (own,) = again.judgements
        assert own.protocol == part.protocol and own.pixels_per_degree == part.pixels_per_degree
        assert np.allclose(own.table["p_b"], part.table["p_b"], rtol=0, atol=1e-15)
        for column in ("reference", "a", "b"):
            for old, new in zip(part.table[column][:4], own.table[column][:4], strict=True):
                assert torch.equal(dataset.load(old), again.load(new))


def test_the_figures_of_an_exported_dataset_are_its_own(tmp_path):
    dataset = load_dataset(find_manifest("macadam-osa"), None, tmp_path)
    (file,) = export(dataset, tmp_path / "out")
    values = []
    for each in (dataset, judgement_file(file)):
        (part,) = each.judgements
        scores = score(pairs(part.table), each.load, {"mse": mse}).table
        table = agreement(part, scores, metrics=["mse"])
        srcc = table[(table.metric == "mse") & (table.statistic == "srcc")]
        values.append(srcc["value"].item())
    assert values[0] == values[1]


def test_files_are_copied_as_they_are_and_names_do_not_clash(tmp_path, images):
    (images / "x").mkdir()
    (images / "x" / "ref.png").write_bytes((images / "b.png").read_bytes())
    pd.DataFrame(
        {"reference": ["ref.png", "x/ref.png"], "distorted": ["a.png", "a.png"], "quality": [1, 2]}
    ).to_csv(images / "mine.csv", index=False)
    (file,) = export(judgement_file(images / "mine.csv"), tmp_path / "out")
    table = pd.read_csv(file)
    assert table["reference"].tolist() == ["images/ref.png", "images/ref-2.png"]
    copied = (file.parent / "images/ref-2.png").read_bytes()
    assert copied == (images / "b.png").read_bytes()
    (file,) = export(judgement_file(images / "mine.csv"), tmp_path / "bare", images=False)
    assert pd.read_csv(file)["reference"].tolist() == ["ref.png", "x/ref.png"]
    assert [p.name for p in file.parent.iterdir()] == ["mine.csv"]
    with pytest.raises(UsageError, match="is not empty"):
        export(judgement_file(images / "mine.csv"), tmp_path / "bare")


@pytest.mark.parametrize(
    ("array", "reason"),
    [(np.zeros((4, 4, 3)), "not floats"), (np.full((3, 4, 4), 1.5), "outside"),
     (np.full((3, 4, 4), np.nan), "outside"), (np.zeros((3, 4, 4), int), "not floats")],
)  # fmt: skip
def test_an_array_that_is_no_image_is_refused(images, array, reason):
    np.save(images / "a.npy", array)
    pd.DataFrame({"reference": ["ref.png"], "distorted": ["a.npy"], "quality": [1]}).to_csv(
        images / "mine.csv", index=False
    )
    with pytest.raises(DataError, match=reason):
        judgement_file(images / "mine.csv").load("a.npy")


def test_two_viewing_distances_in_one_file_are_refused(images):
    columns = {"reference": ["ref.png"] * 2, "distorted": ["a.png", "b.png"], "quality": [2, 1]}
    file = images / "mine.csv"
    pd.DataFrame({**columns, "pixels_per_degree": [30, 60]}).to_csv(file, index=False)
    with pytest.raises(DataError, match="one positive number in every row"):
        judgement_file(file)
    pd.DataFrame({**columns, "pixels_per_degree": [30, 30]}).to_csv(file, index=False)
    assert judgement_file(file).judgements[0].pixels_per_degree == 30.0
