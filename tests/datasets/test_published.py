"""Published scores: read in both forms, refused where they are not the dataset's, equal to others.

Numbers come from `natural-scores`, `published-scores`, `bapps-val-scores`, `rater-votes` and
`live-subset` in the folder of real data; what they must reproduce was computed by others.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from perceptbench.agreement.two_alternative import score
from perceptbench.datasets.conformance import ABSENT, OUT, conformance
from perceptbench.datasets.manifest import find_manifest
from perceptbench.datasets.published import (
    check_scores,
    load_published,
    read_scores,
)
from perceptbench.datasets.score_sets import find_source, score_sets
from perceptbench.errors import DataError, UsageError
from perceptbench.run import join, run

ZS = score_sets()["zs-iqa"]
JOINED = ("tid2013", "live", "pipal")


@pytest.fixture(scope="module")
def natural(shared):
    return shared / "natural-scores"


def test_the_catalogue_of_score_sets_names_every_file():
    assert len(ZS.metric) == 45
    assert len(ZS.files) == 522
    rows = {"tid2013": 3000, "live": 779, "pipal": 23200}
    short = ZS.files[ZS.files["rows"] != ZS.files["file"].str.split("_").str[0].map(rows)]
    assert set(ZS.listed.left_out) == set(short["file"])
    assert len(ZS.archives()) == 516
    # One file a metric, and one more for each change of the images.
    assert [len(ZS.archives(d, variants=False)) for d in JOINED] == [42, 42, 45]
    assert [len(ZS.archives(d)) for d in JOINED] == [168, 168, 180]
    urls = [archive.urls[0] for archive in ZS.archives()]
    assert all(url.startswith("https://raw.githubusercontent.com/abhijay9/ZS-IQA/") for url in urls)
    assert any("pipal_imagenet_vit_cos%20copy.csv" in url for url in urls)


def test_every_score_set_joins_datasets_of_the_catalogue():
    for score_set in score_sets().values():
        assert score_set.metric and score_set.layout and score_set.citation
        assert all(find_manifest(name) for name in score_set.datasets)
    assert find_source("zs-iqa").name == "zs-iqa"
    with pytest.raises(UsageError, match="did you mean zs-iqa"):
        find_source("zs-iq")


@pytest.mark.parametrize("dataset", ["tid2013", "live"])
def test_what_comes_with_the_program_are_the_published_numbers(natural, dataset):
    path = ZS.embedded(dataset)
    ours, theirs = pd.read_parquet(path), pd.read_parquet(natural / f"{dataset}.parquet")
    assert sum(ZS.embedded(d).stat().st_size for d in ("tid2013", "live")) < 1_500_000
    base = [c for c in theirs if "@" not in c]
    assert list(ours) == base and len(base) == 42 + 3
    names = ["reference", "distorted", "mos"]
    pd.testing.assert_frame_equal(ours[names], theirs[names])
    single = theirs[base].drop(columns=names).astype("float32")
    pd.testing.assert_frame_equal(ours.drop(columns=names), single)


@pytest.mark.parametrize("dataset", JOINED)
def test_every_column_correlates_as_it_was_published(natural, dataset):
    """Spearman's correlation of each of the 168 to 180 columns, its sign from the declared ways."""
    scores = read_scores(ZS, natural, dataset)
    judged = scores.judgements
    badness = judged["impairment"] if dataset == "live" else -judged["quality"]
    ranks = scores.table[scores.metrics].rank()
    ranks = (ranks - ranks.mean()) / ranks.std(ddof=0)
    ours = (ranks.mul((badness.rank() - badness.rank().mean()), axis=0)).mean()
    ours = ours / badness.rank().std(ddof=0)
    published = pd.read_csv(natural / "srcc.csv").set_index("metric")[dataset].dropna()
    published = published.rename({"imagenet_vit_cos copy": "imagenet_vit_cos"})
    upward = pd.Series([ZS.metric[n.partition("@")[0]].higher_is_better for n in published.index])
    # Theirs is of the score with `mos`: an impairment but in PIPAL.
    sign = np.where(upward, -1, 1) * (-1 if dataset == "pipal" else 1)
    assert set(ours.index) == set(published.index)
    np.testing.assert_allclose(ours[published.index], published * sign, atol=5.1e-5)
    assert (ours[[m for m in ours.index if "@" not in m]] > 0.1).all()


