"""The generated flower set: repeatable, varied, and to be told apart by shape rather than by colour."""

import hashlib
from itertools import combinations, pairwise

import imagehash
import numpy as np
import pytest
from PIL import Image

from flowerml.data.synthetic.canvas import keyed_rng
from flowerml.data.synthetic.flowers import CLASSES, draw_flower, make_flowers

SIDE = 96
FIT, HELD_OUT = 60, 40


def colour_histogram(picture):
    """Per-channel and joint RGB and HSV histograms, as shares of the pixels; all places in the picture are lost."""
    parts = []
    for mode in ("RGB", "HSV"):
        pixels = np.asarray(picture.convert(mode)).reshape(-1, 3)
        parts += [np.histogram(pixels[:, channel], 16, (0, 256))[0] for channel in range(3)]
        joint = (pixels // 64).astype(int) @ np.array([16, 4, 1])
        parts.append(np.bincount(joint, minlength=64))
    return np.concatenate(parts) / pixels.shape[0]


def edge_directions(picture, side=64, cells=8, bins=9):
    """Histograms of gradient orientation on a grid, from the grey picture: no colour, only the shape."""
    grey = np.asarray(picture.convert("L").resize((side, side), Image.Resampling.BOX), float)
    down, right = np.gradient(grey)
    bin_of = (np.arctan2(down, right) % np.pi / np.pi * bins).astype(int) % bins
    row, column = np.mgrid[:side, :side] * cells // side
    place = (row * cells + column) * bins + bin_of
    found = np.bincount(place.ravel(), np.hypot(down, right).ravel(), minlength=cells * cells * bins)
    by_cell = found.reshape(-1, bins)
    return (by_cell / (np.linalg.norm(by_cell, axis=1, keepdims=True) + 20)).ravel()


def held_out_accuracy(features, labels, fit):
    """The better of a forest and a logistic regression, on the pictures neither has seen."""
    from sklearn.ensemble import RandomForestClassifier  # seconds, and every test process collects
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = (
        RandomForestClassifier(200, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)),
    )
    return max(model.fit(features[fit], labels[fit]).score(features[~fit], labels[~fit]) for model in models)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("flowers")
    return root, make_flowers(root, 12, size=SIDE)


def test_writes_the_asked_files_in_order(small_set):
    root, paths = small_set
    assert CLASSES == ("daisy", "dandelion", "rose", "sunflower", "tulip")
    assert paths == [root / kind / f"{kind}_{index:04d}.jpg" for kind in CLASSES for index in range(12)]
    assert sorted(path for path in root.rglob("*") if path.is_file()) == sorted(paths)


def test_pictures_are_rgb_jpegs_of_varied_size(small_set):
    sizes = set()
    for path in small_set[1]:
        with Image.open(path) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "RGB")
            assert all(0.84 * SIDE <= side <= 1.26 * SIDE for side in picture.size)
            sizes.add(picture.size)
    assert len(sizes) > 30


def test_no_two_pictures_are_alike(small_set):
    paths = small_set[1]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == len(paths)
    prints = []
    for path in paths:
        with Image.open(path) as picture:
            prints.append(imagehash.phash(picture))
    assert min(one - other for one, other in combinations(prints, 2)) > 4


def test_same_seed_same_bytes_and_a_smaller_set_is_its_beginning(small_set, tmp_path):
    root, _ = small_set
    again = make_flowers(tmp_path, 3, size=SIDE)
    assert len(again) == 15
    assert all(path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes() for path in again)


def test_another_seed_gives_other_pictures(small_set, tmp_path):
    root, _ = small_set
    others = make_flowers(tmp_path, 2, size=SIDE, seed=12)
    assert all(path.read_bytes() != (root / path.relative_to(tmp_path)).read_bytes() for path in others)


def test_reports_each_file_once_it_is_whole(tmp_path):
    seen = []

    def look(path):
        with Image.open(path) as picture:
            picture.load()
        seen.append(path)

    assert make_flowers(tmp_path, 1, size=40, on_image=look) == seen


def test_draws_only_the_flowers_it_knows():
    with pytest.raises(ValueError, match=r"'orchid'.*daisy, dandelion, rose, sunflower, tulip"):
        draw_flower("orchid", np.random.default_rng(0), SIDE)


def test_refuses_what_gives_no_picture(tmp_path):
    with pytest.raises(ValueError, match="per_class"):
        make_flowers(tmp_path, 0)
    with pytest.raises(ValueError, match="size"):
        make_flowers(tmp_path, 1, size=8)


def test_side_scales_the_picture_not_the_kind_of_variation():
    widths = [draw_flower("rose", keyed_rng(1, "rose", 0, 64), size).width for size in (64, 128, 256)]
    assert all(abs(larger - 2 * smaller) <= 2 for smaller, larger in pairwise(widths))


@pytest.mark.slow
def test_colour_does_not_suffice_and_shape_does():
    labels = np.repeat(np.arange(len(CLASSES)), FIT + HELD_OUT)
    fit = np.tile(np.arange(FIT + HELD_OUT) < FIT, len(CLASSES))
    pictures = [
        draw_flower(kind, keyed_rng(5, kind, index, SIDE), SIDE) for kind in CLASSES for index in range(FIT + HELD_OUT)
    ]
    colour = held_out_accuracy(np.array([colour_histogram(picture) for picture in pictures]), labels, fit)
    shape = held_out_accuracy(np.array([edge_directions(picture) for picture in pictures]), labels, fit)
    assert colour <= 0.60
    assert shape >= colour + 0.10
    assert shape >= 0.60
