"""A real HTTP server on the loopback with files that tests change, and a server that speaks S3."""

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Site:
    """What the server offers: files by path, redirects, statuses; and the requests that it got, as (method, path)."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    tags: bool = True
    cut: dict[str, int] = field(default_factory=dict)  # files that break off after so many bytes
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def fetched(self):
        """The paths of all GET requests since the last call, sorted."""
        found = sorted(path for method, path in self.requests if method == "GET")
        self.requests.clear()
        return found

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
        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            data = self._answer()
            if data is not None:
                self.wfile.write(data[: site.cut.get(unquote(self.path), len(data))])

        def _answer(self):
            path = unquote(self.path)
            site.requests.append((self.command, path))
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
