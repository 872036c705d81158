"""`fetch_photos`: a train folder whole or not at all, whatever the network does, and one line that says what to do."""

import fcntl
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from flowerml.data.download import archive as unpack
from flowerml.data.download import http as connection
from flowerml.data.download import resumable as download
from flowerml.data.download.flower_photos import FOLDER_ALIASES, PUBLIC_SHA256, PUBLIC_SIZE, fetch_photos, unpack_photos
from flowerml.errors import UserError
from flowerml.human_units import amount
from flowerml.progress_bar import track_bytes
from tests.data.archive_server import COUNTS, PHOTOS, ArchiveServer, Turn, digest, file_member, tgz, tree, whole

ARCHIVE = tgz(PHOTOS)
SHA = digest(ARCHIVE)
AT_ONCE = (0, 0, 0, 0)
WAYS = ("--archive FILE", "--url", "photos of your own into one sub-folder per class", "flowerml dataset make")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def serve():
    """A function that starts a server answering with these turns."""
    servers = []

    def start(*turns):
        servers.append(ArchiveServer(*turns))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def train(tmp_path):
    return tmp_path / "data" / "train"


def fetch(train, server, sha256=SHA, **options):
    return fetch_photos(
        train, server if isinstance(server, str) else server.url, sha256, retry_delays_s=AT_ONCE, **options
    )


