"""Published figures: ours beside theirs, on the tables at hand."""

import pandas as pd
import pytest

from perceptbench.agreement import agreement
from perceptbench.datasets.conformance import ABSENT, IN, OUT, SHOWN, conformance
from perceptbench.datasets.files import Files
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.manifest import Published, find_manifest
from perceptbench.datasets.readers.listing import ratings

VQMT = {"DSSIM": "dssim", "SSIMULACRA": "ssimulacra", "Butteraugli": "butteraugli"}


def measured(name, slice, labels, shared):
    """Agreement of the three metrics whose scores are published image by image."""
    layout = next(x for x in find_manifest(name).layout if x.files == (f"{labels}",))
    files = Files(shared / "published-scores", name)
    (part,) = ratings(files, layout.read["table"]).judgements
    scores = pd.read_csv(shared / "published-scores" / (labels.split(".")[0] + ".VQMT.csv"))
    scores = scores.rename(columns=VQMT)[list(VQMT.values())]
    keys = part.table[["reference", "distorted"]]
    assert len(scores) == len(keys) and part.slice == slice
    value = "quality" if "quality" in part.table else "impairment"
    bare = Judgements(name, part.table[["reference", "distorted", value]], slice=slice)
    scored = pd.concat([keys, scores], axis=1)
    return agreement(bare, scored, metrics=list(VQMT.values()))


@pytest.mark.parametrize(
    ("name", "slice", "labels"),
    [("tid2013", "all", "TID2013.MOS.csv"), ("live", "realigned", "LIVE2.DMOS.csv")],
)
def test_published_correlations_are_met_to_four_decimals(name, slice, labels, shared):
    table = measured(name, slice, labels, shared)
    found = conformance(find_manifest(name).published, table).set_index(["metric", "statistic"])
    for metric in VQMT.values():
        for statistic in ("plcc", "srcc", "krcc"):
            row = found.loc[[(metric, statistic)]].iloc[0]
            assert row.verdict == IN and row.tolerance == 1e-4, row
            assert row.difference == pytest.approx(row.ours - row.published)
    rest = found[~found.index.get_level_values(0).isin(VQMT.values())]
    assert set(rest["verdict"]) == {ABSENT}


def test_published_shares_of_bapps_are_met_on_the_subsets_at_hand(shared):
    subsets = ("traditional", "cnn", "superres")
    parts, scores = [], []
    for subset in subsets:
        for model in ("alex", "vgg"):
            file = f"twoAFC_model-{model}_vanilla_distortion-{subset}.csv"
            rows = pd.read_csv(shared / "bapps-val-scores" / file, header=None)
            if model == "alex":
                name = subset + "/" + rows.index.astype(str)
                part = pd.DataFrame({"reference": name, "a": name + "a", "b": name + "b"})
                parts.append(part.assign(p_b=rows[4], category=subset))
                scores.append(pd.concat([
                    pd.DataFrame({"reference": name, "distorted": name + side})
                    for side in "ab"
                ]))  # fmt: skip
            scores[-1][f"{model}-vanilla"] = pd.concat([rows[1], rows[2]]).to_numpy()
    judgements = Judgements("bapps-val", pd.concat(parts, ignore_index=True))
    table = agreement(judgements, pd.concat(scores), metrics=["alex-vanilla", "vgg-vanilla"])
    found = conformance(find_manifest("bapps-val").published, table)
    there = found[found["slice"].isin([f"category={s}" for s in subsets])]
    there = there[there["metric"].isin(["alex-vanilla", "vgg-vanilla", "human", "oracle"])]
    assert len(there) == 12 and set(there["verdict"]) == {IN}


def test_what_is_off_is_said_and_what_is_recalled_is_only_shown():
    published = [
        Published(metric="m", statistic="srcc", value=0.5, tolerance=0.01, source="s"),
        Published(metric="m", statistic="krcc", value=0.5, tolerance=0.01, source="s"),
        Published(metric="m", statistic="plcc", value=0.9, source="recalled"),
        Published(metric="x", statistic="srcc", value=0.5, tolerance=0.01, source="s"),
    ]
    table = pd.DataFrame(
        [("all", "m", "srcc", 0.51), ("all", "m", "krcc", 0.4899), ("all", "m", "plcc", 0.1),
         ("all", "x", "srcc", float("nan"))],
        columns=["slice", "metric", "statistic", "value"],
    )  # fmt: skip
    found = conformance(published, table)
    assert found["verdict"].tolist() == [IN, OUT, SHOWN, ABSENT]
    assert found["difference"].round(4).tolist()[:3] == [0.01, -0.0101, -0.8]


def test_one_command_measures_every_metric_that_has_a_published_figure(cli, weights):
    code, out, err = cli(
        "datasets", "conform", "macadam-osa", "first", "--measure", "--weights-dir", weights
    )
    assert code == 0, err
    assert "5 of 5 published figures are in first" in out
    assert all(metric in out for metric in ("mse", "ciede2000", "lpips-alex"))
