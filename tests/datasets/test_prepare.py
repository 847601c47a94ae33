"""`prepare`: every image on every ladder, a list that is a judgement file once it is filled in."""

import filecmp

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from perceptbench.datasets.prepare import prepare
from perceptbench.datasets.readers.table import judgement_file
from perceptbench.distortions import LEVELS, STEPS
from perceptbench.errors import DataError, UsageError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.jpg"):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(folder / name)
    return folder


def test_the_pairs_are_complete_and_become_judgements_when_filled_in(photos, tmp_path):
    file = prepare(photos, tmp_path / "out")
    table = pd.read_csv(file)
    assert len(table) == 2 * len(STEPS) * LEVELS
    assert table["quality"].isna().all() and table["distorted"].is_unique
    with pytest.raises(DataError, match="`quality` is"):
        judgement_file(file)
    table.assign(quality=5 - table["level"]).to_csv(file, index=False)
    dataset = judgement_file(file)
    assert dataset.judgements[0].protocol == "rating"
    assert all(dataset.load(key).shape == (3, 24, 32) for key in table["distorted"])
    original = np.asarray(Image.open(photos / "one.png"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/images/one.png")), original)


def test_triplets_compare_two_ladders_on_both_sides(photos, tmp_path):
    file = prepare(photos, tmp_path / "out", ["noise", "blur"], "2afc", triplets=15)
    table = pd.read_csv(file)
    assert table["reference"].value_counts().tolist() == [15, 15]
    assert set(table["category"]) == {"noise blur", "blur noise"}
    assert not table.duplicated(["a", "b"]).any() and table["p_b"].isna().all()
    table.assign(p_b=0.5).to_csv(file, index=False)
    assert judgement_file(file).judgements[0].protocol == "2afc"


def test_the_seed_decides_everything(photos, tmp_path):
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        prepare(photos, tmp_path / name, ["noise", "jpeg"], seed=seed)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*")]
    same, differ, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)
    assert not differ and len(same) == len(files) == 2 * 11 + 1
    _, differ, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)
    assert "pairs.csv" in map(str, differ) and len(differ) == 1 + 2 * LEVELS  # noise only


def test_what_cannot_be_is_said(photos, tmp_path):
    with pytest.raises(UsageError, match="did you mean noise"):
        prepare(photos, tmp_path / "out", ["nois"])
    with pytest.raises(UsageError, match="two ladders"):
        prepare(photos, tmp_path / "out", ["noise"], "2afc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        prepare(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UsageError, match="is not empty"):
        prepare(photos, photos)
    Image.new("RGB", (4, 4)).save(photos / "one.bmp")
    with pytest.raises(DataError, match="differ in their endings only"):
        prepare(photos, tmp_path / "out")
    (photos / "one.bmp").unlink()
    (photos / "text.png").write_text("no")
    with pytest.raises(DataError, match=r"text\.png: cannot be read"):
        prepare(photos, tmp_path / "out")
