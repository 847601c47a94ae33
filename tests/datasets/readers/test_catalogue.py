"""Every public set is read right, in the owner's form and in each mirror's."""

import hashlib
import importlib.util
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perceptbench.agreement import agreement
from perceptbench.datasets.fetch.download import How, fetch, verify
from perceptbench.datasets.fetch.transfer import Patience
from perceptbench.datasets.files import Files
from perceptbench.datasets.judgements.expectations import Expectation, violations
from perceptbench.datasets.judgements.protocols import pairs, value_column
from perceptbench.datasets.load import check, find_layout, load_dataset, read_dataset
from perceptbench.datasets.manifest import find_manifest, manifests
from perceptbench.errors import DataError, UsageError

# Tests are no package: the helper beside this file is loaded by its path.
spec = importlib.util.spec_from_file_location(
    "miniatures", Path(__file__).with_name("miniatures.py")
)
miniatures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(miniatures)
MINIATURES, COLUMNS, build = miniatures.MINIATURES, miniatures.COLUMNS, miniatures.build


def guarded(name):
    """The manifest with the guards that hold of a miniature too: which way levels go."""
    manifest = find_manifest(name)
    expect = {
        key: Expectation(levels=e.levels, optional=True) for key, e in manifest.expect.items()
    }
    return manifest.model_copy(update={"expect": expect})


def stems(keys):
    return [Path(key).stem.lower() for key in keys]


def found(dataset, columns):
    """What a dataset holds, in the form of `Miniature.rows`."""
    tables = {}
    for part in dataset.judgements:
        table = part.table
        images = [stems(table[column]) for column in COLUMNS[part.protocol]]
        rest = [table[column].tolist() for column in (value_column(table), *columns)]
        tables[f"{part.slice}/{part.protocol}"] = list(zip(*images, *rest, strict=True))
    return tables


def same(rows, others):
    return len(rows) == len(others) and all(
        one == (pytest.approx(other, abs=1e-6) if isinstance(other, float) else other)
        for row, others_row in zip(rows, others, strict=True)
        for one, other in zip(row, others_row, strict=True)
    )


#: The first form of every set; the others differ in labels and folders only.
FIRST = {m.dataset: m for m in reversed(MINIATURES)}.values()
EVERY = [pytest.param(m, id=str(m), marks=[pytest.mark.slow] * all(m is not f for f in FIRST))
         for m in MINIATURES]  # fmt: skip


def test_every_form_of_every_set_has_a_miniature():
    covered = {(m.dataset, m.layout) for m in MINIATURES}
    elsewhere = {
        "combvd",
        "material-appearance",
        "tu-ilmenau",
    }  # read from their real files, in tests of theirs
    for manifest in manifests().values():
        for layout in manifest.layout:
            assert manifest.name in elsewhere or (manifest.name, layout.name) in covered


@pytest.mark.parametrize("miniature", MINIATURES, ids=str)
def test_a_form_is_known_and_read_to_the_last_number(miniature, tmp_path):
    folder = build(miniature, tmp_path / "any name")
    manifest = guarded(miniature.dataset)
    assert find_layout(manifest, Files(folder, "x")).name == miniature.layout
    dataset = read_dataset(manifest, folder)
    got = found(dataset, miniature.columns)
    assert set(got) == set(miniature.rows)
    for key, rows in miniature.rows.items():
        assert same(got[key], rows), (key, got[key], rows)
    assert dataset.left_out == () and check(manifest, folder) == []
    for part in dataset.judgements:
        assert part.dataset == manifest.name and part.protocol in manifest.protocols
        for column in COLUMNS[part.protocol]:
            assert all((folder / key).is_file() for key in part.table[column])
    assert dataset.load(dataset.judgements[0].table.iloc[0][COLUMNS[part.protocol][0]]).ndim == 3


