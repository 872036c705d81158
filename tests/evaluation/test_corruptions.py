"""Corruptions of pictures: nothing at no strength, more with each strength, the same for the same seed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from flowerml.data.rng import seeded
from flowerml.data.transforms import EvaluationTransform, InputDescription
from flowerml.evaluation.corruptions import CORRUPTIONS, VIEWS, CorruptedViews, squeeze
from tests.data.pictures import scene

DESCRIPTION = InputDescription(48, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.875)
EVERY = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def pictures():
    """Scenes at the size at which a model sees them."""
    return [EvaluationTransform(DESCRIPTION).resize(scene(seed, 140, 90)) for seed in range(4)]


@pytest.fixture(scope="module")
def detailed():
    """Pictures of large shapes and fine detail, as photos have both."""
    made = []
    for seed in range(12):
        large, fine = scene(seed, 140, 90).resize((2, 2)).resize((140, 90)), scene(seed + 50, 8, 8).resize((140, 90), 0)
        made.append(EvaluationTransform(DESCRIPTION).resize(Image.blend(large, fine, 0.4)))
    return made


def distance(corruption, strength, picture):
    """Mean absolute distance in levels between the evaluation views of the corrupted picture and of the picture."""
    transform = CorruptedViews(DESCRIPTION)
    corrupted, clean = (transform.view(one) for one in (corruption.apply(picture, strength, 5), picture))
    return float((corrupted.float() - clean.float()).abs().mean())


@EVERY
def test_no_strength_is_the_clean_view(corruption, pictures):
    """Bit for bit, so that what a strength costs is the corruption's alone; JPEG has no such strength."""
    if corruption.none is None:
        assert corruption.name == "JPEG"
        assert distance(corruption, 95, pictures[0]) < 3
        return
    assert [distance(corruption, corruption.none, picture) for picture in pictures] == [0.0] * len(pictures)


@EVERY
def test_each_strength_is_further_from_the_clean_view(corruption, detailed):
    """On the mean of pictures: a single one may happen to look more like itself after a larger turn."""
    distances = [
        np.mean([distance(corruption, strength, picture) for picture in detailed]) for strength in corruption.strengths
    ]
    assert all(stronger > weaker + 0.1 for weaker, stronger in pairwise([0.0, *distances])), distances


@EVERY
def test_input_is_not_changed_and_the_same_seed_gives_the_same(corruption, pictures):
    before = np.array(pictures[0])
    first, second = (corruption.apply(pictures[0], corruption.strengths[1], 7) for _ in range(2))
    assert (np.asarray(first) == np.asarray(second)).all()
    assert (np.asarray(pictures[0]) == before).all()
    other = corruption.apply(pictures[0], corruption.strengths[1], 8)
    assert (np.asarray(other) != np.asarray(first)).any() == (corruption.name == "noise")


@EVERY
def test_strengths_differ_as_text(corruption):
    assert len({corruption.label(strength) for strength in corruption.strengths}) == 3


def test_squeeze_changes_the_aspect_alone(pictures):
    width, height = pictures[0].size
    assert squeeze(pictures[0], 1.5, 0).size == (width, round(1.5 * height))


def test_turned_pictures_have_no_black_corners(pictures):
    rotation = next(one for one in CORRUPTIONS if one.name == "rotation")
    bright = pictures[0].point(lambda level: max(level, 60))
    turned = rotation.apply(bright, 45, 0)
    assert turned.size == bright.size
    assert np.asarray(turned).min() >= 30


def test_views_of_a_picture_depend_on_its_key_alone():
    transform, picture = CorruptedViews(DESCRIPTION), scene(1, 90, 140)
    drawn = []
    for key in ("a", "a", "b"):
        with seeded(0, key):
            drawn.append(transform(picture))
    assert drawn[0].shape == (len(VIEWS), 3, 48, 48)
    assert drawn[0].dtype == torch.uint8
    assert torch.equal(drawn[0], drawn[1])
    differ = {VIEWS[place][0].name for place in range(len(VIEWS)) if not torch.equal(drawn[0][place], drawn[2][place])}
    assert differ == {"noise"}


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2000, 20), (5, 700)])
def test_odd_sizes_have_views_too(size):
    assert CorruptedViews(DESCRIPTION)(scene(1, *size)).shape == (len(VIEWS), 3, 48, 48)
