"""Readers of folders and files."""

import json

import pandas as pd
import pytest

from perceptbench.datasets.files import Files
from perceptbench.datasets.readers.material import ANSWERS, IMAGES, material_appearance
from perceptbench.datasets.readers.table import judgement_file
from perceptbench.errors import DataError, UsageError


def test_material_appearance_as_published(shared):
    dataset = material_appearance(Files(shared / "material-2afc", "material-appearance"))
    table = dataset.judgements[0].table
    answers = json.loads((shared / "material-2afc" / ANSWERS).read_text())
    names = sorted(p.name for p in (shared / "material-2afc" / IMAGES).iterdir())
    assert len(table) == 3000 and len(names) == 100
    for row in (0, 1234, 2999):
        assert table.loc[row, ["reference", "a", "b"]].tolist() == [
            f"{IMAGES}/{names[i]}" for i in answers["answers"][row]
        ]
        for_a, for_b = answers["agreement"][row]
        assert table.p_b[row] == for_b / (for_a + for_b)
    assert dataset.load(f"{IMAGES}/{names[0]}").shape == (3, 298, 298)


@pytest.mark.parametrize("content", ['{"answers": [[0, 1, 5]], "agreement": [[1, 2]]}', "{}", "["])
def test_a_wrong_answers_file_is_named(tmp_path, images, content):
    (tmp_path / IMAGES).mkdir()
    with pytest.raises(DataError, match=r"there are no \.jpg images"):
        material_appearance(Files(tmp_path, "m"))
    (tmp_path / IMAGES / "one.jpg").touch()
    (tmp_path / ANSWERS).write_text(content)
    with pytest.raises(DataError, match=r"not the published answers for 1|is not valid JSON"):
        material_appearance(Files(tmp_path, "m"))


def test_a_users_file_with_images_beside_it_or_elsewhere(images, tmp_path):
    table = pd.DataFrame({"reference": ["ref.png"], "distorted": ["a.png"], "quality": [3]})
    table.to_csv(images / "mine.csv", index=False)
    dataset = judgement_file(images / "mine.csv")
    assert dataset.name == "mine" and dataset.judgements[0].statistics == ("srcc",)
    other = tmp_path / "elsewhere"
    other.mkdir()
    table.to_csv(other / "mine.csv", index=False)
    for loaded in (dataset, judgement_file(other / "mine.csv", images)):
        assert loaded.load("a.png").shape == (3, 40, 48)
    assert dataset.load(str(images / "a.png")).shape == (3, 40, 48)


def test_missing_files_and_folders_are_usage_errors(images):
    with pytest.raises(UsageError, match="does not exist"):
        judgement_file(images / "none.csv")
    (images / "mine.csv").write_text("reference,distorted,quality\nref.png,a.png,1\n")
    with pytest.raises(UsageError, match="image folder"):
        judgement_file(images / "mine.csv", images / "none")
