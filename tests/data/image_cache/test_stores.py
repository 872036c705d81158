"""The two stores: what was put comes back, within the limit; damage, a full disk and other processes cost only time."""

import multiprocessing
import os

import numpy as np
import pytest
import torch

from flowerml.data.augment.opencv import OpenCVTransform
from flowerml.data.decode import read_image
from flowerml.data.folders import read_layout
from flowerml.data.image_cache import choice
from flowerml.data.image_cache.choice import open_store
from flowerml.data.image_cache.entry import evaluation_entry, reduced_size, training_edge, training_entry
from flowerml.data.image_cache.examples import as_array, cached_examples, to_image
from flowerml.data.image_cache.store import DiskStore, RamStore
from flowerml.data.loader import Example, evaluation_loader, training_loader
from flowerml.data.scan import scan_folder
from flowerml.data.transforms import EvaluationTransform, InputDescription, TrainingTransform
from tests.data.pictures import put_scene

DESCRIPTION = InputDescription(16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bicubic", 0.875)
COUNT = 6


@pytest.fixture
def scanned(tmp_path):
    """Six pictures of 48 x 40: reduced, their short edge is 28."""
    for number in range(COUNT):
        put_scene(tmp_path / "in" / ("rose", "tulip")[number % 2] / f"{number}.jpg", number)
    return scan_folder(tmp_path / "in", read_layout(tmp_path / "in", ("rose", "tulip"), {}))


@pytest.fixture
def entries(scanned):
    return [training_entry(scanned.root, picture, DESCRIPTION) for picture in scanned.pictures]


@pytest.fixture(params=["ram", "disk"])
def make_store(request, tmp_path):
    if request.param == "ram":
        return RamStore
    return lambda entries, limit: DiskStore(entries, tmp_path / "cache", limit)


def examples_of(scanned):
    return [Example(picture.key, 0, lambda: None) for picture in scanned.pictures]


def entry_files(folder):
    return sorted(folder.glob("??/*.rgb"))


def fill(store, entries):
    for index, entry in enumerate(entries):
        pixels, unchanged = entry.read()
        assert unchanged
        store.put(index, pixels)


def test_what_was_put_comes_back(entries, make_store):
    store = make_store(entries, 10**6)
    assert all(store.get(index) is None for index in range(COUNT))
    fill(store, entries)
    for index, entry in enumerate(entries):
        assert np.array_equal(store.get(index), entry.read()[0])
        with pytest.raises(ValueError, match="read-only"):
            store.get(index)[:] = 0


def test_only_as_many_as_fit_are_stored(entries, make_store):
    store = make_store(entries, 2 * entries[0].nbytes + 100)
    fill(store, entries)
    assert [store.get(index) is not None for index in range(COUNT)] == [True, True, False, False, False, False]


def test_the_short_edge_is_reduced_once_and_never_enlarged():
    edge = training_edge(DESCRIPTION)
    assert edge == 28
    assert [training_edge(DESCRIPTION, scale) for scale in (0.08, 0.6, 1.0)] == [57, 21, 16]
    assert reduced_size((640, 480), edge) == (37, 28)
    assert reduced_size((480, 640), edge) == (28, 37)
    assert reduced_size((20, 5000), edge) == (20, 5000)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, path.stat().st_size - 5),
        lambda path: os.truncate(path, 3),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
        lambda path: path.write_bytes(b"x" * path.stat().st_size),
        lambda path: path.unlink(),
    ],
    ids=["cut off", "of 3 bytes", "longer", "one bit", "something else", "gone"],
)
def test_a_damaged_entry_is_decoded_anew_and_replaced(scanned, entries, tmp_path, damage):
    fill(DiskStore(entries, tmp_path / "cache", 10**6), entries)
    for path in entry_files(tmp_path / "cache"):
        damage(path)
    store = DiskStore(entries, tmp_path / "cache", 10**6)
    assert all(store.get(index) is None for index in range(COUNT))
    for index, example in enumerate(cached_examples(examples_of(scanned), entries, store, as_array)):
        assert np.array_equal(example.read(), entries[index].read()[0])
        assert np.array_equal(store.get(index), entries[index].read()[0])


def test_a_full_disk_is_said_once_and_pictures_are_still_read(scanned, entries, tmp_path, caplog):
    store = DiskStore(entries, tmp_path / "cache", 10**6)
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    for index, example in enumerate(cached_examples(examples_of(scanned), entries, store, as_array)):
        assert np.array_equal(example.read(), entries[index].read()[0])
    assert len([message for message in caplog.messages if "can't be written" in message]) == 1


