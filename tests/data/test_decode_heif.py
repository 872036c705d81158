"""HEIC and AVIF, as phones and web servers write them: upright, with every limit that other formats have."""

import io

import numpy as np
import pytest
from PIL import Image

from flowerml.data import decode as decoding
from tests.data.encoded_images import ORIENTATION, pixels_of, reason_for
from tests.data.pictures import quarters

pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")


def stored(kind: str, number: int | None = None) -> bytes:
    """The four quarters, 8 times as large, in a lossy file; with `number` as the orientation of its pixels."""
    image = Image.fromarray(quarters()).resize((64, 96), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    exif = Image.Exif()
    if number is not None:
        exif[ORIENTATION] = number
    if kind == "AVIF":
        image.save(buffer, "AVIF", quality=95, exif=exif)
    else:
        pillow_heif.from_pillow(image).save(buffer, quality=95, exif=exif.tobytes() if number else None)
    return buffer.getvalue()


def upright(number: int) -> np.ndarray:
    image = Image.fromarray(quarters()).resize((64, 96), Image.Resampling.NEAREST)
    turn = decoding._TURNS.get(number)
    return np.asarray(image if turn is None else image.transpose(turn))


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_every_orientation_is_applied_once(kind, number):
    found, expected = pixels_of(stored(kind, number)), upright(number)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 12


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_a_file_cut_off_is_damaged_and_a_large_one_refused_before_it_is_decoded(kind, monkeypatch):
    data = stored(kind)
    assert reason_for(data[: len(data) * 2 // 3]).startswith(("damaged", "not a picture"))
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 64 * 96 - 1)
    assert reason_for(data) == "64x96 is over the limit of 6,143 pixels"


def test_without_pillow_heif_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(decoding, "can_read_heif", lambda: False)
    assert "it looks like HEIC: install pillow-heif" in reason_for(stored("HEIF"))
