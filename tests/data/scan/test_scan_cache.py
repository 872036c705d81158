"""A cached scan equals a fresh one; whatever may have changed is read again."""

import hashlib
import json
import os
import time

import pytest

from flowerml.data.folders import read_layout
from flowerml.data.scan import scan_folder
from flowerml.data.scan_cache import CACHE_DIR_VARIABLE, ScanCache
from flowerml.data.synthetic.flowers import make_flowers

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
OLD_NS = 60 * 10**9


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "scans"


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    make_flowers(root, per_class=3, size=32, seed=5)
    return root


@pytest.fixture
def later(monkeypatch):
    """The clock is set a minute ahead, since a file's ctime can't be set back."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + OLD_NS)


def scanned(root, cache=None):
    return scan_folder(root, read_layout(root, CLASSES, {}), cache)


def tamper(cache, change):
    """Change the cache file, with a valid checksum, to see whether it is used."""
    (file,) = cache.iterdir()
    content = json.loads(file.read_bytes().partition(b"\n")[2])
    change(content)
    body = json.dumps(content).encode()
    file.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def cached_files(cache):
    (file,) = cache.iterdir()
    return json.loads(file.read_bytes().partition(b"\n")[2])["files"]


@pytest.mark.usefixtures("cache", "later")
def test_the_second_scan_is_the_first(pictures):
    plain = scanned(pictures)
    assert scanned(pictures, ScanCache(pictures)) == plain
    assert scanned(pictures, ScanCache(pictures)) == plain


@pytest.mark.usefixtures("later")
def test_cached_pictures_are_not_read_again(pictures, cache):
    scanned(pictures, ScanCache(pictures))
    name = next(iter(cached_files(cache)))
    tamper(cache, lambda content: content["files"][name][1].update(phash=7))
    (picture,) = [picture for picture in scanned(pictures, ScanCache(pictures)).pictures if picture.file == name]
    assert picture.phash == 7


@pytest.mark.usefixtures("cache", "later")
def test_a_changed_picture_is_read_again_whatever_its_times_say(pictures):
    """Same size, time of change put back."""
    before = scanned(pictures, ScanCache(pictures))
    victim = pictures / before.pictures[0].file
    times, data = victim.stat(), bytearray(victim.read_bytes())
    data[-3] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (victim.stat().st_size, victim.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    after = scanned(pictures, ScanCache(pictures))
    assert after == scanned(pictures)
    assert after.digest != before.digest


@pytest.mark.usefixtures("cache", "later")
def test_another_file_put_in_its_place_is_read(pictures):
    first, second = scanned(pictures, ScanCache(pictures)).pictures[:2]
    (pictures / second.file).replace(pictures / first.file)
    assert scanned(pictures, ScanCache(pictures)) == scanned(pictures)


@pytest.mark.usefixtures("later")
def test_a_new_picture_is_read_and_a_bad_one_each_time(pictures, cache):
    scanned(pictures, ScanCache(pictures))
    (pictures / "rose" / "new.jpg").write_bytes((pictures / "rose" / os.listdir(pictures / "rose")[0]).read_bytes())  # noqa: PTH208
    (pictures / "rose" / "bad.jpg").write_bytes(b"no picture")
    found = scanned(pictures, ScanCache(pictures))
    assert (len(found.pictures), [bad.file for bad in found.bad]) == (16, ["rose/bad.jpg"])
    assert "rose/bad.jpg" not in cached_files(cache)
    assert "rose/new.jpg" in cached_files(cache)


def test_a_file_changed_a_second_ago_is_not_cached(pictures, cache, monkeypatch):
    """It could change once more, and leave the same times behind."""
    oldest = min(path.stat().st_ctime_ns for path in pictures.rglob("*.jpg"))
    monkeypatch.setattr(time, "time_ns", lambda: oldest + 10**9)
    scanned(pictures, ScanCache(pictures))
    assert not cache.exists()


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-10]),
        lambda file: file.write_bytes(file.read_bytes().replace(b'"phash": 1', b'"phash": 2')),
        lambda file: file.write_bytes(b"not\njson"),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_a_damaged_cache_is_ignored(pictures, cache, damage):
    plain = scanned(pictures, ScanCache(pictures))
    (file,) = cache.iterdir()
    damage(file)
    assert scanned(pictures, ScanCache(pictures)) == plain


@pytest.mark.usefixtures("later")
def test_facts_of_another_decoder_are_not_used(pictures, cache):
    plain = scanned(pictures, ScanCache(pictures))

    def age(content):
        content["format"][1] = "pillow 1.0"
        for entry in content["files"].values():
            entry[1]["phash"] = 7

    tamper(cache, age)
    assert scanned(pictures, ScanCache(pictures)) == plain


@pytest.mark.usefixtures("later")
def test_a_cache_that_cannot_be_written_costs_only_time(pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "file"))
    assert scanned(pictures, ScanCache(pictures)) == scanned(pictures)


@pytest.mark.usefixtures("later")
def test_folders_have_separate_caches(pictures, cache, tmp_path):
    other = tmp_path / "other"
    make_flowers(other, per_class=2, size=32, seed=6)
    scanned(pictures, ScanCache(pictures))
    scanned(other, ScanCache(other))
    assert len(list(cache.iterdir())) == 2
    (tmp_path / "link").symlink_to(pictures)
    scanned(tmp_path / "link", ScanCache(tmp_path / "link"))
    assert len(list(cache.iterdir())) == 2
