"""Tests of the thumbnails that a process keeps for its next run."""

import io
from collections import OrderedDict
from dataclasses import replace

import pytest
from PIL import Image

from flowerml.data.decode import read_image
from flowerml.data.loader import Example
from flowerml.reporting.thumbnail import thumbnail_jpeg
from flowerml.runs.outputs import thumbnails
from flowerml.runs.outputs.thumbnails import example_thumbnail
from flowerml.tasks.flowers import FlowersTask


@pytest.fixture
def pictures(flowers):
    return sorted(flowers.rglob("*.jpg"))[:3]


@pytest.fixture
def reads(monkeypatch):
    """Ids of the examples that were read, in order; nothing is kept at the start."""
    monkeypatch.setattr(thumbnails, "_thumbnails", OrderedDict())
    return []


def example_of(path, reads, sha256):
    def read():
        reads.append(path.name)
        return read_image(path)

    return Example(path.name, 0, read, sha256=sha256)


def test_the_same_picture_is_read_once(pictures, reads):
    expected = thumbnail_jpeg(read_image(pictures[0]))
    for _ in range(3):
        assert example_thumbnail(FlowersTask(), example_of(pictures[0], reads, "a" * 64)) == expected
    assert reads == [pictures[0].name]


def test_other_content_under_the_same_name_is_read_anew(pictures, reads):
    first = example_of(pictures[0], reads, "a" * 64)
    other = replace(example_of(pictures[1], reads, "b" * 64), id=first.id)
    assert example_thumbnail(FlowersTask(), first) != example_thumbnail(FlowersTask(), other)


def test_an_example_without_a_digest_is_read_each_time(pictures, reads):
    for _ in range(2):
        example_thumbnail(FlowersTask(), example_of(pictures[0], reads, None))
    assert len(reads) == 2


def test_the_one_that_was_not_used_for_longest_is_dropped(pictures, reads, monkeypatch):
    monkeypatch.setattr(thumbnails, "_KEPT", 2)
    for number in (0, 1, 0, 2, 0, 1):
        example_thumbnail(FlowersTask(), example_of(pictures[number], reads, str(number)))
    assert reads == [pictures[number].name for number in (0, 1, 2, 1)]


def test_a_picture_that_is_gone_has_none_and_is_asked_for_again(pictures, reads, tmp_path):
    path = tmp_path / "gone.jpg"
    gone = example_of(path, reads, "c" * 64)
    assert example_thumbnail(FlowersTask(), gone) is None
    path.write_bytes(pictures[0].read_bytes())
    back = example_thumbnail(FlowersTask(), gone)
    assert back is not None
    assert Image.open(io.BytesIO(back)).format == "JPEG"
