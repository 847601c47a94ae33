"""Several runs as one report."""

import pytest

from perceptbench.errors import UsageError
from perceptbench.reporting import html, markdown, merge, run_folder


@pytest.fixture
def stored(make_run, tmp_path):
    """Writes a run: its folder."""

    def write(name, **options):
        (tmp_path / name).mkdir()
        run_folder.write(make_run(**options), tmp_path / name)
        return tmp_path / name

    return write


def test_tables_are_put_together_and_ranked_anew(stored):
    one = stored("one")
    two = stored("two", datasets=("more", "again"), seed=1, command="perceptbench run x y")
    merged = merge.read([one, two])
    assert len(merged.columns) == 6 and set(merged.board["metric"]) >= {"good", "fair", "bad"}
    # `good` is right on all ratings, and reaches what people allow on the triplets.
    assert merged.board["attained"].max() == pytest.approx(1.0, abs=0.05)
    assert merged.board["of"].max() == 4
    assert len(merged.agreement) == 2 * len(run_folder.read(one).agreement)
    assert len(merged.pictures) == 2 * 48
    page = markdown.render(merged)["leaderboard.md"]
    assert "again aaaaaaaaaaaa" in page and "choices cccccccccccc" in page
    assert "New dataset: where it may come to lie" in page
    assert "not run" not in page
    assert "Made by `` perceptbench run `x` <y>; perceptbench run x y ``." in page
    assert "perceptbench run x y" in html.render(merged)["leaderboard.html"]
    odd = merge.read([one, stored("odd", datasets=("p", "q"), worst="odd")])
    assert "- not run: odd on ratings srcc." in markdown.render(odd)["leaderboard.md"]


def test_one_run_is_itself(stored):
    one = stored("one")
    assert merge.read([one]).board.equals(run_folder.read(one).board)


def test_a_dataset_in_two_runs_and_one_name_for_two_metrics_are_named(stored, make_run, tmp_path):
    one, two = stored("one"), stored("two")
    with pytest.raises(UsageError, match=r"dataset ratings is in .*one and in .*two"):
        merge.read([one, two])
    other = make_run(("more", "again"))
    other.provenance["metrics"]["good"]["hash"] = "another"
    (tmp_path / "other").mkdir()
    run_folder.write(other, tmp_path / "other")
    with pytest.raises(UsageError, match=r"metric good of .*one is not metric good of .*other"):
        merge.read([one, tmp_path / "other"])


def test_the_least_margin_of_several_runs_holds(stored, make_run, tmp_path):
    folders = []
    for name, datasets, margin in (("a", ("p", "q"), 0.05), ("b", ("x", "y"), 0.02)):
        run = make_run(datasets)
        run.provenance["margin"] = margin
        (tmp_path / name).mkdir()
        run_folder.write(run, tmp_path / name)
        folders.append(tmp_path / name)
    assert "by more than 0.02 of a figure" in markdown.render(merge.read(folders))["leaderboard.md"]
