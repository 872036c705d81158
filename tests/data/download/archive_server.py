"""A real HTTP server on the loopback that misbehaves on demand, and small archives for it to offer."""

import hashlib
import io
import re
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

PHOTOS = {
    "flower_photos/LICENSE.txt": b"CC-BY 2.0, by their authors\n",
    **{
        f"flower_photos/{folder}/{number}.jpg": np.random.default_rng([place, number]).bytes(9_000)
        for place, folder in enumerate(("daisy", "dandelion", "roses", "sunflowers", "tulips"))
        for number in range(place + 1)
    },
}
COUNTS = {"daisy": 1, "dandelion": 2, "rose": 3, "sunflower": 4, "tulip": 5}
SINGULAR = {"roses": "rose", "sunflowers": "sunflower", "tulips": "tulip"}


def file_member(name, size=0, **fields):
    """A tar header; `fields` as `tarfile.TarInfo` has them."""
    member = tarfile.TarInfo(name)
    member.size = size
    for key, value in fields.items():
        setattr(member, key, value)
    return member


def tgz(entries):
    """A .tgz of `entries`: name -> content, or a list of (TarInfo, content or None)."""
    listed = (
        [(file_member(name, len(data)), data) for name, data in entries.items()]
        if isinstance(entries, dict)
        else entries
    )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, data in listed:
            tar.addfile(member, None if data is None else io.BytesIO(data))
    return buffer.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def tree(root):
    """Every file below `root` with its content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def whole(root):
    """Whether `root` holds exactly the photos of `PHOTOS`, under the classes' names."""
    expected = {}
    for name, data in PHOTOS.items():
        _, *folder, last = name.split("/")
        expected["/".join([*(SINGULAR.get(word, word) for word in folder), last])] = data
    return tree(root) == expected


@dataclass
class Turn:
    """How one request is answered. `cut`: bytes of the body after which the connection is closed; `stall`: where it
    then stays open.

    `misplaced`: a Range is answered with another range than the one asked for.
    """

    content: bytes
    status: int = 200
    etag: str = '"v1"'
    ranges: bool = True
    conditions: bool = True
    cut: int | None = None
    stall: bool = False
    chunked: bool = False
    length: int | None = None
    delay_s: float = 0.0
    misplaced: bool = False
    location: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


class ArchiveServer(ThreadingHTTPServer):
    """Answers the requests by `turns` one after the other; the last one stays. `requests` has the headers of
    every request.
    """

    daemon_threads = True

    def __init__(self, *turns):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.turns = list(turns)
        self.requests = []
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def url(self):
        return f"{self.address}/photos/flower_photos.tgz"

    @property
    def ranges(self):
        """The Range header of every request, None where there was none."""
        return [headers.get("Range") for headers in self.requests]

    def close(self):
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self):
        self.server.requests.append(dict(self.headers))
        self.send_error(self.server.turns[0].status)

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        turn = server.turns.pop(0) if len(server.turns) > 1 else server.turns[0]
        server.released.wait(turn.delay_s)
        status, start = self._status(turn)
        body = turn.content[start:]
        self.send_response(status)
        if turn.etag:
            self.send_header("ETag", turn.etag)
        if turn.location:
            self.send_header("Location", turn.location)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(turn.content) - 1}/{len(turn.content)}")
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(turn.content)}")
            body = b""
        for name, value in turn.headers.items():
            self.send_header(name, value)
        if turn.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif turn.length != -1:
            self.send_header("Content-Length", str(len(body) if turn.length is None else turn.length))
        self.end_headers()
        self._send(turn, body)

    def _status(self, turn):
        requested = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        unchanged = not turn.conditions or condition is None or condition == turn.etag
        if turn.status != 200 or not requested or not turn.ranges or not unchanged:
            return turn.status, 0
        start = int(requested[1]) // 2 if turn.misplaced else int(requested[1])
        return (206, start) if start < len(turn.content) else (416, 0)

    def _send(self, turn, body):
        sent = body if turn.cut is None else body[: turn.cut]
        if turn.chunked:
            for place in range(0, len(sent), 4096):
                piece = sent[place : place + 4096]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            # A cut comes in the middle of a chunk: announced, begun, not ended.
            self.wfile.write(b"0\r\n\r\n" if turn.cut is None else b"1000\r\n" + body[turn.cut : turn.cut + 100])
        else:
            self.wfile.write(sent)
        self.wfile.flush()
        if turn.stall:
            self.server.released.wait(60)
        if turn.cut is not None or turn.length == -1:
            self.close_connection = True

    def log_message(self, *_):
        """Nothing on stderr."""
