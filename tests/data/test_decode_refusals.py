"""Files that are refused as pictures: truncated, too large, of another format; each with a reason in one line."""

import itertools
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

import flowerml.data.decode
from flowerml.data.decode import PIXEL_LIMIT, BadImage, decode, read_image
from tests.data.encoded_images import (
    pixels_of,
    png_header,
    reason_for,
)
from tests.data.pictures import encode, put, scene


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.ones((2, 2), np.float32), "floating-point"),
        (np.array([[70_000, 1]], np.int32), "32-bit"),
        (np.array([[-5, 1]], np.int32), "32-bit"),
    ],
)
def test_pixels_without_a_fixed_range_are_refused(values, word):
    assert word in reason_for(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(kind, share):
    rng = np.random.default_rng(0)
    whole = encode(Image.fromarray(rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)), kind)
    assert decode(whole).size == (80, 64)
    assert "limit" not in reason_for(whole[: int(len(whole) * share)])


def test_a_png_of_a_few_bytes_takes_no_memory_for_the_size_that_it_names():
    """Deflate makes 1,032 bytes of one at most, and a pixel has one bit or more."""
    assert "too few for a PNG of 8000000x10" in reason_for(png_header(8_000_000, 10))
    blank = encode(Image.new("1", (20_000, 4_000)), "PNG", optimize=True)
    assert decode(blank).size == (20_000, 4_000), "the smallest file of a real picture"


def test_a_truncated_jpeg_says_so():
    whole = encode(scene(1, 400, 300), "JPEG")
    assert "truncated" in reason_for(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    "text",
    [
        b"<!DOCTYPE html><html>",
        b"<html><body>404</body></html>",
        b"\n\n  <!doctype HTML>",
        b"<HTML lang=en>",
        b"\xef\xbb\xbf<!DOCTYPE html>",
    ],
    ids=["doctype", "html", "blank lines first", "capitals", "byte order mark"],
)
def test_a_web_page_is_called_one(text):
    assert "looks like a web page" in reason_for(text + b"x" * 2000)


@pytest.mark.parametrize(
    "data", [b"plain text", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"\0" * 100, bytes(range(256)) * 40]
)
def test_what_is_no_picture_is_refused_and_not_called_a_web_page(data):
    assert "web page" not in reason_for(data)


def test_a_heic_picture_is_called_one_with_the_remedy_where_it_is_not_read(monkeypatch):
    monkeypatch.setattr("flowerml.data.decode.can_read_heif", lambda: False)
    for brand in (b"heic", b"mif1"):
        assert "looks like HEIC: install pillow-heif, or convert" in reason_for(b"\0\0\0\x18ftyp" + brand + b"\0" * 100)
    assert "HEIC" not in reason_for(b"\0\0\0\x18ftypisom" + b"\0" * 100)


def test_an_empty_file_is_called_empty():
    assert reason_for(b"") == "the file is empty"


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PCX", "TGA"])
def test_formats_outside_the_list_are_refused_whatever_they_are_called(kind, tmp_path):
    data = encode(scene(1).resize((16, 16)), kind)
    assert Image.open(put(tmp_path / "picture.jpg", data)).format == kind  # Pillow alone would take it
    assert "not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF" in reason_for(data)


@pytest.mark.parametrize("size", [(50_000, 50_000), (9_460, 9_459), (PIXEL_LIMIT + 1, 1), (1, PIXEL_LIMIT + 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size, monkeypatch):
    """The file holds no pixels at all: whoever tried to decode it would call it damaged, not too large."""
    monkeypatch.setattr(Image.core, "zip_decoder", lambda *_: pytest.fail("decoding began"), raising=False)
    assert f"over the limit of {PIXEL_LIMIT:,} pixels" in reason_for(png_header(*size))


def test_the_limit_does_not_hang_on_pillows_own(monkeypatch):
    """Libraries are known to switch Pillow's limit off for the whole process."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert "10000x10000 is over the limit" in reason_for(png_header(10_000, 10_000))


def test_the_limit_itself_is_still_a_picture(monkeypatch):
    monkeypatch.setattr(flowerml.data.decode, "PIXEL_LIMIT", 100)
    assert decode(encode(Image.new("RGB", (10, 10)), "PNG")).size == (10, 10)
    assert "10x11 is over the limit of 100 pixels" in reason_for(encode(Image.new("RGB", (10, 11)), "PNG"))


def test_a_file_that_cannot_be_read_is_a_bad_image_too(tmp_path):
    for path in (tmp_path / "nothing.jpg", tmp_path):
        with pytest.raises(BadImage) as caught:
            read_image(path)
        assert str(caught.value)
    path = put(tmp_path / "a.jpg", encode(scene(1), "JPEG"))
    assert np.array_equal(np.asarray(read_image(path)), pixels_of(path.read_bytes()))


def test_decoding_in_threads_leaves_the_warning_filters_as_they_were(monkeypatch):
    """A scan decodes in threads, and warning filters belong to the process: two overlapping decodes must not leave
    theirs behind.
    """
    data = encode(scene(1), "JPEG")
    turns = {name: threading.Event() for name in ("first is in", "second is in", "first is out")}
    calls = itertools.count()
    real_open = Image.open

    def open_in_turns(*args, **options):
        if next(calls) == 0:
            turns["first is in"].set()
            turns["second is in"].wait(10)
        else:
            turns["second is in"].set()
            turns["first is out"].wait(10)
        return real_open(*args, **options)

    with warnings.catch_warnings():
        before = list(warnings.filters)
        monkeypatch.setattr(Image, "open", open_in_turns)
        first, second = (threading.Thread(target=decode, args=(data,)) for _ in range(2))
        first.start()
        assert turns["first is in"].wait(10)
        second.start()
        first.join()
        turns["first is out"].set()
        second.join()
        assert list(warnings.filters) == before
