"""CSV for spreadsheets: no formula, nothing lost."""

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perceptbench.spreadsheet import FORMULA, NUMBER, restored, to_csv

WORDS = st.text(st.sampled_from("'=+-@＝\t\r\n,\"1.eEx "), max_size=6)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.tuples(WORDS, WORDS))
def test_whatever_the_words_are_they_come_back_and_none_is_a_formula(rows, names):
    table = pd.DataFrame(rows, columns=[f"{name}x{i}" for i, name in enumerate(names)])
    text = to_csv(table)
    raw = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skip_blank_lines=False)
    for word in [*raw.columns, *raw.to_numpy().ravel()]:
        assert word.startswith("'") or NUMBER.fullmatch(word) or not FORMULA.match(word)
    pd.testing.assert_frame_equal(restored(raw), table.astype("str"))


def test_numbers_stay_numbers():
    table = pd.DataFrame({"x": [-1.5, 2.0], "y": [-1, 2], "z": ["-1.5e-3", "+2"]})
    assert to_csv(table) == "x,y,z\n-1.5,-1,-1.5e-3\n2.0,2,+2\n"
    pd.testing.assert_frame_equal(table, restored(table))


@pytest.mark.parametrize("name", ["=a.png", "'=a.png", "-1.png", "@a.png", "'a'.png"])
def test_images_of_an_export_and_of_a_prepared_study_are_found_again(tmp_path, images, name):
    """`=a.png` may be an image's name; what is exported without images names it still."""
    from perceptbench.datasets.export import export
    from perceptbench.datasets.readers.table import judgement_file

    (images / "a.png").rename(images / name)
    own = pd.DataFrame({"reference": ["ref.png"], "distorted": [name], "quality": [-1.0]})
    (images / "mine.csv").write_text(to_csv(own), newline="")
    dataset = judgement_file(images / "mine.csv")
    assert dataset.judgements[0].table["distorted"].tolist() == [name]
    assert dataset.load(name).shape == (3, 40, 48)
    (file,) = export(dataset, tmp_path / "bare", images=False)
    again = judgement_file(file, images).judgements[0].table
    pd.testing.assert_frame_equal(again, dataset.judgements[0].table)