def test_a_file_that_changed_after_the_scan_is_not_stored(scanned, entries, tmp_path):
    """It would stand under the key of what it was."""
    put_scene(scanned.root / scanned.pictures[0].file, 99)
    store = DiskStore(entries, tmp_path / "cache", 10**6)
    read = cached_examples(examples_of(scanned), entries, store, as_array)
    assert np.array_equal(read[0].read(), entries[0].read()[0])
    read[1].read()
    assert [store.get(0) is None, store.get(1) is None] == [True, False]


def test_older_files_make_room(entries, tmp_path):
    store = DiskStore(entries, tmp_path / "cache", 10**6)
    fill(store, entries)
    for age, path in enumerate(entry_files(tmp_path / "cache")):
        os.utime(path, (10**9 + age, 10**9 + age))
    kept = {entry.key for entry in entries[:2]}
    size = entries[0].nbytes + 32
    DiskStore(entries[:2], tmp_path / "cache", 4 * size)
    left = [path.stem for path in entry_files(tmp_path / "cache")]
    assert len(left) == 4
    assert kept <= set(left)


def test_two_processes_fill_one_folder(entries, tmp_path):
    def work():
        store = DiskStore(entries, tmp_path / "cache", 10**6)
        for _ in range(20):
            fill(store, entries)
            assert all(np.array_equal(store.get(index), entry.read()[0]) for index, entry in enumerate(entries))

    processes = [multiprocessing.get_context("fork").Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    store = DiskStore(entries, tmp_path / "cache", 10**6)
    assert all(np.array_equal(store.get(index), entry.read()[0]) for index, entry in enumerate(entries))
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize("kind", [OpenCVTransform, TrainingTransform])
def test_views_are_the_same_for_any_store_and_number_of_workers(scanned, entries, tmp_path, kind):
    """Also in the second epoch, which the workers read from what they stored in the first."""
    convert = as_array if kind is OpenCVTransform else to_image
    stores = (None, RamStore(entries, 10**6), RamStore(entries, 10**6), DiskStore(entries, tmp_path / "cache", 10**6))
    found = []
    for store, workers in zip(stores, (0, 0, 2, 0), strict=True):
        examples = cached_examples(examples_of(scanned), entries, store, convert)
        loader = training_loader(examples, kind(DESCRIPTION, 9, 0.5), batch_size=4, workers=workers, seed=3)
        found.append([batch for number in (1, 2) for batch in loader.epoch(number)])
        if store is not None:
            assert all(store.get(index) is not None for index in range(COUNT)), "workers fill what all see"
    assert found[0][0][0].dtype == (torch.uint8 if kind is OpenCVTransform else torch.float32)
    for batches in found[1:]:
        for one, other in zip(found[0], batches, strict=True):
            assert torch.equal(one[0], other[0])
            assert one[2] == other[2]


def test_evaluation_views_are_those_without_a_cache(scanned, tmp_path):
    plain = [
        Example(picture.key, 0, lambda path=scanned.root / picture.file: read_image(path))
        for picture in scanned.pictures
    ]
    transform = EvaluationTransform(DESCRIPTION)
    entries = [evaluation_entry(scanned.root, picture, DESCRIPTION) for picture in scanned.pictures]
    cached = cached_examples(plain, entries, RamStore(entries, 10**6), to_image)
    [expected] = evaluation_loader(plain, transform, batch_size=COUNT, workers=0).epoch(1)
    loader = evaluation_loader(cached, transform.normalise, batch_size=COUNT, workers=0)
    for _ in range(2):
        [found] = loader.epoch(1)
        assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize(
    ("memory", "disk", "kind"), [(10**6, 10**6, RamStore), (1000, 10**6, DiskStore), (1000, 1000, type(None))]
)
def test_auto_takes_memory_then_disk_then_nothing(entries, monkeypatch, caplog, memory, disk, kind):
    monkeypatch.setattr(choice, "available_memory", lambda: memory)
    monkeypatch.setattr(choice, "available_disk", lambda _folder: disk)
    with caplog.at_level("INFO"):
        assert type(open_store("auto", entries, 0)) is kind
    assert len(caplog.messages) == 1
    assert "--cache-images auto" in caplog.text


def test_off_and_limit(entries):
    assert open_store("off", entries, 0) is None
    store = open_store("ram", entries, 3 * entries[0].nbytes / 10**9)
    assert store.count == 3
