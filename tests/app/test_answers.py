"""What the page says of a photo is what `flowerml predict` says."""

import numpy as np
import pytest

from flowerml.app.answers import NONE_OF_THESE, classify
from flowerml.data.decode import decode, read_image
from flowerml.prediction import load_predictor, predict, predict_proba
from flowerml.prediction.explain import class_overlay
from tests.app.conftest import CNN, STRICT, VIT
from tests.data.encoded_images import with_orientation
from tests.data.pictures import quarters


@pytest.fixture(scope="module")
def photo(flowers):
    return sorted((flowers / "rose").iterdir())[0]


@pytest.mark.parametrize("name", [CNN, VIT, STRICT])
@pytest.mark.parametrize("tta", ["none", "flip", "flip-scales"])
def test_probabilities_are_calibrated_and_of_the_files_views(weights, photo, name, tta):
    model = load_predictor(weights / name)
    model.tta = tta
    answer = classify(model, read_image(photo))
    assert answer.likeliest == predict(model, photo)
    assert [*answer.shares] == [*model.classes]
    assert np.allclose([*answer.shares.values()], predict_proba(model, photo)[0], atol=1e-6)
    assert answer.share == max(answer.shares.values())


def test_none_of_these_only_where_the_file_can_tell_and_says_so(weights, photo, models):
    answers = {name: classify(model, read_image(photo)) for name, model in models.classifiers.items()}
    assert {name: one.is_unknown for name, one in answers.items()} == {CNN: False, VIT: None, STRICT: True}
    assert answers[STRICT].label == NONE_OF_THESE
    assert answers[CNN].label == answers[CNN].likeliest == answers[STRICT].likeliest
    assert predict(models.classifiers[STRICT], photo, unknown=True) == "unknown"


def test_a_class_called_unknown_is_an_ordinary_one(weights, photo):
    model = load_predictor(weights / STRICT)
    model.classes = (*model.classes[:-1], "unknown")
    assert classify(model, read_image(photo)).is_unknown is None


def test_a_picture_is_turned_as_its_camera_says(models):
    model = models.classifiers[CNN]
    upright, turned = (decode(with_orientation(quarters(), number, "PNG")) for number in (1, 6))
    assert classify(model, upright) == classify(model, turned)


@pytest.mark.parametrize("tta", ["none", "flip", "flip-scales"])
def test_the_heat_map_is_of_the_class_that_is_named_with_any_views(weights, photo, tta):
    model = load_predictor(weights / CNN)
    model.tta = tta
    image = read_image(photo)
    maps = [np.asarray(class_overlay(model, image, place)) for place in range(len(model.classes))]
    assert {one.shape for one in maps} == {(320, 320, 3)}
    assert any(not np.array_equal(maps[0], other) for other in maps[1:])
