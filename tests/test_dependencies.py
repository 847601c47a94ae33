"""What is installed besides: lower bounds, licences, the audit."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEEDED = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
#: How licences are called, in metadata and here.
LICENCE = re.compile(
    "MIT-CMU|MIT|0BSD|BSD|Apache|PSF|MPL|ISC|LGPL|GPL|Unlicense|Zlib|CC0|BSL|Python Software"
)


def name(requirement):
    return re.match(r"[\w.-]+", requirement)[0]


def test_every_dependency_has_a_lower_bound():
    for group in (NEEDED, *EXTRAS.values(), PROJECT["build-system"]["requires"]):
        for requirement in group:
            assert re.fullmatch(r"[\w.-]+>=\d[\w.]*(; .+)?", requirement), requirement


def test_one_package_has_one_bound():
    every = [r.partition(";")[0] for group in (NEEDED, *EXTRAS.values()) for r in group]
    assert len({name(r) for r in every}) == len(set(every))


def declared(package):
    """The licences that the metadata of an installed package declares."""
    found = metadata.metadata(package)
    classes = [c for c in found.get_all("Classifier", []) if c.startswith("License ::")]
    stated = [found.get("License-Expression") or "", *classes]
    if not any(stated):
        stated = [(found.get("License") or "").partition("\n")[0]]
    names = {n for text in stated for n in LICENCE.findall(text)}
    return {"PSF" if n == "Python Software" else n for n in names}


@pytest.mark.parametrize("package", [name(r) for r in [*NEEDED, *EXTRAS["archives"]]])
def test_the_readme_names_the_licence_that_the_metadata_declares(package):
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Licence\n")[2]
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| ")]
    word = re.compile(rf"(?<![\w.-]){re.escape(package)}(?![\w.-])")
    (licence,) = [licence for licence, packages in rows if word.search(packages)]
    try:
        found = declared(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    assert found and found <= set(LICENCE.findall(licence)), (found, licence)


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ({"vulns": []}, 0, "audited: 1 of 1 packages"),
        ({"vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}, 1, "CVE-1, fixed in 2"),
        ({"vulns": [{"id": "CVE-1", "fix_versions": []}]}, 0, "CVE-1, not fixed yet"),
        ({"skip_reason": "not found"}, 0, "no audit: the advisories cannot be had"),
        (None, 0, "no audit: the advisories cannot be had"),
    ],
)
def test_an_audit_fails_on_what_a_newer_version_mends(found, code, said, tmp_path):
    if found is not None:
        packages = [{"name": "x", "version": "1", **found}]
        (tmp_path / "found.json").write_text(json.dumps({"dependencies": packages}))
    call = [sys.executable, ROOT / ".ci" / "audit", tmp_path / "found.json"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == code and said in done.stdout
