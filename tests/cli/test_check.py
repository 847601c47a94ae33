"""`perceptbench check` and `votes`: what tables hold, without scoring."""

import pandas as pd

MOS = "reference,distorted,quality,level\n" + "".join(
    f"r{i % 4},d{i},{i % 7},{i % 7}\n" for i in range(28)
)


def test_check_says_what_there_is_and_what_looks_odd(cli, tmp_path):
    (tmp_path / "mos.csv").write_text(MOS)
    rows = "".join(f"r{i % 4},d{i},{i % 7},{'x' if i == 3 else -i % 7}\n" for i in range(27))
    (tmp_path / "s.csv").write_text("reference,distorted,ssim,mse\n" + rows)
    code, output, errors = cli("check", tmp_path / "mos.csv")
    assert code == 0 and not errors
    for words in ("judgements of the protocol rating", "28 judgements in 28 rows, 32 images",
                  "4 references", "intervals rest on 4 units that vary",
                  "`quality`: 0 to 6, mean 3", "one of `impairment`",
                  "how many people are behind a judgement is not known",
                  "`level`: 7 values"):  # fmt: skip
        assert words in output, words
    code, output, _ = cli("check", tmp_path / "mos.csv", tmp_path / "s.csv")
    assert code == 1 and "scores of 2 metrics for 27 pairs" in output
    assert (
        "- ssim: 27 of 28 judgements of mos; without a score: (r3, d27): no row in s.csv" in output
    )
    assert "row 4 is 'x', no finite number" in output
    assert "ssim agrees with mos at -1.00: is it a similarity?" in output
    code, output, errors = cli("check", tmp_path / "none.csv", tmp_path / "mos.csv")
    assert code == 1 and "there is no such file" in errors and "protocol rating" in output


def test_votes_are_brought_together_and_written(cli, tmp_path):
    rows = [f"r,d{i},{rater},{(i + rater % 2) % 5}" for i in range(10) for rater in range(4)]
    (tmp_path / "v.csv").write_text("reference,distorted,rater,quality\n" + "\n".join(rows) + "\n")
    code, output, _ = cli("votes", tmp_path / "v.csv", "--mos", "p910", "-o", "out/mos.csv")
    assert code == 0 and "40 votes of 4 raters on 10 items, 4 on each" in output
    assert "ICC(2,1)" in output and "raters an item are enough" in output
    written = pd.read_csv("out/mos.csv")
    assert list(written) == ["reference", "distorted", "quality", "std", "raters"]
    code, output, _ = cli("check", "out/mos.csv")
    assert code == 0 and "`raters`: 4 to 4 a judgement" in output
    code, output, _ = cli("check", tmp_path / "v.csv")
    assert "40 votes of 4 raters" in output and "screening: nobody is left out" in output
    code, _, errors = cli("votes", "out/mos.csv")
    assert code == 1 and "has no column `rater`" in errors


def test_choices_become_a_rating_table_that_ranks(cli, tmp_path):
    rows = [f"r{k},x{i},x{i + 1},{v},{'a' if v == 0 else 'b'}"
            for k in range(3) for i in range(4) for v in range(6)]  # fmt: skip
    (tmp_path / "v.csv").write_text("reference,a,b,rater,choice\n" + "\n".join(rows) + "\n")
    code, output, _ = cli("votes", tmp_path / "v.csv", "--scale", "thurstone", "-o", "s.csv")
    assert code == 0 and "two people agree in 0.6667 of cases (12 items" in output
    table = pd.read_csv("s.csv")
    table[["reference", "distorted"]].assign(d=-table["distorted"].str[1:].astype(int)).to_csv(
        "d.csv", index=False
    )
    code, output, _ = cli("agree", "--judgements", "s.csv", "--scores", "d.csv")
    assert code == 0 and "| d      | 1.0000" in output
