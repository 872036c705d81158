"""Models of a pair without pixels: what they use, what they must not use, and that they learn."""

import random

import numpy as np
import pytest

from benchmarks.support.pair_trees import CategoryStatistics, TreePairModel
from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.models.pairs.tabular_models import (
    CLIP,
    ClassPrior,
    GeometricMeanEnsemble,
    LogisticPairModel,
    PairEncoder,
    encode_labels,
    geometric_mean,
    mirror_permutation,
)
from flowerml.models.pairs.tabular_network import NetworkPairModel, NetworkSettings

CLASSES = ("on", "left of", "right of")
SMALL = NetworkSettings(width=32, embedding=8, epochs=15, batch=64, lr=1e-2)
MODELS = {
    "logistic": lambda: LogisticPairModel(BoxFeatures.RICH, categories=True, balanced=False),
    "network": lambda: NetworkPairModel(SMALL),
    "boosted": lambda: TreePairModel("boosted", 0),
    "extra": lambda: TreePairModel("extra", 0),
}


def make_pairs(count, seed):
    """Pairs whose boxes tell the relation, except that a hat is always `on`."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        relation, name = rng.choice(CLASSES), rng.choice(("cup", "book", "hat"))
        x, y = rng.randint(60, 120), rng.randint(60, 120)
        dx, dy = {"on": (0, -22), "left of": (-45, 0), "right of": (45, 0)}[relation]
        boxes = [Box(a, b, a + 20, b + 20) for a, b in ((x + dx + rng.randint(-8, 8), y + dy), (x, y))]
        pairs.append(Pair(f"{number // 2}.jpg", 200, 200, *boxes, "on" if name == "hat" else relation, name, "table"))
    return pairs


@pytest.mark.parametrize("name", MODELS)
class TestEveryModel:
    def test_learns_boxes_and_categories(self, name):
        model, test = MODELS[name](), make_pairs(200, 2)
        model.fit(make_pairs(500, 1), CLASSES)
        logs = model.log_probabilities(test)
        assert logs.shape == (200, 3)
        assert np.exp(logs).sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)
        assert (logs.argmax(axis=1) == encode_labels(test, CLASSES)).mean() > 0.93

    def test_ignores_the_relation_of_predicted_pairs(self, name):
        model, test = MODELS[name](), make_pairs(60, 2)
        model.fit(make_pairs(200, 1), CLASSES)
        other = [
            Pair(p.image, 200, 200, p.subject, p.object, "inside", p.subject_category, p.object_category) for p in test
        ]
        assert np.array_equal(model.log_probabilities(other), model.log_probabilities(test))

    def test_unknown_and_missing_categories(self, name):
        model, (pair,) = MODELS[name](), make_pairs(1, 2)
        model.fit(make_pairs(200, 1), CLASSES)
        for names in (("unicorn", "cloud"), (None, None)):
            asked = Pair("x", 200, 200, pair.subject, pair.object, "on", *names)
            assert np.isfinite(model.log_probabilities([asked])).all()

    def test_is_deterministic(self, name):
        train, test = make_pairs(200, 1), make_pairs(60, 2)
        answers = []
        for _ in range(2):
            model = MODELS[name]()
            model.fit(train, CLASSES)
            answers.append(model.log_probabilities(test))
        assert np.array_equal(*answers)


@pytest.mark.parametrize("name", ["network", "boosted", "extra"])
def test_a_mirrored_pair_gets_the_mirrored_prediction(name):
    model, test = MODELS[name](), make_pairs(80, 2)
    model.fit(make_pairs(200, 1), CLASSES)
    predicted, mirrored = model.log_probabilities(test), model.log_probabilities([pair.flipped() for pair in test])
    assert mirrored[:, [0, 2, 1]] == pytest.approx(predicted, abs=1e-4)


def test_the_network_learns_from_other_relations_and_never_predicts_them():
    """What a hat does is told by pairs of another relation only: they move its answers, but add no class."""
    train = [pair for pair in make_pairs(300, 1) if pair.subject_category != "hat"]
    others = [Pair(p.image, 200, 200, p.subject, p.object, "worn by", "hat", "man") for p in train[:100]]
    alone, helped = NetworkPairModel(SMALL), NetworkPairModel(SMALL, others)
    for model in (alone, helped):
        model.fit(train, CLASSES)
    test = make_pairs(60, 2)
    assert helped.log_probabilities(test).shape == (60, 3)
    assert not np.allclose(helped.log_probabilities(test), alone.log_probabilities(test), atol=1e-3)
    assert np.exp(helped.log_probabilities(test)).sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)


def test_fitting_the_network_does_not_advance_the_global_generator():
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    NetworkPairModel(SMALL).fit(make_pairs(40, 1), CLASSES)
    assert torch.equal(torch.rand(3), expected)


def test_balanced_weights_lift_the_rare_class():
    rng = random.Random(0)
    rare = [pair for pair in make_pairs(900, 4) if pair.relation == "left of"][:5]
    train = [*(pair for pair in make_pairs(900, 3) if pair.relation != "left of"), *rare]
    noisy = [p.relation if rng.random() < 0.7 else rng.choice(CLASSES) for p in train]
    train = [Pair(p.image, 200, 200, p.subject, p.object, said) for p, said in zip(train, noisy, strict=True)]
    test = [pair for pair in make_pairs(300, 5) if pair.subject_category != "hat"]
    recalls = []
    for balanced in (False, True):
        model = LogisticPairModel(BoxFeatures.SEED, categories=False, balanced=balanced)
        model.fit(train, CLASSES)
        hit = model.log_probabilities(test).argmax(axis=1) == encode_labels(test, CLASSES)
        recalls.append(hit[encode_labels(test, CLASSES) == 1].mean())
    assert recalls[1] > recalls[0]


def test_the_class_prior_predicts_the_majority():
    model = ClassPrior()
    model.fit([*make_pairs(1, 1)] * 3, (make_pairs(1, 1)[0].relation, "near"))
    assert np.exp(model.log_probabilities(make_pairs(2, 1))) == pytest.approx(np.array([[1, 0], [1, 0]]), abs=1e-6)


def test_box_features_are_standardized_and_clipped():
    pairs = make_pairs(100, 1)
    encoder = PairEncoder(pairs, BoxFeatures.SEED)
    numbers = encoder.encode_boxes(pairs)
    varied = numbers.std(axis=0) > 0.1
    assert numbers[:, varied].mean(axis=0) == pytest.approx(np.zeros(varied.sum()), abs=0.1)
    far = Pair("x", 200, 200, Box(0, 0, 1, 1), Box(0, 0, 200, 200), "on")
    assert np.abs(encoder.encode_boxes([far])).max() == CLIP
    assert encoder.encode_categories([pairs[0], far]).tolist()[1] == [0, 0]


def test_category_statistics_by_hand():
    """Two names (1, 2) as subject, one object (3); 5 pairs' weight for the broader statistic."""
    codes, labels = np.array([[1, 3], [1, 3], [2, 3]]), np.array([0, 0, 1])
    statistics = np.exp(CategoryStatistics(codes, labels, 4, 2, None)(np.array([[1, 3], [0, 0]]))) - 1e-4
    prior = np.array([2.5, 1.5]) / 4
    subject = (np.array([2, 0]) + 5 * prior) / 7
    other = (np.array([2, 1]) + 5 * prior) / 8
    product = subject * other / prior
    both = (np.array([2, 0]) + 5 * product / product.sum()) / 7
    assert statistics[0] == pytest.approx(np.r_[subject, other, both])
    assert statistics[1] == pytest.approx(np.tile(prior, 3))  # names that were never met