def packed(folder, name):
    """The files below `folder` in the kind of archive that a name asks for."""
    out = io.BytesIO()
    if name.endswith(".zip") or name.endswith(".rar"):  # nothing here can write a .rar
        with zipfile.ZipFile(out, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder))
    else:
        mode = "w" if name.endswith(".tar") else "w:gz"
        with tarfile.open(fileobj=out, mode=mode) as archive:
            archive.add(folder, ".")
    return out.getvalue()


def served(miniature, source, folder, server):
    """Puts a miniature on the server as the archives and files of a source."""
    archives = [a for a in find_manifest(miniature.dataset).archive if a.source == source]
    loose = {path.name: path for path in folder.rglob("*") if path.is_file()}
    for archive in archives:
        where = f"{miniature.dataset}/{archive.path}"
        if not archive.unpack:
            if archive.path not in loose:
                pytest.skip("the miniature has not all files of the source")
            server.files[where] = loose[archive.path].read_bytes()
            loose[archive.path].unlink()
    for archive in (a for a in archives if a.unpack):
        server.files[where := f"{miniature.dataset}/{archive.path}"] = packed(folder, archive.path)
        server.cut[where] = [len(server.files[where]) // 2]
    # The checksums and sizes are those of the real archives.
    known = {"size": None, "sha256": "", "md5": ""}
    return [archive.model_copy(update=known) for archive in archives]


@pytest.mark.parametrize("miniature", EVERY)
def test_a_form_is_fetched_from_its_source_and_read(miniature, server, tmp_path, monkeypatch):
    """From a server that drops every connection once."""
    manifest = guarded(miniature.dataset)
    sources = {archive.source for archive in manifest.archive}
    source = miniature.layout.lower().split(",")[0]
    source = source if source in sources else "owner"
    if source not in sources or miniature.layout == "VQMTCrossVal":
        pytest.skip("nobody serves this form")
    archives = served(miniature, source, build(miniature, tmp_path / "built"), server)
    monkeypatch.setattr("perceptbench.datasets.fetch.download.require", lambda name: None)
    how = How(
        accept=lambda terms: True, password=lambda archive: "any", say=lambda text: None,
        mirror=server.url, source=source, patience=Patience(pause=0.01),
    )  # fmt: skip
    home = tmp_path / "cache" / "datasets"
    folder = fetch(manifest.name, archives, home, terms=manifest.terms, how=how)
    assert verify(manifest.name, archives, home) == []
    dataset = load_dataset(manifest, None, tmp_path / "cache")
    got = found(dataset, miniature.columns)
    for key, rows in miniature.rows.items():
        assert same(got[key], rows), (key, got[key], rows)
    assert dataset.folder.is_relative_to(folder)


def renamed(folder, target):
    """The copy with the case of every file and folder swapped, and spaces made underscores."""
    for path in folder.rglob("*"):
        if path.is_file():
            below = "/".join(path.relative_to(folder).parts).swapcase().replace(" ", "_")
            (target / below).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / below)
    return target


@pytest.mark.parametrize("miniature", EVERY)
def test_names_are_found_whatever_their_case_and_separators(miniature, tmp_path):
    folder = renamed(build(miniature, tmp_path / "a"), tmp_path / "b")
    dataset = read_dataset(guarded(miniature.dataset), folder)
    got = found(dataset, miniature.columns)
    assert {key: len(rows) for key, rows in got.items()} == {
        key: len(rows) for key, rows in miniature.rows.items()
    }


