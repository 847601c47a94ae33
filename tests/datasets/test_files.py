"""Files of a copy, found by base name: never the wrong one."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.datasets.files import Files, resolve
from perceptbench.errors import DataError


def copy(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return Files(folder, "set")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("I25.BMP", "refs/i25.bmp"),  # another case
        ("Part_1/x.bmp", "set/Part 1/x.bmp"),  # a space became an underscore
        ("mirror/deep/i25.bmp", "refs/i25.bmp"),  # other folders, one file of the name
        ("elsewhere/jpeg/img1.bmp", "set/jpeg/img1.bmp"),  # the folder tells which
        ("folder\\jpeg\\img1.bmp", "set/jpeg/img1.bmp"),
    ],
)
def test_a_name_means_the_file_of_its_base_name_and_folders(tmp_path, name, path):
    files = copy(tmp_path, "refs/i25.bmp", "set/Part 1/x.bmp", "set/Part 2/x.bmp",
                 "set/jpeg/img1.bmp", "set/wn/img1.bmp", "refs/._i25.bmp")  # fmt: skip
    assert files.candidates(name) == [path]


def test_a_file_that_is_needed_is_named_when_it_is_nowhere_or_twice(tmp_path):
    files = copy(tmp_path, "a/scores.csv", "b/Scores.CSV")
    assert files.path("a/scores.csv") == tmp_path / "a/scores.csv"
    with pytest.raises(DataError, match=r"scores\.csv is 2 times: a/scores\.csv, b/Scores\.CSV"):
        files.path("scores.csv")
    with pytest.raises(DataError, match=r"set: none\.csv is nowhere below"):
        files.path("none.csv")
    assert files.matching("*/scores.*") == ["a/scores.csv", "b/Scores.CSV"]
    assert files.has("A/*.csv") and not files.has("c/*.csv")


def test_a_link_that_leads_back_up_has_an_end(tmp_path):
    copy(tmp_path, "a/x.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert Files(tmp_path, "set").candidates("x.png") == ["a/x.png"]


PARTS = st.sampled_from(["jpeg", "wn", "ref", "p0"])
PATHS = st.tuples(PARTS, PARTS, st.sampled_from(["1.png", "2.png"])).map("/".join)


@settings(deadline=None)  # it writes files
@given(st.sets(PATHS, min_size=2, max_size=10), st.data())
def test_a_missing_image_is_never_replaced_by_another(tmp_path_factory, paths, data):
    """Whatever base names and folders are used again, and under whatever folder labels put it."""
    lost = data.draw(st.sampled_from(sorted(paths)))
    top = data.draw(st.sampled_from(["", "mirror/"]))
    folder = tmp_path_factory.mktemp("copy")
    files = copy(folder, *(paths - {lost}))
    table = pd.DataFrame({"reference": [top + p for p in sorted(paths)]}).assign(
        distorted=lambda t: t["reference"]
    )
    found, missing = resolve(table, ["reference", "distorted"], files)
    assert missing == [top + lost]
    assert found["reference"].tolist() == sorted(paths - {lost})
