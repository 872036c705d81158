"""Test-time views of weights files, in the package and in the delivered single file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import flowerml
from flowerml.data.transforms import EvaluationTransform
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration
from flowerml.evaluation.tta import FLIP, FLIP_SCALES, NO_VIEWS, TTA, crop_shares
from flowerml.prediction import as_predictor, load_predictor, predict, predict_proba, predict_set
from flowerml.prediction.files import predict_files
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.data.pictures import put_classes, scene
from tests.prediction.single_file import load_single_file

CALIBRATION = Calibration(2.5, np.sort(np.random.default_rng(0).random(99)).astype(np.float32))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = put_classes(tmp_path_factory.mktemp("photos"), {"daisy": 3, "rose": 3})
    return sorted(root.rglob("*.jpg"))


@pytest.fixture
def with_views(files, tmp_path):
    """A function that writes a calibrated weights file with views; returns its path."""

    def write(tta, family="cnn", calibration=CALIBRATION):
        path = tmp_path / f"{family}_{tta}.pth"
        save_checkpoint(path, replace(load_checkpoint(files[family]), tta=tta, calibration=calibration))
        return path

    return write


def mean_logits(path, pictures, shares):
    """By hand: every picture with every `crop_pct` and its mirror image, through training's transform and network."""
    checkpoint = load_checkpoint(path)
    network, logits = as_predictor(checkpoint, "cpu", ""), []
    with torch.inference_mode():
        for share in shares:
            transform = EvaluationTransform(replace(checkpoint.description, crop_pct=share))
            inputs = torch.stack([transform(Image.open(picture).convert("RGB")) for picture in pictures])
            logits += [network(inputs), network(torch.from_numpy(inputs.numpy()[..., ::-1].copy()))]
    return torch.stack(logits).double().mean(dim=0)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cnn", "vit"])
@pytest.mark.parametrize(("tta", "shares"), [(FLIP, [0.9]), (FLIP_SCALES, [0.9, 1.0, 0.9 / 1.15])])
def test_probabilities_are_those_of_the_mean_logits_of_the_views(with_views, pictures, family, tta, shares):
    path = with_views(tta, family)
    logits = mean_logits(path, pictures, shares)
    plain = predict_proba(load_predictor(with_views(NO_VIEWS, family)), pictures)
    for module, load in ((flowerml.prediction, load_predictor), (load_single_file(), load_single_file().load_model)):
        model = load(path)
        assert np.allclose(module.predict_proba(model, pictures, calibrated=False), logits.softmax(1), atol=1e-5)
        found = module.predict_proba(model, pictures)
        assert np.allclose(found, (logits / 2.5).softmax(1), atol=1e-5)
        assert not np.allclose(found, plain, atol=1e-4)
        assert module.predict(model, pictures) == [model.classes[place] for place in logits.argmax(1)]
        sets = module.predict_set(model, pictures, 0.8)
        assert [names[0] for names in sets] == module.predict(model, pictures)


def test_the_single_file_and_a_folder_of_pictures_answer_as_the_package(with_views, pictures):
    path = with_views(FLIP_SCALES)
    module, model = load_single_file(), load_predictor(path)
    served = module.load_model(path)
    expected = predict_proba(model, pictures)
    assert np.allclose(module.predict_proba(served, pictures), expected, atol=1e-6)
    assert module.predict_set(served, pictures, 0.8) == predict_set(model, pictures, 0.8)
    for workers in (0, 2):
        rows = [answer.probabilities for answer in predict_files(model, pictures, workers)]
        assert np.allclose(rows, expected, atol=1e-6)


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_flip_changes_nothing_about_a_symmetric_picture(with_views, family):
    """Rows of one colour each: the mirror image is the picture, to the last digit."""
    rows = np.random.default_rng(1).integers(0, 256, (90, 1, 3), dtype=np.uint8)
    symmetric = Image.fromarray(np.repeat(rows, 120, axis=1))
    plain, viewed = (load_predictor(with_views(tta, family)) for tta in (NO_VIEWS, FLIP))
    assert np.array_equal(predict_proba(plain, symmetric), predict_proba(viewed, symmetric))
    other = scene(4, 120, 90)
    assert not np.array_equal(predict_proba(plain, other), predict_proba(viewed, other))


def test_a_picture_and_its_mirror_image_get_the_same_probabilities(with_views):
    path = with_views(FLIP)
    checkpoint = load_checkpoint(path)
    save_checkpoint(path, replace(checkpoint, description=replace(checkpoint.description, crop_pct=1.0)))
    model, picture = load_predictor(path), scene(4, 64, 64)  # of the input's size: neither resized nor cropped
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.array_equal(predict_proba(model, picture), predict_proba(model, mirrored))
    model.tta = NO_VIEWS
    assert not np.array_equal(predict_proba(model, picture), predict_proba(model, mirrored))


def test_the_networks_own_logits_are_those_without_views(with_views, pictures):
    """What a delivery is compared with."""
    plain, viewed = (load_predictor(with_views(tta)) for tta in (NO_VIEWS, FLIP))
    inputs = torch.stack([plain.preprocess(picture) for picture in pictures])
    with torch.inference_mode():
        assert torch.equal(plain(inputs), viewed(inputs))
        assert torch.equal(plain.view_logits(inputs), plain(inputs))


def test_a_file_without_views_has_no_key_and_loads_as_before(files, with_views, pictures):
    assert "tta" not in torch.load(files["cnn"], weights_only=True)
    assert torch.load(with_views(FLIP), weights_only=True)["tta"] == FLIP
    assert load_checkpoint(files["cnn"]).tta == NO_VIEWS
    for load in (load_predictor, load_single_file().load_model):
        assert load(files["cnn"]).tta == NO_VIEWS
    assert predict(load_predictor(files["cnn"]), pictures)


@pytest.mark.parametrize("wrong", ["mirror", 2, ["flip"]])
def test_views_of_another_version_are_refused_in_one_line_by_both_readers(with_views, wrong):
    path = with_views(FLIP)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "tta": wrong}, path)
    for load in (load_predictor, load_single_file().load_model):
        with pytest.raises((UserError, ValueError), match=r"none, flip.*flip-scales") as raised:
            load(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("tta", "crop_pct", "expected"),
    [
        (NO_VIEWS, 0.9, [0.9]),
        (FLIP, 0.9, [0.9]),
        (FLIP_SCALES, 0.5, [0.5, 0.5 / 0.9, 0.5 / 1.15]),
        (FLIP_SCALES, 0.95, [0.95, 1.0, 0.95 / 1.15]),
        (FLIP_SCALES, 1.0, [1.0, 1 / 1.15]),  # smaller than the crop there is nothing
    ],
)
def test_sizes_are_shares_of_the_crop(tta, crop_pct, expected):
    assert tta in TTA
    assert crop_shares(tta, crop_pct) == pytest.approx(tuple(expected))