def refusal(train, *arguments, **options):
    """The message; the train folder must not have come into being, nor its half."""
    with pytest.raises(UserError) as caught:
        fetch(train, *arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert not train.exists()
    assert not unpack.unpacking_dir(train).exists()
    return message


def beside(train):
    """Names in the folder around the train folder, but for it."""
    return sorted(path.name for path in train.parent.iterdir() if path != train) if train.parent.exists() else []


PART = f".flower_photos.tgz.{SHA[:8]}.part"


def put_part(train, data, note=None):
    train.parent.mkdir(parents=True)
    (train.parent / PART).write_bytes(data)
    if note is not None:
        (train.parent / f"{PART}.json").write_text(json.dumps(note))


def test_the_renamed_folders_are_the_tasks_aliases():
    from flowerml.tasks.flowers import ALIASES

    assert FOLDER_ALIASES == ALIASES


def test_photos_arrive_under_the_classes_names_with_their_licence(serve, train):
    server = serve(Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert whole(train)
    assert (train / "LICENSE.txt").read_bytes() == PHOTOS["flower_photos/LICENSE.txt"]
    assert beside(train) == [], "archive, part and note are gone"
    assert server.ranges == [None]


def test_an_empty_folder_and_a_link_to_one_are_taken(serve, train, tmp_path):
    train.mkdir(parents=True)
    fetch(train, serve(Turn(ARCHIVE)))
    assert whole(train)
    (tmp_path / "disk" / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "photos")
    fetch(tmp_path / "link", serve(Turn(ARCHIVE)))
    assert (tmp_path / "link").is_symlink()
    assert whole(tmp_path / "disk" / "photos")


@pytest.mark.parametrize("kind", ["file in it", "file", "here"])
def test_a_folder_in_use_is_refused_before_anything_is_fetched(serve, tmp_path, monkeypatch, kind):
    train = tmp_path / "train"
    if kind == "file":
        train.write_bytes(b"x")
    else:
        train.mkdir()
        monkeypatch.chdir(train)
    if kind == "file in it":
        (train / "mine.jpg").write_bytes(b"x")
    before = tree(tmp_path)
    server = serve(Turn(ARCHIVE))
    with pytest.raises(UserError, match="name another folder" if "file" in kind else "name .*photos"):
        fetch(train, server)
    assert server.asked == []
    assert tree(tmp_path) == before


def test_the_archive_stays_when_asked_for_and_is_never_written_over_another(serve, train):
    server = serve(Turn(ARCHIVE))
    fetch(train, server, keep_archive=True)
    assert beside(train) == ["flower_photos.tgz"]
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE
    other = train.with_name("other")
    message = refusal(other, server, keep_archive=True)
    assert f"--archive {train.parent / 'flower_photos.tgz'}" in message
    assert len(server.asked) == 1


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_connection_cut_in_the_middle_goes_on_from_there_in_one_call(serve, train, capsys, how):
    cut = len(ARCHIVE) // 3
    server = serve(Turn(ARCHIVE, cut=cut, chunked=how == "chunked"), Turn(ARCHIVE, cut=1000), Turn(ARCHIVE))
    assert fetch(train, server, keep_archive=True) == COUNTS
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE
    first, second, third = server.ranges
    got = int(second.removeprefix("bytes=").removesuffix("-"))
    assert first is None
    assert got == cut or (how == "chunked" and cut <= got <= cut + 100), "every byte that came is kept"
    assert third == f"bytes={got + 1000}-"
    assert [headers.get("If-Range") for headers in server.asked] == [None, '"v1"', '"v1"']
    assert capsys.readouterr().err.count("trying again in 0 s") == 2


def test_a_server_that_always_cuts_is_given_up_and_the_next_start_goes_on(serve, train):
    server = serve(Turn(ARCHIVE, cut=5000))
    message = refusal(train, server)
    assert len(server.asked) == 5, "one try and four more"
    assert "broke off too often" in message
    assert f"25.0 kB are kept in {train.parent / PART}: the same command goes on from there" in message
    assert (train.parent / PART).read_bytes() == ARCHIVE[:25_000]
    again = serve(Turn(ARCHIVE))
    assert fetch(train, again, keep_archive=True) == COUNTS
    assert again.ranges == ["bytes=25000-"]
    assert "If-Range" not in again.asked[0], "another server's versions have other names"
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE


def test_tries_that_bring_much_are_not_counted(serve, train, monkeypatch):
    monkeypatch.setattr(download, "MIN_PROGRESS", 5000)
    server = serve(Turn(ARCHIVE, cut=6000))
    fetch(train, server)
    assert whole(train)
    assert len(server.asked) == -(-len(ARCHIVE) // 6000) > 6


def test_pauses_grow_and_end(serve, train, monkeypatch):
    slept = []
    monkeypatch.setattr(download.time, "sleep", slept.append)
    with pytest.raises(UserError):
        fetch_photos(train, serve(Turn(b"", status=503)).url, SHA)
    assert slept == [1, 2, 4, 8]


def test_a_server_that_ignores_ranges_starts_cleanly(serve, train, capsys):
    server = serve(Turn(ARCHIVE, cut=7000), Turn(ARCHIVE, ranges=False))
    assert fetch(train, server, keep_archive=True) == COUNTS
    assert server.ranges == [None, "bytes=7000-"]
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE
    assert "starting from the beginning" in capsys.readouterr().err


@pytest.mark.parametrize("conditions", [True, False], ids=["If-Range kept", "If-Range ignored"])
@pytest.mark.parametrize("changed", ["etag", "size"])
def test_a_file_that_has_changed_on_the_server_starts_anew(serve, train, conditions, changed):
    """Byte 7,000 of another file is no continuation, also where the server hands it out unasked."""
    old = random.Random(0).randbytes(len(ARCHIVE) + (500 if changed == "size" else 0))
    etag = '"v2"' if changed == "etag" else '"v1"'
    server = serve(Turn(old, cut=7000), Turn(ARCHIVE, etag=etag, conditions=conditions))
    assert fetch(train, server, keep_archive=True) == COUNTS
    assert server.ranges[:2] == [None, "bytes=7000-"]
    assert server.ranges[2:] in ([], [None])
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE


def test_a_weak_etag_is_no_condition_but_its_change_is_seen(serve, train):
    server = serve(Turn(b"x" * len(ARCHIVE), cut=7000, etag='W/"a"'), Turn(ARCHIVE, etag='W/"b"'))
    assert fetch(train, server) == COUNTS
    assert server.ranges == [None, "bytes=7000-", None]
    assert not any("If-Range" in headers for headers in server.asked)


def test_a_range_that_was_not_asked_for_is_not_appended(serve, train):
    server = serve(Turn(ARCHIVE, cut=7000), Turn(ARCHIVE, misplaced=True))
    assert fetch(train, server, keep_archive=True) == COUNTS
    assert server.ranges == [None, "bytes=7000-", None]
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE


@pytest.mark.parametrize("note", [None, {}, {"url": "", "size": "many"}, [1], {"size": None, "other": 1}], ids=str)
def test_a_part_whose_note_is_lost_or_damaged_still_counts(serve, train, note):
    put_part(train, ARCHIVE[:9000], note)
    server = serve(Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert server.ranges == ["bytes=9000-"]


@pytest.mark.parametrize("noted", [False, True])
def test_a_part_longer_than_the_file_is_thrown_away(serve, train, noted):
    put_part(train, ARCHIVE + b"more", {"size": len(ARCHIVE)} if noted else None)
    server = serve(Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert server.ranges == ([None] if noted else [f"bytes={len(ARCHIVE) + 4}-", None])


def test_a_part_that_is_whole_needs_no_network_or_one_question(serve, train):
    put_part(train, ARCHIVE, {"size": len(ARCHIVE)})
    server = serve(Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert server.asked == []
    shutil.rmtree(train.parent)
    put_part(train, ARCHIVE)
    assert fetch(train, server) == COUNTS
    assert server.ranges == [f"bytes={len(ARCHIVE)}-"], "answered with 416 and the size"


def test_parts_of_different_digests_do_not_mix(serve, train):
    put_part(train, b"of another archive")
    other = tgz({f"x/{name}/1.jpg": name.encode() for name in "ab"})
    server = serve(Turn(other))
    assert fetch(train, server, digest(other)) == {"a": 1, "b": 1}
    assert server.ranges == [None]
    assert beside(train) == [PART]


@pytest.mark.parametrize("status", [404, 403, 410, 416, 204])
def test_a_refusal_is_said_at_once(serve, train, status):
    server = serve(Turn(b"", status=status))
    message = refusal(train, server)
    assert f"the server answers {status}" in message
    assert all(way in message for way in WAYS)
    assert len(server.asked) == 1


def test_a_refusal_leaves_the_part(serve, train):
    server = serve(Turn(ARCHIVE, cut=7000), Turn(b"gone", status=404))
    refusal(train, server)
    assert (train.parent / PART).read_bytes() == ARCHIVE[:7000]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_asked_again(serve, train, status):
    server = serve(Turn(b"busy", status=status), Turn(b"busy", status=status), Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    always = serve(Turn(b"busy", status=status))
    message = refusal(train.with_name("b"), always)
    assert f"the server answers {status}" in message
    assert len(always.asked) == 5


def test_other_content_is_removed_and_both_digests_are_named(serve, train):
    other = tgz({**PHOTOS, "flower_photos/roses/0.jpg": b"another rose"})
    message = refusal(train, serve(Turn(other)))
    assert digest(other) in message
    assert SHA in message
    assert "removed" in message
    assert all(way in message for way in ("--sha256", *WAYS))
    assert beside(train) == []


def test_one_flipped_bit_is_seen(serve, train):
    damaged = bytearray(ARCHIVE)
    damaged[len(damaged) // 2] ^= 1
    refusal(train, serve(Turn(bytes(damaged))))
    assert beside(train) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(serve, train):
    """The public archive's size is known: a login page that a network puts in its place is told by it."""
    server = serve(Turn(b"<html>log in</html>", headers={"Content-Type": "text/html"}))
    message = refusal(train, server, PUBLIC_SHA256)
    assert f"offers 19 bytes (text/html) where the archive has {PUBLIC_SIZE}" in message
    assert beside(train) == []


def test_a_body_without_a_length_is_taken(serve, train):
    assert fetch(train, serve(Turn(ARCHIVE, length=-1))) == COUNTS
    assert fetch(train.with_name("b"), serve(Turn(ARCHIVE, chunked=True))) == COUNTS


def test_redirects_are_followed_with_the_range(serve, train):
    mirror = serve(Turn(ARCHIVE, cut=7000), Turn(ARCHIVE))
    server = serve(Turn(b"", status=302, location=mirror.url))
    assert fetch(train, server) == COUNTS
    assert mirror.ranges == [None, "bytes=7000-"]


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1/x.tgz", "data:text/plain,x", "gopher://x/"]
)
def test_redirects_to_other_schemes_are_refused(serve, train, target):
    server = serve(Turn(b"", status=302, location=target))
    message = refusal(train, server)
    assert repr(target) in message
    assert "neither http nor https" in message
    assert len(server.asked) == 1


def test_redirects_in_a_circle_or_to_nowhere_end(serve, train):
    assert "in a circle or to nowhere" in refusal(train, serve(Turn(b"", status=302, location="/again.tgz")))
    assert "in a circle or to nowhere" in refusal(train, serve(Turn(b"", status=302)))


@pytest.mark.parametrize(
    "url",
    [
        "file:///x.tgz",
        "ftp://host/x.tgz",
        "x.tgz",
        "",
        "http://",
        "http://a b/x",
        "http://h/é.tgz",
        "http://h/\n",
        "http://h:x/",
        "http://[/",
    ],
)
def test_an_address_that_is_none_is_refused(train, url):
    message = refusal(train, url)
    assert f"--url is {url!r}" in message
    assert beside(train) == []


def test_a_password_in_the_address_is_refused_and_not_repeated(train):
    assert "s3cret" not in refusal(train, "https://me:s3cret@mirror.example/x.tgz")


def test_a_full_disk_is_said_before_anything_is_fetched(serve, train):
    message = refusal(train, serve(Turn(ARCHIVE, length=10**17)))
    assert f"{train.parent}: " in message
    assert "210000000.0 GB needed" in message
    assert "--train-dir" in message
    assert beside(train) == []


@contextmanager
def largest_file(size):
    """Files can't grow beyond `size` bytes: the nearest to a full disk that a test may bring about."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_meanwhile_keeps_the_part(serve, train):
    server = serve(Turn(ARCHIVE))
    with largest_file(50_000):
        message = refusal(train, server)
    assert f"can't write {train.parent / PART}: File too large" in message
    assert (train.parent / PART).read_bytes() == ARCHIVE[:50_000]
    assert fetch(train, server) == COUNTS
    assert server.ranges == [None, "bytes=50000-"]


def test_a_disk_that_fills_up_while_unpacking_keeps_the_archive(serve, train):
    server = serve(Turn(ARCHIVE))
    put_part(train, ARCHIVE, {"size": len(ARCHIVE)})
    with largest_file(8_000):
        assert "File too large" in refusal(train, server)
    assert fetch(train, server) == COUNTS
    assert whole(train)
    assert server.asked == []


def test_a_name_that_does_not_resolve_is_tried_twice(train, capsys):
    message = refusal(train, "http://mirror.invalid/x.tgz")
    assert "http://mirror.invalid/x.tgz can't be reached (the name mirror.invalid does not resolve): " in message
    assert all(way in message for way in WAYS)
    assert capsys.readouterr().err.count("trying again") == 1


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_refused_connection_is_tried_twice(train, capsys):
    port = free_port()
    message = refusal(train, f"http://127.0.0.1:{port}/x.tgz")
    assert f"can't be reached (127.0.0.1:{port}: connection refused): " in message
    assert all(way in message for way in WAYS)
    assert capsys.readouterr().err.count("trying again") == 1


def test_packets_that_are_swallowed_cost_one_time_out(train, capsys, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.3)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # fills the queue: the system answers no further knock
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        message = refusal(train, f"http://127.0.0.1:{full.getsockname()[1]}/x.tgz")
    assert "no connection within 0.3 s" in message
    assert "trying again" not in capsys.readouterr().err


def test_a_server_that_says_nothing_costs_one_time_out(train, capsys, monkeypatch):
    monkeypatch.setattr(connection, "READ_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = refusal(train, f"http://127.0.0.1:{silent.getsockname()[1]}/x.tgz")
    assert "can't be reached (no answer in time)" in message
    assert "trying again" not in capsys.readouterr().err


def test_an_answer_may_take_longer_than_the_connection(serve, train, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.4)
    server = serve(Turn(ARCHIVE, delay_s=0.9))
    assert fetch(train, server) == COUNTS
    assert len(server.asked) == 1


def test_a_log_gets_plain_lines_of_bytes_rate_and_time_left(capsys):
    chunks = [b"x" * 500_000] * 4
    assert list(track_bytes(chunks, "fetching", 3_000_000, done=1_000_000, log_every_s=0)) == chunks
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"fetching: {done} MB of 3.0 MB" for done in (1.5, 2.0, 2.5)]
    assert all(re.fullmatch(r".*, [\d.]+ [kMG]?B/s, about \d+ s left", line) for line in lines)
    assert list(track_bytes(chunks, "fetching", None, log_every_s=0)) == chunks
    assert capsys.readouterr().err.splitlines()[-1].startswith("fetching: 2.0 MB, ")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (PUBLIC_SIZE, "228.8 MB")]
)
def test_bytes_are_written_for_people(size, text):
    assert amount(size) == text


def test_silence_in_the_middle_is_a_break(serve, train, monkeypatch):
    monkeypatch.setattr(connection, "READ_S", 0.3)
    server = serve(Turn(ARCHIVE, cut=7000, stall=True), Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert server.ranges == [None, "bytes=7000-"]


def test_a_proxys_refusal_is_said_at_once(serve, train, monkeypatch, capsys):
    proxy = serve(Turn(b"", status=403))
    monkeypatch.setenv("https_proxy", proxy.address)
    message = refusal(train, "https://mirror.example/x.tgz")
    assert "can't be reached (the proxy refuses: 403 Forbidden): " in message
    assert all(way in message for way in WAYS)
    assert len(proxy.asked) == 1


def test_a_proxy_that_is_away_is_named(train, monkeypatch):
    port = free_port()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    assert f"(127.0.0.1:{port}: connection refused)" in refusal(train, "https://mirror.example/x.tgz")


def certificate(folder):
    """A key and a certificate for 127.0.0.1 that nobody has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a company")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1)
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = folder / "company.pem"
    pem.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    kind = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*kind))
    return pem, folder / "key.pem"


def test_an_unknown_certificate_is_refused_and_a_companys_own_can_be_named(serve, train, tmp_path, monkeypatch, capsys):
    pem, key = certificate(tmp_path)
    server = serve(Turn(ARCHIVE))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    message = refusal(train, url)
    assert "can't be reached (TLS: self-signed certificate; " in message
    assert "SSL_CERT_FILE" in message
    assert "trying again" not in capsys.readouterr().err
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert fetch(train, url) == COUNTS


def test_https_where_only_http_is_spoken_is_said(serve, train):
    message = refusal(train, serve(Turn(ARCHIVE)).url.replace("http:", "https:"))
    assert "can't be reached (TLS: " in message


def test_an_answer_that_is_not_http_is_said(train, monkeypatch):
    program = "import socket,sys; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True)\n"
    program += "while True:\n c,_=s.accept(); c.recv(9999); c.sendall(b'SSH-2.0-OpenSSH\\r\\n'); c.close()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        try:
            message = refusal(train, f"http://127.0.0.1:{server.stdout.readline().strip()}/x.tgz")
        finally:
            server.kill()
    assert "can't be reached (the answer is not HTTP)" in message


def test_two_at_once_do_not_share_a_part(serve, train):
    train.parent.mkdir()
    server = serve(Turn(ARCHIVE))
    other = os.open(train.parent, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another `dataset fetch` is at work" in refusal(train, server)
    finally:
        os.close(other)
    assert server.asked == []
    assert fetch(train, server) == COUNTS


def test_what_a_killed_unpacking_left_does_not_count(serve, train):
    stage = unpack.unpacking_dir(train)
    (stage / "flower_photos" / "roses").mkdir(parents=True)
    (stage / "flower_photos" / "roses" / "half.jpg").write_bytes(b"half")
    assert fetch(train, serve(Turn(ARCHIVE))) == COUNTS
    assert whole(train)
    assert beside(train) == []


def test_an_archive_that_is_refused_is_not_kept(serve, train):
    bad = tgz(
        [*((file_member(name, len(data)), data) for name, data in PHOTOS.items()), (file_member("../x", 1), b"x")]
    )
    message = refusal(train, serve(Turn(bad)), digest(bad))
    assert "entry '../x' points outside its folder" in message
    assert beside(train) == []


def test_an_archive_on_disk_is_checked_unpacked_and_left_alone(train, tmp_path):
    mine = tmp_path / "mine.tgz"
    mine.write_bytes(ARCHIVE)
    assert unpack_photos(train, mine, SHA) == COUNTS
    assert whole(train)
    assert mine.read_bytes() == ARCHIVE
    assert beside(train) == []
    with pytest.raises(UserError, match="not empty"):
        unpack_photos(train, mine, SHA)
    other = train.with_name("other")
    with pytest.raises(UserError, match=f"has sha256 {SHA}, expected {PUBLIC_SHA256}"):
        unpack_photos(other, mine)
    for path in (tmp_path / "absent.tgz", tmp_path):
        with pytest.raises(UserError, match="can't read"):
            unpack_photos(other, path)
    assert mine.read_bytes() == ARCHIVE
    assert not other.exists()


def test_an_interrupt_keeps_the_part_and_says_so(serve, train, tmp_path):
    server = serve(Turn(ARCHIVE, cut=7000, stall=True))
    words = [
        sys.executable,
        "-m",
        "flowerml.cli.main",
        "dataset",
        "fetch",
        "--url",
        server.url,
        "--sha256",
        SHA,
        "--train-dir",
        str(train),
    ]
    # A shell starts what runs in its background with Ctrl-C ignored, and a child inherits that.
    hears = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    child = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=hears)  # noqa: PLW1509 - one thread
    try:
        part = train.parent / PART
        while not part.exists() or part.stat().st_size < 7000:
            assert child.poll() is None, child.stderr.read()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert out == ""
    assert f"7.0 kB are kept in {part}: the same command goes on from there\nstopped\n" in err
    assert part.read_bytes() == ARCHIVE[:7000]
    assert not train.exists()
    server.turns[:] = [Turn(ARCHIVE)]
    assert fetch(train, server) == COUNTS
    assert server.ranges == [None, "bytes=7000-"]
