"""Studies: what a file says, what a verdict is, what could not be run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from perceptbench.agreement.evaluate import COMPARISON
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.datasets.load import load_at_hand, load_named
from perceptbench.datasets.score_sets import score_sets
from perceptbench.errors import UsageError
from perceptbench.losses.config import Networks, build_loss, parse_loss
from perceptbench.metrics.registry import catalogue
from perceptbench.reporting.markdown import escape
from perceptbench.reporting.result import Run
from perceptbench.study import Claim, Study, page, read_study, shipped, verdicts

REPORTS = Path(__file__).resolve().parents[1] / "reports" / "studies"
NAMES = ("pixel-vs-perceptual", "common-mistakes", "learned-vs-fixed")
PUBLISHED = ("alignment", "natural-images")


@pytest.fixture(scope="module")
def found():
    return catalogue()


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_of_a_shipped_study_is_a_loss_that_parses(name, found):
    study = read_study(name, found)
    named = {n for claim in study.claims for n in (claim.better, claim.worse)}
    only_published = {"dinov1_l2", "clip_vitb32_l2"} & named
    assert {info.name for info in study.metrics} == named - only_published
    assert only_published <= set(study.as_published) <= named
    for info in study.metrics:
        if info.loss is not None:
            parse_loss(info.loss, info.name)


def test_the_shipped_studies_are_those_that_the_help_names():
    assert set(shipped()) == {*NAMES, *PUBLISHED, "rounding"}


def test_a_study_is_run_on_the_datasets_it_names_read_as_it_says(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "t"\ndatasets = ["vision-card"]\noptions = { pairs = "published" }\n'
        '[[claim]]\ntext = "x"\nbetter = "mse"\nworse = "random-alex-l2"'
    )
    asked = read_study(str(path), catalogue())
    (dataset,) = load_named(asked.datasets, None, tmp_path, asked.options)
    assert max(len(part.table) for part in dataset.judgements) == 200
    (sampled,) = load_named(asked.datasets, None, tmp_path, {"another": "option"})
    assert max(len(part.table) for part in sampled.judgements) == 105
    run = made([(0.1, 0.02)])
    assert "(pairs = published)" not in page(asked, run, verdicts(asked, run), {})
    run.judgements[:] = dataset.judgements
    assert "Run on vision-card (pairs = published)." in page(asked, run, verdicts(asked, run), {})


@pytest.mark.parametrize("name", PUBLISHED)
def test_studies_of_published_scores_name_what_every_dataset_has(name, found):
    study = read_study(name, found)
    score_set = score_sets()["zs-iqa"]
    assert study.published == tuple(score_set.datasets) and not study.metrics
    for metric in study.as_published:
        base, _, variant = metric.partition("@")
        assert base in score_set.metric and variant in {"", *score_set.variant}


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
@pytest.mark.slow
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
            'title = "t"\n[as_published]\nmse = "psnr"\n'
            '[[claim]]\ntext = "x"\nbetter = "mae"\nworse = "mse"',
            "`published` datasets",
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


def made(effects, statistic="srcc", skipped=(), trained=(), chance=0.0):
    """A run with a known paired difference a - b on each dataset: (value, standard error)."""
    datasets = NAMED[: len(effects)]
    parts = [
        Judgements(name, pd.DataFrame({"reference": ["r"], "distorted": ["d"], "quality": [1.0]}),
                   resample=("reference",), statistics=(statistic,))
        for name in datasets
    ]  # fmt: skip
    pairs, figures = [], []
    for name, (value, error) in zip(datasets, effects, strict=True):
        key = {"dataset": name, "slice": "all", "statistic": statistic}
        pairs.append({**key, "a": "a", "b": "b", "difference": value, "error": error,
                      "freedom": 9.0, "units": 10})  # fmt: skip
        figures += [
            {**key, "metric": m, "value": v, "chance": chance, "ceiling": 1.0, "note": "",
             "in_domain": m == "a" and name in trained}
            for m, v in (("a", 0.5 + value), ("b", 0.5))
        ]  # fmt: skip
    record = {"device": "cpu", "precision": "fp32"}
    return Run(
        pd.DataFrame(), pd.DataFrame(figures), pd.DataFrame(), parts, dict(skipped),
        pd.DataFrame(), pd.DataFrame(pairs).reindex(columns=list(COMPARISON)), provenance=record,
    )  # fmt: skip


NAMED = ("one", "two", "three", "four", "five", "six", "seven")


def study(*claims, margin=0.02):
    return Study("Mine", tuple(Claim(text=f"{a} over {b}", better=a, worse=b)
                               for a, b in claims), [], margin)  # fmt: skip


def pooled(table):
    return table[table["dataset"] == ""].reset_index(drop=True)


def test_on_one_dataset_the_effect_is_its_difference():
    table = verdicts(study(("a", "b")), made([(0.1, 0.02)]))
    assert table["dataset"].tolist() == ["", "one"]
    assert table["verdict"].tolist() == ["supported", ""]
    half = student.ppf(0.975, 9) * 0.02
    np.testing.assert_allclose(table["low"], 0.1 - half)
    np.testing.assert_allclose(table["high"], 0.1 + half)
    np.testing.assert_allclose(table["p"], 2 * student.sf(5, 9))
    assert table["datasets"].iloc[0] == 1 and np.isnan(table["q_p"].iloc[0])


def test_a_difference_is_a_share_of_the_way_from_chance_to_people():
    (row,) = pooled(
        verdicts(study(("a", "b")), made([(0.1, 0.02)], "2afc", chance=0.5))
    ).itertuples()
    assert row.difference == pytest.approx(0.2)
    assert row.high - row.low == pytest.approx(2 * student.ppf(0.975, 9) * 0.04)


def test_over_datasets_that_agree_the_effect_is_that_of_a_t_test_over_them():
    """No spread but sampling, equal errors: Hartung and Knapp's p is that of Student's test, but no
    surer than the datasets' own errors allow."""
    values = [0.10, 0.12, 0.09]
    table = verdicts(study(("a", "b")), made([(v, 0.01) for v in values]))
    row = table.iloc[0]
    expected = ttest_1samp(values, 0)
    assert row["verdict"] == "supported" and row["datasets"] == 3
    assert row["difference"] == pytest.approx(np.mean(values))
    assert row["p"] == pytest.approx(expected.pvalue)
    assert [row["low"], row["high"]] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert table["dataset"].tolist() == ["", "one", "two", "three"]
    assert table["verdict"].tolist()[1:] == ["", "", ""]
    wide = verdicts(study(("a", "b")), made([(v, 0.02) for v in values])).iloc[0]
    half = student.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    assert wide["i2"] == 0 and wide["high"] - wide["difference"] == pytest.approx(half)


