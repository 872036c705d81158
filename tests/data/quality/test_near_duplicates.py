"""Near-duplicates: copies and edits of one photo are one group, by their hash, by the manifest, or by equal bytes."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from flowerml.data.folders import read_layout
from flowerml.data.quality import near_duplicates
from flowerml.data.quality.near_duplicates import (
    MAX_COLOUR_DIFFERENCE,
    MAX_DISTANCE,
    MIN_CONTRAST,
    colour_differences,
    group_numbers,
    near_duplicate_links,
)
from flowerml.data.scan import Picture, scan_folder
from flowerml.errors import UserError
from flowerml.tasks.flowers import ALIASES
from tests.data.pictures import encode, put, put_classes, scene


def fake(phash, key="a/1.jpg", sha256="0"):
    return Picture(file=key, label=key.split("/")[0], key=key, sha256=sha256, width=1, height=1, phash=phash)


def links(pictures, **options):
    return [tuple(pair) for pair in near_duplicate_links(pictures, **options).tolist()]


def groups_of(root, classes=("folders",), aliases=ALIASES):
    """The groups of more than one picture, as sets of keys, and where they come from."""
    pictures = scan_folder(root, read_layout(root, classes, aliases)).pictures
    numbers, source = group_numbers(pictures, root)
    assert len(numbers) == len(pictures)
    groups = {}
    for picture, number in zip(pictures, numbers, strict=True):
        groups.setdefault(number, set()).add(picture.key)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1), source


def manifest(root, rows, header="class,file,near_dup_group", encoding="utf-8"):
    (root / "manifest.csv").write_bytes("\n".join([header, *rows, ""]).encode(encoding))


def test_hashes_are_near_up_to_four_bits_and_not_beyond():
    start = 0xF0F0_1234_5678_9ABC
    four, five = start ^ 0x8000_0000_0000_0111, start ^ 0x8000_0000_0000_1111
    assert links([fake(start), fake(four), fake(five)]) == [(0, 1), (1, 2)]
    assert links([fake(start), fake(five)]) == []
    assert links([fake(start), fake(five)], max_distance=5) == [(0, 1)]
    assert links([]) == []


@pytest.mark.parametrize("max_distance", [0, 1, 4, 5, 9])
def test_all_pairs_and_no_others_are_found(max_distance):
    """Against the plain definition, over hashes with 0 to 10 bits changed, wherever they lie."""
    rng = random.Random(max_distance)
    hashes = [rng.getrandbits(64) for _ in range(400)]
    for number in range(500):
        bits = rng.sample(range(64), number % 11)
        hashes.append(rng.choice(hashes) ^ sum(1 << bit for bit in bits))
    rng.shuffle(hashes)
    hashes = [*dict.fromkeys(hashes)]
    pairs = itertools.combinations(range(len(hashes)), 2)
    expected = [(i, j) for i, j in pairs if (hashes[i] ^ hashes[j]).bit_count() <= max_distance]
    assert len(expected) > 40 or max_distance == 0
    assert links([fake(value) for value in hashes], max_distance=max_distance) == expected


def random_pictures(rng, size):
    """Pictures with few different hashes, classes and colours, so that all cases meet."""
    base = [rng.getrandbits(64) for _ in range(5)]
    colours = [bytes(rng.randrange(256) for _ in range(48)).hex() for _ in range(2)]
    return [
        replace(
            fake(
                rng.choice(base) ^ (1 << rng.randrange(4)) ^ (rng.getrandbits(2) << rng.randrange(62)),
                f"{rng.choice('abc')}/{number}",
                sha256="",
            ),
            colours=rng.choice([*colours, None]),
            contrast=rng.choice([1.0, 9.0, None]),
        )
        for number in range(size)
    ]


def are_one_photo(first, second):
    """The definition, for one pair."""
    if any(picture.contrast is not None and picture.contrast < MIN_CONTRAST for picture in (first, second)):
        return False
    if (first.phash ^ second.phash).bit_count() > MAX_DISTANCE:
        return False
    if first.label == second.label or None in (first.colours, second.colours):
        return True
    thumbnails = (np.frombuffer(bytes.fromhex(one.colours), np.uint8)[None] for one in (first, second))
    return bool(colour_differences(*thumbnails)[0] <= MAX_COLOUR_DIFFERENCE)


@pytest.mark.parametrize("block", [1, 7, 1 << 18])
@pytest.mark.parametrize("seed", range(10))
def test_the_groups_are_those_of_all_pairs(seed, block, tmp_path, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_BLOCK", block)
    pictures = random_pictures(random.Random(seed), 60)
    pairs = [(i, j) for i, j in itertools.combinations(range(60), 2) if are_one_photo(pictures[i], pictures[j])]
    graph = coo_matrix((np.ones(len(pairs)), tuple(zip(*pairs, strict=True))), shape=(60, 60))
    assert group_numbers(pictures, tmp_path)[0] == connected_components(graph, directed=False)[1].tolist()
    assert set(links(pictures)) <= set(pairs)


def test_many_pictures_of_one_hash_make_a_chain():
    pictures = [fake(7, f"a/{number}") for number in range(5000)]
    assert links(pictures) == [(number, number + 1) for number in range(4999)]


def test_groups_are_transitive(tmp_path):
    """A is near B and B near C: one group, though A and C are 8 bits apart."""
    pictures = [
        fake(0, "a/1.jpg", "1"),
        fake(0xF, "a/2.jpg", "2"),
        fake(0xFF, "a/3.jpg", "3"),
        fake(2**64 - 1, "a/4.jpg", "4"),
    ]
    assert links(pictures) == [(0, 1), (1, 2)]
    first, second, third, fourth = group_numbers(pictures, tmp_path)[0]
    assert first == second == third != fourth


@pytest.mark.parametrize(
    "edit",
    [
        lambda picture: encode(picture, "JPEG", quality=40),
        lambda picture: encode(picture.resize((90, 77)), "JPEG"),
        lambda picture: encode(picture.resize((150, 200)), "JPEG"),
        lambda picture: encode(picture.convert("L"), "JPEG"),
        lambda picture: encode(ImageEnhance.Brightness(picture).enhance(0.85), "JPEG"),
        lambda picture: encode(picture.crop((2, 2, 238, 198)), "BMP"),
    ],
    ids=["low quality", "smaller", "squeezed", "grey", "darker", "rim cut off"],
)
def test_an_edited_copy_is_found_and_nothing_else(tmp_path, edit):
    for number in range(8):
        put(tmp_path / "a" / f"{number}.jpg", encode(scene(number, 240, 200), "JPEG"))
        put(tmp_path / "b" / f"{number}.jpg", encode(scene(100 + number, 240, 200), "JPEG"))
    put(tmp_path / "a" / "copy.bmp", edit(scene(3, 240, 200)))
    groups, source = groups_of(tmp_path)
    assert groups == [["a/3.jpg", "a/copy.bmp"]]
    assert source == "perceptual hash, distance <= 4 of 64"


def test_a_folder_without_doubles_has_a_group_per_picture(tmp_path):
    put_classes(tmp_path, {"a": 4, "b": 4})
    pictures = scan_folder(tmp_path, read_layout(tmp_path, ("a", "b"), {})).pictures
    assert len(set(group_numbers(pictures, tmp_path)[0])) == 8
    assert group_numbers([], tmp_path)[0] == []


def test_the_manifest_decides_where_it_has_the_column(tmp_path):
    """Grouped there: together, though they look nothing alike. Not grouped there: apart, though they look alike."""
    put_classes(tmp_path, {"a": 4, "b": 4})
    put(tmp_path / "a" / "copy.jpg", encode(scene(0), "JPEG", quality=95))
    assert groups_of(tmp_path)[0] == [["a/00.jpg", "a/copy.jpg"]]
    rows = ["a,00.jpg,", "a,copy.jpg,", "a,01.jpg,g1", "a,02.jpg,g1", "b,00.jpg,g1", "b,01.jpg,7", "b,02.jpg,7"]
    manifest(tmp_path, rows)
    assert groups_of(tmp_path) == ([["a/01.jpg", "a/02.jpg", "b/00.jpg"], ["b/01.jpg", "b/02.jpg"]], "manifest.csv")


def test_a_manifest_without_the_column_leaves_it_to_the_hash(tmp_path):
    put_classes(tmp_path, {"a": 2, "b": 2})
    put(tmp_path / "a" / "copy.jpg", encode(scene(0), "JPEG", quality=95))
    for header, rows in (
        ("class,file", ["a,00.jpg"]),
        ("file,near_dup_group", ["00.jpg,1", "01.jpg,1"]),
        ("class,file,near_dup_group", []),
    ):
        manifest(tmp_path, rows, header)
        assert groups_of(tmp_path) == ([["a/00.jpg", "a/copy.jpg"]], "perceptual hash, distance <= 4 of 64")


def test_equal_bytes_are_one_group_whatever_the_manifest_says(tmp_path):
    put_classes(tmp_path, {"a": 2, "b": 2})
    put(tmp_path / "b" / "same.jpg", (tmp_path / "a" / "01.jpg").read_bytes())
    manifest(tmp_path, ["a,01.jpg,", "b,same.jpg,"])
    assert groups_of(tmp_path) == ([["a/01.jpg", "b/same.jpg"]], "manifest.csv")
    manifest(tmp_path, ["a,01.jpg,1", "a,00.jpg,1", "b,same.jpg,2", "b,00.jpg,2"])
    assert groups_of(tmp_path)[0] == [["a/00.jpg", "a/01.jpg", "b/00.jpg", "b/same.jpg"]]


def test_the_manifest_may_name_the_folder_or_the_class(tmp_path):
    put_classes(tmp_path, {"roses": 3, "tulip": 2})
    for name in ("rose", "roses"):
        manifest(tmp_path, [f"{name},00.jpg,1", f"{name},02.jpg,1"])
        assert groups_of(tmp_path) == ([["rose/00.jpg", "rose/02.jpg"]], "manifest.csv")


def test_a_manifest_written_by_a_spreadsheet_is_understood(tmp_path):
    """Excel's "CSV UTF-8" begins with a byte order mark, quotes names with commas and ends lines with CR LF."""
    put_classes(tmp_path, {"a": 2, "b": 2})
    put(tmp_path / "a" / "x,y.jpg", encode(scene(50), "JPEG"))
    manifest(tmp_path, ['a,"x,y.jpg",1\r', "a,00.jpg,1\r"], "class,file,near_dup_group\r", encoding="utf-8-sig")
    assert groups_of(tmp_path) == ([["a/00.jpg", "a/x,y.jpg"]], "manifest.csv")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_manifest_may_be_separated_by_semicolons_or_tabs(tmp_path, separator):
    put_classes(tmp_path, {"a": 3, "b": 2})
    rows = [separator.join(row) for row in (("a", "00.jpg", "1"), ("a", "02.jpg", "1"))]
    manifest(tmp_path, rows, separator.join(("class", "file", "near_dup_group")))
    assert groups_of(tmp_path) == ([["a/00.jpg", "a/02.jpg"]], "manifest.csv")


