"""The catalogue: every manifest is sound, every mistake is named."""

import pytest

from perceptbench.datasets import manifest as catalogue
from perceptbench.datasets.judgements.expectations import Expectation
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.locate import find_folder
from perceptbench.datasets.manifest import Manifest, find_manifest, manifests, read_manifest
from perceptbench.errors import DataError, UsageError

EMBEDDED = {"edge-in-noise", "macadam-osa", "modelfest"}
#: Computed as well, but not part of the run without arguments: they take minutes.
COMPUTED = {"colour-csf", "vision-card"}
READY = EMBEDDED | COMPUTED | {
    "a57", "aic-3", "aic-4", "bapps-jnd", "bapps-train", "bapps-val", "cid-iq", "cid22",
    "clic2021-test", "clic2021-valid", "combvd", "csiq", "kadid-10k", "konjnd-1k", "live",
    "live-md", "material-appearance", "mdid", "mdid2013", "mdivl", "nights", "pieapp", "pipal",
    "sdivl", "tid2008", "tid2013", "toyama", "tu-ilmenau",
    "vcl-fer",
}  # fmt: skip


def test_the_catalogue_is_complete_and_the_embedded_suite_needs_no_file():
    found = manifests()
    assert set(found) == READY
    assert {m.name for m in found.values() if m.embedded} == EMBEDDED
    assert all(not m.layout and not m.archive for m in found.values() if m.embedded)
    assert all(m.citation and m.licence and m.title for m in found.values())
    assert all(name == m.name for name, m in found.items())
    for m in found.values():
        readers = [layout.reader or m.reader for layout in m.layout] or [m.reader]
        assert m.expect and m.protocols and all(":" in reader for reader in readers)


def test_figures_are_written_by_source_and_read_one_by_one(tmp_path):
    (tmp_path / "x.toml").write_text(
        'name = "x"\ntitle = "X"\nimages = "files"\ncitation = "c"\n'
        '[[published]]\nsource = "s"\ntolerance = 0.1\nslice = "half"\n'
        "figures.srcc = { mse = 0.5 }\n"
        '[[published]]\nsource = "t"\n[published.figures.2afc]\nmse = { all = 0.6, half = 0.7 }\n'
    )
    rows = [
        (p.source, p.slice, p.metric, p.statistic, p.value, p.tolerance)
        for p in read_manifest(tmp_path / "x.toml").published
    ]
    assert rows == [
        ("s", "half", "mse", "srcc", 0.5, 0.1),
        ("t", "all", "mse", "2afc", 0.6, None),
        ("t", "half", "mse", "2afc", 0.7, None),
    ]


def test_recalled_figures_are_never_judged():
    recalled = [p for m in manifests().values() for p in m.published if "recalled" in p.source]
    assert len(recalled) == 21 and all(p.tolerance is None for p in recalled)


@pytest.mark.parametrize("name", sorted(EMBEDDED | COMPUTED))
def test_computed_datasets_have_what_their_manifest_says(name, tmp_path):
    manifest = find_manifest(name)
    dataset = load_dataset(manifest, None, tmp_path)
    assert dataset.name == name
    assert {f"{p.slice}/{p.protocol}" for p in dataset.judgements} == set(manifest.expect)
    assert {p.protocol for p in dataset.judgements} == set(manifest.protocols)
    for part in dataset.judgements:
        key = part.table["reference"].iloc[0]
        image = dataset.load(key)
        assert image.shape[0] == 3 and image.min() >= 0 and image.max() <= 1
    with pytest.raises(DataError, match="there is no such"):
        dataset.load("nothing")


def test_an_unknown_dataset_gets_the_nearest_names():
    with pytest.raises(UsageError, match="did you mean modelfest"):
        find_manifest("model-fest")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is not valid TOML"),
        ('name = "x"', "key `title`: field required"),
        ('name = "x"\nspeed = 3', "key `"),
    ],
)
def test_a_faulty_manifest_is_named_with_its_key(tmp_path, text, message):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(DataError, match=r"x\.toml") as caught:
        read_manifest(tmp_path / "x.toml")
    assert message in str(caught.value)


def test_a_folder_is_known_by_the_files_of_a_layout(tmp_path):
    manifest = find_manifest("material-appearance")
    assert find_folder(manifest, tmp_path) is None
    folder = tmp_path / "any name"
    folder.mkdir()
    (folder / manifest.layout[0].files[0].upper()).touch()
    assert find_folder(manifest, tmp_path) == find_folder(manifest, folder) == folder


def test_files_that_are_nowhere_are_asked_for(tmp_path):
    manifest = find_manifest("material-appearance")
    with pytest.raises(UsageError, match="--data-dir is needed"):
        load_dataset(manifest, None, tmp_path)
    with pytest.raises(UsageError, match="no copy of it is in"):
        load_dataset(manifest, tmp_path, tmp_path)


def test_a_copy_of_another_size_is_refused(tmp_path):
    manifest = find_manifest("macadam-osa").model_copy(
        update={"expect": {"all/rating": Expectation(items=127)}}
    )
    with pytest.raises(DataError, match="all/rating: 128 judgements, expected 127"):
        load_dataset(manifest, None, tmp_path)


def test_manifests_of_a_checkout_are_the_packages(monkeypatch, tmp_path):
    """Without the folder in the package the one beside it is read."""
    monkeypatch.setattr(catalogue, "FOLDERS", (tmp_path / "none", *catalogue.FOLDERS))
    assert set(manifests()) >= READY
    assert all(isinstance(m, Manifest) for m in manifests().values())


ARCHIVE = """
name = "x"
title = "X"
images = "files"
citation = "c"
[[archive]]
path = "x.zip"
urls = ["https://a.org/x.zip", "HTTP://b.org/x.zip"]
"""


def test_an_address_that_is_not_encrypted_needs_a_checksum(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(ARCHIVE)
    said = (
        r"key `archive\.0`: (?i:http)://b\.org/x\.zip is not encrypted: give an https address, or"
    )
    with pytest.raises(DataError, match=said):
        read_manifest(path)
    for checksum in (f'sha256 = "{"0" * 64}"', f'md5 = "{"0" * 32}"'):
        path.write_text(ARCHIVE + checksum)
        assert read_manifest(path).archive[0].urls[1].lower() == "http://b.org/x.zip"


def test_our_own_manifests_name_https_first_and_http_only_with_a_checksum():
    for m in manifests().values():
        for archive in m.archive:
            plain = [url for url in archive.urls if not url.startswith("https://")]
            assert not plain or archive.sha256 or archive.md5, (m.name, archive.path)
