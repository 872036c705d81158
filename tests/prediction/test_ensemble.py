"""Ensembles: the weighted mean of the members' calibrated probabilities, in the package and in the single file."""

from dataclasses import replace

import numpy as np
import pytest

import flowerml
from flowerml.data.decode import BadImage
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration
from flowerml.evaluation.tta import FLIP_SCALES
from flowerml.prediction import Ensemble, load_ensemble, load_predictor, predict, predict_proba, predict_set
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.data.pictures import put, put_classes
from tests.prediction.delivered import CLASSES
from tests.prediction.single_file import load_single_file

SCORES = np.sort(np.random.default_rng(0).random(99)).astype(np.float32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = put_classes(tmp_path_factory.mktemp("photos"), {"daisy": 10, "rose": 10})  # more than one batch
    return [str(path) for path in sorted(root.rglob("*.jpg"))]


@pytest.fixture(scope="module")
def members(files, tmp_path_factory):
    """A CNN and a ViT with temperatures of their own; one of them has views."""
    folder = tmp_path_factory.mktemp("members")
    paths = [folder / "a.pth", folder / "b.pth"]
    for path, family, temperature, tta in zip(paths, files, (0.5, 4.0), ("none", FLIP_SCALES), strict=True):
        calibration = Calibration(temperature, SCORES)
        save_checkpoint(path, replace(load_checkpoint(files[family]), calibration=calibration, tta=tta))
    return paths


def reordered(path, order, names=None):
    """Write the weights of `path` beside it with their classes in another order (and under other names)."""
    checkpoint = load_checkpoint(path)
    state = {**checkpoint.state_dict}
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][list(order)].clone()
    classes = tuple(names or (checkpoint.classes[place] for place in order))
    target = path.with_name(f"{path.stem}_reordered.pth")
    save_checkpoint(target, replace(checkpoint, state_dict=state, classes=classes))
    return target


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "shares"), [(None, (0.5, 0.5)), ((0.8, 0.2), (0.8, 0.2)), ([3, 1], (0.75, 0.25))])
def test_it_is_the_weighted_mean_of_the_calibrated_probabilities(members, pictures, weights, shares):
    single = [predict_proba(load_predictor(path), pictures) for path in members]
    expected = shares[0] * single[0] + shares[1] * single[1]
    for module in (flowerml.prediction, load_single_file()):
        model = module.load_ensemble(members, weights)
        assert model.weights == pytest.approx(shares)
        assert model.classes == CLASSES
        found = module.predict_proba(model, pictures)
        assert found.dtype == np.float32
        assert np.allclose(found, expected, atol=1e-6)
        assert np.allclose(found.sum(axis=1), 1, atol=1e-6)
        assert module.predict(model, pictures) == [CLASSES[place] for place in expected.argmax(axis=1)]
        assert module.predict(model, pictures[0]) == CLASSES[expected[0].argmax()]


@pytest.mark.slow
def test_labels_are_of_the_calibrated_mean_and_not_of_the_uncalibrated_one(members, pictures):
    model = load_ensemble(members)
    raw = predict_proba(model, pictures, calibrated=False).argmax(axis=1)
    own = predict_proba(model, pictures).argmax(axis=1)
    assert (raw != own).any(), "temperatures of 0.5 and 4 decide some of these pictures"
    assert predict(model, pictures) == [CLASSES[place] for place in own]


@pytest.mark.slow
def test_with_all_weight_on_one_it_is_that_one(members, pictures):
    first = load_predictor(members[0])
    model = load_ensemble(members, (1, 1e-12))
    assert np.allclose(predict_proba(model, pictures), predict_proba(first, pictures), atol=1e-7)
    assert predict(model, pictures) == predict(first, pictures)


def test_classes_in_another_order_are_aligned_by_name(members, pictures):
    other = reordered(members[0], (4, 2, 0, 1, 3))
    assert load_predictor(other).classes != CLASSES
    model = load_ensemble([members[0], other], (0.5, 0.5))
    assert model.classes == CLASSES
    assert np.allclose(predict_proba(model, pictures), predict_proba(load_predictor(members[0]), pictures), atol=1e-6)
    turned = load_ensemble([other, members[0]])
    assert turned.classes == ("tulip", "rose", "daisy", "dandelion", "sunflower")
    assert predict(turned, pictures) == predict(model, pictures)


def test_members_with_other_classes_are_refused_and_named(members):
    other = reordered(members[0], range(5), ("daisy", "dandelion", "rose", "lily", "tulip"))
    for module in (flowerml.prediction, load_single_file()):
        with pytest.raises((UserError, ValueError)) as raised:
            module.load_ensemble([*members, other])
        assert str(raised.value) == (
            f"the members of an ensemble need the same classes; compared with {members[0]}, {other} has lily and lacks"
            " sunflower"
        )


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ((1, 2, 3), "3 weights for an ensemble of 2. Allowed: one positive number per member"),
        (
            (1, 0),
            "a weight of an ensemble is 0. Allowed: positive numbers; leave a member out instead of weighing it …",
        ),
        ((-1, 2), "a weight of an ensemble is -1. Allowed: positive numbers; …"),
        ((1, float("nan")), "a weight of an ensemble is nan. Allowed: positive numbers; …"),
        (("a", "b"), "the weights of an ensemble are ('a', 'b'). Allowed: positive numbers"),
        ((), "0 weights for an ensemble of 2. Allowed: one positive number per member"),
    ],
)
def test_wrong_weights_are_one_line(members, weights, line):
    for module in (flowerml.prediction, load_single_file()):
        with pytest.raises((UserError, ValueError)) as raised:
            module.load_ensemble(members, weights)
        assert str(raised.value).startswith(line.rstrip("…"))
        assert "\n" not in str(raised.value)


def test_wrong_lists_of_files_are_one_line(members, tmp_path):
    cases = [
        (members[:1], "an ensemble has two members or more, not 1: load a single one as a model"),
        ([], "an ensemble has two members or more, not 0"),
        (str(members[0]), "an ensemble is of a list of weights files, not of "),
        ([members[0], tmp_path / "nosuch.pth"], f"{tmp_path / 'nosuch.pth'}: no such file"),
    ]
    for module in (flowerml.prediction, load_single_file()):
        for paths, line in cases:
            with pytest.raises((UserError, ValueError)) as raised:
                module.load_ensemble(paths)
            assert str(raised.value).startswith(line)
            assert "\n" not in str(raised.value)


def test_prediction_sets_are_refused_in_one_line(members, pictures):
    for module in (flowerml.prediction, load_single_file()):
        with pytest.raises((UserError, ValueError), match="predict_set is not available for an ensemble") as raised:
            module.predict_set(module.load_ensemble(members), pictures)
        assert "\n" not in str(raised.value)
    assert predict_set(load_predictor(members[0]), pictures), "each member has its own"


def test_a_bad_picture_is_named(members, tmp_path, pictures):
    bad = put(tmp_path / "page.jpg", b"<!doctype html>")
    with pytest.raises(BadImage, match=r"page\.jpg: "):
        predict(load_ensemble(members), [pictures[0], bad])


def test_no_pictures_give_no_rows(members):
    assert predict_proba(load_ensemble(members), []).shape == (0, 5)


@pytest.mark.slow
def test_loaded_models_can_be_combined_too(members, pictures):
    models = [load_predictor(path) for path in members]
    model = Ensemble(models, (0.8, 0.2), ["a", "b"])
    assert np.allclose(predict_proba(model, pictures), predict_proba(load_ensemble(members, (4, 1)), pictures))