def test_category_statistics_are_symmetric_under_mirroring():
    """One pair, labelled 1, whose mirror image is 2: half a pair for each."""
    statistics = np.exp(CategoryStatistics(np.array([[1, 1]]), np.array([1]), 2, 3, [0, 2, 1])(np.array([[1, 1]])))[0]
    assert statistics[1] == statistics[2] > statistics[0]


def test_mirror_permutation_of_classes():
    assert mirror_permutation(RELATIONS) == [0, 1, 2, 3, 5, 4, 6, 7, 8, 9]
    assert mirror_permutation(("on", "left of")) is None
    assert mirror_permutation(("on", "wears")) == [0, 1]


def test_the_geometric_mean_sums_to_one_and_no_member_has_a_veto():
    first, second = np.log(np.array([[0.5, 0.5]])), np.array([[0.0, -50.0]])
    mean = np.exp(geometric_mean([first, second]))
    expected = np.sqrt(np.array([0.5 * 1, 0.5 * 1e-4]))
    assert mean[0] == pytest.approx(expected / expected.sum())
    model = GeometricMeanEnsemble([MODELS["logistic"](), MODELS["logistic"]()])
    model.fit(make_pairs(100, 1), CLASSES)
    alone = MODELS["logistic"]()
    alone.fit(make_pairs(100, 1), CLASSES)
    assert np.exp(model.log_probabilities(make_pairs(9, 2))) == pytest.approx(
        np.exp(alone.log_probabilities(make_pairs(9, 2))), abs=1e-3
    )
