"""Where downloads may be led to, data and weights: to other hosts, never out of https."""

from urllib.parse import urlsplit

import pytest
import requests
import torchvision

from perceptbench.datasets.fetch.transfer import Patience, Refused, transfer
from perceptbench.errors import Unavailable
from perceptbench.losses import weights

#: address -> where it leads; what is not in it is a file.
LEADS = {
    "https://safe.org/file": "https://storage.org/file",
    "https://unsafe.org/file": "http://storage.org/file",
    "https://there-and-back.org/file": "http://middle.org/file",
    "http://middle.org/file": "https://storage.org/file",
    "http://plain.org/file": "http://storage.org/file",
    "https://relative.org/file": "//storage.org/file",
    "https://ftp.org/file": "ftp://storage.org/file",
}


@pytest.fixture
def asked(monkeypatch):
    """Answers every request without a network; the addresses that were asked for."""
    found = []

    def send(self, request, **_):
        found.append(request.url)
        answer = requests.Response()
        answer.request, answer.url = request, request.url
        answer.status_code, answer.reason = 200, "OK"
        if request.url in LEADS:
            answer.status_code, answer.headers["Location"] = 302, LEADS[request.url]
        answer.raw = Body()
        answer._content = b"x"
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    return found


class Body:
    """What urllib3 would hand out."""

    def stream(self, *_, **__):
        yield b"x"

    def release_conn(self):
        pass

    def close(self):
        pass


def fetch(url, part):
    transfer(url, part, size=1, patience=Patience(attempts=1, pause=0))
    return part.read_bytes()


@pytest.mark.parametrize("host", ["https://safe.org", "http://plain.org", "https://relative.org"])
def test_another_host_is_followed(host, asked, tmp_path):
    assert fetch(f"{host}/file", tmp_path / "file.part") == b"x"
    assert [urlsplit(url).hostname for url in asked] == [host.partition("//")[2], "storage.org"]


@pytest.mark.parametrize("host", ["unsafe.org", "there-and-back.org", "ftp.org"])
def test_nothing_is_asked_for_outside_https(host, asked, tmp_path):
    with pytest.raises(Refused, match=rf"it leads from https to {LEADS[f'https://{host}/file']}"):
        fetch(f"https://{host}/file", tmp_path / "file.part")
    assert asked == [f"https://{host}/file"]
    assert not list(tmp_path.iterdir())


def test_weights_are_not_led_out_of_https_either(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_answers", lambda server: True)
    url = "https://unsafe.org/file"
    with pytest.raises(Unavailable, match=r"it leads from https to http://storage\.org"):
        weights._download(url, tmp_path / "net-2d711642.pth")  # sha256 of "x"
    assert asked == [url]
    asked.clear()
    found = weights._download("https://safe.org/file", tmp_path / "net-2d711642.pth")
    assert found.read_bytes() == b"x" and len(asked) == 2
    assert weights.sha256(found).startswith("2d711642")


def test_weights_come_from_one_host_with_a_checksum_in_their_name(tmp_path, monkeypatch):
    models = torchvision.models
    names = models.list_models(models)
    urls = {w.url for name in names for w in models.get_model_weights(name)}
    assert len(urls) > 80
    assert {urlsplit(url)[:2] for url in urls} == {("https", "download.pytorch.org")}
    monkeypatch.setattr(weights, "_answers", lambda server: False)
    for url in urls:
        with pytest.raises(Unavailable, match="does not answer"):
            weights._download(url, tmp_path / url.rpartition("/")[2])
    with pytest.raises(Unavailable, match="no checksum in its name"):
        weights._download("https://download.pytorch.org/models/x-1.pth", tmp_path / "x-1.pth")
