"""`perceptbench datasets` as people use it, with a set that a server on this machine has."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from perceptbench.datasets import manifest as catalogue

MANIFEST = """
name = "tiny"
title = "Tiny"
reader = "perceptbench.datasets.readers.listing:ratings"
protocols = ["rating"]
images = "files"
citation = "Nobody 2026"
homepage = "https://owner.invalid/tiny"
terms = "For the good of all."
expect = {{ "all/rating" = {{ items = 2, levels = "fall" }} }}
[[layout]]
name = "owner"
files = ["mos.txt", "ref.png"]
[[layout.read.table]]
labels = "mos.txt"
slice = "all"
reference = "ref.png"
columns = {{ distorted = "distorted", quality = "quality", level = "level" }}
[[archive]]
path = "tiny.zip"
urls = ["{url}/gone/tiny.zip", "{url}/tiny.zip"]
unpack = true
"""


@pytest.fixture
def tiny(server, tmp_path, monkeypatch):
    """A catalogue of one set: 8 x 8 images, one reference, two ratings. Returns its zip."""
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for value, name in enumerate(("ref", "one", "two")):
            Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
            packed.write(tmp_path / f"{name}.png", f"Tiny/images/{name}.png")
        packed.writestr("Tiny/mos.txt", "distorted,quality,level\nONE.PNG,5,1\nTWO.png,3,2\n")
    server.files["tiny.zip"] = path.read_bytes()
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "tiny.toml").write_text(MANIFEST.format(url=server.url))
    monkeypatch.setattr(catalogue, "FOLDERS", (folder,))
    return path


def test_a_set_is_downloaded_found_and_verified(cli, server, tiny, tmp_path):
    home = tmp_path / "data"
    code, output, errors = cli("datasets", "download", "tiny", "--data-dir", home)
    assert code == 2 and "'For the good of all.'" in errors and not server.requests
    code, output, errors = cli("datasets", "download", "tiny", "--data-dir", home, "--accept-terms")
    assert code == 0 and output == f"tiny: {home / 'tiny'}\n", errors
    assert "Terms: For the good of all." in errors
    assert "trusted on first use" in errors and str(home / "perceptbench-lock.json") in errors
    for command in ("download", "where", "verify"):
        code, output, errors = cli("datasets", command, "tiny", "--data-dir", home)
        assert code == 0 and not errors, errors
    assert output == "tiny: in order\n" and server.gets("tiny.zip") == [None]
    (home / "tiny/Tiny/images/one.png").unlink()
    code, output, errors = cli("datasets", "verify", "tiny", "--data-dir", home)
    assert code == 1 and "problems, named above" in errors
    assert f"tiny: {home}/tiny/Tiny/images/one.png: is missing" in output
    assert "tiny: missing: ONE.PNG" in output
    for _ in range(2):  # once more, then no more
        assert cli("datasets", "download", "tiny", "--data-dir", home)[0] == 0
        assert server.gets("tiny.zip") == [None, None]
    assert cli("datasets", "verify", "tiny", "--data-dir", home)[0] == 0
    shutil.rmtree(home / "tiny")
    assert cli("datasets", "download", "tiny", "--data-dir", home)[0] == 0


def test_a_run_fetches_what_it_needs_once_the_terms_are_accepted(cli, tiny, tmp_path):
    run = ["run", "tiny", "-m", "mse", "--data-dir", tmp_path, "-o", "out"]
    code, _, errors = cli(*run)
    assert code == 2 and "datasets download tiny --accept-terms" in errors
    assert cli("datasets", "download", "tiny", "--data-dir", tmp_path, "--accept-terms")[0] == 0
    code, output, errors = cli(*run)
    assert code == 0 and "tiny srcc" in output, errors


def test_terms_are_asked_for_in_a_terminal(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = []
    monkeypatch.setattr("click.confirm", lambda *args, **options: answers.append(args) or True)
    for _ in range(2):
        assert cli("datasets", "download", "tiny", "--data-dir", tmp_path / "data")[0] == 0
    assert answers == [("Accept them?",)]


def test_a_password_is_asked_for_once_in_a_terminal(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("click.prompt", lambda text, **options: asked.append(text) or "geheim")
    file = tmp_path / "catalogue" / "tiny.toml"
    file.write_text(file.read_text() + "password = true\n")
    options = ["--data-dir", tmp_path / "data", "--accept-terms"]
    assert cli("datasets", "download", "tiny", *options)[0] == 0
    assert asked == ["Password of tiny.zip"]


def test_a_users_own_copy_is_left_alone(cli, server, tiny, tmp_path):
    shutil.unpack_archive(tiny, tmp_path / "data" / "tiny", "zip")
    code, output, _ = cli("datasets", "download", "tiny", "--data-dir", tmp_path / "data")
    assert code == 0 and output == f"tiny: {tmp_path / 'data' / 'tiny'}\n" and not server.requests


def test_a_copy_is_linked_in_whatever_layout_and_case(cli, server, tiny, tmp_path):
    copy = tmp_path / "media" / "TINY-final"
    (copy / "Img").mkdir(parents=True)
    for name in ("ref", "one", "two"):
        (tmp_path / f"{name}.png").rename(copy / "Img" / f"{name.upper()}.PNG")
    (copy / "Mos.TXT").write_text("distorted,quality,level\none.png,5,1\ntwo.png,3,2\n")
    cache = ["--cache-dir", tmp_path / "cache"]
    assert cli("datasets", "where", "tiny", *cache)[0] == 1
    code, output, errors = cli("datasets", "link", "tiny", copy.parent, *cache)
    assert code == 0 and output == f"tiny: {copy}\n", errors
    code, output, _ = cli("datasets", "where", "tiny", *cache)
    assert code == 0 and output == f"{copy}\n"
    assert cli("datasets", "verify", "tiny", *cache)[1] == "tiny: in order\n"
    assert cli("datasets", "download", "tiny", *cache)[0] == 0 and not server.requests
    assert cli("datasets", "where", "tiny", "--data-dir", copy.parent)[1] == f"{copy}\n"
    copy.rename(copy.with_name("moved"))
    code, _, errors = cli("datasets", "where", "tiny", *cache)
    assert code == 1 and "is gone" in errors and "datasets link tiny" in errors
    code, _, errors = cli("datasets", "link", "tiny", tmp_path / "data", *cache)
    assert code == 2 and "does not exist" in errors
    code, _, errors = cli("datasets", "link", "tiny", tmp_path / "cwd", *cache)
    assert code == 1 and "it would have mos.txt, ref.png" in errors


def test_a_mirror_folder_serves_a_machine_without_internet(cli, server, tiny, tmp_path):
    options = ["--data-dir", tmp_path / "data", "--accept-terms", "--mirror", tmp_path]
    assert cli("datasets", "download", "tiny", *options)[0] == 0 and not server.requests


def test_a_download_stopped_between_two_archives_goes_on(cli, server, tiny, tmp_path):
    text = (tmp_path / "catalogue" / "tiny.toml").read_text()
    second = f'[[archive]]\npath = "more.zip"\nurls = ["{server.url}/more.zip"]\nunpack = true\n'
    (tmp_path / "catalogue" / "tiny.toml").write_text(text + second)
    options = ["--data-dir", tmp_path / "data", "--accept-terms"]
    code, _, errors = cli("datasets", "download", "tiny", *options)
    assert code == 1 and "more.zip: HTTP 404" in errors and "https://owner.invalid/tiny" in errors
    assert cli("datasets", "where", "tiny", *options[:2])[0] == 1
    assert not (tmp_path / "data" / "tiny" / "Tiny").exists()
    server.files["more.zip"] = server.files["tiny.zip"]
    assert cli("datasets", "download", "tiny", *options)[0] == 0
    assert server.gets("tiny.zip") == [None]


def test_a_copy_that_is_half_unpacked_is_not_read_but_completed(cli, server, tiny, tmp_path):
    text = (tmp_path / "catalogue" / "tiny.toml").read_text()
    second = f'[[archive]]\npath = "more.zip"\nurls = ["{server.url}/more.zip"]\nunpack = true\n'
    (tmp_path / "catalogue" / "tiny.toml").write_text(text + second)
    server.files["more.zip"] = b"PK\x03\x04 damaged"
    options = ["--data-dir", tmp_path / "data", "--accept-terms"]
    code, _, errors = cli("datasets", "download", "tiny", *options)
    assert code == 1 and "more.zip: cannot be unpacked" in errors
    assert (tmp_path / "data" / "tiny" / "Tiny").is_dir()
    assert cli("datasets", "where", "tiny", *options[:2])[0] == 1
    (tmp_path / "data" / "tiny" / "more.zip").unlink()
    server.files["more.zip"] = tiny.read_bytes()
    assert cli("datasets", "download", "tiny", *options)[0] == 0
    assert server.gets("tiny.zip") == [None]


def test_what_fails_is_named_and_the_rest_is_done(cli, server, tiny, tmp_path):
    server.files.clear()
    text = (tmp_path / "catalogue" / "tiny.toml").read_text()
    other = text.replace('"tiny"', '"other"').replace("/tiny.zip", "/other.zip")
    (tmp_path / "catalogue" / "other.toml").write_text(other)
    server.files["other.zip"] = tiny.read_bytes()
    options = ["--data-dir", tmp_path / "data", "--accept-terms"]
    code, output, errors = cli("datasets", "download", "tiny", "other", *options)
    assert code == 1 and output == f"other: {tmp_path / 'data' / 'other'}\n"
    assert "dataset tiny: tiny.zip could not be downloaded" in errors
    assert cli("datasets", "download", "tny")[0] == 2


def test_embedded_sets_need_nothing(cli, tmp_path):
    assert cli("datasets", "download", "modelfest")[1].startswith("modelfest: computed")
    assert cli("datasets", "verify", "macadam-osa")[1] == "macadam-osa: in order\n"
    code, _, errors = cli("datasets", "where", "modelfest")
    assert code == 2 and "not read from files" in errors


def test_show_tells_what_the_manifest_does(cli, tiny):
    code, output, _ = cli("datasets", "show", "tiny")
    assert code == 0 and "terms: For the good of all." in output and "licence: not stated" in output
    assert "  - path = tiny.zip, urls = http" in output and "unpack = True" in output


def test_ctrl_c_leaves_what_the_next_call_continues(server, tiny, tmp_path):
    server.files["tiny.zip"] = os.urandom(3_000_000)
    server.slow = 0.1
    folder, home = tmp_path / "catalogue", tmp_path / "data"
    code = (
        "import sys, pathlib; from perceptbench.datasets import manifest\n"
        f"manifest.FOLDERS = (pathlib.Path({str(folder)!r}),)\n"
        f"sys.argv = ['perceptbench', 'datasets', 'download', 'tiny', '--accept-terms',"
        f" '--data-dir', {str(home)!r}]\n"
        "from perceptbench.cli import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    part = home / "tiny" / "tiny.zip.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.endswith("perceptbench: interrupted\n"), errors
    assert "Traceback" not in errors and 0 < part.stat().st_size < 3_000_000
