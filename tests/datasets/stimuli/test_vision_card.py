"""The vision card and colour-csf: stimuli from formulas, known answers of others' runs."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement import agreement, influence, rating, two_alternative
from perceptbench.agreement.figures import OF_FITS
from perceptbench.datasets.judgements.protocols import pairs
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest, manifests
from perceptbench.datasets.stimuli import vision_card as card
from perceptbench.datasets.stimuli.colour_csf import colour_csf
from perceptbench.errors import DataError, UsageError
from perceptbench.losses import load_loss
from perceptbench.metrics import adapters, pixel
from perceptbench.metrics.registry import build, catalogue, select
from perceptbench.run import build_metrics, score_all
from perceptbench.scoring.engine import score
from perceptbench.scoring.options import Options

CPU = Options(device="cpu")
#: Our stimuli under the cosine of pixels in float64, as an independent rebuild had them.
COSINE = {
    "area": 0.9253, "luminance": 0.4252, "achromatic": 0.4790, "noise": 0.4597,
    "red-green": 0.5302, "yellow-violet": 0.4855, "phase-coherent": 0.5034,
    "phase-incoherent": 0.6782,
}  # fmt: skip
#: ColorVideoVDP as published, and in that rebuild where the two differ.
VDP = {
    "area": 0.8937, "luminance": 0.9020, "achromatic": 0.5545, "noise": 0.7817,
    "red-green": 0.8196, "phase-coherent": 0.7418, "phase-incoherent": 0.7626,
}  # fmt: skip


@pytest.fixture(scope="module")
def published():
    return card.vision_card("published")


def figures(dataset, metric, tests):
    """Test -> rank correlation of a metric."""
    found = {}
    for part in dataset.judgements:
        if part.slice in tests:
            table = score(pairs(part.table), dataset.load, {"metric": metric}, CPU).table
            both = part.table.merge(table, on=["reference", "distorted"])
            found[part.slice] = influence.srcc(both["metric"], both["impairment"])[0]
    return found


@pytest.mark.parametrize(
    "tests",
    [
        ("yellow-violet",),
        pytest.param(tuple(COSINE), marks=pytest.mark.slow),
    ],
)
def test_the_cosine_of_pixels_is_that_of_an_independent_rebuild(published, tests):
    found = figures(published, lambda x, y: pixel.angle(x, y, form="arccos"), tests)
    assert found == pytest.approx({test: COSINE[test] for test in tests}, abs=0.005)


@pytest.mark.slow
def test_color_video_vdp_is_as_published(published):
    pytest.importorskip("pycvvdp")
    # The authors' call leaves the package's display 75.4 pixels per degree.
    metric = build(adapters.find("cvvdp:srgb-400"), None).at(75.40244934516305)
    found = figures(published, metric, VDP)
    assert found == pytest.approx(VDP, abs=0.005)


def test_mse_matches_physical_contrast(published):
    """0.333 in an independent run: to a squared error all gratings of one contrast are alike."""
    (part,) = (p for p in published.judgements if p.slice == "matching")
    metrics, _, _ = build_metrics(select(["mse"], catalogue()), None)
    dataset = replace(published, judgements=(part,))
    scores, *_ = score_all([dataset], metrics, CPU, None)
    table = agreement(part, scores, metrics=["mse"])
    row = table[table["statistic"] == "matching_rmse"].iloc[0]
    assert row["value"] == pytest.approx(0.333, abs=0.005)
    assert row["low"] < row["value"] < row["high"]
    assert (row["n"], row["of"], row["units"]) == (72, 72, 9)
    # No opinions to which a curve could be fitted.
    assert {"srcc", "plcc"} <= set(table["statistic"]) and not OF_FITS & set(table["statistic"])
    # The influence of each frequency is about what leaving it out does.
    both = part.table.merge(scores, on=["reference", "distorted"])
    columns = (both[c].to_numpy() for c in ("contrast", "impairment", "pattern"))
    error = rating.matching_errors(both["mse"].to_numpy(), *columns)
    left = [np.sqrt(np.nanmean(error[both["value"] != f] ** 2)) for f in both["value"].unique()]
    assert row["error"] == pytest.approx(np.std(left) * np.sqrt(len(left) - 1), rel=0.1)
    # Zero of the standing: to whom physical contrast is all, as it is to a squared error.
    assert (row["chance"], row["ceiling"]) == (pytest.approx(row["value"], abs=0.005), 0)


def test_whoever_sees_as_people_do_matches_as_they_do(published):
    table = published.judgements[-1].table
    steady = table[
        ~table["pattern"].isin(["10 c/deg", "20 c/deg", "25 c/deg"])
    ]  # the others have ties
    seen = np.maximum(steady["impairment"], 1e-3 * steady["contrast"]) ** 1.7
    columns = steady["contrast"], steady["impairment"], steady["pattern"]
    error = rating.matching_errors(seen, *columns)
    assert np.isfinite(error).sum() == 6 * 8
    assert np.nanmax(np.abs(error)) < 1e-9
    doubled = rating.matching_errors(
        seen * np.where(steady["pattern"] == "standard", 0.5, 1), *columns
    )
    assert (doubled[np.isfinite(doubled)] < 0).all()
    flat = rating.matching_errors(np.ones(len(steady)), *columns)
    assert np.isnan(flat).all()
    # To whom everything but the standard looks stronger, as it is hardly fainter the fainter it is.
    nearly = np.where(steady["pattern"] == "standard", 0.1, 1 + 1e-6 * steady["contrast"])
    matched = np.log10(steady["contrast"]) + rating.matching_errors(nearly, *columns)
    assert matched.dropna().to_numpy() == pytest.approx(-4)


def test_thresholds_are_the_published_ones(shared):
    tables = card._thresholds()
    for test, name in {
        "area": "area", "luminance": "luminance", "achromatic": "frequency_achromatic",
        "noise": "frequency_noise", "red-green": "frequency_red_green",
        "yellow-violet": "frequency_yellow_violet",
    }.items():  # fmt: skip
        known = pd.read_csv(shared / "psychophysics" / f"castlecsf_model_{name}.csv").to_numpy()
        found = tables[test]
        sensitivity = np.interp(found["value"], *known.T)
        np.testing.assert_allclose(1 / found["threshold"], sensitivity, rtol=1e-5)
        steps = np.diff(np.log(found["value"]))
        assert len(found) == 20 and np.ptp(steps) < 1e-4


@pytest.mark.parametrize("key, luminance", [("blank/100", 100), ("blank/0.1", 0.1)])
def test_a_blank_field_has_its_luminance(published, key, luminance):
    from perceptbench import colour

    image = published.load(key).double()
    shown = 400 * colour.luminance(colour.srgb_decode(image))
    assert image.shape == (3, 224, 224)
    np.testing.assert_allclose(shown.numpy(), luminance, rtol=1e-4)


def test_a_gabor_has_the_contrast_it_should(published):
    from perceptbench import colour

    table = published.judgements[2].table
    row = table[table["value"] == 0.5].iloc[-1]
    light = colour.luminance(colour.srgb_decode(published.load(row.distorted).double())) * 400
    contrast = (light / 100 - 1).squeeze().numpy()
    np.testing.assert_allclose(contrast, row.contrast * card.gabor(0.5, 1.0), atol=1e-6)


def test_colour_is_isoluminant_for_the_cones(published):
    """Red-green leaves L + M as it is, yellow-violet L and M each."""
    from perceptbench import colour
    from perceptbench.datasets.stimuli.display import FROM_LMS

    def cones(key):
        xyz = colour.linear_to_xyz(colour.srgb_decode(published.load(key).double())).numpy()
        return np.einsum("ij,jhw->ihw", np.linalg.inv(FROM_LMS), xyz)

    for test, seen in {
        "red-green": lambda c: c[0] + c[1],
        "yellow-violet": lambda c: c[:2],
    }.items():
        part = next(p for p in published.judgements if p.slice == test)
        apart = cones(part.table["distorted"].iloc[9]) - cones(part.table["reference"].iloc[9])
        assert np.abs(seen(apart)).max() < 1e-7
        assert np.abs(apart).max() > 1e-4


def test_blank_fields_are_shared(published):
    keys = {k for p in published.judgements for k in p.table["reference"] if k.startswith("blank")}
    assert len(keys) == 20 + 2  # luminances of that test, 100 and 10 cd/m2
    loaded = load_dataset(find_manifest("vision-card"), None, None)
    assert sum(len(p.table) for p in loaded.judgements) == 475


def test_what_is_not_there_is_refused(published):
    for dataset in (published, colour_csf()):
        with pytest.raises(DataError, match="there is no such image"):
            dataset.load("area/1/x1")
    with pytest.raises(UsageError, match="sampled or published"):
        load_dataset(find_manifest("vision-card"), None, None, options={"pairs": "all"})


def test_every_published_row_is_in_the_manifest(shared):
    rows = pd.read_csv(shared / "psychophysics" / "cai2025_alignment_scores.csv", index_col=0)
    figures = find_manifest("vision-card").published
    assert len(rows) == 45 and len(figures) == 45 * 9
    assert sorted(f.value for f in figures) == sorted(rows.to_numpy().ravel())
    known = {(f.metric, f.slice): f.value for f in figures}
    assert known["ColorVideoVDP", "matching"] == 0.3423
    assert known["DINOv2 [ViT-B/14 + reg - LVD-142M]", "phase-incoherent"] == 0.9539
    assert known["OpenCLIP [ViT-B/32 - LAION-2B]", "phase-coherent"] == 0.8837


def test_groups_of_what_is_computed():
    groups = {}
    computed = (m for m in manifests().values() if m.images == "computed" and not m.layout)
    for manifest in computed:
        for part in (key.split("/")[0] for key in manifest.expect):
            groups.setdefault(manifest.group_of(part), set()).add(f"{manifest.name} {part}")
    assert set(groups) == {"detection", "colour", "masking", "matching"}
    assert groups["matching"] == {"vision-card matching"}
    assert {"colour-csf all", "macadam-osa all", "vision-card red-green"} <= groups["colour"]


@pytest.mark.slow
def test_colour_csf_is_as_an_independent_run_has_it(weights):
    dataset = colour_csf()
    table = dataset.judgements[0].table
    metrics = {"mse": pixel.mse, "mae": pixel.mae, "alex": load_loss("lpips-alex", weights)}
    found = score(pairs(table), dataset.load, metrics, CPU).table.set_index("distorted")
    p = table["p_b"].to_numpy()
    for name, known in {"mse": 0.797, "mae": 0.813, "alex": 0.757}.items():
        sides = (table[side].map(found[name]).to_numpy()[:, None] for side in "ab")
        assert two_alternative.score(*sides, p).mean() == pytest.approx(known, abs=0.01)
    assert two_alternative.human(p).mean() == pytest.approx(0.8963, abs=5e-4)
    assert two_alternative.oracle(p).mean() == pytest.approx(0.9247, abs=5e-4)
    assert (len(table), table["votes"].min(), table["votes"].max()) == (630, 8, 22)


def test_votes_are_the_observers_own(shared):
    rows = pd.read_csv(shared / "psychophysics" / "wuerger2020_colour_csf_individual.csv")
    rows = rows[(rows["luminance"] == 20) & (rows["area"] <= 3.2)]
    keys = ["direction", "s_frequency", "ge_sigma"]
    mean = rows.groupby([*keys, "observer"])["sensitivity"].mean()
    one, other = mean["red-green", 0.5, 1.0], mean["achromatic", 0.5, 1.0]
    apart = (other - one).dropna()
    table = colour_csf().judgements[0].table.set_index(["a", "b"])
    row = table.loc[("achromatic/0.5/1", "red-green/0.5/1")]
    assert row["votes"] == len(apart)
    assert row["p_b"] == pytest.approx((apart > 0).mean() + (apart == 0).mean() / 2)


@pytest.mark.slow
def test_no_loss_is_lost_in_float32(weights):
    """A threshold contrast changes a feature by 1e-3: more than float32 may lose of a distance."""
    infos = [info for info in select([], catalogue()) if info.loss is not None]
    metrics, skipped, _ = build_metrics(infos, weights)
    assert len(metrics) > 10 and not skipped
    dataset = card.vision_card()
    losses = {metric.info.name: metric.at(60) for metric in metrics}
    exact = {name: copy.deepcopy(loss).double() for name, loss in losses.items()}
    for part in dataset.judgements:
        wanted = pairs(part.table)
        single = score(wanted, dataset.load, losses).table
        double = score(wanted, lambda key: dataset.load(key).double(), exact).table
        for name in losses:
            r = influence.srcc(single[name], double[name])[0]
            assert r > 0.999, (name, part.slice, r)