@pytest.mark.parametrize("miniature", EVERY)
def test_an_image_that_is_missing_is_named_and_left_out_only_when_allowed(miniature, tmp_path):
    folder = build(miniature, tmp_path)
    manifest = guarded(miniature.dataset)
    complete = read_dataset(manifest, folder)
    part = complete.judgements[0]
    lost = part.table[COLUMNS[part.protocol][-1]].iloc[-1]
    (folder / lost).unlink()
    name = Path(lost).name.lower()
    assert any("missing" in line and name in line.lower() for line in check(manifest, folder))
    with pytest.raises(DataError) as caught:
        read_dataset(manifest, folder)
    assert name in str(caught.value).lower() and "--allow-missing" in str(caught.value)
    rows = sum(len(p.table) for p in complete.judgements)
    if rows > 2 * len(complete.judgements) and "konjnd" not in miniature.dataset:
        try:
            partial = read_dataset(manifest, folder, allow_missing=True)
        except DataError as error:
            assert "nothing is left" in str(error)
            return
        left = sum(len(p.table) for p in partial.judgements)
        assert left < rows and f"{rows - left} of {rows} judgements" in partial.left_out[0]
        assert all(lost not in p.table[c].tolist() for p in partial.judgements
                   for c in COLUMNS[p.protocol])  # fmt: skip


def one(dataset, layout):
    return next(m for m in MINIATURES if (m.dataset, m.layout) == (dataset, layout))


@pytest.mark.parametrize(
    ("dataset", "layout", "labels", "flip"),
    [
        ("tid2013", "owner", "mos_with_names.txt",
         lambda t: t.replace("5.5", "@").replace("4.5", "5.5").replace("@", "3.5")),
        ("kadid-10k", "owner", "kadid10k/dmos.csv",
         lambda t: t.replace("4.57", "1.43").replace(",1.5,", ",4.5,").replace("4.2,", "1.8,")),
        ("csiq", "pyiqa", "CSIQ/csiq_label.txt",
         lambda t: t.replace("0.3", "0.01").replace("0.4", "0.01")),
        ("aic-4", "owner", "JPEG_AIC_reconstructed_jnd_scores.csv",
         lambda t: t.replace(",1.99,", ",-1.99,")),
    ],
)  # fmt: skip
def test_scores_the_wrong_way_round_are_refused_whatever_may_be_missing(
    dataset, layout, labels, flip, tmp_path
):
    folder = build(one(dataset, layout), tmp_path)
    text = (folder / labels).read_text()
    assert flip(text) != text
    (folder / labels).write_text(flip(text))
    for allow in (False, True):
        with pytest.raises(DataError, match=r"level means .* the wrong way round"):
            read_dataset(guarded(dataset), folder, allow_missing=allow)


def test_a_copy_in_no_known_form_is_told_what_each_form_has(tmp_path):
    with pytest.raises(DataError, match=r"owner: no csiq\.DMOS\.xlsx; pyiqa: no csiq_label\.txt"):
        read_dataset(find_manifest("csiq"), tmp_path)


def test_an_incomplete_copy_is_refused_by_the_counts_of_the_manifest(tmp_path):
    folder = build(one("kadid-10k", "owner"), tmp_path)
    manifest = find_manifest("kadid-10k")
    message = "all/rating: 4 judgements, expected 10,125"
    with pytest.raises(DataError, match=message):
        read_dataset(manifest, folder)
    assert any(message in line for line in check(manifest, folder))
    allowed = read_dataset(manifest, folder, allow_missing=True)
    assert len(allowed.judgements[0].table) == 4 and message in allowed.left_out[0]


