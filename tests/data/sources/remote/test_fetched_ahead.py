"""The pictures of a batch that lie on a server are asked for together, and the batches are those without that."""

import threading
from functools import partial
from pathlib import Path

import pytest
import torch

from flowerml.data.image_cache.entry import evaluation_entry
from flowerml.data.image_cache.examples import cached_examples, to_image
from flowerml.data.image_cache.store import DiskStore, RamStore
from flowerml.data.loader import Example, evaluation_loader, training_loader
from flowerml.data.location import read_image_at
from flowerml.data.scan import scan_folder
from flowerml.data.sources.local import local_path
from flowerml.data.sources.remote import remote_span, row_groups
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE
from flowerml.data.transforms import EvaluationTransform, InputDescription
from flowerml.data.workers import prefetch
from flowerml.errors import RunFailed
from flowerml.settings import resolve
from flowerml.tasks.flowers import FlowersTask
from tests.data.pictures import put_classes
from tests.data.sources.parquet_files import parquet_of
from tests.data.sources.shards import shards_of
from tests.data.sources.tables import ALL, read

COUNTS = {"daisy": 5, "rose": 4, "tülip": 4}
DESCRIPTION = InputDescription(16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bicubic", 0.875)
EVALUATION = EvaluationTransform(DESCRIPTION)


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "photos", COUNTS)


@pytest.fixture
def nothing_fits(monkeypatch):
    """Nothing is copied or kept."""
    monkeypatch.setenv(COPIES_VARIABLE, "1e-9")
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")
    monkeypatch.setattr(row_groups, "_MEMORY_BYTES", 0)
    row_groups._group_memory.cache_clear()
    row_groups._metadata.cache_clear()


@pytest.fixture
def shards(root, site, tmp_path, nothing_fits):
    site.put_folder(shards_of(root, tmp_path / "s"), "s/")
    return f"{site.url}/s/flowers-{{000..002}}.tar"


@pytest.fixture
def parquet(root, site, tmp_path, nothing_fits):
    site.put_folder(parquet_of(root, tmp_path / "p"), "p/")
    return f"{site.url}/p/train-{{00000..00001}}-of-00002.parquet"


def examples(path):
    """As the task of photos makes them."""
    settings, _ = resolve({"train_dir": str(path), "output_dir": "unused"})
    return FlowersTask().examples(Path(path), ALL, None, settings)[0]


def asked_one_by_one(path):
    """Examples that do not say what they need."""
    top = local_path(Path(path))
    layout = read(path)
    return [
        Example(file.key, layout.classes.index(file.label), partial(read_image_at, file.locate(top)))
        for file in layout.files
    ]


def epoch(examples, workers=0):
    return [*training_loader(examples, EVALUATION, batch_size=6, workers=workers, seed=3).epoch(1)]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[2] == other[2]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("form", ["shards", "parquet"])
def test_one_process_asks_for_several_at_a_time_and_its_batches_are_those_of_the_folder(
    request, form, root, site, workers
):
    of_set = examples(request.getfixturevalue(form))
    site.meeting, site.most_open_parts = threading.Event(), 0
    batches = epoch(of_set, workers)
    assert site.most_open_parts > 1
    assert_same(batches, epoch(examples(root)))


def test_each_picture_is_asked_for_once(shards, site):
    of_set = examples(shards)
    site.parts_read()
    epoch(of_set)
    assert site.parts_read() == sum(COUNTS.values())


def test_it_is_off_for_examples_that_do_not_say_what_they_need(shards, site):
    site.meeting, site.meeting_s, site.most_open_parts = threading.Event(), 0.01, 0
    epoch(asked_one_by_one(shards))
    assert site.most_open_parts == 1


@pytest.mark.parametrize("form", ["folder", "shards", "parquet"])
def test_pictures_of_this_machine_start_no_threads(root, tmp_path, site, form, nothing_fits):
    forms = {"folder": lambda: root, "shards": lambda: shards_of(root, tmp_path / "s")}
    path = forms.get(form, lambda: parquet_of(root, tmp_path / "p"))()
    prefetch._threads.cache_clear()
    epoch(examples(path))
    assert prefetch._threads.cache_info().misses == 0


def test_a_process_keeps_its_connections_over_batches(shards, site):
    of_set = examples(shards)
    before = site.connections
    for _ in range(4):
        epoch(of_set)
    assert site.connections - before <= prefetch.THREADS + 1


@pytest.mark.parametrize("fault", ["away", "replaced"])
@pytest.mark.parametrize("form", ["shards", "parquet"])
def test_an_error_is_that_of_the_same_picture(request, form, site, monkeypatch, fault):
    """Of several that fail the first in the order of the batch is named, as without."""
    monkeypatch.setattr(remote_span, "RETRY_DELAYS_S", (0.0, 0.0))
    address = request.getfixturevalue(form)
    of_set, one_by_one = examples(address), asked_one_by_one(address)
    if fault == "replaced":
        for path in site.files:
            site.files[path] += b"x"
    messages = []
    for some in (of_set, one_by_one):
        row_groups._group_memory.cache_clear()
        site.part_statuses = [503] * 1000 if fault == "away" else []
        with pytest.raises(RunFailed, match="a picture can't be read any more") as failed:
            epoch(some)
        messages.append(str(failed.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_what_the_cache_of_decoded_pictures_has_is_not_asked_for(shards, site, root, tmp_path, kind):
    path = local_path(Path(shards))
    scanned = scan_folder(path, read(shards))
    entries = [evaluation_entry(path, picture, DESCRIPTION) for picture in scanned.pictures]
    store = RamStore(entries, 10**9) if kind == "ram" else DiskStore(entries, tmp_path / "decoded", 10**9)
    by_id = {example.id: example for example in examples(shards)}
    in_order = [by_id[picture.key] for picture in scanned.pictures]
    cached = cached_examples(in_order, entries, store, to_image)
    site.parts_read()
    site.meeting, site.most_open_parts = threading.Event(), 0
    first = [*evaluation_loader(cached, EVALUATION, batch_size=6, workers=0).epoch(1)]
    assert site.most_open_parts > 1
    assert site.parts_read() == sum(COUNTS.values())
    assert_same([*evaluation_loader(cached, EVALUATION, batch_size=6, workers=0).epoch(2)], first)
    assert site.parts_read() == 0
