"""Metadata never costs a picture: the pixels are those of the plain one, turned by a valid orientation."""

import warnings

import numpy as np
import pytest

from flowerml.data.decode import decode, without_metadata
from flowerml.data.relations.image_sizes import image_size_reader
from tests.data.encoded_images import STORED, pixels_of
from tests.data.metadata.odd_metadata import large_text_png, variants

COUNT, SEED = 400, 14


@pytest.mark.filterwarnings("ignore")
def test_metadata_never_changes_the_pixels():
    turned = 0
    for number, variant in enumerate(variants(COUNT, SEED)):
        plain = pixels_of(variant.plain)
        stored = np.asarray(decode(variant.data, upright=False))
        assert np.array_equal(stored, plain), number
        upright = pixels_of(variant.data)
        # STORED gives what a camera stores of an upright picture: of what is decoded, that is the plain one again.
        assert np.array_equal(STORED[variant.orientation](upright), plain), (number, variant.orientation)
        turned += variant.orientation != 1
    assert turned > COUNT / 10


def test_what_pillow_reads_is_not_touched():
    """A file is only looked through where it can't be read as it is; without metadata its pixels stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for variant in variants(20, 3):
            assert np.array_equal(pixels_of(without_metadata(variant.plain)), pixels_of(variant.plain))


def test_the_size_of_such_a_picture_is_read_too(tmp_path):
    (plain,) = (variant.plain for variant in variants(1, 3))
    (tmp_path / "a.png").write_bytes(large_text_png(plain))
    assert image_size_reader(tmp_path)("a.png") == (6, 8)
