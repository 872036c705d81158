"""Thumbnails: small, upright RGB JPEG files without metadata."""

import io

import numpy as np
import pytest
from PIL import Image

from flowerml.reporting.thumbnail import thumbnail_jpeg


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_thumbnail_of_any_mode(mode):
    image = Image.new(mode, (400, 100))
    small = Image.open(io.BytesIO(thumbnail_jpeg(image, side=64)))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (64, 16))
    assert image.size == (400, 100)


def test_thumbnail_does_not_enlarge_and_makes_transparent_white():
    small = Image.open(io.BytesIO(thumbnail_jpeg(Image.new("RGBA", (20, 10), (255, 0, 0, 0)))))
    assert small.size == (20, 10)
    assert min(small.getpixel((5, 5))) > 250


def test_thumbnail_of_a_deep_picture_keeps_its_shades():
    deep = Image.fromarray(np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8))
    shades = np.asarray(Image.open(io.BytesIO(thumbnail_jpeg(deep))).convert("L"))
    assert shades.min() < 20
    assert shades.max() > 235
    assert len(np.unique(shades)) > 16


def test_thumbnail_is_upright_and_without_metadata():
    source = io.BytesIO()
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010F] = "camera"
    image.save(source, format="JPEG", exif=exif, comment=b"private")
    small = Image.open(io.BytesIO(thumbnail_jpeg(Image.open(source))))
    assert small.size == (20, 40)
    assert not small.getexif()
    assert "comment" not in small.info


def test_thumbnail_of_no_size_is_refused():
    with pytest.raises(ValueError, match="0 pixels"):
        thumbnail_jpeg(Image.new("RGB", (4, 4)), side=0)
