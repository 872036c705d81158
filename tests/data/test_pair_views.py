"""Pairs as inputs: crops, the mirror that moves picture, boxes and label together, subject and object in each other's
place.
"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from flowerml.data.pair_views import ImagePairSource, PairView, crop_box, swap_boxes
from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import FLIPPED, RELATIONS, SWAPPED, Box, Pair
from flowerml.data.rng import seeded
from flowerml.data.transforms import InputDescription

PLAIN = InputDescription(16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", 1.0)
COUNT = 40


def drawn(number: int) -> tuple[Image.Image, Pair]:
    """A noise picture and two random boxes in it, edges between pixels too."""
    rng = np.random.default_rng(number)
    width, height = (int(side) for side in rng.integers(20, 60, 2))
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))

    def box() -> Box:
        x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
        return Box(float(x[0]), float(y[0]), float(x[1]), float(y[1]))

    return picture, Pair("p.jpg", width, height, box(), box(), RELATIONS[number % 10], "cup", "table")


def sight(number: int) -> ImagePairSource:
    picture, pair = drawn(number)
    return ImagePairSource(pair, pair.label, RELATIONS.index(FLIPPED[pair.relation]), picture)


def test_a_crop_is_what_is_inside_the_box():
    picture = Image.new("RGB", (40, 30), (10, 20, 30))
    picture.paste((200, 100, 50), (12, 5, 22, 25))
    inside = crop_box(picture, Box(12, 5, 22, 25), PLAIN)
    assert inside.shape == (3, 16, 16)
    assert torch.allclose(inside, torch.tensor([200.0, 100, 50])[:, None, None] / 255, atol=1e-6)
    halves = crop_box(picture, Box(2, 5, 22, 25), PLAIN)
    assert torch.allclose(halves[:, :, :7], torch.tensor([10.0, 20, 30])[:, None, None] / 255, atol=1e-6)
    assert torch.allclose(halves[:, :, 9:], torch.tensor([200.0, 100, 50])[:, None, None] / 255, atol=1e-6)


def test_a_crop_is_normalised_as_the_description_says():
    picture = Image.new("RGB", (10, 10), (255, 0, 51))
    described = InputDescription(8, (0.5, 0.5, 0.5), (0.5, 0.25, 0.1), "bicubic", 1.0)
    assert crop_box(picture, Box(0, 0, 10, 10), described)[:, 4, 4].tolist() == pytest.approx(
        [1.0, -2.0, -3.0], abs=1e-5
    )


@pytest.mark.parametrize("number", range(COUNT))
def test_the_mirror_moves_picture_and_both_boxes(number):
    """What is cut out of the mirrored picture is the mirror image of what was cut out before."""
    seen = sight(number)
    before, after = (seen.sides(PLAIN, flipped=flipped) for flipped in (False, True))
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one.flip(-1), other, atol=2 / 255)


@pytest.mark.parametrize("number", range(COUNT))
def test_a_mirrored_view_has_the_mirrored_pairs_numbers_and_label(number):
    seen = sight(number)
    mirrored = PairView(PLAIN, BoxFeatures.SEED, flip_probability=1.0)(seen)
    again = PairView(PLAIN, BoxFeatures.SEED)(
        ImagePairSource(
            seen.pair.flipped(), RELATIONS.index(FLIPPED[seen.pair.relation]), None, ImageOps.mirror(seen.picture)
        )
    )
    assert mirrored.label == again.label
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(mirrored.inputs, again.inputs, strict=True))
    changed = {"left of", "right of"}
    assert (mirrored.label != seen.label) == (seen.pair.relation in changed)


def test_mirroring_is_drawn_by_the_key_alone_and_as_often_as_asked():
    view, seen = PairView(PLAIN, BoxFeatures.SEED, flip_probability=0.3), sight(4)  # "left of"
    assert seen.pair.relation == "left of"

    def labels() -> list[int]:
        found = []
        for number in range(300):
            with seeded(11, "augment", 1, number):
                found.append(view(seen).label)
        return found

    first = labels()
    assert first == labels()
    assert 0.2 < first.count(RELATIONS.index("right of")) / 300 < 0.4


def test_without_a_class_for_the_mirrored_pair_nothing_is_mirrored():
    seen = sight(4)
    alone = ImagePairSource(seen.pair, 0, None, seen.picture)
    assert PairView(PLAIN, BoxFeatures.SEED, flip_probability=1.0)(alone).label == 0


@pytest.mark.parametrize("number", range(COUNT))
def test_exchanging_subject_and_object_exchanges_all_that_is_theirs(number):
    seen = sight(number)
    plain, turned = (PairView(PLAIN, BoxFeatures.SEED)(one).inputs for one in (seen, seen.swapped()))
    assert torch.equal(plain[0], turned[1])
    assert torch.equal(plain[1], turned[0])
    assert turned[2][:2].tolist() == pytest.approx([-value for value in plain[2][:2].tolist()], abs=1e-6)
    assert swap_boxes(swap_boxes(seen.pair)) == seen.pair
    other = seen.pair.swapped()
    assert (other is None) == (SWAPPED[seen.pair.relation] is None)
    if other is not None:
        turned_pair = seen.swapped().pair
        assert (other.subject, other.object) == (turned_pair.subject, turned_pair.object)
        assert (other.subject_category, other.object_category) == ("table", "cup")