def as_csv(natural, folder, dataset="live", metrics=("psnr", "lpips"), variants=("tra",)):
    """The same numbers as the authors' repository has them."""
    table = pd.read_parquet(natural / f"{dataset}.parquet")
    for metric in metrics:
        for variant in ("", *variants):
            column = f"{metric}@{variant}" if variant else metric
            name = f"{dataset}_{metric}_{variant}-1.csv" if variant else f"{dataset}_{metric}.csv"
            part = table[["distorted", "reference", "mos", column]]
            part.set_axis(["dis", "ref", "mos", "pred"], axis=1).to_csv(folder / name, index=False)
    return folder


def test_both_layouts_read_the_same(natural, tmp_path):
    files = read_scores(ZS, as_csv(natural, tmp_path), "live")
    wide = read_scores(ZS, natural, "live")
    assert files.metrics == ["lpips", "lpips@tra", "psnr", "psnr@tra"]
    columns = ["reference", "distorted", *files.metrics]
    pd.testing.assert_frame_equal(files.table, wide.table[columns])
    pd.testing.assert_frame_equal(files.judgements, wide.judgements)
    assert read_scores(ZS, tmp_path, "tid2013") is None
    assert read_scores(ZS, tmp_path, "live", variants=False).metrics == ["lpips", "psnr"]


def test_images_of_live_are_told_apart_by_folder(natural, shared):
    """Five folders use the same names; the owner's label file says which row is in which."""
    scores = read_scores(ZS, natural, "live")
    labels = pd.read_csv(shared / "published-scores" / "LIVE2.DMOS.csv")
    labels = labels[labels["orgs"] == 0].reset_index(drop=True)
    expected = labels["dst_type"] + "/" + labels["dist_img"]
    assert list(scores.table["distorted"]) == list(expected)
    assert not scores.table["distorted"].duplicated().any()


def spoil_count(table):
    return table.iloc[:-1]


def spoil_direction(table):
    return table.assign(mos=100 - table["mos"])


def spoil_levels(table):
    """Range and mean stay, the order does not."""
    return table.assign(mos=table["mos"].min() + table["mos"].max() - table["mos"])


def spoil_references(table):
    return table.assign(reference=table["reference"].str.replace("I05", "I06"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_count, "2,999 judgements, expected 3,000"),
        (spoil_direction, "the wrong way round"),
        (spoil_levels, "the wrong way round"),
        (spoil_references, "24 references, expected 25"),
    ],
)
def test_tables_whose_judgements_are_others_are_refused(tmp_path, spoil, message):
    table = pd.read_parquet(ZS.embedded("tid2013"))
    spoil(table).to_parquet(tmp_path / "tid2013.parquet")
    with pytest.raises(DataError, match=message):
        load_published(find_manifest("tid2013"), tmp_path, tmp_path / "cache")
    assert any(message in problem for problem in check_scores(ZS, tmp_path))


def test_judgements_in_another_order_are_refused(tmp_path):
    """Nothing but the judgements that come with the program tells."""
    table = pd.read_parquet(ZS.embedded("live"))
    table.assign(mos=table["mos"].to_numpy()[::-1]).to_parquet(tmp_path / "live.parquet")
    with pytest.raises(DataError, match="of other images"):
        load_published(find_manifest("live"), tmp_path, tmp_path / "cache")
    (problem,) = check_scores(ZS, tmp_path)
    assert "of other images" in problem


def test_files_with_other_judgements_beside_each_other_are_refused(natural, tmp_path):
    as_csv(natural, tmp_path)
    path = tmp_path / "live_psnr.csv"
    table = pd.read_csv(path)
    table.assign(mos=table["mos"].sample(frac=1, random_state=0).to_numpy()).to_csv(path)
    with pytest.raises(DataError, match="beside psnr are not those beside lpips"):
        read_scores(ZS, tmp_path, "live")
    path.write_text("dis,ref,mos,pred\n")
    with pytest.raises(DataError, match="names start anew"):
        read_scores(ZS, tmp_path, "live")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psnr": "x"}, "`psnr` is no finite number"),
        ({"psnr": np.inf}, "`psnr` is no finite number"),
        ({"distorted": "i01_01_1.bmp"}, "is there twice"),
        ({"distorted": "one.bmp"}, "not of the form its images have"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, change, message):
    table = pd.read_parquet(ZS.embedded("tid2013"))[["reference", "distorted", "mos", "psnr"]]
    pd.DataFrame({**table, **change}).to_parquet(tmp_path / "tid2013.parquet")
    with pytest.raises(DataError, match=message):
        read_scores(ZS, tmp_path, "tid2013")


