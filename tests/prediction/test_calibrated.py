"""Calibrated probabilities and prediction sets of weights files, in the package and in the delivered single file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import flowerml
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration
from flowerml.prediction import load_predictor, predict_proba, predict_set
from flowerml.prediction.delivered import for_delivery, is_delivered
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.data.pictures import put_classes
from tests.prediction.single_file import load_single_file

CALIBRATION = Calibration(2.5, np.sort(np.random.default_rng(0).random(99)).astype(np.float32))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = put_classes(tmp_path_factory.mktemp("photos"), {"daisy": 4, "rose": 4})
    return [str(path) for path in sorted(root.rglob("*.jpg"))]


@pytest.fixture(params=["cnn", "vit"])
def file(request, files, tmp_path):
    """A weights file with a calibration."""
    path = tmp_path / f"{request.param}_flowers.pth"
    save_checkpoint(path, replace(load_checkpoint(files[request.param]), calibration=CALIBRATION))
    return path


def test_probabilities_are_those_at_its_temperature_and_labels_the_same(file, pictures):
    model = load_predictor(file)
    raw, calibrated = predict_proba(model, pictures, calibrated=False), predict_proba(model, pictures)
    expected = torch.log(torch.from_numpy(raw.astype(np.float64))).div(2.5).softmax(dim=1).numpy()
    assert np.allclose(calibrated, expected, atol=1e-5)
    assert not np.allclose(calibrated, raw, atol=1e-3)
    assert flowerml.predict(model, pictures) == [model.classes[row.argmax()] for row in raw]


def test_the_single_file_answers_as_the_package(file, pictures):
    module, model = load_single_file(), load_predictor(file)
    served = module.load_model(file)
    assert np.allclose(module.predict_proba(served, pictures), predict_proba(model, pictures), atol=1e-6)
    assert module.predict_set(served, pictures, 0.8) == predict_set(model, pictures, 0.8)
    assert module.predict_set(served, pictures[0]) == predict_set(model, pictures)[0]


def test_sets_grow_with_the_coverage_and_begin_with_the_label(file, pictures):
    model = load_predictor(file)
    small, large = predict_set(model, pictures, 0.5), predict_set(model, pictures, 0.99)
    for few, many, label in zip(small, large, flowerml.predict(model, pictures), strict=True):
        assert many[: len(few)] == few
        assert few[0] == label
    assert sum(map(len, large)) > sum(map(len, small))


def test_a_delivery_keeps_it_and_halves_do_not_change_it(file):
    delivered = for_delivery(load_checkpoint(file))
    assert is_delivered(delivered)
    assert delivered.calibration is not None
    assert delivered.calibration.temperature == 2.5


def test_files_of_earlier_versions_have_none_and_say_so(files, pictures):
    for module in (flowerml, load_single_file()):
        model = (load_predictor if module is flowerml else module.load_model)(files["cnn"])
        assert np.array_equal(
            module.predict_proba(model, pictures), module.predict_proba(model, pictures, calibrated=False)
        )
        with pytest.raises((UserError, ValueError), match="needs a calibration, and these weights have none") as raised:
            module.predict_set(model, pictures)
        assert "\n" not in str(raised.value)


def test_a_wrong_coverage_is_one_line(file, pictures):
    with pytest.raises((UserError, ValueError), match="Allowed: a number between 0 and 1") as raised:
        predict_set(load_predictor(file), pictures, 95)
    assert "\n" not in str(raised.value)


def test_a_damaged_calibration_is_refused_by_both_readers(file):
    content = torch.load(file, weights_only=True)
    content["calibration"]["temperature"] = -1.0
    torch.save(content, file)
    with pytest.raises((UserError, ValueError), match="calibration is not a temperature above 0"):
        load_predictor(file)
    with pytest.raises((UserError, ValueError), match="calibration is not a temperature above 0"):
        load_single_file().load_model(file)
