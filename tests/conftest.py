"""Where the real data lies, and small inputs every test may use."""

import functools
import gc
import http.server
import os
import runpy
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

# One thread a process, children included: the tests run in as many processes as there are cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

# The same examples in every run, however long a busy machine takes for them; where a test does not
# say how many, as many as find a fault within a second.
settings.register_profile(
    "deterministic", derandomize=True, deadline=None, max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("deterministic")

# Programs, which import what the tests do not need; doctest would look into them.
collect_ignore = ["benchmarks"]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_finish():
    """What was imported is there to stay: no garbage collection looks through it any more."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a test is its own: no test sees what another, or a user, has kept."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PERCEPTBENCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def templates():
    """The page's template is compiled once for all tests: a tenth of a second a page."""
    from perceptbench.reporting import html

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "environment", functools.cache(html.environment))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found: {SHARED} does not exist")
    return SHARED


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    """Folder with real AlexNet and SqueezeNet weights."""
    return shared / "weights"


@pytest.fixture
def undrawn(monkeypatch):
    """Networks are built without drawing numbers, where these come from a file or are of no use."""
    from torch.nn import init

    for name in ("kaiming_uniform_", "normal_"):
        monkeypatch.setattr(init, name, lambda tensor, *args, **options: tensor)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three noisy 8-bit PNGs of 48 x 40 pixels: ref.png, a.png (near), b.png (far)."""
    rng = np.random.default_rng(0)
    base = rng.uniform(60, 190, (40, 48, 3))
    for name, noise in {"ref": 0, "a": 5, "b": 40}.items():
        pixels = np.clip(base + noise * rng.standard_normal(base.shape), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Runs a command line in this process, in an empty folder: (exit code, output, errors)."""
    from perceptbench.cli import main

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for variable in ("DATA", "WEIGHTS", "CACHE", "MIRROR", "PASSWORD"):
        monkeypatch.delenv(f"PERCEPTBENCH_{variable}", raising=False)

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["perceptbench", *map(str, args)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture(scope="session")
def forked():
    """Runs command lines in children of one process, see ``forked.py``."""
    found = runpy.run_path(str(Path(__file__).with_name("forked.py")))["Forked"]()
    yield found
    found.close()


class Server:
    """A web server on this machine, with all that can go wrong with one.

    Every fault is set by path; lists are used up one request at a time.

    Attributes
    ----------
    url : its address.
    files : path -> bytes.
    requests : (path, Range header) of each request so far.
    etags, dates : path -> header; a file has a date unless `dates` says None.
    status : path -> HTTP statuses to answer with first.
    cut : path -> bytes after which to hang up.
    length : path -> Content-Length to claim.
    ranges : whether ranges are honoured; `ignore_condition`: even if the file has changed.
    headers : path -> further headers.
    slow : seconds before each 64 KiB.
    """

    def __init__(self):
        self.files, self.requests = {}, []
        self.etags, self.dates, self.headers = {}, {}, {}
        self.status, self.cut, self.length = {}, {}, {}
        self.ranges, self.ignore_condition, self.slow = True, False, 0.0
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()

    def gets(self, path):
        return [range_ for where, range_ in self.requests if where == path]

    def _handler(server):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args): ...

            def do_GET(self):
                path = self.path.lstrip("/")
                wanted = self.headers.get("Range")
                server.requests.append((path, wanted))
                if server.status.get(path):
                    return self.answer(server.status[path].pop(0), b"", {"Retry-After": "0"})
                if path not in server.files:
                    return self.answer(404, b"")
                body = server.files[path]
                tag = server.etags.get(path)
                date = server.dates.get(path, formatdate(0, usegmt=True))
                headers = {"ETag": tag, "Last-Modified": date, **server.headers.get(path, {})}
                condition = self.headers.get("If-Range")
                same = server.ignore_condition or condition in {None, tag, date}
                if wanted and server.ranges and same:
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(body):
                        return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                    where = f"bytes {start}-{len(body) - 1}/{len(body)}"
                    headers["Content-Range"] = where
                    return self.answer(206, body[start:], headers, path)
                self.answer(200, body, headers, path)

            def answer(self, status, body, headers=(), path=None):
                self.send_response(status)
                length = server.length.get(path, len(body))
                every = {"Content-Length": str(length), **dict(headers)}
                for name, value in every.items():
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                if server.cut.get(path):
                    body = body[: server.cut[path].pop(0)]
                try:
                    for start in range(0, len(body), 1 << 16):
                        time.sleep(server.slow)
                        self.wfile.write(body[start : start + (1 << 16)])
                except OSError:
                    pass  # the client hung up

        return Handler


@pytest.fixture
def server():
    """An empty `Server`, with the files to be put into it."""
    found = Server()
    yield found
    found.close()