def test_labels_of_other_images_are_refused(shared, tmp_path):
    """The dataset's own labels and those of the score set must be the same, image by image."""
    labels = pd.read_csv(shared / "published-scores" / "TID2013.MOS.csv")
    labels.to_csv(tmp_path / "TID2013.MOS.csv", index=False)
    own, found = load_published(find_manifest("tid2013"), tmp_path, tmp_path / "cache")
    assert not own.at_hand and "std" in own.judgements[0].table
    assert own.judgements[0].table["reference"].nunique() == 25
    assert len(found[0].table) == 3000
    # Two images of one level changed places: counts, range, means and levels stay.
    swapped = labels.copy()
    block = swapped.index[swapped["dist_img"].str.contains(r"_1\.bmp", case=False)]
    swapped.loc[block, "mos"] = labels.loc[block[::-1], "mos"].to_numpy()
    swapped.to_csv(tmp_path / "TID2013.MOS.csv", index=False)
    with pytest.raises(DataError, match="correlate with the dataset's"):
        load_published(find_manifest("tid2013"), tmp_path, tmp_path / "cache")


def conforms(name, agreement):
    manifest = find_manifest(name)
    found = conformance(manifest.published, agreement[agreement["dataset"] == name])
    assert not (found["verdict"] == OUT).any(), found[found["verdict"] == OUT]
    return found[found["verdict"] != ABSENT]


def figures(name, folder, metrics=()):
    """The correlations of whole tables."""
    own, scores = load_published(find_manifest(name), folder, folder / "none")
    ranked = tuple(replace(part, statistics=("srcc", "krcc", "plcc")) for part in own.judgements)
    own = replace(own, judgements=ranked)
    brought = join(scores, [own], (), metrics)
    return run([own], (), brought=brought, ranked_only=True)


def test_dssim_ssimulacra_and_butteraugli_have_their_published_figures(shared, tmp_path):
    for name in ("TID2013.VQMT.csv", "LIVE2.VQMT.csv"):
        (tmp_path / name).write_bytes((shared / "published-scores" / name).read_bytes())
    mine = ("dssim", "ssimulacra", "butteraugli")
    result = figures("live", tmp_path, mine)
    assert len(conforms("live", result.agreement)) == 9
    assert set(result.provenance["sources"].values()) == {"published by VQMTCrossVal (vqmt)"}


def test_tu_ilmenau_has_its_authors_27_coefficients(shared):
    result = figures("tu-ilmenau", shared / "rater-votes")
    found = conforms("tu-ilmenau", result.agreement)
    assert len(found) == 27
    assert found["difference"].abs().max() < 1e-12


def test_distances_of_triplets_have_the_published_agreement(shared):
    own, (scores,) = load_published(
        find_manifest("bapps-val"), shared / "bapps-val-scores", shared / "none"
    )
    (part,) = own.judgements
    distance = scores.table.set_index(["reference", "distorted"])
    # shared/data/README.md, from abhijay9/ShiftTolerant-LPIPS
    expected = {
        "alex-vanilla": {"traditional": 0.774788, "cnn": 0.828708, "superres": 0.711883},
        "vgg-vanilla": {"traditional": 0.783475, "cnn": 0.836462, "superres": 0.711993},
    }
    a, b = (
        distance.loc[pd.MultiIndex.from_frame(part.table[["reference", side]])] for side in "ab"
    )
    for metric, by_category in expected.items():
        for category, value in by_category.items():
            rows = (part.table["category"] == category).to_numpy()
            both = (x.loc[rows, metric].to_numpy() for x in (a, b))
            p_b = part.table.loc[rows, "p_b"].to_numpy()
            assert score(*both, p_b).mean() == pytest.approx(value, abs=1e-6)


def test_a_set_without_judgements_needs_the_datasets(tmp_path, shared):
    name = "objective_metrics.csv"
    (tmp_path / name).write_bytes((shared / "rater-votes" / name).read_bytes())
    with pytest.raises(UsageError, match="its judgements are needed"):
        load_published(find_manifest("tu-ilmenau"), tmp_path, tmp_path / "none")
    with pytest.raises(UsageError, match="no published scores of it are known"):
        load_published(find_manifest("csiq"), tmp_path, tmp_path / "none")


# On real images -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(shared):
    """Reference and distorted images of LIVE with their published scores."""
    folder = shared / "live-subset"
    reading = {"allow_missing": True}
    own, (scores,) = load_published(find_manifest("live"), folder, folder / "none", **reading)
    assert own.at_hand and len(scores.table) == 58
    return own, scores