@pytest.mark.parametrize(
    ("dataset", "layout", "path", "content", "message"),
    [
        ("tid2013", "owner", "mos_with_names.txt", "5.5 J01.bmp\n" * 4,
         "names 'J01.bmp', which is not"),
        ("tid2013", "owner", "mos_with_names.txt", "good I01_01_1.bmp\n" * 4,
         "row 1: `quality` is 'good'"),
        ("tid2013", "owner", "mos_std.txt", "0.1\n", "mos_std.txt has 1 numbers for 4 rows"),
        ("tid2013", "owner", "mos_std.txt", None, "mos_std.txt is nowhere below"),
        ("kadid-10k", "owner", "kadid10k/dmos.csv", "image,score\na,1\n", "no column 'dist_img'"),
        ("csiq", "owner", "csiq.DMOS.xlsx", {"first": [[1]]}, "not the sheet all_by_image"),
        ("csiq", "VQMTCrossVal", "csiq.DMOS.csv",
         "image,dst_idx,dst_type,dst_lev,dmos_std,dmos\n1600,1,rain,1,0,0\n",
         "distortion 'rain' is not one of CSIQ's"),
        ("csiq", "VQMTCrossVal", "csiq.DMOS.csv", "image\n1600\n", "no column dmos, dmos_std"),
        ("live", "owner", "databaserelease2/refnames_all.mat",
         {"refnames_all": miniatures.cells("a.bmp")}, "refnames_all has 1 values, expected 982"),
        ("live", "owner", "databaserelease2/dmos.mat", {"x": 1}, "no variable dmos can be read"),
        ("nights", "owner", "nights/data.csv", "id,votes\n1,6\n", "no column ref_path, left_path"),
        ("clic2021-valid", "owner", "clic_2021_perceptual_valid/oracle.csv", "a,b,c\n",
         "not rows of O,A,B,T"),
        ("pieapp", "owner", "labels/test/ref_7_pairwise_labels.csv", "ref, A, B\nr, a, b\n",
         "not a PieAPP label file"),
        ("konjnd-1k", "owner", "KonJND-1k/subjective_ratings.csv",
         "image_id,Compression type,ratings\nSRC0001.png,JPEG,many\n",
         "the ratings of SRC0001.png are not a list"),
        ("bapps-val", "2afc/val/SUBSET/judge", "2afc/val/cnn/judge/000000.npy", 1.5,
         "`p_b` is '1.5', not a fraction"),
    ],
)  # fmt: skip
def test_a_label_file_of_another_form_is_named_with_what_is_wrong(
    dataset, layout, path, content, message, tmp_path
):
    folder = build(one(dataset, layout), tmp_path)
    (folder / path).unlink()
    if content is not None:
        miniatures.write(folder / path, content)
    with pytest.raises(DataError) as caught:
        read_dataset(guarded(dataset), folder)
    assert message in str(caught.value)
    assert check(guarded(dataset), folder) == [str(caught.value)]


def test_a_part_whose_images_are_all_missing_is_left_out_with_the_rest_kept(tmp_path):
    both = next(m for m in MINIATURES if m.dataset == "pipal" and "valid/rating" in m.rows)
    folder = build(both, tmp_path)
    shutil.rmtree(folder / "PIPAL" / "Val_Dist")
    dataset = read_dataset(guarded("pipal"), folder, allow_missing=True)
    assert [part.slice for part in dataset.judgements] == ["all"]
    assert "1 of 4 judgements" in dataset.left_out[0]


def test_an_image_that_is_there_twice_is_not_guessed_at(tmp_path):
    folder = build(one("tid2013", "owner"), tmp_path)
    (folder / "copies").mkdir()
    shutil.copy(folder / "distorted_images" / "i01_01_1.bmp", folder / "copies" / "I01_01_1.BMP")
    with pytest.raises(DataError, match=r"I01_01_1\.bmp \(2 files: copies/"):
        read_dataset(guarded("tid2013"), folder)


def test_tid_sets_side_by_side_are_told_apart(tmp_path):
    for name in ("tid2008", "tid2013"):
        build(one(name, "owner"), tmp_path / f"{name} images")
    for name in ("tid2008", "tid2013"):
        dataset = load_dataset(guarded(name), tmp_path, tmp_path)
        assert dataset.folder == tmp_path / f"{name} images"


@pytest.mark.parametrize("kind", [".npy", ".mat"])
def test_a_pickle_is_never_loaded(kind, tmp_path):
    """An array of objects in a .npy is a pickle; in a .mat it is plain cells."""
    folder = build(one("bapps-val", "2afc/val/SUBSET/judge"), tmp_path)
    judge = next((folder / "2afc/val/cnn/judge").iterdir())

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    if kind == ".npy":
        np.save(judge, np.array([Bomb()], dtype=object), allow_pickle=True)
    else:
        judge.write_bytes(__import__("pickle").dumps(Bomb()))
    with pytest.raises(DataError, match=r"000000\.npy: not a judgement"):
        read_dataset(guarded("bapps-val"), folder)
    assert not (tmp_path / "ran").exists()


