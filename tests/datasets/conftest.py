"""A web server on this machine, with all that can go wrong with one."""

import http.server
import threading
import time
from email.utils import formatdate

import pytest


class Server:
    """Serves `files`; every fault is set by path, lists are used up one request at a time.

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
