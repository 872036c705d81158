"""Colour counts: a hash without content links nothing, and across classes the colours must be alike too."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from flowerml.data.folders import read_layout
from flowerml.data.quality.label_conflicts import conflicting_labels
from flowerml.data.quality.near_duplicates import (
    MAX_COLOUR_DIFFERENCE,
    MIN_CONTRAST,
    colour_differences,
    group_numbers,
)
from flowerml.data.scan import scan_folder
from flowerml.data.splits.split import draw_split
from tests.data.pictures import encode, put, scene

TINTS = {
    "green": (0.3, 1, 0.3),
    "red": (1, 0.3, 0.3),
    "yellow": (1, 1, 0.3),
    "pink": (1, 0.6, 0.6),
    "grey": (0.6, 0.6, 0.6),
    "white": (1, 1, 1),
}


def tinted(seed: int, tint, size: int = 64) -> Image.Image:
    """One structure per seed, in any colour."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    return Image.fromarray((grey[..., None] * np.array(tint)).astype(np.uint8))


def scanned(root):
    found = scan_folder(root, read_layout(root, ("folders",), {}))
    return found, group_numbers(found.pictures, root)[0]


@pytest.mark.parametrize("names", [*itertools.combinations(TINTS, 2)], ids="-".join)
def test_classes_that_differ_in_colour_only_are_not_one_photo(tmp_path, names):
    for name in names:
        for seed in range(4):
            put(tmp_path / name / f"{seed}.png", encode(tinted(seed, TINTS[name]), "PNG"))
    found, groups = scanned(tmp_path)
    assert len(set(groups)) == 8
    assert len(draw_split(found, groups, 0.25, 1).val) == 2


def test_dark_colours_count_as_bright_ones_do(tmp_path):
    for name in ("green", "yellow"):
        put(tmp_path / name / "1.png", encode(tinted(1, 0.2 * np.array(TINTS[name])), "PNG"))
    assert scanned(tmp_path)[1] == [0, 1]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_solid_colours_are_not_near_each_other(tmp_path, kind):
    for number, name in enumerate(("a", "b")):
        for level in range(6):
            colour = (40 * level, 90, 200 - 100 * number)
            put(tmp_path / name / f"{level}", encode(Image.new("RGB", (40, 30), colour), kind))
    assert len(set(scanned(tmp_path)[1])) == 12


def test_equal_solid_files_are_still_one_photo(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        put(tmp_path / name, encode(Image.new("RGB", (40, 30), "red"), "PNG"))
    assert scanned(tmp_path)[1] == [0, 0, 0]


@pytest.mark.parametrize(
    "edit",
    [
        lambda picture: picture,
        lambda picture: picture.resize((90, 77)),
        lambda picture: picture.crop((2, 2, 238, 198)),
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.85),
        lambda picture: ImageEnhance.Color(picture).enhance(0.7),
    ],
    ids=["low quality", "smaller", "rim cut off", "darker", "paler"],
)
def test_an_edited_copy_in_another_class_is_still_found(tmp_path, edit):
    for number in range(4):
        put(tmp_path / "a" / f"{number}.jpg", encode(scene(number, 240, 200), "JPEG"))
        put(tmp_path / "b" / f"{number}.jpg", encode(scene(100 + number, 240, 200), "JPEG"))
    put(tmp_path / "b" / "copy.jpg", encode(edit(scene(3, 240, 200)), "JPEG", quality=40))
    found, groups = scanned(tmp_path)
    assert [[picture.key for picture in group] for group in conflicting_labels(found.pictures, groups)] == [
        ["a/3.jpg", "b/copy.jpg"]
    ]


def test_a_recoloured_copy_in_its_own_class_is_still_a_copy(tmp_path):
    for name in ("green", "red", "grey"):
        put(tmp_path / "a" / f"{name}.png", encode(tinted(1, TINTS[name]), "PNG"))
    put(tmp_path / "b" / "1.png", encode(tinted(2, TINTS["red"]), "PNG"))
    assert scanned(tmp_path)[1] == [0, 0, 0, 1]


def colour_difference(first: bytes, second: bytes) -> float:
    return colour_differences(*(np.frombuffer(thumbnail, np.uint8)[None] for thumbnail in (first, second)))[0]


def test_the_difference_is_a_share_of_the_level_and_blind_to_brightness():
    thumbnail = np.asarray(scene(1, 4, 4)).tobytes()
    darker = bytes(int(0.8 * value) for value in thumbnail)
    assert colour_difference(thumbnail, thumbnail) == 0
    assert colour_difference(thumbnail, darker) == colour_difference(darker, thumbnail) < 0.01
    assert colour_difference(bytes(48), bytes(48)) == 0
    assert colour_difference(bytes([200, 0, 0] * 16), bytes([0, 200, 0] * 16)) > 1
    assert 0 < MAX_COLOUR_DIFFERENCE < 0.2
    assert MIN_CONTRAST == 2.0
