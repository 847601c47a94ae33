"""The run's metrics beside those whose figures others published."""

import json
from pathlib import Path

import pandas as pd
import pytest

from perceptbench.datasets.stimuli.modelfest import modelfest
from perceptbench.datasets.stimuli.vision_card import vision_card
from perceptbench.reporting import beside, html, markdown
from perceptbench.reporting.result import Run, board

CARD = Path(__file__).resolve().parents[2] / "reports" / "vision-card"
METRICS = ["visible-contrast", "ssim"]


@pytest.fixture(scope="module")
def card():
    """The committed figures of the card, of two metrics."""
    agreement = pd.read_csv(CARD / "agreement.csv", keep_default_na=False, na_values=[""])
    agreement = agreement[agreement["metric"].isin(METRICS)].fillna({"note": "", "source": ""})
    scores = pd.DataFrame(columns=["dataset", "reference", "distorted", *METRICS])
    run = Run(scores, agreement, pd.DataFrame(), list(vision_card().judgements), {}, scores)
    run.provenance = json.loads((CARD / "run.json").read_text())
    run.board = board(run)
    return run


def test_the_card_stands_beside_published_encoders_and_says_whose_each_figure_is(card):
    """Means of the published table, by hand: ColorVideoVDP .7988, `No Encoder` .5766."""
    header, *rows = beside.tables(card)["vision-card"]
    assert header[:3] == ["metric", "mean", "area srcc"] and header[-1] == "source"
    by_name = {row[0]: row for row in rows}
    assert len(rows) == 45 + len(METRICS)
    assert by_name["ColorVideoVDP"][1:3] == ["0.799", "0.894"]
    assert by_name["No Encoder"][1] == "0.577" and by_name["No Encoder"][-2] == "0.266"
    assert by_name["DINOv2 [ViT-B/14 - LVD-142M]"][-1].startswith("Cai et al. 2025")
    assert {by_name[name][-1] for name in METRICS} == {"computed here"}
    means = [float(row[1]) for row in rows]
    assert means == sorted(means, reverse=True)


def test_every_page_has_it(card):
    page = "".join(html.render(card).values())
    assert f"## {beside.TITLE}" in "".join(markdown.render(card).values())
    assert beside.TITLE in page and "OpenCLIP [ViT-B/32 - OpenAI]" in page


def test_a_dataset_of_which_nothing_of_the_kind_is_published_has_no_such_table(card):
    empty = Run(
        card.scores, card.agreement, card.board, list(modelfest().judgements), {}, card.scores
    )
    assert beside.tables(empty) == {}