def test_the_claim_the_other_way_round_is_refuted_with_the_mirrored_interval():
    there = verdicts(study(("a", "b")), made([(0.1, 0.02)])).iloc[0]
    back = verdicts(study(("b", "a")), made([(0.1, 0.02)])).iloc[0]
    assert back["verdict"] == "refuted"
    assert [back["low"], back["high"]] == [-there["high"], -there["low"]]


def test_the_claims_of_a_study_are_one_family():
    table = pooled(verdicts(study(("a", "b"), ("b", "a")), made([(0.1, 0.02)])))
    np.testing.assert_allclose(table["p_holm"], 2 * table["p"])
    # An effect that is clear alone may not be among many claims.
    once = pooled(verdicts(study(("a", "b")), made([(0.1, 0.04)])))
    many = pooled(verdicts(study(*[("a", "b")] * 3), made([(0.1, 0.04)])))
    assert once["verdict"].tolist() == ["supported"]
    assert many["verdict"].tolist() == ["undecided"] * 3


def test_datasets_that_contradict_each_other_differ():
    table = verdicts(study(("a", "b")), made([(0.3, 0.02), (-0.3, 0.02), (0.3, 0.02)]))
    row = table.iloc[0]
    assert row["verdict"] == "differs between datasets"
    assert row["q_p"] < 1e-6 and row["i2"] > 0.9
    text = page(study(("a", "b")), made([(0.3, 0.02), (-0.3, 0.02), (0.3, 0.02)]), table, {})
    assert "### 1. a over b: differs between datasets" in text and "I² 100 %" in text


def test_support_on_one_dataset_of_seven_is_no_support():
    table = verdicts(study(("a", "b")), made([(0.1, 0.02), *[(0.0, 0.05)] * 6]))
    alone = table.set_index("dataset").loc["one"]
    assert alone["p"] < 0.001 and table["verdict"].iloc[0] == "undecided"


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [((0.001, 0.002), "equivalent"), ((0.001, 0.05), "undecided"), ((0.001, 0.01), "equivalent"),
     ((0.0, 0.0), "equivalent")],
)  # fmt: skip
def test_equivalent_is_within_the_margin_of_the_study(effect, verdict):
    assert verdicts(study(("a", "b")), made([effect]))["verdict"].iloc[0] == verdict
    # .001 + t(.95; 9) .002 = .0047
    narrow = verdicts(study(("a", "b"), margin=0.004), made([effect]))["verdict"].iloc[0]
    assert narrow == ("equivalent" if effect[1] == 0 else "undecided")


def test_two_metrics_of_one_order_are_equivalent():
    run = made([(0.3, 0.02), (0.3, 0.02)])
    names = {"reference": ["r"] * 3, "distorted": ["d", "e", "f"]}
    run.scores = pd.DataFrame({"dataset": "one", **names, "a": [1.0, 2, 3], "psnr": [-9.0, -5, -1],
                               "b": [3.0, 1, 2]})  # fmt: skip
    row = verdicts(study(("psnr", "a")), run).iloc[0]
    assert row["verdict"] == "equivalent" and row["difference"] == 0
    # ... and what stands for another has its differences.
    row = verdicts(study(("psnr", "b")), run).iloc[0]
    assert row["difference"] == pytest.approx(0.3)


def test_a_statistic_without_chance_says_nothing():
    table = verdicts(study(("a", "b")), made([(-0.1, 0.02)], "stress", chance=np.nan))
    assert table["verdict"].tolist() == ["undefined"] and table["datasets"].tolist() == [0]


