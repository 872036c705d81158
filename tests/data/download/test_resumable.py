"""Interrupted downloads resume where they stopped, and start anew where the file is another one."""

import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from flowerml.data.download import http as connection
from flowerml.data.download import resumable as download
from flowerml.data.download.flower_photos import PUBLIC_SIZE, fetch_photos
from flowerml.errors import UserError
from flowerml.human_units import amount
from flowerml.progress_bar import track_bytes
from tests.data.download.archive_server import COUNTS, Turn, digest, tgz, whole
from tests.data.download.fetch_helpers import ARCHIVE, PART, SHA, fetch, names_beside, put_part, refusal


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
    assert [headers.get("If-Range") for headers in server.requests] == [None, '"v1"', '"v1"']
    assert capsys.readouterr().err.count("trying again in 0 s") == 2


def test_a_server_that_always_cuts_is_given_up_and_the_next_start_goes_on(serve, train):
    server = serve(Turn(ARCHIVE, cut=5000))
    message = refusal(train, server)
    assert len(server.requests) == 5, "one try and four more"
    assert "broke off too often" in message
    assert f"25.0 kB are kept in {train.parent / PART}: the same command goes on from there" in message
    assert (train.parent / PART).read_bytes() == ARCHIVE[:25_000]
    again = serve(Turn(ARCHIVE))
    assert fetch(train, again, keep_archive=True) == COUNTS
    assert again.ranges == ["bytes=25000-"]
    assert "If-Range" not in again.requests[0], "another server's versions have other names"
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE


def test_tries_that_bring_much_are_not_counted(serve, train, monkeypatch):
    monkeypatch.setattr(download, "MIN_PROGRESS", 5000)
    server = serve(Turn(ARCHIVE, cut=6000))
    fetch(train, server)
    assert whole(train)
    assert len(server.requests) == -(-len(ARCHIVE) // 6000) > 6


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
    assert not any("If-Range" in headers for headers in server.requests)


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


@pytest.mark.parametrize("has_record", [False, True])
def test_a_part_longer_than_the_file_is_thrown_away(serve, train, has_record):
    put_part(train, ARCHIVE + b"more", {"size": len(ARCHIVE)} if has_record else None)
    server = serve(Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert server.ranges == ([None] if has_record else [f"bytes={len(ARCHIVE) + 4}-", None])


def test_a_part_that_is_whole_needs_no_network_or_one_question(serve, train):
    put_part(train, ARCHIVE, {"size": len(ARCHIVE)})
    server = serve(Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert server.requests == []
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
    assert names_beside(train) == [PART]


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
    assert len(always.requests) == 5


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
    assert server.requests == []


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
