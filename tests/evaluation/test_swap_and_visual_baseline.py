"""Swap consistency, and the visual baseline."""

import numpy as np
import pytest

from flowerml.data.relations.records import RELATIONS
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.pairs.swap_consistency import swap_consistency
from flowerml.evaluation.pairs.visual_baseline import visual_baseline


def answers(*names: str, classes: tuple[str, ...] = RELATIONS) -> Predictions:
    logits = np.eye(len(classes), dtype=np.float32)[[classes.index(name) for name in names]]
    return Predictions(classes, tuple(map(str, range(len(names)))), np.zeros(len(names), np.int64), logits)


def test_a_prediction_is_consistent_if_it_turns_into_its_inverse():
    before = answers("above", "above", "left of", "near", "on", "under")
    after = answers("below", "above", "right of", "near", "under", "above")
    assert swap_consistency(before, after) == {
        "swap_pairs": 6.0,
        "swap_consistency_percent": pytest.approx(100 * 4 / 6),
    }


def test_predictions_without_an_inverse_do_not_count():
    assert swap_consistency(answers("inside", "above"), answers("inside", "below")) == {
        "swap_pairs": 1.0,
        "swap_consistency_percent": 100.0,
    }
    assert swap_consistency(answers("outside"), answers("outside")) == {"swap_pairs": 0.0}


def test_an_inverse_that_is_not_a_class_does_not_count():
    classes = ("above", "left of", "near")
    found = swap_consistency(answers("above", "near", classes=classes), answers("above", "near", classes=classes))
    assert found == {"swap_pairs": 1.0, "swap_consistency_percent": 100.0}


def test_informative_features_are_learned_and_shuffled_labels_give_chance():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    features = rng.normal(size=(400, 16)) + 2 * np.eye(4, 16)[labels]
    told = visual_baseline(features[:300], labels[:300], features[300:], labels[300:], 4)
    assert told.accuracy > 0.8
    assert told.total == 100
    assert told.mean_recall == pytest.approx(np.mean(told.recalls))
    shuffled = rng.permutation(labels)
    assert abs(visual_baseline(features[:300], shuffled[:300], features[300:], labels[300:], 4).accuracy - 0.25) < 0.15