def test_bapps_patches_are_resized_with_the_kernel_asked_for(tmp_path):
    """Nearest brings back the 64-pixel patch that was stored four times larger; bilinear does
    not: it blurs with (1/8, 3/4, 1/8) a side (computed with Pillow, facts of the archive)."""
    from PIL import Image

    folder = build(one("bapps-val", "2afc/val/SUBSET/judge"), tmp_path)
    small = np.zeros((64, 64, 3), np.uint8)
    small[:, ::2] = 160
    key = "2afc/val/cnn/ref/000000.png"
    Image.fromarray(np.kron(small, np.ones((4, 4, 1), np.uint8))).save(folder / key)
    loaded = {}
    for kernel in ("bilinear", "nearest", "none"):
        dataset = read_dataset(guarded("bapps-val"), folder, options={"kernel": kernel})
        loaded[kernel] = dataset.load(key)
        assert all(kernel in p.display or "as stored" in p.display for p in dataset.judgements)
    assert loaded["none"].shape == (3, 256, 256)
    np.testing.assert_allclose(loaded["nearest"][:, :, ::2], 160 / 255)
    inside = loaded["bilinear"][0, 10, 10:20].numpy() * 255
    np.testing.assert_allclose(inside[::2], 160 * 0.75, atol=1)
    np.testing.assert_allclose(inside[1::2], 160 * 0.25, atol=1)
    assert read_dataset(guarded("bapps-val"), folder).fingerprint() != dataset.fingerprint()


def test_bapps_has_both_aggregates_and_its_subsets(tmp_path):
    """The metric is right on cnn (one triplet) and wrong on traditional (three)."""
    folder = build(one("bapps-val", "2afc/val/SUBSET/judge"), tmp_path)
    (part,) = read_dataset(guarded("bapps-val"), folder).judgements
    assert part.statistics == ("2afc_subset_mean", "2afc")
    scores = pairs(part.table)
    side = scores["distorted"].str.split("/").str[-2]
    cnn = scores["distorted"].str.contains("/cnn/")
    p_b = part.table.set_index("a")["p_b"]
    likes_b = scores["distorted"].str.replace("/p1/", "/p0/").map(p_b) > 0.5
    scores["m"] = np.where((side == "p1") == (likes_b == cnn), 0.1, 0.9)
    table = agreement(part, scores, metrics=["m"]).set_index(["metric", "statistic"])
    whole = table[table["slice"] == "all"]["value"]
    right = [0.6]  # share of people behind the metric, by triplet
    wrong = [0.2, 0.0, 0.0]
    assert whole["m", "2afc"] == pytest.approx(np.mean(right + wrong))
    assert whole["m", "2afc_subset_mean"] == pytest.approx((0.6 + np.mean(wrong)) / 2)


def test_the_artificial_reference_of_tid_can_be_left_out(tmp_path):
    folder = build(one("tid2013", "owner"), tmp_path)
    manifest = find_manifest("tid2013")
    (part,) = read_dataset(manifest, folder, options={"exclude_reference": "I25"}).judgements
    assert stems(part.table["reference"]) == ["i01", "i01"]
    with pytest.raises(UsageError, match="no reference 'i26' to exclude"):
        read_dataset(manifest, folder, options={"exclude_reference": "i26"})


