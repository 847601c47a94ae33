"""Tables out of Excel, pandas and R: names stay names, and what was assumed is said."""

import unicodedata

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptbench.datasets.judgements.own import odd, read_judgements
from perceptbench.datasets.judgements.tables import read_table, spelled
from perceptbench.datasets.readers.table import judgement_file, judgement_files
from perceptbench.errors import DataError

ROWS = [("r0", "001.png", 1.5), ("r0", "7.10", 2.0), ("r1", "NA", 3.25), ("r1", "None", 4.0)]
TABLE = pd.DataFrame(ROWS, columns=["reference", "distorted", "quality"])


def written(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def own(tmp_path, content, name="t.csv"):
    found = read_judgements(written(tmp_path / name, content))
    return found.table, " | ".join(found.assumed)


def as_text(separator=",", header="reference,distorted,quality", number=str, end="\n"):
    rows = [",".join([r, d, number(q)]) for r, d, q in ROWS]
    return end.join([header, *rows, ""]).replace(",", separator).replace("·", ",")


def comma(number):
    return str(number).replace(".", "·")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (as_text(), ""),
        (as_text(end="\r\n"), ""),
        (as_text(end="\r"), ""),
        ("\ufeff" + as_text(), ""),
        (as_text(";"), "columns are separated by semicolons"),
        (as_text("\t"), "columns are separated by tabs"),
        ("sep=;\n" + as_text(";"), "columns are separated by semicolons"),
        (as_text(";", number=comma), "`quality` have decimal commas"),
        (as_text("\t", number=comma), "`quality` have decimal commas"),
        (as_text(number=lambda q: f'"{comma(q)}"'), "`quality` have decimal commas"),
        (as_text(header="Reference, DISTORTED ,Quality"), "`DISTORTED` is taken for `distorted`"),
        (as_text() + "\n\n,,\n,,\n", "2 blank rows are left out"),
        (as_text().replace("r0,", " r0 ,"), "'r0 ': blanks around it are left out"),
        ("".join(f"{i},{r}\n" for i, r in zip(["", 0, 1, 2, 3], as_text().split(), strict=True)),
         "column 1 has no name: taken for row numbers, left out"),
        ("".join(f"{i},{r}\n" for i, r in zip(["Unnamed: 0", 7, 1, 2, 3], as_text().split(),
                                              strict=True)), "taken for an index, left out"),
        ("".join(f"{i}{r}\n" for i, r in zip(["", "1,", "2,", "3,", "4,"], as_text().split(),
                                             strict=True)), "taken for row numbers, left out"),
        ("".join(f"{r}{end}\n" for r, end in zip(as_text().split(), ["", *",,,,"], strict=True)),
         ""),
    ],
)  # fmt: skip
def test_however_it_is_written_the_table_is_the_same(tmp_path, content, said):
    table, assumed = own(tmp_path, content)
    pd.testing.assert_frame_equal(table, TABLE)
    assert said in assumed and bool(said) == bool(assumed)


def test_a_spreadsheet_keeps_the_zeros_that_it_shows(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["reference", "distorted", "quality", None])
    for row in [("r", 1, 1.5), ("r", 7.1, 2), ("r", 12, "3"), ("r", "007", 4), (None,) * 3]:
        sheet.append(row)
    sheet["B2"].number_format, sheet["B3"].number_format = "000", "0.00"
    book.create_sheet("notes").append(["x"])
    book.save(tmp_path / "t.xlsx")
    found = read_judgements(tmp_path / "t.xlsx")
    assert found.table["distorted"].tolist() == ["001", "7.10", "12", "007"]
    assert found.table["quality"].tolist() == [1.5, 2, 3, 4]
    assert found.assumed == ["sheet 'Sheet' is read; notes is not"]
    sheet["B3"] = pd.Timestamp("2026-02-01")  # what a spreadsheet makes of 1-2
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match="cell B3 is a date, 2026-02-01: if it was a name"):
        read_table(tmp_path / "t.xlsx")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["NA", "nan", "None", "null", "inf", "-inf", "1e5", "001", "1.0",
                                 "True", "7.10", "#N/A", "<NA>", "a\nb", "a,b", 'a"b', "'x"]),
                min_size=1, unique=True))  # fmt: skip
def test_names_are_text_whatever_they_look_like(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    table = pd.DataFrame({"reference": "r", "distorted": names, "quality": 1.0, "category": names})
    table.to_csv(path, index=False)
    found = read_judgements(path).table
    assert found["distorted"].tolist() == names == found["category"].tolist()


def test_a_blank_category_is_none(tmp_path):
    table, _ = own(tmp_path, "reference,distorted,quality,category\nr,a,1,\nr,b,2,NA\n")
    assert table["category"].isna().tolist() == [True, False]


def test_an_index_of_names_in_parquet_is_the_names(tmp_path):
    TABLE.set_index(["reference", "distorted"]).to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_judgements(tmp_path / "t.parquet").table, TABLE)