def here(photographs, metric, every):
    """What a callable says of every so-manieth image, and what was published."""
    own, scores = photographs
    rows = scores.table.iloc[::every]
    ours = [
        float(metric(own.load(r)[None], own.load(d)[None]))
        for r, d in zip(rows["reference"], rows["distorted"], strict=True)
    ]
    return np.array(ours), rows


def built(name, weights=None):
    from perceptbench.metrics.registry import catalogue, select
    from perceptbench.run import build_metrics

    (metric,), _, _ = build_metrics(select([name], catalogue()), weights)
    return metric.at(None)


def test_psnr_of_photographs_is_the_published_one(photographs):
    ours, rows = here(photographs, built("psnr"), 3)
    # Read as distances: psnr, which is higher for better, has its sign turned.
    assert np.abs(100 + rows["psnr"].to_numpy() - ours).max() < 5e-4


def test_fsim_of_photographs_is_the_published_one(photographs):
    ours, rows = here(photographs, built("fsim"), 20)
    np.testing.assert_allclose(2 * rows["fsim"], ours, atol=1e-5)  # theirs was computed in float32


@pytest.mark.usefixtures("undrawn")
def test_published_lpips_was_fed_0_to_1_where_it_takes_minus_1_to_1(photographs, weights):
    """As the manifest says: the known mistake gives the published values, LPIPS does not."""
    from perceptbench.losses import load_loss
    from perceptbench.metrics.registry import catalogue
    from perceptbench.run import build_metrics
    from perceptbench.study import read_study

    study = read_study("common-mistakes", catalogue())
    (info,) = [m for m in study.metrics if m.name == "lpips-alex-half-range"]
    (metric,), _, _ = build_metrics([info], weights)
    ours, rows = here(photographs, metric.at(None), 40)
    np.testing.assert_allclose(rows["lpips"], ours, atol=2e-6)
    right, _ = here(photographs, load_loss("lpips-alex", weights_dir=weights), 40)
    assert (right > 1.05 * rows["lpips"]).all()


def ms_ssim_of_luma(reference, distorted):
    """Wang, Simoncelli, Bovik 2003, of luma (BT.601) rounded to 8 bits, where a local contrast
    term below 0 is 0, as in pyiqa."""
    window = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (window / window.sum()).view(1, 1, 11, 1)
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)
    x, y = (
        (255 * (i.double() * luma).sum(1, keepdim=True)).round() for i in (reference, distorted)
    )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def blurred(image):
        return F.conv2d(F.conv2d(image, window), window.transpose(2, 3))

    value = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my = blurred(x), blurred(y)
        vx, vy, cov = blurred(x * x) - mx**2, blurred(y * y) - my**2, blurred(x * y) - mx * my
        term = ((2 * cov + c2) / (vx + vy + c2)).clamp(min=0)
        if scale == 4:
            term = term * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        value *= float(term.mean()) ** weight
        x, y = (F.avg_pool2d(i, 2) for i in (x, y))
    return 1 - value


def test_published_ms_ssim_is_of_luma_in_8_bits(photographs):
    ours, rows = here(photographs, ms_ssim_of_luma, 20)
    # Luma that lies between two steps may be rounded the other way.
    np.testing.assert_allclose(2 * rows["msssim"], ours, atol=1.5e-5)
    in_colour, _ = here(photographs, built("ms-ssim"), 20)
    assert np.median(np.abs(in_colour - 2 * rows["msssim"].to_numpy())) > 5e-3


def test_scores_of_changed_images_are_fetched_where_only_the_others_are_at_hand(
    natural, tmp_path, monkeypatch
):
    """Those that come with the package are of the images as they are."""
    live, said = find_manifest("live"), []
    _, (embedded,) = load_published(
        live, None, tmp_path, variants=True, download=False, say=said.append
    )
    assert not any("@" in metric for metric in embedded.metrics)
    assert "score set zs-iqa: those of changed images are not at hand" in said
    asked = []

    def fetched(score_set, home, dataset, variants):
        asked.append((score_set.name, dataset, variants))
        return natural

    monkeypatch.setattr("perceptbench.datasets.published.fetch_scores", fetched)
    _, (whole,) = load_published(live, None, tmp_path, variants=True)
    assert asked == [("zs-iqa", "live", True)] and any("@" in metric for metric in whole.metrics)
