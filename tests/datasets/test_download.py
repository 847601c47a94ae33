"""Fetching, from a server on this machine."""

import functools
import hashlib
import http.server
import threading

import pytest

from perceptbench.datasets.download import Archive, fetch
from perceptbench.datasets.load import load_dataset
from perceptbench.datasets.manifest import find_manifest
from perceptbench.errors import DataError


@pytest.fixture
def server(tmp_path):
    """A folder and the address it is served at; `server.requests` counts the requests."""
    folder = tmp_path / "served"
    folder.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(args)

    handler = functools.partial(Handler, directory=str(folder))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}", requests
    httpd.shutdown()
    httpd.server_close()


def files(url, sha256=""):
    return (Archive(path="sub/table.json", urls=(f"{url}/table.json",), sha256=sha256),)


def test_a_file_is_fetched_once_and_checked(server, tmp_path):
    folder, url, requests = server
    (folder / "table.json").write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    for _ in range(2):
        fetch(files(url, digest), tmp_path / "cache")
        assert (tmp_path / "cache" / "sub" / "table.json").read_text() == "{}"
    assert len(requests) == 1


def test_a_file_that_is_not_the_one_promised_is_refused(server, tmp_path):
    folder, url, _ = server
    (folder / "table.json").write_text("{}")
    with pytest.raises(DataError, match=r"http.*table\.json could not be downloaded"):
        fetch(files(url, "0" * 64), tmp_path / "cache")
    assert not (tmp_path / "cache" / "sub" / "table.json").exists()


def test_an_address_that_does_not_answer_is_named(server, tmp_path):
    _, url, _ = server
    with pytest.raises(DataError, match=r"404.*put the files into a folder"):
        fetch(files(url), tmp_path / "cache")


def test_a_dataset_that_lies_nowhere_is_fetched_into_the_cache(server, tmp_path):
    folder, url, _ = server
    (folder / "table.json").write_text("[]")
    path = "rit-dupont.json"
    remote = (Archive(path=path, urls=(f"{url}/table.json",)),)
    manifest = find_manifest("combvd").model_copy(update={"archive": remote})
    with pytest.raises(DataError, match=r"bfd-d65\.json is nowhere below"):
        load_dataset(manifest, None, tmp_path / "cache")
    assert (tmp_path / "cache" / "datasets" / "combvd" / path).read_text() == "[]"
