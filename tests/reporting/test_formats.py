"""Every report format: found by its entry point, the same bytes from the same tables."""

from importlib.metadata import EntryPoint, entry_points
from itertools import combinations

import pytest

from perceptbench.errors import DataError, UsageError
from perceptbench.reporting import formats, plots, run_folder

FILES = {
    "agreement.csv", "leaderboard.csv", "leaderboard.md", "leaderboard.tex", "leaderboard.html",
    "figures/intervals.svg", "figures/intervals.png", "figures/layers.svg", "figures/layers.png",
    "figures/cost.svg", "figures/cost.png",
}  # fmt: skip


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_format_from_a_stored_run_twice_is_the_same_bytes(nasty_run, tmp_path):
    """Of names of any kind."""
    for name in ("run", "one", "two"):
        (tmp_path / name).mkdir()
    run_folder.write(nasty_run, tmp_path / "run")
    formats.write(nasty_run, tmp_path / "one")
    written = formats.write(run_folder.read(tmp_path / "run"), tmp_path / "two")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert set(one) >= FILES and {tmp_path / "two" / name for name in two} == set(written)
    assert {name for name in one if one[name] != two[name]} == set()
    assert (
        b"matplotlib" in one["figures/cost.svg"].lower()
        and b"<dc:date>" not in one["figures/cost.svg"]
    )


def test_names_in_the_cost_figure_are_apart_and_the_first_are_there():
    figure = plots._figure(5, 3.6)
    panel = figure.subplots()
    points = [(0, 0, "alone"), (1, 1, "alone, too")]
    points += [(0.5 + n / 1000, 0.5, f"one of a crowd, {n}") for n in range(20)]
    panel.plot(*zip(*((x, y) for x, y, _ in points), strict=True), "o")
    plots._name(panel, [(point, "black") for point in points])
    named = {text.get_text(): text.get_window_extent() for text in panel.texts}
    assert {name for _, _, name in points[:3]} < set(named) and len(named) == 2 + 4
    assert not any(a.overlaps(b) for a, b in combinations(named.values(), 2))


def test_an_unknown_format_is_named_with_what_there_is(run, tmp_path):
    with pytest.raises(UsageError, match=r"no report format 'htm'; did you mean html\?.*csv"):
        formats.write(run, tmp_path, ["md", "htm"])
    assert not contents(tmp_path)


def headline(run):
    return {"deep/headline.txt": run.board["metric"].iloc[0]}


def broken(run):
    raise RuntimeError("no ink")


def test_a_format_of_another_package_is_used_and_a_broken_one_costs_itself_only(
    run, tmp_path, monkeypatch
):
    foreign = [
        EntryPoint("headline", f"{__name__}:headline", formats.GROUP),
        EntryPoint("broken", f"{__name__}:broken", formats.GROUP),
        EntryPoint("md", f"{__name__}:broken", formats.GROUP),
    ]
    own = tuple(entry_points(group=formats.GROUP))
    monkeypatch.setattr(formats, "entry_points", lambda group: (*foreign, *own))
    monkeypatch.setitem(
        __import__("sys").modules, __name__,
        __import__("types").SimpleNamespace(headline=headline, broken=broken),
    )  # fmt: skip
    formats.write(run, tmp_path, ["headline", "md"])
    assert contents(tmp_path)["deep/headline.txt"] == b"good"
    with pytest.raises(DataError, match=r"report format broken .* failed: no ink"):
        formats.write(run, tmp_path, ["broken", "latex"])
    assert "leaderboard.tex" in contents(tmp_path)
