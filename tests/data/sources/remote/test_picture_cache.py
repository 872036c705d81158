"""Bytes that were read from a server, in a bounded folder: what is used stays, and nothing damaged is ever given."""

import hashlib
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from flowerml.data.sources.remote import picture_cache
from flowerml.data.sources.remote.picture_cache import PictureCache

DIGEST = 32  # bytes that a file has beside its data
HOURS = 3600.0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "streamed"


def key(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def data(number, size=100):
    return bytes([number % 256]) * size


def file_of(folder, number):
    return folder / key(number)[:2] / key(number)


def age(folder, number, hours):
    """Make a file one that was last used so long ago."""
    then = time.time() - hours * HOURS
    os.utime(file_of(folder, number), (then, then))


def forget_that_it_is_full(monkeypatch):
    monkeypatch.setattr(picture_cache, "_LOOK_AGAIN_S", 0.0)


def there(cache, count):
    return [number for number in range(count) if cache.get(key(number)) is not None]


def taken(folder):
    return sum(path.stat().st_size for path in folder.glob("??/*"))


def filled(folder, count, limit):
    cache = PictureCache(folder, limit)
    for number in range(count):
        cache.put(key(number), data(number))
    return cache


def test_what_was_put_is_got_by_every_process_and_nothing_else_is(folder):
    filled(folder, 5, 10_000)
    cache = PictureCache(folder, 10_000)
    assert [cache.get(key(number)) for number in range(6)] == [*(data(number) for number in range(5)), None]


def test_bytes_stay_below_the_bound_and_what_is_in_use_stays(folder):
    """An epoch reads each picture once: those that are there are found again, in whatever order."""
    cache = filled(folder, 20, 10 * (100 + DIGEST))
    assert there(cache, 20) == [*range(10)]
    assert taken(folder) == 10 * (100 + DIGEST)


def test_what_was_not_used_for_hours_goes_first_the_oldest_first(folder, monkeypatch):
    cache = filled(folder, 10, 10 * (100 + DIGEST))
    for number, hours in enumerate((9, 20, 8, 30, 7)):
        age(folder, number, hours)
    cache.put(key(10), data(10))
    assert there(cache, 11) == [0, 2, 4, 5, 6, 7, 8, 9, 10], "room for a tenth is made, the oldest first"
    for number in (0, 2, 4):
        age(folder, number, 9 - number)
    assert cache.get(key(0)) is not None, "and is used now"
    cache.put(key(11), data(11))
    cache.put(key(12), data(12))
    assert there(cache, 13) == [0, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert taken(folder) <= 10 * (100 + DIGEST)


def test_a_full_folder_is_not_listed_for_each_picture(folder, monkeypatch):
    looks = []
    monkeypatch.setattr(
        picture_cache, "_files", lambda folder, real=picture_cache._files: looks.append(1) or real(folder)
    )
    cache = filled(folder, 10, 10 * (100 + DIGEST))
    assert len(looks) == 1, "at the beginning, where nothing says how much is there"
    for number in range(10, 50):
        cache.put(key(number), data(number))
        cache.put(key(0), data(0))  # which is there: it fits, and changes nothing of what is known
    assert len(looks) == 2
    age(folder, 3, 24)
    cache.put(key(50), data(50))
    assert cache.get(key(50)) is None
    forget_that_it_is_full(monkeypatch)
    cache.put(key(50), data(50))
    assert cache.get(key(50)) == data(50)


def test_a_bound_that_was_lowered_holds(folder):
    filled(folder, 20, 10_000)
    small = 5 * (100 + DIGEST)
    PictureCache(folder, small).put(key(20), data(20))
    assert taken(folder) <= small


@pytest.mark.parametrize("damage", ["a byte", "cut off", "empty", "of another"])
def test_a_damaged_file_is_not_there_and_is_replaced(folder, damage):
    cache = filled(folder, 2, 10_000)
    path = file_of(folder, 0)
    content = path.read_bytes()
    path.write_bytes(
        {
            "a byte": content[:-1] + b"x",
            "cut off": content[:-1],
            "empty": b"",
            "of another": file_of(folder, 1).read_bytes(),
        }[damage]
    )
    assert cache.get(key(0)) is None
    cache.put(key(0), data(0))
    assert cache.get(key(0)) == data(0)


@pytest.mark.parametrize("state", [b"", b"abc", b"\xff" * 16])
def test_a_damaged_count_is_made_anew(folder, state):
    cache = filled(folder, 3, 10 * (100 + DIGEST))
    (folder / "state").write_bytes(state)
    for number in range(3, 20):
        cache.put(key(number), data(number))
    assert cache.get(key(3)) == data(3)
    assert taken(folder) <= 10 * (100 + DIGEST)


def test_a_removed_folder_is_begun_anew(folder):
    import shutil

    cache = filled(folder, 3, 10_000)
    shutil.rmtree(folder)
    assert cache.get(key(0)) is None
    cache.put(key(0), data(0))
    assert cache.get(key(0)) == data(0)


def _work(folder, limit, first):
    cache = PictureCache(folder, limit)
    for number in range(60):
        number = (number * 7 + first) % 60
        found = cache.get(key(number))
        if found is None:
            cache.put(key(number), data(number, 1000))
        elif found != data(number, 1000):
            return "other bytes"
    return "fine"


def test_several_processes_at_once_get_whole_pictures_and_keep_the_bound(folder):
    limit = 30 * (1000 + DIGEST)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        done = [pool.submit(_work, folder, limit, first) for first in (0, 0, 20, 40)]
        assert [one.result() for one in done] == ["fine"] * 4
    assert 0.8 * limit < taken(folder) <= limit
    assert not [*folder.rglob("*.part")]


def test_a_folder_that_can_not_be_written_is_said_once_and_ends_nothing(tmp_path, caplog):
    folder = tmp_path / "a file"
    folder.write_text("x")
    cache = filled(folder, 3, 10_000)
    assert cache.get(key(0)) is None
    said = [line for line in caplog.messages if "can't be kept in" in line]
    assert len(said) == 1