def test_where_a_metric_was_trained_it_is_shown_and_not_counted():
    run = made([(0.1, 0.02), (0.3, 0.02)], trained=("two",))
    table = verdicts(study(("a", "b")), run)
    assert table["dataset"].tolist() == ["", "one"]
    assert table["difference"].iloc[0] == pytest.approx(0.1)
    text = page(study(("a", "b")), run, table, {})
    assert "- two srcc: 0.800† against 0.500\n" in text
    assert "- one srcc: 0.600 against 0.500\n" in text
    assert "†: trained on this dataset; not counted." in text


def test_a_figure_that_a_metric_does_not_have_is_named_and_not_counted():
    run = made([(0.1, 0.02), (0.1, 0.02)])
    run.comparisons = run.comparisons[run.comparisons["dataset"] == "one"]
    lost = (run.agreement["dataset"] == "two") & (run.agreement["metric"] == "b")
    run.agreement = run.agreement.assign(
        value=run.agreement["value"].mask(lost), note=np.where(lost, "all judgements are equal", "")
    )
    table = verdicts(study(("a", "b")), run)
    assert table["verdict"].iloc[0] == "supported" and table["datasets"].iloc[0] == 1
    text = page(study(("a", "b")), run, table, {})
    assert "- two srcc: 0.600 against - (b is undefined: all judgements are equal)" in text
    assert "a is undefined" not in text and "nan" not in text


def test_the_page_shows_the_pooled_effect_and_the_forest_under_it():
    run = made([(0.10, 0.02), (0.12, 0.02), (0.09, 0.02)])
    asked = study(("a", "b"))
    text = page(asked, run, verdicts(asked, run), {})
    cells = [[c.strip() for c in line.split("|")] for line in text.splitlines() if "|" in line]
    rows = {row[1]: row for row in cells}
    assert rows["1"][5:7] == ["**supported**", "+0.103 [+0.054, +0.153]"]
    assert rows["1"][8] == "3"
    assert rows["one"][2:5] == ["+0.100 [+0.055, +0.145]", "0.0007", "10"]
    assert rows["**all**"][2] == "**+0.103 [+0.054, +0.153]**" and rows["**all**"][4] == "I² 0 %"
    assert "within 0.02 by two one-sided tests" in text


def test_a_metric_that_cannot_be_had_is_not_run_with_its_reason():
    run = made([(0.1, 0.02)], skipped={"c": "no weights here"})
    asked = study(("a", "b"), ("a", "c"))
    table = verdicts(asked, run)
    assert pooled(table)["verdict"].tolist() == ["supported", "not run"]
    text = page(asked, run, table, {"far": "no images"})
    assert "Not run: c: no weights here." in text
    assert "Run on one." in text and "- far: no images" in text


def test_names_of_a_study_are_no_markup():
    nasty = "<img src=x onerror=alert(1)>[x](y)"
    run = made([(0.1, 0.02)], skipped={nasty: "no weights"})
    for part in run.judgements:
        object.__setattr__(part, "dataset", nasty)
    run.agreement["dataset"] = run.comparisons["dataset"] = nasty
    asked = study(("a", "b"), ("a", nasty))
    text = page(asked, run, verdicts(asked, run), {nasty: nasty})
    assert "&lt;img" in text and "<img" not in text and "[x](" not in text


def test_a_study_of_which_nothing_could_be_run_says_so():
    run = made([(0.1, 0.02)], skipped={"c": "no weights here"})
    asked = study(("a", "c"))
    table = verdicts(asked, run)
    assert list(table["verdict"]) == ["not run"]
    assert "**not run**" in page(asked, run, table, {})


def test_the_command_writes_a_verdict(cli, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "Mine"\n[metric.other]\nlike = "pyramid-l2"\nbackbone = { orientations = 2 }\n'
        '[[claim]]\ntext = "colour counts"\nbetter = "ciede2000"\nworse = "mae"\n'
        '[[claim]]\ntext = "angles differ"\nbetter = "other"\nworse = "pyramid-l2"\n'
    )
    options = ["--dataset", "macadam-osa", "--workers", 0, "-o", "out"]
    code, out, err = cli("study", file, *options)
    assert code == 0, err
    written = (tmp_path / "cwd" / "out" / "verdict.md").read_text()
    assert written in out
    assert "1. colour counts" in written and "Run on macadam-osa." in written
    table = pd.read_csv(tmp_path / "cwd" / "out" / "verdict.csv")
    assert len(table) == 4 and set(table["dataset"].dropna()) == {"macadam-osa"}
    agreement = pd.read_csv(tmp_path / "cwd" / "out" / "agreement.csv")
    figures = agreement[agreement["metric"].isin(["ciede2000", "mae"])].dropna(subset="chance")
    share = (figures["value"] - figures["chance"]) / (figures["ceiling"] - figures["chance"])
    attained = share.groupby(figures["metric"]).mean()
    row = table[(table["claim"] == 1)].iloc[0]
    apart = attained["ciede2000"] - attained["mae"]
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
