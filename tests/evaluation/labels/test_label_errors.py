"""Label errors by out-of-sample confidence: the order, the rule for "likely wrong", and that no picture is judged by
its own label.
"""

import numpy as np
import pytest

from flowerml.evaluation.labels.label_errors import cross_validated_probabilities, find_label_errors

CLASSES = ("daisy", "rose")


def test_ranking_and_rule_against_hand_computed_values():
    """Thresholds: mean confidence of daisy in daisies (0.9 + 0.7 + 0.2) / 3 = 0.6, of rose in roses (0.8 + 0.51) / 2 =
    0.655. Each picture stands twenty times: the rule asks for a model that is shown to be better than a guess.
    """
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.49, 0.51]])
    keys = [f"{key}{copy:02d}" for copy in range(20) for key in ("daisy/a", "daisy/b", "daisy/c", "rose/d", "rose/e")]
    found = find_label_errors(keys, np.array([0, 0, 0, 1, 1] * 20), np.tile(probabilities, (20, 1)), CLASSES, "how")
    order = {name: "".join(row.key.split("/")[1][0] for row in rows) for name, rows in found.by_class.items()}
    assert order == {"daisy": "c" * 20 + "b" * 20 + "a" * 20, "rose": "e" * 20 + "d" * 20}
    first = found.by_class["daisy"][0]
    assert (first.suggested, first.p_label, first.p_suggested) == ("rose", 0.2, 0.8)
    likely = {row.key[:-2] for rows in found.by_class.values() for row in rows if row.likely_wrong}
    assert likely == {"daisy/c"}  # e reaches no threshold
    assert found.estimated == {"daisy": 20, "rose": 0}
    assert found.too_weak == ""


@pytest.mark.parametrize(("right", "weak"), [(60, True), (69, True), (71, False), (90, False)])
def test_a_model_that_is_not_shown_to_be_better_than_a_guess_calls_no_label_wrong(right, weak):
    """60 of 100 pictures are daisies: always to name them is right for 60. Wilson's interval of 70 of 100 begins at
    0.604.
    """
    labels = np.repeat([0, 1], [60, 40])
    named = labels.copy()
    named[right:] = 1 - named[right:]
    probabilities = np.where(named[:, None] == [0, 1], 0.9, 0.1)
    found = find_label_errors([str(i) for i in range(100)], labels, probabilities, CLASSES, "how")
    assert bool(found.too_weak) == weak
    assert (sum(found.estimated.values()) == 0) == weak
    assert not weak or found.too_weak == (
        f"The model is right for {right} of 100 pictures (always naming the most frequent class: 60), and would call"
        f" {100 - right} labels wrong: it is too weak to judge them, and none is called wrong."
    )
    assert len(found.lines()) == 1 + weak + len(CLASSES) + 2 * 5


def test_a_model_that_would_call_most_labels_wrong_calls_none_wrong():
    """Of three equal classes it is right for 48 of 100 pictures, far better than a guess, and doubts the other 52."""
    labels = np.repeat([0, 1, 2], [34, 33, 33])
    named = (labels + (np.arange(100) % 25 >= 12)) % 3
    probabilities = np.full((100, 3), 0.05)
    probabilities[np.arange(100), named] = 0.9
    found = find_label_errors([str(i) for i in range(100)], labels, probabilities, ("a", "b", "c"), "how")
    assert "right for 48 of 100" in found.too_weak
    assert "call 52 labels wrong" in found.too_weak
    assert found.estimated == {"a": 0, "b": 0, "c": 0}


def test_an_image_whose_label_is_most_probable_is_not_likely_wrong():
    """Both classes are reached (0.55 each): the label has more of the probability, so it stands."""
    probabilities = np.array([[0.6, 0.4], [0.5, 0.5], [0.4, 0.6], [0.5, 0.5]])
    found = find_label_errors(
        ["daisy/a", "daisy/b", "rose/c", "rose/d"], np.array([0, 0, 1, 1]), probabilities, CLASSES, "how"
    )
    assert found.estimated == {"daisy": 0, "rose": 0}


def test_the_list_is_limited_but_the_estimate_counts_all():
    probabilities = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 2)
    found = find_label_errors(
        [f"daisy/{i}" for i in range(5)], np.zeros(5, dtype=int), probabilities, CLASSES, "how", first=2
    )
    assert [one.key for one in found.by_class["daisy"]] == ["daisy/3", "daisy/4"]
    assert found.by_class["rose"] == []
    assert found.as_json()["by_class"]["daisy"][0]["p_label"] == 0.1


@pytest.fixture
def blobs():
    """40 pictures of two classes with features that tell them apart; the first one, of class 0, lies in the middle of
    class 1.
    """
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 20)
    features = rng.normal(0, 0.5, (40, 8)) + np.where(labels[:, None] == 0, -2.0, 2.0)
    features[0] = 2.0
    return features, labels


def test_a_wrong_label_is_ranked_first(blobs):
    features, labels = blobs
    probabilities = cross_validated_probabilities(features, labels, range(40))
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(40))
    own = probabilities[np.arange(40), labels]
    assert own.argmin() == 0
    assert own[0] < 0.5 < own[1:].min()
    assert (cross_validated_probabilities(features, labels, range(40)) == probabilities).all()


def test_duplicates_of_a_wrong_label_are_held_out_together(blobs):
    """Fifteen copies under the same wrong label: in groups of their own they teach the head their label, in one group
    they can't.
    """
    features, labels = blobs
    features = np.concatenate([features, np.repeat(features[:1], 15, axis=0)])
    labels = np.concatenate([labels, np.zeros(15, dtype=int)])
    apart = cross_validated_probabilities(features, labels, range(55))[0, 0]
    together = cross_validated_probabilities(features, labels, [*range(40), *[0] * 15])[0, 0]
    assert together < 0.5 < apart


def test_a_class_with_one_group_is_refused(blobs):
    features, labels = blobs
    with pytest.raises(ValueError, match="fewer than two groups"):
        cross_validated_probabilities(features, labels, [*[0] * 20, *range(1, 21)])
