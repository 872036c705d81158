"""Box features: values worked out by hand, and what they must not depend on."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from flowerml.data.relations.geometry import BoxFeatures, box_features, feature_names
from flowerml.data.relations.records import Box, Pair

KINDS = list(BoxFeatures)


def of(subject, other, kind, size=(200, 100)):
    """Values by name."""
    pair = Pair("a", *size, Box(*subject), Box(*other), "on")
    return dict(zip(feature_names(kind), box_features([pair], kind)[0].tolist(), strict=True))


def scaled(box, factor):
    return Box(*(edge * factor for edge in (box.x0, box.y0, box.x1, box.y1)))


def random_pairs(seed, count=50):
    rng = random.Random(seed)

    def box():
        x0, y0 = rng.uniform(0, 180), rng.uniform(0, 80)
        return Box(x0, y0, x0 + rng.uniform(1, 200 - x0), y0 + rng.uniform(1, 100 - y0))

    return [Pair("a", 200, 100, box(), box(), "on") for _ in range(count)]


@pytest.mark.parametrize(
    ("kind", "width"), [(BoxFeatures.SEED, 8), (BoxFeatures.PUBLISHED, 12), (BoxFeatures.RICH, 45)]
)
def test_widths(kind, width):
    assert len(set(feature_names(kind))) == len(feature_names(kind)) == width
    assert box_features(random_pairs(0, 7), kind).shape == (7, width)
    assert box_features([], kind).shape == (0, width)
    assert box_features(random_pairs(0, 7), kind).dtype == np.float32


def test_the_seeds_kind_by_hand():
    """Centres (20, 30) and (120, 80) in an image of 200x100: half the width to the right, half the height down."""
    found = of((10, 20, 30, 40), (100, 60, 140, 100), BoxFeatures.SEED)
    root = math.sqrt(0.5)
    expected = {"offset x": 0.5, "offset y": 0.5, "distance": root, "sine": root, "cosine": root, "subject area": 0.02}
    expected |= {"object area": 0.08, "log area ratio": math.log(0.25)}
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_published_kind_by_hand():
    """VTransE: offset by the other's size, log ratio; Peyre et al.: by the root of the area, IoU 100 / (400 + 800 -
    100).
    """
    found = of((10, 20, 30, 40), (20, 30, 60, 50), BoxFeatures.PUBLISHED)
    assert found["offset x by object"] == pytest.approx(-20 / 40)
    assert found["offset y by object"] == pytest.approx(-10 / 20)
    assert found["offset x by subject"] == pytest.approx(20 / 20)
    assert found["offset x by root area"] == pytest.approx(20 / math.sqrt(400))
    assert found["log ratio x"] == pytest.approx(math.log(20 / 40))
    assert found["log ratio y"] == 0
    assert found["root area ratio"] == pytest.approx(math.sqrt(800 / 400))
    assert found["subject aspect"] == 0
    assert found["object aspect"] == pytest.approx(math.log(2))
    assert found["IoU"] == pytest.approx(100 / 1100)


def test_what_lies_inside_and_apart():
    inside = of((30, 30, 40, 40), (20, 20, 60, 60), BoxFeatures.RICH)
    assert (inside["subject in object"], inside["object in subject"]) == (1, pytest.approx(1 / 16))
    apart = of((0, 0, 10, 10), (60, 0, 80, 10), BoxFeatures.RICH)
    assert apart["subject in object"] == apart["IoU"] == 0
    assert apart["shared x"] == pytest.approx(-50 / 10)
    assert apart["shared y"] == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_the_picture_does_not_matter(kind):
    pairs = random_pairs(1)
    larger = [
        replace(p, width=600, height=300, subject=scaled(p.subject, 3), object=scaled(p.object, 3)) for p in pairs
    ]
    assert box_features(larger, kind) == pytest.approx(box_features(pairs, kind), abs=1e-4)


@pytest.mark.parametrize("kind", [BoxFeatures.SEED, BoxFeatures.PUBLISHED])
def test_mirroring_turns_the_signs_of_what_goes_sideways_and_nothing_else(kind):
    pairs = random_pairs(2)
    turned = {"offset x", "cosine", "offset x by object", "offset x by subject", "offset x by root area"}
    signs = np.array([-1 if name in turned else 1 for name in feature_names(kind)])
    assert box_features([p.flipped() for p in pairs], kind) == pytest.approx(
        box_features(pairs, kind) * signs, abs=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_pixel_and_equal_boxes_give_numbers(kind):
    tiny = Pair("a", 4000, 3000, Box(0, 0, 1, 1), Box(0, 0, 4000, 3000), "on")
    same = Pair("a", 10, 10, Box(2, 2, 5, 5), Box(2, 2, 5, 5), "on")
    assert np.isfinite(box_features([tiny, tiny.swapped(), same], kind)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pairs_numbers_do_not_depend_on_its_neighbours(kind):
    pairs = random_pairs(3)
    whole = box_features(pairs, kind)
    assert np.array_equal(np.concatenate([box_features([p], kind) for p in pairs]), whole)