def test_options_are_checked_by_name_and_value(tmp_path):
    folder = build(one("bapps-val", "2afc/val/SUBSET/judge"), tmp_path)
    for options, message in (
        ({"kernal": "box"}, "no option 'kernal'; did you mean kernel"),
        ({"kernel": "cubic"}, "kernel is 'cubic', not bilinear or bicubic or"),
    ):
        with pytest.raises(UsageError, match=message):
            read_dataset(guarded("bapps-val"), folder, options=options)
    nights = build(one("nights", "owner"), tmp_path / "n")
    for number in ("125",):
        for path in (f"ref/000/{number}", f"distort/000/{number}_0", f"distort/000/{number}_1"):
            miniatures.image(nights / "nights" / f"{path}.png")
    dataset = read_dataset(find_manifest("nights"), nights, options={"min_votes": "5"})
    assert {p.slice: len(p.table) for p in dataset.judgements}["test"] == 3
    with pytest.raises(UsageError, match="min_votes is 'six'"):
        read_dataset(find_manifest("nights"), nights, options={"min_votes": "six"})


# -- Label files whose real content is at hand ------------------------------------------------


def only_images_missing(manifest, folder):
    lines = check(manifest, folder)
    return lines and all(line.startswith("missing: ") for line in lines)


@pytest.mark.parametrize(
    ("name", "file"), [("tid2013", "TID2013.MOS.csv"), ("live", "LIVE2.DMOS.csv")]
)
def test_real_label_files_are_what_the_manifest_expects(name, file, shared, tmp_path):
    shutil.copy(shared / "published-scores" / file, tmp_path / file)
    assert only_images_missing(find_manifest(name), tmp_path)


def test_tid2013_as_its_owner_writes_it_holds_the_real_scores(shared, tmp_path):
    scores = pd.read_csv(shared / "published-scores" / "TID2013.MOS.csv", dtype=str)
    lines = scores["mos"] + " " + scores["dist_img"]
    (tmp_path / "mos_with_names.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "mos_std.txt").write_text("\n".join(scores["var"]) + "\n")
    miniatures.image(tmp_path / "distorted_images" / "i01_24_5.bmp")
    assert lines[0] == "5.51429 I01_01_1.bmp"
    assert only_images_missing(find_manifest("tid2013"), tmp_path)


def test_live_in_matlab_files_holds_the_real_scores(shared, tmp_path):
    """The 779 real scores in their places among 982, the rest marked as copies of references."""
    scores = pd.read_csv(shared / "published-scores" / "LIVE2.DMOS.csv")
    place = {name: i for i, name in enumerate(miniatures.LIVE_DIST)}
    index = [place[f"{r.dst_type}/{r.dist_img}"] for r in scores.itertuples()]
    values = {"dmos_new": scores["dmos_new"], "dmos_std": scores["dmos_std"]}
    mat = {key: np.zeros((1, 982)) for key in values}
    mat["orgs"] = np.ones((1, 982))
    for key, column in values.items():
        mat[key][0, index] = column
    mat["orgs"][0, index] = 0
    names = np.full(982, "bikes.bmp", dtype=object)
    names[index] = scores["refnames_all"].to_numpy()
    miniatures.write(tmp_path / "dmos_realigned.mat", mat)
    miniatures.write(tmp_path / "refnames_all.mat", {"refnames_all": miniatures.cells(*names)})
    assert only_images_missing(find_manifest("live"), tmp_path)
    assert {k: (scores["dst_type"] == k).sum() for k in miniatures.LIVE_FOLDERS} == {
        "jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145,
    }  # fmt: skip


def test_the_real_judgements_of_bapps_have_the_published_hashes(shared):
    expect = find_manifest("bapps-val").expect
    for subset in ("traditional", "cnn", "superres"):
        file = f"twoAFC_model-alex_vanilla_distortion-{subset}.csv"
        rows = pd.read_csv(shared / "bapps-val-scores" / file, header=None)
        wanted = expect[f"category={subset}/2afc"]
        table = pd.DataFrame({"reference": "r", "a": "a", "b": "b", "p_b": rows[4]})
        assert violations(table, wanted) == []
        swapped = table.assign(p_b=1 - table["p_b"])
        assert "the sequence of judgements is not the published one" in violations(swapped, wanted)
        steps = ",".join(str(round(5 * h)) for h in rows[4])
        assert hashlib.sha256(steps.encode()).hexdigest() == wanted.sha256