def test_a_manifest_that_names_none_of_the_pictures_does_not_switch_the_search_off(tmp_path):
    """Another layout's manifest: whole paths in the column `file`. Silence here is a leak across the split."""
    put_classes(tmp_path, {"a": 2, "b": 2})
    put(tmp_path / "a" / "copy.jpg", encode(scene(0), "JPEG", quality=95))
    manifest(tmp_path, ["a,photos/a/00.jpg,1", "a,photos/a/copy.jpg,1", "b,photos/b/00.jpg,"])
    try:
        groups, _ = groups_of(tmp_path)
    except UserError:
        return  # to refuse it is as good
    assert groups == [["a/00.jpg", "a/copy.jpg"]]


def test_a_manifest_that_cannot_be_read_is_refused_by_name(tmp_path):
    put_classes(tmp_path, {"a": 2, "b": 2})
    manifest(tmp_path, ["a,fa\xe7ade.jpg,1"], encoding="latin-1")
    with pytest.raises(UserError, match=r"manifest\.csv: can't be read") as caught:
        groups_of(tmp_path)
    assert "\n" not in str(caught.value)


def test_short_and_long_rows_of_a_manifest_do_no_harm(tmp_path):
    put_classes(tmp_path, {"a": 2, "b": 2})
    manifest(tmp_path, ["a,00.jpg", "", "a,01.jpg,1,more,and more", "b,00.jpg,1", "b"])
    assert groups_of(tmp_path)[0] == [["a/01.jpg", "b/00.jpg"]]


