"""A real HTTP server on the loopback with files that tests change, and a server that speaks S3."""

import hashlib
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Site:
    """What the server offers: files by path, redirects, statuses; and the requests that it got, as (method, path).

    A request for a part of a file is ("PART", path); the first of them get the statuses of `part_statuses`.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    tags: bool = True
    parts: bool = True
    part_statuses: list[int] = field(default_factory=list)
    part_headers: dict[str, str | None] = field(default_factory=dict)  # in place of what is right; None: left out
    cut: dict[str, int] = field(default_factory=dict)  # files that break off after so many bytes
    requests: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    delay_s: float = 0.0  # of each request for a part, as on the way to a server that is far away
    meeting: threading.Event | None = None  # requests for parts wait until two are open at a time, or so long
    meeting_s: float = 5.0
    open_parts: int = 0  # requests for parts that have no answer yet, and the most there were
    most_open_parts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fetched(self):
        """The paths of all GET requests since the last call, sorted."""
        found = sorted(path for method, path in self.requests if method == "GET")
        self.requests.clear()
        return found

    def parts_read(self):
        """How many requests for parts there were since the last call."""
        found = sum(method == "PART" for method, _ in self.requests)
        self.requests.clear()
        return found

    @contextmanager
    def counted_part(self):
        """Context of a request for a part."""
        with self.lock:
            self.open_parts += 1
            self.most_open_parts = max(self.most_open_parts, self.open_parts)
            if self.meeting is not None and self.open_parts > 1:
                self.meeting.set()
        try:
            if self.meeting is not None:
                self.meeting.wait(self.meeting_s)
            time.sleep(self.delay_s)
            yield
        finally:
            with self.lock:
                self.open_parts -= 1

    def put_folder(self, root, below=""):
        """Offer the files of a folder."""
        for file in root.rglob("*"):
            if file.is_file():
                self.files[f"/{below}{file.relative_to(root).as_posix()}"] = file.read_bytes()


@contextmanager
def serving():
    """The site of a server on a free port."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a connection has many requests
        disable_nagle_algorithm = True  # else 40 ms between the headers and the body of an answer

        def setup(self):
            site.connections += 1
            super().setup()

        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            data = self._answer()
            if data is not None:
                self.close_connection |= unquote(self.path) in site.cut
                self.wfile.write(data[: site.cut.get(unquote(self.path), len(data))])

        def _answer(self):
            path = unquote(self.path)
            part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if site.parts else None
            site.requests.append(("PART" if part else self.command, path))
            if part and path in site.files:
                with site.counted_part():
                    return self._answer_part(site.files[path], int(part[1]), int(part[2]) + 1)
            data = site.files.get(path)
            status = site.statuses.get(path, 302 if path in site.redirects else 404 if data is None else 200)
            self.send_response(status)
            if path in site.redirects:
                self.send_header("Location", site.redirects[path])
            if status == 200:
                self.send_header("Content-Length", str(len(data)))
                if site.tags:
                    self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
            else:
                self.send_header("Content-Length", "0")
            self.end_headers()
            return data if status == 200 else None

        def _answer_part(self, data, first, end):
            status = site.part_statuses.pop(0) if site.part_statuses else 206 if first < len(data) else 416
            part = data[first:end] if status == 206 else b""
            self.send_response(status)
            headers = {
                "Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}",
                "ETag": f'"{hashlib.md5(data).hexdigest()}"' if site.tags else None,
                **site.part_headers,
            }
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            return part

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
