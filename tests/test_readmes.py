"""Every README: its links lead somewhere, its commands are ones that the program takes."""

import re
import shlex
from pathlib import Path

import click
import pandas as pd
import pytest

from perceptbench.cli import cli

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = {".venv", ".git", "runs", "node_modules"}
PAGES = sorted(
    path
    for path in [*ROOT.rglob("README.md"), ROOT / ".github" / "SECURITY.md", ROOT / "CHANGELOG.md"]
    if not HIDDEN & set(path.relative_to(ROOT).parts)
)


def name(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists() and found.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(found), target


def commands(page):
    """The calls of `perceptbench` in a page's shell blocks, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        for line in re.split(r"\n|;|&&", block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            if words and words[0].rpartition("/")[2] == "perceptbench":
                yield words[1:]


#: Files and folders that the commands speak of.
FILES = ("mine.csv", "theirs.csv", "mos.csv", "scores.csv", "my-loss.toml", "dinov2.toml")
FOLDERS = ("DIR", "data", "photos", "weights", "runs/first", "runs/tid", "FOLDER")


@pytest.mark.parametrize(
    ("page", "words"),
    [(page, words) for page in PAGES for words in commands(page)],
    ids=lambda value: value.parent.name if isinstance(value, Path) else " ".join(value),
)
def test_every_command_is_one_that_the_program_takes(page, words, tmp_path, monkeypatch):
    """Its names, options and their values; what they do is tested where they are made."""
    monkeypatch.chdir(tmp_path)
    for file in FILES:
        Path(file).touch()
    for folder in FOLDERS:
        Path(folder).mkdir(parents=True)
    command, context = cli, click.Context(cli, info_name="perceptbench")
    while isinstance(command, click.Group):
        command, words = command.get_command(context, words[0]), words[1:]
        assert command is not None
    command.make_context(command.name, list(words), parent=context)


def test_the_readme_is_read_in_a_minute():
    assert (ROOT / "README.md").stat().st_size <= 14 * 1024


def test_what_the_card_is_said_to_show_is_in_its_report():
    report = pd.read_csv(ROOT / "reports" / "vision-card" / "leaderboard.csv").set_index("metric")
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

    def figure(metric, column):
        return f"{report.loc[metric, f'vision-card {column}']:.2f}"

    first = report.iloc[0]
    whole = f"({first['attained']:.2f} [{first['attained low']:.2f}, {first['attained high']:.2f}])"
    assert f"`{first.name}`, made with it in view, stands first {whole}" in said
    assert f"; {report['best'].sum() - 1} others may be the best" in said
    masked, dark, red, yellow = (
        f"{test} srcc" for test in ("phase-incoherent", "luminance", "red-green", "yellow-violet")
    )
    assert report[f"vision-card {masked}"].idxmax() == "lpips-squeeze"
    assert f"a pattern ({figure('lpips-squeeze', masked)})" in said
    assert f"({figure('lpips-squeeze', dark)} against {figure('mse', dark)} of MSE)" in said
    assert f"of colour ({figure('ssim', red)} and {figure('ssim', yellow)})" in said
