"""Bombs, damaged archives and archives without class folders are refused whole."""

import gzip
import random

import pytest

from flowerml.data.download import archive as module
from flowerml.data.download.archive import unpacking_dir
from tests.data.download.archive_helpers import GOOD, outcome, photos, put_archive, refusal
from tests.data.download.archive_server import COUNTS, file_member, tgz


@pytest.mark.parametrize("where", ["one large file", "many files", "behind the end", "a header"])
def test_a_bomb_is_refused_before_it_has_filled_the_disk(tmp_path, monkeypatch, where):
    monkeypatch.setattr(module, "GROWTH_ALLOWANCE", 300_000)
    zeros = bytes(30_000_000)
    if where == "one large file":
        data = tgz([*GOOD, (file_member("flower_photos/roses/bomb.jpg", len(zeros)), zeros)])
    elif where == "many files":
        data = tgz(
            [
                *GOOD,
                *(
                    (file_member(f"flower_photos/roses/b{number}.jpg", 100_000), zeros[:100_000])
                    for number in range(300)
                ),
            ]
        )
    elif where == "behind the end":
        data = gzip.compress(gzip.decompress(tgz(GOOD)) + zeros)
    else:
        data = tgz(
            [*GOOD, (file_member("flower_photos/roses/n.jpg", 1, pax_headers={"comment": "0" * len(zeros)}), b"x")]
        )
    assert "as only a decompression bomb does" in refusal(tmp_path, data)


def test_a_size_that_is_only_claimed_is_refused(tmp_path):
    claimed = file_member("flower_photos/roses/claimed.jpg", 10**12).tobuf()
    assert "is not a whole .tgz" in refusal(tmp_path, gzip.compress(claimed + b"x" * 512))


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBERS", len(GOOD))
    assert photos(tmp_path, GOOD) == COUNTS
    (tmp_path / "b").mkdir()
    assert f"more than {len(GOOD)} entries" in refusal(
        tmp_path / "b", [*GOOD, (file_member("flower_photos/more", 0), b"")]
    )


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_cut_archive_is_refused(tmp_path, share):
    data = tgz(GOOD)
    assert "is not a whole .tgz" in refusal(tmp_path, data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["zip", "tar", "page", "flipped", "checksum", "gzip of a text"])
def test_other_files_and_damaged_ones_are_refused(tmp_path, kind):
    good = tgz(GOOD)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    data = {
        "zip": b"PK\3\4" + bytes(500),
        "tar": gzip.decompress(good),
        "page": b"<!doctype html>",
        "flipped": bytes(flipped),
        "checksum": good[:-8] + bytes(4) + good[-4:],
        "gzip of a text": gzip.compress(b"some text " * 300),
    }[kind]
    assert "is not a whole .tgz" in refusal(tmp_path, data)


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"readme.txt": b"x"},
        {"a/1.jpg": b"x"},
        {"photos/a/1.jpg": b"x"},
        {"photos/a/1.jpg": b"x", "photos/b/notes.txt": b"x"},
        {"x/roses/1.jpg": b"x", "x/rose/1.jpg": b"x"},
        {"1.jpg": b"x", "2.jpg": b"x"},
    ],
    ids=[
        "empty",
        "no folder",
        "one class",
        "one class in a folder",
        "a class without pictures",
        "rose twice",
        "no classes",
    ],
)
def test_an_archive_that_is_no_set_of_classes_is_refused(tmp_path, entries):
    message = refusal(tmp_path, tgz(entries))
    assert "is not a set of pictures with one folder per class" in message or (
        entries == {} and "not a whole" in message
    )


def test_random_bytes_and_random_damage_never_end_otherwise(tmp_path):
    """Whatever is in the file: whole, or refused in one line with nothing left."""
    rng = random.Random(5)
    plain = gzip.decompress(tgz(GOOD))
    for number in range(40):
        damaged = bytearray(plain)
        for _ in range(rng.randrange(1, 6)):
            header = 512 * rng.randrange(len(plain) // 512)
            damaged[header + rng.randrange(160)] = rng.randrange(256)
        target = tmp_path / f"{number}" / "train"
        message = outcome(put_archive(tmp_path, gzip.compress(bytes(damaged), 1)), target)
        assert target.exists() == (message == "")
        assert "\n" not in message
        assert not unpacking_dir(target).exists()
