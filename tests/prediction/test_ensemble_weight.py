"""The weights of an ensemble are chosen on one half of the validation photos and judged on the other."""

import csv

import numpy as np
import pytest

from flowerml.data.splits.halves import split_halves
from flowerml.errors import UserError
from flowerml.prediction.ensemble_weight import choose_weight

CLASSES = ("daisy", "rose", "tulip")


def put_run(folder, accuracy, *, seed=0, total=600, classes=CLASSES, wrong_in=None):
    """A run's `predictions.csv` with errors drawn by `seed`; `wrong_in`: positions where it is wrong instead."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    labels = np.arange(total) % len(CLASSES)
    wrong = generator.random(total) > accuracy if wrong_in is None else np.isin(np.arange(total), wrong_in)
    predicted = np.where(wrong, (labels + 1) % len(CLASSES), labels)
    order = generator.permutation(total)  # rows stand in any order
    with (folder / "predictions.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "label", "predicted", *(f"p_{name}" for name in classes)])
        for place in order:
            shares = dict.fromkeys(CLASSES, 0.1) | {CLASSES[predicted[place]]: 0.8}
            if wrong[place]:
                shares = dict.fromkeys(CLASSES, 0.05) | {
                    CLASSES[predicted[place]]: 0.5,
                    CLASSES[labels[place]]: 0.45,
                }
            name = CLASSES[labels[place]]
            row = [f"{name}/{place}.jpg", name, CLASSES[predicted[place]], *(shares[one] for one in classes)]
            writer.writerow(row)
    return folder


def test_models_of_about_equal_accuracy_with_other_errors_gain(tmp_path):
    first, second = put_run(tmp_path / "a", 0.85), put_run(tmp_path / "b", 0.85, seed=1)
    choice = choose_weight(first, second)
    assert 0 < choice.weights[0] < 1
    assert sum(choice.weights) == pytest.approx(1)
    assert choice.judged.shown
    assert choice.judged.pictures == 300
    assert choice.line().startswith(f"--ensemble-weights {choice.weights[0]:g},{choice.weights[1]:g} against ")


def test_classes_and_rows_in_another_order_change_nothing(tmp_path):
    first = put_run(tmp_path / "a", 0.85)
    second = put_run(tmp_path / "b", 0.85, seed=1)
    turned = put_run(tmp_path / "c", 0.85, seed=1, classes=("tulip", "daisy", "rose"))
    one, other = choose_weight(first, second), choose_weight(first, turned)
    assert (one.weights, one.judged) == (other.weights, other.judged)


def test_a_model_that_adds_nothing_is_left_out(tmp_path):
    """It is wrong wherever the first is, and elsewhere too."""
    wrong = np.arange(0, 600, 10)
    first = put_run(tmp_path / "a", 0, wrong_in=wrong)
    second = put_run(tmp_path / "b", 0, wrong_in=np.arange(0, 600, 2))
    choice = choose_weight(second, first)
    assert choice.single == str(first)
    assert choice.judged.gain == 0 or choice.weights[1] > 0.5
    same = choose_weight(first, first)
    assert same.judged.gain == 0


def test_the_judging_half_has_no_say_in_the_choice(tmp_path):
    """The second run is perfect on the judging half only: it is not chosen for that."""
    labels = [place % 3 for place in range(600)]
    names = [f"{CLASSES[label]}/{place}.jpg" for place, label in enumerate(labels)]
    order = np.random.default_rng(0).permutation(600)
    choosing, _ = split_halves([names[place] for place in order], [labels[place] for place in order], range(600), 0)
    on_choosing = order[choosing]
    first = put_run(tmp_path / "a", 0, wrong_in=np.setdiff1d(np.arange(600), on_choosing))
    second = put_run(tmp_path / "b", 0, wrong_in=on_choosing)
    choice = choose_weight(first, second)
    assert choice.single == str(first)
    assert choice.judged.before == 0


def test_wrong_runs_are_one_line(tmp_path):
    run = put_run(tmp_path / "a", 0.9)
    cases = {
        tmp_path / "nosuch": "predictions.csv: missing, or not that of a run",
        put_run(tmp_path / "fewer", 0.9, total=300): "were validated on different photos",
    }
    for other, said in cases.items():
        with pytest.raises(UserError, match=said) as raised:
            choose_weight(run, other)
        assert "\n" not in str(raised.value)
    small = put_run(tmp_path / "small", 0.9, total=99)
    with pytest.raises(UserError, match=r"99 validation photos: .* 100 are needed"):
        choose_weight(small, small)
    text = (run / "predictions.csv").read_text().replace("tulip", "lily")
    (tmp_path / "lilies").mkdir()
    (tmp_path / "lilies" / "predictions.csv").write_text(text)
    with pytest.raises(UserError, match="have different classes"):
        choose_weight(run, tmp_path / "lilies")


def test_near_duplicates_are_on_one_side(tmp_path):
    """As above, but for halves in which photos of one class lie in pairs."""
    labels = [place % 3 for place in range(600)]
    names = [f"{CLASSES[label]}/{place}.jpg" for place, label in enumerate(labels)]
    pairs = {name: 3 * (place // 6) + labels[place] for place, name in enumerate(names)}
    choosing, judging = split_halves(names, labels, [pairs[name] for name in names], 0)
    assert not {pairs[names[place]] for place in choosing} & {pairs[names[place]] for place in judging}
    first = put_run(tmp_path / "a", 0, wrong_in=judging)
    second = put_run(tmp_path / "b", 0, wrong_in=choosing)
    choice = choose_weight(first, second, groups=pairs)
    assert choice.single == str(first)
    assert choice.judged.before == 0
    assert choose_weight(first, second).judged.before > 0, "other halves without them"
    with pytest.raises(UserError, match="600 validation photos can't be split into two halves"):
        choose_weight(first, second, groups=dict(zip(names, labels, strict=True)))
