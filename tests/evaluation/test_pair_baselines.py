"""Baselines of a relation run: they learn what boxes tell, and are at chance for shuffled labels."""

import random

import numpy as np
import pytest

from flowerml.data.relations.formats import read_annotations
from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.split import split_by_image
from flowerml.data.relations.vocabulary import load_vocabulary
from flowerml.evaluation.pairs.operating_point import per_class_recall
from flowerml.evaluation.pairs.pair_baselines import run_baselines
from flowerml.models.pairs.tabular_models import LogisticPairModel, encode_labels
from tests.data.relations.readers_common import VRD, needs_vrd

CLASSES = ("above", "below", "left of", "right of")
NAMES = (
    "majority",
    "class prior",
    "box only, logistic regression",
    "box only, network",
    "box + category, logistic regression",
)


def made(count, seed, *, named=True):
    """Pairs whose relation the boxes tell; `above` is twice as frequent as each other. Three pairs an image."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        relation = rng.choice([*CLASSES, "above"])
        x, y, gap = rng.uniform(60, 120), rng.uniform(60, 120), rng.uniform(35, 55)
        dx, dy = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}[relation]
        boxes = [Box(a, b, a + 20, b + 20) for a, b in ((x + dx * gap, y + dy * gap), (x, y))]
        pairs.append(
            Pair(f"{number // 3}.jpg", 200, 200, *boxes, relation, *(("lamp", "table") if named else (None, None)))
        )
    return pairs


def shuffled(pairs, seed):
    """The same boxes with the labels dealt out anew."""
    labels = [pair.relation for pair in pairs]
    random.Random(seed).shuffle(labels)
    return [
        Pair(p.image, p.width, p.height, p.subject, p.object, label, p.subject_category, p.object_category)
        for p, label in zip(pairs, labels, strict=True)
    ]


@pytest.fixture(scope="module")
def results():
    split = split_by_image(made(900, 1), 0.3, 11)
    return split, {result.name: result for result in run_baselines(split.train, split.val, CLASSES, BoxFeatures.SEED)}


def test_the_five_baselines_are_in_order(results):
    assert tuple(results[1]) == NAMES


def test_without_categories_there_is_no_category_model():
    split = split_by_image(made(300, 2, named=False), 0.3, 11)
    assert (
        tuple(result.name for result in run_baselines(split.train, split.val, CLASSES, BoxFeatures.SEED)) == NAMES[:4]
    )


def test_majority_and_prior_by_hand(results):
    split, found = results
    train, val = [[p.relation for p in side] for side in (split.train, split.val)]
    assert found["majority"].accuracy == pytest.approx(val.count("above") / len(val))
    assert found["majority"].recalls == (1, 0, 0, 0)
    assert found["majority"].mean_recall == 0.25
    shares = {name: train.count(name) / len(train) for name in CLASSES}
    assert found["class prior"].accuracy == pytest.approx(sum(shares[name] for name in val) / len(val))
    assert found["class prior"].recalls == pytest.approx([shares[name] for name in CLASSES])


@pytest.mark.parametrize("name", NAMES[2:])
def test_relations_that_follow_from_boxes_are_learned(results, name):
    result = results[1][name]
    assert result.mean_recall > 0.97
    labels = np.array([CLASSES.index(pair.relation) for pair in results[0].val])
    assert result.accuracy == (result.predicted == labels).mean()
    low, high = result.interval
    assert low < result.accuracy <= high <= 1


def test_shuffled_labels_give_chance():
    """Whatever reached validation by another way than the boxes would show here."""
    split = split_by_image(shuffled(made(1500, 3), 4), 0.3, 11)
    majority, _, *others = run_baselines(split.train, split.val, CLASSES, BoxFeatures.SEED)
    for result in others:
        assert result.accuracy < majority.interval[1]
        assert 0.15 < result.mean_recall < 0.35


def test_baselines_are_deterministic(results):
    split, found = results
    again = {result.name: result for result in run_baselines(split.train, split.val, CLASSES, BoxFeatures.SEED)}
    for name in NAMES[2:]:
        assert np.array_equal(again[name].predicted, found[name].predicted)


def test_a_class_without_validation_pairs_is_not_counted():
    pairs = made(300, 5)
    val = [pair for pair in made(120, 6) if pair.relation != "below"]
    for result in run_baselines(pairs, val, CLASSES, BoxFeatures.SEED):
        assert np.isnan(result.recalls[1])
        assert result.as_json()["recalls"][1] is None
        assert result.mean_recall == pytest.approx(np.nanmean(result.recalls))


def test_a_class_whose_mirror_image_is_not_a_class():
    pairs = [pair for pair in made(400, 7) if pair.relation != "right of"]
    split = split_by_image(pairs, 0.3, 11)
    results = run_baselines(split.train, split.val, CLASSES[:3], BoxFeatures.PUBLISHED)
    assert min(result.mean_recall for result in results[2:]) > 0.97


@needs_vrd
def test_shuffled_labels_of_the_real_annotations_give_chance():
    """Boxes and names of 872 other images say nothing of labels that were dealt out anew: the majority's share, a tenth
    of mean recall.
    """
    train, test = (
        read_annotations(VRD / f"annotations_{part}.json", load_vocabulary()).pairs for part in ("train", "test")
    )
    model = LogisticPairModel(BoxFeatures.PUBLISHED, categories=True, balanced=False)
    model.fit(shuffled(train, 1), RELATIONS)
    labels = encode_labels(shuffled(test, 2), RELATIONS)
    predicted = model.log_probabilities(test).argmax(axis=1)
    assert (predicted == labels).mean() < 1.05 * (labels == 0).mean()
    assert 0.07 < per_class_recall(predicted, labels, 10)[:9].mean() < 0.14
