"""Studies: what a file says, what a verdict is, what could not be run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from perceptbench.agreement.evaluate import COMPARISON
from perceptbench.datasets.judgements import Judgements
from perceptbench.datasets.load import load_at_hand
from perceptbench.errors import UsageError
from perceptbench.losses.config import Networks, build_loss, parse_loss
from perceptbench.metrics.registry import catalogue
from perceptbench.reporting.markdown import escape
from perceptbench.reporting.run_folder import Run
from perceptbench.study import Claim, Study, overall, page, read_study, shipped, verdicts

REPORTS = Path(__file__).resolve().parents[1] / "reports" / "studies"
NAMES = ("pixel-vs-perceptual", "common-mistakes", "learned-vs-fixed")


@pytest.fixture(scope="module")
def found():
    return catalogue()


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_of_a_shipped_study_is_a_loss_that_parses(name, found):
    study = read_study(name, found)
    named = {n for claim in study.claims for n in (claim.better, claim.worse)}
    assert {info.name for info in study.metrics} == named
    for info in study.metrics:
        if info.loss is not None:
            parse_loss(info.loss, info.name)


def test_the_shipped_studies_are_those_that_the_help_names():
    assert set(shipped()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_verdict_is_of_the_study_as_it_is(name, found):
    text = (REPORTS / name / "verdict.md").read_text(encoding="utf-8")
    claims = read_study(name, found).claims
    for number, claim in enumerate(claims, start=1):
        assert f"### {number}. {escape(claim.text)}: " in text
    assert f"### {len(claims) + 1}. " not in text


def test_common_mistakes_change_one_thing_each(found):
    loss = {info.name: info.loss for info in read_study("common-mistakes", found).metrics}
    right = loss["lpips-alex"]
    assert loss["lpips-alex-half-range"] == {**right, "input": {"value_range": [0.5, 1]}}
    sums = [{**row, "reduction": "sum"} for row in loss["alex-l2"]["tap"]]
    assert loss["alex-l2-sums"] == {**loss["alex-l2"], "tap": sums}
    deep = [row["weight"] for row in loss["alex-cosine-deep"]["tap"]]
    assert deep == [1, 4, 16, 64, 256]
    backbone = {**loss["alex-l2"]["backbone"], "pooling": "average"}
    assert loss["alex-l2-average"] == {**loss["alex-l2"], "backbone": backbone}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_half_range_is_lpips_fed_with_the_wrong_range(found, images_01):
    """The package maps [-1, 1] as it likes; told nothing of [0, 1], it gives these numbers."""
    import lpips

    (info,) = (
        m for m in read_study("common-mistakes", found).metrics if m.name == "lpips-alex-half-range"
    )
    table = {**info.loss, "backbone": {"name": "alexnet", "weights": "random", "seed": 2}}
    ours = build_loss(parse_loss(table, info.name), Networks())
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    features = ours.backbone.network.module.features
    for name, parameter in theirs.net.named_parameters():
        parameter.data.copy_(features.get_parameter(name.partition(".")[2]).data)
    expected = theirs(*images_01, normalize=False).flatten()
    np.testing.assert_allclose(ours(*images_01), expected.detach(), rtol=1e-4)


@pytest.fixture
def images_01():
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 64, 64, generator=generator)
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('title = "t"\nclaim = []', "needs one or more"),
        ("claim = 3", "key `"),
        ("title = ", "not valid TOML"),
        ('title = "t"\n[[claim]]\ntext = "x"\nbetter = "mse"\nworse = "mse"', "twice"),
        ('title = "t"\n[[claim]]\ntext = "x"\nbetter = "mse"\nworse = "msee"', "did you mean"),
        (
            'title = "t"\n[metric.m]\nlike = "alex-l2"\nweights = [1]\n'
            '[[claim]]\ntext = "x"\nbetter = "m"\nworse = "mse"',
            "one a tap",
        ),
        (
            'title = "t"\n[metric.m]\nlike = "mse"\n'
            '[[claim]]\ntext = "x"\nbetter = "m"\nworse = "mse"',
            "needs a loss",
        ),
        (
            'title = "t"\n[metric.m]\nlike = "alex-l2"\neach_tap = 3\n'
            '[[claim]]\ntext = "x"\nbetter = "m"\nworse = "mse"',
            "key `metric.m.each_tap`",
        ),
    ],
)
def test_a_faulty_study_is_one_sentence(text, said, tmp_path, found):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_study(str(path), found)
    assert "mine.toml" in str(caught.value)


def test_an_unknown_study_is_answered_with_the_nearest(found):
    with pytest.raises(UsageError, match="did you mean common-mistakes"):
        read_study("common-mistake", found)


def made(differences, statistic="srcc", skipped=()):
    """A run of two figures with known paired differences a - b: (value, half width, p) each."""
    parts = [
        Judgements(name, pd.DataFrame({"reference": ["r"], "distorted": ["d"], "quality": [1.0]}),
                   resample=("reference",), statistics=(statistic,))
        for name in ("one", "two")[: len(differences)]
    ]  # fmt: skip
    pairs, figures = [], []
    for part, (value, half, p) in zip(parts, differences, strict=True):
        pairs.append((part.dataset, "all", statistic, "a", "b", value, value - half, value + half,
                      p, p, np.nan, np.nan, 50))  # fmt: skip
        figures += [
            {"dataset": part.dataset, "slice": "all", "statistic": statistic, "metric": m,
             "value": v, "n": 50, "units": 10, "in_domain": m == "a"}
            for m, v in (("a", 0.5 + value), ("b", 0.5))
        ]  # fmt: skip
    record = {"device": "cpu", "precision": "fp32"}
    return Run(
        pd.DataFrame(), pd.DataFrame(figures), pd.DataFrame(), parts, dict(skipped),
        pd.DataFrame(), pd.DataFrame(pairs, columns=list(COMPARISON)), provenance=record,
    )  # fmt: skip


def study(*claims):
    return Study("mine", "Mine", tuple(Claim(text=f"{a} over {b}", better=a, worse=b)
                                       for a, b in claims), [])  # fmt: skip


def test_a_claim_is_judged_by_its_corrected_difference():
    table = verdicts(study(("a", "b")), made([(0.1, 0.05, 0.001), (0.1, 0.2, 0.4)]))
    assert list(table["verdict"]) == ["supported", "undecided"]
    assert overall(list(table["verdict"])) == "supported"
    # One test a dataset: nothing to correct, the interval stays.
    np.testing.assert_allclose(table["low"], [0.05, -0.1])
    np.testing.assert_allclose(table["p_holm"], table["p"])


def test_the_claim_the_other_way_round_is_refuted_with_the_mirrored_interval():
    table = verdicts(study(("b", "a")), made([(0.1, 0.05, 0.001)]))
    assert list(table["verdict"]) == ["refuted"]
    np.testing.assert_allclose(table.loc[0, ["low", "high"]].tolist(), [-0.15, -0.05])


def test_where_small_is_good_a_negative_difference_supports():
    table = verdicts(study(("a", "b")), made([(-0.1, 0.05, 0.001)], statistic="stress"))
    assert list(table["verdict"]) == ["supported"]
    assert table.loc[0, "difference"] == pytest.approx(0.1)


def test_holm_counts_the_claims_of_a_dataset_and_stretches_the_interval():
    table = verdicts(study(("a", "b"), ("b", "a")), made([(0.1, 0.05, 0.02)]))
    np.testing.assert_allclose(table["p_holm"], 0.04)
    ratio = student.ppf(1 - 0.0125, 9) / student.ppf(1 - 0.025, 9)
    assert table.loc[0, "low"] == pytest.approx(0.1 - 0.05 * ratio)


def test_datasets_that_contradict_each_other_leave_a_claim_undecided():
    table = verdicts(study(("a", "b")), made([(0.1, 0.05, 0.001), (-0.1, 0.05, 0.001)]))
    assert overall(list(table["verdict"])) == "undecided"


def test_a_figure_that_a_metric_does_not_have_is_undefined_there():
    run = made([(0.1, 0.05, 0.001), (0.1, 0.05, 0.001)])
    run.comparisons = run.comparisons[run.comparisons["dataset"] == "one"]
    lost = (run.agreement["dataset"] == "two") & (run.agreement["metric"] == "b")
    run.agreement = run.agreement.assign(
        value=run.agreement["value"].mask(lost), note=np.where(lost, "all judgements are equal", "")
    )
    table = verdicts(study(("a", "b")), run)
    assert list(table["verdict"]) == ["supported", "undefined"]
    text = page(study(("a", "b")), run, table, {})
    assert "one srcc" in text
    assert "- two srcc of b is undefined: all judgements are equal." in text
    assert "of a is undefined" not in text and "nan" not in text


def test_a_metric_that_cannot_be_had_is_not_run_with_its_reason():
    run = made([(0.1, 0.05, 0.001)], skipped={"c": "no weights here"})
    asked = study(("a", "b"), ("a", "c"))
    table = verdicts(asked, run)
    assert list(table["verdict"]) == ["supported", "not run"]
    text = page(asked, run, table, {"far": "no images"})
    assert "Not run: c: no weights here." in text
    assert "Run on one." in text and "- far: no images" in text
    assert "0.600†" in text


def test_names_of_a_study_are_no_markup():
    nasty = "<img src=x onerror=alert(1)>[x](y)"
    run = made([(0.1, 0.05, 0.001)], skipped={nasty: "no weights"})
    for part in run.judgements:
        object.__setattr__(part, "dataset", nasty)
    run.agreement["dataset"] = run.comparisons["dataset"] = nasty
    asked = study(("a", "b"), ("a", nasty))
    text = page(asked, run, verdicts(asked, run), {nasty: nasty})
    assert "&lt;img" in text and "<img" not in text and "[x](" not in text


def test_a_study_of_which_nothing_could_be_run_says_so():
    run = made([(0.1, 0.05, 0.001)], skipped={"c": "no weights here"})
    asked = study(("a", "c"))
    table = verdicts(asked, run)
    assert list(table["verdict"]) == ["not run"]
    assert "**not run**" in page(asked, run, table, {})


def test_the_command_writes_a_verdict(cli, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "Mine"\n[metric.other]\nlike = "random-alex-l2"\nbackbone = { seed = 1 }\n'
        '[[claim]]\ntext = "colour counts"\nbetter = "ciede2000"\nworse = "mae"\n'
        '[[claim]]\ntext = "seeds differ"\nbetter = "other"\nworse = "random-alex-l2"\n'
    )
    options = ["--dataset", "macadam-osa", "--workers", 0, "-o", "out"]
    code, out, err = cli("study", file, *options)
    assert code == 0, err
    written = (tmp_path / "cwd" / "out" / "verdict.md").read_text()
    assert written in out
    assert "1. colour counts" in written and "Run on macadam-osa." in written
    table = pd.read_csv(tmp_path / "cwd" / "out" / "verdict.csv")
    assert len(table) == 4 and set(table["dataset"]) == {"macadam-osa"}
    agreement = pd.read_csv(tmp_path / "cwd" / "out" / "agreement.csv")
    value = agreement.set_index(["statistic", "metric"])["value"]
    row = table[(table["claim"] == 1) & (table["statistic"] == "srcc")].iloc[0]
    apart = value["srcc", "ciede2000"] - value["srcc", "mae"]
    assert row["difference"] == pytest.approx(apart) and apart > 0


def test_data_at_a_url_is_not_copied_unasked(cli):
    code, _, err = cli("study", "learned-vs-fixed", "--data-dir", "memory://sets")
    assert code == 2 and "with --dataset" in err


def test_a_copy_without_images_is_left_out_with_the_reason(tmp_path, shared):
    datasets, left_out = load_at_hand(shared, tmp_path)
    names = [dataset.name for dataset in datasets]
    assert {"modelfest", "edge-in-noise", "macadam-osa", "material-appearance"} <= set(names)
    assert not set(names) & set(left_out)
    assert "images that are not in" in left_out["tid2013"]
