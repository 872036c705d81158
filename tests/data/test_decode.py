"""Decoding: EXIF orientation, every format and mode to the same RGB, transparency on white, the first frame."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import flowerml.data.decode
from flowerml.data.decode import decode
from tests.data.encoded_images import (
    ORIENTATION,
    STORED,
    big_endian_tiff,
    pixels_of,
    reason_for,
    with_orientation,
)
from tests.data.pictures import encode, put, quarters, scene

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_every_exif_orientation_is_applied(number, kind, options):
    upright = quarters()
    assert np.array_equal(pixels_of(with_orientation(upright, number, kind, **options)), upright)


@pytest.mark.parametrize("number", range(1, 9))
def test_every_exif_orientation_is_applied_to_jpeg(number):
    upright = quarters()
    decoded = pixels_of(with_orientation(upright, number, "JPEG", quality=95, subsampling=0))
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= 12


@pytest.mark.parametrize("number", [0, 9, 77])
def test_an_orientation_outside_the_standard_changes_nothing(number):
    upright = quarters()
    exif = Image.Exif()
    exif[ORIENTATION] = number
    assert np.array_equal(pixels_of(encode(Image.fromarray(upright), "PNG", exif=exif)), upright)


@pytest.mark.parametrize(
    "block", [b"garbage, not a TIFF header", b"", b"MM\0*\0\0\0\x08\0\x05\x01\x12"], ids=["garbage", "empty", "cut off"]
)
def test_a_damaged_exif_block_does_not_cost_the_picture(block):
    whole = encode(Image.fromarray(quarters()), "JPEG")
    payload = b"Exif\0\0" + block
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + whole[2:]
    assert np.array_equal(pixels_of(data), pixels_of(whole))


FOUR_COLOURS = Image.fromarray(quarters())


PALETTE = FOUR_COLOURS.quantize(4)


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (FOUR_COLOURS, "PNG", {}),
        (FOUR_COLOURS, "BMP", {}),
        (FOUR_COLOURS, "TIFF", {}),
        (FOUR_COLOURS, "TIFF", {"compression": "tiff_lzw"}),
        (FOUR_COLOURS, "TIFF", {"compression": "tiff_deflate"}),
        (FOUR_COLOURS, "WEBP", {"lossless": True}),
        (FOUR_COLOURS.convert("RGBA"), "PNG", {}),
        (FOUR_COLOURS.convert("RGBA"), "TIFF", {}),
        (FOUR_COLOURS.convert("RGBA"), "WEBP", {"lossless": True}),
        (PALETTE, "PNG", {}),
        (PALETTE, "PNG", {"transparency": b"\xff" * 4}),
        (PALETTE, "BMP", {}),
        (PALETTE, "TIFF", {}),
        (PALETTE, "GIF", {}),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_one_colour_picture_is_the_same_in_every_format_and_mode(image, kind, options):
    assert np.array_equal(pixels_of(encode(image, kind, **options)), quarters())


GREY = np.array([[0, 1, 128], [254, 255, 77]], np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.fromarray(GREY), "PNG"),
        encode(Image.fromarray(GREY), "BMP"),
        encode(Image.fromarray(GREY), "TIFF"),
        encode(Image.fromarray(GREY), "GIF"),
        encode(Image.fromarray(GREY).convert("LA"), "PNG"),
        encode(Image.fromarray(GREY).convert("RGBA"), "PNG"),
        encode(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
        encode(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"),
        big_endian_tiff(GREY.astype(np.uint16) * 257),
    ],
    ids=["PNG", "BMP", "TIFF", "GIF", "PNG LA", "PNG RGBA", "PNG 16 bit", "TIFF 16 bit", "TIFF 16 bit big-endian"],
)
def test_one_grey_picture_is_the_same_in_every_format_and_depth(data):
    assert np.array_equal(pixels_of(data), np.repeat(GREY[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    bits = np.array([[True, False, True], [False, False, True]])
    for kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(pixels_of(encode(Image.fromarray(bits), kind))[..., 1], bits * 255)


@pytest.mark.parametrize("big_endian", [False, True])
def test_sixteen_bits_are_scaled_not_clipped(big_endian):
    values = np.array([[0, 255, 256, 32768], [40000, 65535, 514, 25700]], np.uint16)
    data = big_endian_tiff(values) if big_endian else encode(Image.fromarray(values), "PNG")
    decoded = pixels_of(data)
    assert np.abs(decoded[..., 0] - values / 257).max() <= 1
    assert decoded[0, 3].tolist() == [127, 127, 127]
    assert decoded[1, 1].tolist() == [255, 255, 255]


def test_sixteen_bit_tiff_is_turned_upright():
    upright = np.arange(6, dtype=np.uint16).reshape(2, 3) * 2570
    assert np.array_equal(pixels_of(big_endian_tiff(STORED[6](upright), orientation=6))[..., 0], upright // 257)


def test_cmyk_jpeg_has_the_colours_of_the_picture():
    data = encode(FOUR_COLOURS.convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert np.abs(pixels_of(data).astype(int) - quarters()).max() <= 12


def test_transparency_is_laid_on_white_by_its_share():
    """Alpha 0 is white, alpha 255 the colour, alpha 51 of black four fifths of white."""
    rgba = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], np.uint8)
    expected = [[255, 255, 255], [10, 20, 30], [204, 204, 204]]
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert pixels_of(encode(Image.fromarray(rgba), kind, **options))[0].tolist() == expected

    grey = np.array([[[10, 0], [10, 255], [0, 51]]], np.uint8)
    expected = [[255] * 3, [10] * 3, [204] * 3]
    assert pixels_of(encode(Image.fromarray(grey, "LA"), "PNG"))[0].tolist() == expected


def test_palette_entries_that_are_transparent_are_white():
    whole = quarters()
    picture = Image.fromarray(whole).quantize(4)
    clear = picture.getpixel((0, 0))
    expected = whole.copy()
    expected[:16, :24] = 255
    for kind in ("PNG", "GIF"):
        assert np.array_equal(pixels_of(encode(picture, kind, transparency=clear)), expected)
    half = bytes(51 if entry == clear else 255 for entry in range(4))
    expected[:16, :24] = np.rint(np.array([250, 30, 20]) * 0.2 + 255 * 0.8)
    assert np.abs(pixels_of(encode(picture, "PNG", transparency=half)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "clear", "other"),
    [
        (np.array([[[9, 9, 9], [80, 90, 100]]], np.uint8), (9, 9, 9), [80, 90, 100]),
        (np.array([[9, 80]], np.uint8), 9, [80] * 3),
        (np.array([[9 * 257, 80 * 257]], np.uint16), 9 * 257, [80] * 3),
        (np.array([[True, False]]), 1, [0] * 3),
    ],
    ids=["RGB", "L", "I;16", "1"],
)
def test_a_colour_key_is_transparency_in_every_mode(pixels, clear, other):
    """A PNG without an alpha channel may name one colour as transparent (tRNS); an image editor shows it as such."""
    decoded = pixels_of(encode(Image.fromarray(pixels), "PNG", transparency=clear))
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[0, 1].tolist() == other


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several_counts(kind):
    first, second = Image.new("RGB", (20, 10), (200, 40, 40)), Image.new("RGB", (20, 10), (0, 0, 250))
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encode(first, kind, save_all=True, append_images=[second], **lossless)
    assert np.array_equal(pixels_of(data), np.asarray(first))


def test_mpo_of_a_phone_is_accepted():
    first, second = scene(1), scene(2)
    data = encode(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(pixels_of(data), pixels_of(encode(first, "JPEG")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_picture_of_one_pixel_is_accepted(kind):
    assert decode(encode(Image.new("RGB", (1, 1), "white"), kind)).size == (1, 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_allowed_format_decodes_in_a_fresh_process(kind, tmp_path):
    """Pillow loads its decoders as they are asked for: what a test before this one loaded must not be what makes it
    work.
    """
    path = put(tmp_path / "picture.jpg", encode(FOUR_COLOURS, kind))
    code = (
        "from pathlib import Path; from flowerml.data.decode import read_image;"
        f" print(read_image(Path({str(path)!r})).size)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "(48, 32)\n", done.stderr[-500:]


GREY_IMAGE = Image.fromarray(GREY)


@pytest.mark.parametrize(
    "image",
    [
        GREY_IMAGE,
        GREY_IMAGE.convert("I"),
        GREY_IMAGE.convert("F"),
        GREY_IMAGE.convert("LA"),
        GREY_IMAGE.convert("P"),
        GREY_IMAGE.convert("P").convert("PA"),
        Image.fromarray(GREY.astype(np.int32) * 257),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray((GREY / 255).astype(np.float32)),
    ],
    ids=["L", "I", "F", "LA", "P", "PA", "I with 16 bits", "I;16", "F with fractions"],
)
def test_an_image_made_in_memory_is_the_same_in_every_mode(image):
    """What has no fixed range is taken by its largest value: 8 bits where all fit, else 16; fractions up to 1."""
    before = image.tobytes()
    assert np.array_equal(pixels_of(image), np.repeat(GREY[..., None], 3, axis=2))
    assert image.tobytes() == before


def test_a_cmyk_image_made_in_memory_has_its_colours():
    assert np.array_equal(pixels_of(FOUR_COLOURS.convert("CMYK")), quarters())


def test_a_dark_file_with_sixteen_bits_stays_dark():
    """A file says how many bits it has."""
    data = encode(Image.fromarray(GREY.astype(np.uint16)), "PNG")
    assert pixels_of(data).max() == 0


@pytest.mark.parametrize("values", [[[-1.0, 5.0]], [[256.0, 1.0]], [[float("nan"), 1.0]], [[float("inf"), 1.0]]])
def test_floating_point_without_a_known_range_is_refused(values):
    assert "floating-point" in reason_for(Image.fromarray(np.array(values, np.float32)))


@pytest.mark.parametrize(
    ("mode", "clear"),
    [
        *((mode, clear) for mode in ("1", "L", "P", "LA", "RGBA", "CMYK", "I", "I;16") for clear in (None, 3)),
        *((mode, None) for mode in ("RGBa", "HSV")),
        ("P", b"\0\x08\xff"),
    ],
)
def test_a_picture_that_is_converted_in_parts_is_the_same(monkeypatch, mode, clear):
    rng = np.random.default_rng(7)
    wide = {"I": np.int32, "I;16": np.uint16}.get(mode)
    if wide is not None:
        image = Image.fromarray(rng.integers(0, 65_536, (43, 61), wide))
    else:
        colours = Image.fromarray(rng.integers(0, 256, (43, 61, 4), np.uint8))
        image = colours.convert("RGB").quantize(40) if mode == "P" else colours.convert(mode)
    if clear is not None:
        image.info["transparency"] = clear
    whole = decode(image)
    for pixels in (1, 60, 61, 500):
        monkeypatch.setattr(flowerml.data.decode, "_PART_PIXELS", pixels)
        assert np.array_equal(decode(image), whole)