def test_groups_do_not_depend_on_the_order_of_the_pictures(tmp_path):
    rng = random.Random(3)
    hashes = [rng.getrandbits(64) for _ in range(30)]
    pictures = [
        fake(value ^ (1 << rng.randrange(64)), f"a/{i}-{copy}.jpg", f"{i}-{copy}")
        for i, value in enumerate(hashes)
        for copy in range(3)
    ]
    shuffled = rng.sample(pictures, len(pictures))

    def partition(some):
        numbers, _ = group_numbers(some, tmp_path)
        groups = {}
        for picture, number in zip(some, numbers, strict=True):
            groups.setdefault(number, set()).add(picture.key)
        return {frozenset(group) for group in groups.values()}

    assert partition(pictures) == partition(shuffled)
    assert partition(pictures) == {frozenset(f"a/{i}-{copy}.jpg" for copy in range(3)) for i in range(30)}


def test_pictures_of_one_scene_stay_near_over_formats(tmp_path):
    """The hash works on the decoded picture: palette, alpha and depth do not hide a copy."""
    picture = scene(9, 120, 100)
    put(tmp_path / "a" / "1.jpg", encode(picture, "JPEG"))
    put(tmp_path / "a" / "2.gif", encode(picture.quantize(256), "GIF"))
    put(tmp_path / "a" / "3.bmp", encode(picture, "BMP"))
    put(tmp_path / "b" / "1.jpg", encode(Image.fromarray(np.asarray(scene(10, 120, 100))), "JPEG"))
    pictures = scan_folder(tmp_path, read_layout(tmp_path, ("a", "b"), {})).pictures
    distances = [(pictures[0].phash ^ other.phash).bit_count() for other in pictures[1:]]
    assert len(distances) == 3
    assert max(distances[:2]) <= 4 < distances[2]