def test_names_of_windows_and_of_a_mac_find_their_files(tmp_path, images):
    decomposed = unicodedata.normalize("NFD", "é.png")
    (images / "sub").mkdir()
    (images / "a.png").rename(images / "sub" / "a.png")
    (images / "b.png").rename(images / decomposed)
    content = f"reference,distorted,quality\nref.png,sub\\a.png,2\nref.png,{decomposed},1\n"
    dataset = judgement_file(written(images / "mine.csv", content))
    assert dataset.judgements[0].table["distorted"].tolist() == ["sub/a.png", "é.png"]
    assert dataset.load("sub/a.png").shape == dataset.load("é.png").shape == (3, 40, 48)
    assert any("`\\` is taken for `/`" in s for s in dataset.assumed)
    assert any("Unicode NFC" in s for s in dataset.assumed)
    assert spelled(images, "none.png") == images / "none.png"
    before = dataset.fingerprint()
    (images / decomposed).write_bytes((images / "ref.png").read_bytes())
    assert dataset.fingerprint() != before


def test_two_files_of_one_name_are_two_datasets(tmp_path, images):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "mos.csv", "reference,distorted,quality\nr,a,1\n")
    loaded = judgement_files([tmp_path / "x/mos.csv", tmp_path / "y/mos.csv"], images)
    assert (
        [d.name for d in loaded] == ["x-mos", "y-mos"] == [d.judgements[0].dataset for d in loaded]
    )
    assert "is called x-mos, as another file has its name" in loaded[0].assumed[-1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("reference;distorted,quality\nr;a,1\n", "`reference`, `distorted,quality` (semicolons)"),
        ("reference,distorted,quality\nr,a,3,5\nr,b,4,5\n", "a decimal comma in a file that"),
        ("reference,distorted,quality\nr,a,3\nr,b,4,5\n", "line 3 has 4 fields, its header 3"),
        ("reference;distorted;quality\nr;a;1,234\nr;b;345\n",
         "'1,234': 1.234 with a decimal comma, or 1234 with a comma between thousands?"),
        ('reference,distorted,quality\nr,a,"1,234"\nr,b,"2,345"\n',
         "'1,234': 1.234 with a decimal comma, or 1234 with a comma between thousands?"),
        ("reference,distorted,Quality,quality\nr,a,1,2\n", "two columns are called `quality`"),
        ("reference,distorted,MOS\nr,a,1\n",
         "it has `reference`, `distorted`, `MOS`; is `MOS` meant?"),
        ("referense,distorted,quality\nr,a,1\n", "did you mean referense?"),
        ("reference,distorted,quality\nr,a,\n", "row 1: `quality` is blank, not a finite number"),
        ("reference,distorted,quality\nr,a,NA\n", "row 1: `quality` is 'NA', not a finite number"),
        ("reference,distorted,quality,std\nr,a,1,x\n", "row 1: `std` is 'x', not a finite number"),
        ("", "it is empty"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_or_none_is_said(tmp_path, content, words):
    with pytest.raises(DataError) as found:
        own(tmp_path, content)
    assert words in str(found.value) and str(found.value).startswith(str(tmp_path / "t.csv"))


def test_decimal_commas_with_three_digits_beside_others_are_decimals(tmp_path):
    table, _ = own(tmp_path, "reference;distorted;quality;std\nr;a;1,234;0,5\nr;b;3;1\n")
    assert table["quality"].tolist() == [1.234, 3] and table["std"].tolist() == [0.5, 1]
    table, assumed = own(tmp_path, "reference;distorted;quality\nr;a;1,234\nr;b;3,210\n")
    assert table["quality"].tolist() == [1.234, 3.21] and "`quality` have decimal commas" in assumed


def test_rows_that_repeat_are_counted_and_said(tmp_path):
    table, assumed = own(tmp_path, "reference,distorted,quality\nr,a,1\nr,a,2\nr,b,3\n")
    assert (
        len(table) == 3 and "1 of 3 rows judge what another row does, the first (r, a)" in assumed
    )


def test_questions_about_the_direction():
    table = pd.DataFrame({"reference": "r", "distorted": list("abcd"), "quality": [4.0, 3, 2, 1],
                          "level": [1, 2, 3, 4]})  # fmt: skip
    (falls,) = odd(table, "x")
    assert "`quality` falls as `level` rises (rank correlation -1.00)" in falls and "?" not in falls
    (rises,) = odd(table.assign(quality=[1.0, 2, 3, 4]), "x")
    assert "is it one of `impairment`" in rises
    named = odd(table.drop(columns="level"), "live-DMOS")
    assert named == [
        "the file is called a DMOS: higher is then worse; call the column `impairment`"
    ]
    hidden = table.drop(columns="level").assign(distorted=["a", "b", "c", "r"])
    assert "references beside themselves have worse quality" in odd(hidden, "x")[0]
    assert not odd(hidden.rename(columns={"quality": "impairment"}), "x")
