"""`predict_relation(model, image, subject_box, object_box)`, on a checkpoint of the one format."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from flowerml import load_relation_model, predict_relation
from flowerml.data.pair_views import ImagePairSource, PairView
from flowerml.data.relations.geometry import BoxFeatures, feature_names
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.errors import UserError
from flowerml.models.pairs.classifier import build_pair_classifier
from flowerml.prediction import as_predictor, load_network, predict_relation_proba
from flowerml.settings import find_model, resolve
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.data.pictures import scene

SUBJECT, OBJECT = (2, 3, 20, 30), (10, 12.5, 44, 38)
NAME = "relation:timm:test_resnet"


@pytest.fixture(scope="module", params=["seed", "rich"])
def trained(request, tmp_path_factory):
    """(path of best.pth, the model that was trained): nothing of it at its default."""
    settings, _ = resolve(
        {
            "model": NAME,
            "weights": "none",
            "img_size": 48,
            "box_features": request.param,
            "embedding": 24,
            "temperature": 0.2,
        }
    )
    torch.manual_seed(0)
    kind = BoxFeatures(request.param)
    built = build_pair_classifier(
        find_model(NAME),
        10,
        len(feature_names(kind)),
        img_size=48,
        embedding=24,
        temperature=0.2,
        dropout=0.3,
        spatial_dropout=0.2,
    )
    path = tmp_path_factory.mktemp("relation") / "best.pth"
    content = settings.model_dump(mode="json")
    save_checkpoint(
        path, Checkpoint(built.model.state_dict(), find_model(NAME), RELATIONS, built.description, 1, {}, content, None)
    )
    return path, built, kind


def test_answers_as_the_model_that_was_trained(trained):
    path, built, kind = trained
    picture = scene(3)
    pair = Pair("", 48, 40, Box(*map(float, SUBJECT)), Box(*map(float, OBJECT)), "on")
    inputs = PairView(built.description, kind)(ImagePairSource(pair, 0, None, picture)).inputs
    with torch.inference_mode():
        wanted = built.model.eval()(tuple(part[None] for part in inputs)).softmax(dim=1)[0].numpy()
    model = load_relation_model(path)
    assert np.allclose(predict_relation_proba(model, picture, SUBJECT, OBJECT), wanted, atol=1e-6)
    assert predict_relation(model, picture, SUBJECT, OBJECT) == RELATIONS[int(wanted.argmax())]
    assert model.classes == RELATIONS


def test_a_path_bytes_and_an_image_are_one_picture(trained, tmp_path):
    model = load_relation_model(trained[0])
    scene(3).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    answers = [
        predict_relation_proba(model, one, SUBJECT, OBJECT)
        for one in (tmp_path / "a.png", str(tmp_path / "a.png"), data, scene(3))
    ]
    assert all(np.array_equal(answers[0], other) for other in answers)


def test_boxes_are_those_of_the_picture_as_it_is_stored(trained):
    model = load_relation_model(trained[0])
    turned = Image.Exif()
    turned[0x0112] = 6
    buffer = io.BytesIO()
    scene(3).save(buffer, "PNG", exif=turned)
    assert np.array_equal(
        predict_relation_proba(model, buffer.getvalue(), SUBJECT, OBJECT),
        predict_relation_proba(model, scene(3), SUBJECT, OBJECT),
    )


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ((2, 3, 60, 30), "within the picture of 48x40"),
        ((20, 3, 2, 30), "right of left"),
        ((2, 3, 20), "four numbers"),
        ((2, 3, 20, float("nan")), "Allowed"),
        (("a", 1, 2, 3), "four numbers"),
        (None, "four numbers"),
    ],
)
def test_a_box_that_is_none_is_refused_in_one_line(trained, box, word):
    model = load_relation_model(trained[0])
    with pytest.raises(UserError) as caught:
        predict_relation(model, scene(3), box, OBJECT)
    assert word in str(caught.value)
    assert str(caught.value).startswith("subject_box is ")
    with pytest.raises(UserError, match=r"^object_box is "):
        predict_relation(model, scene(3), SUBJECT, box)


@pytest.mark.parametrize("picture", [b"", b"<html>", "nowhere.jpg"])
def test_a_picture_that_is_none_is_refused(trained, picture):
    with pytest.raises(UserError):
        predict_relation(load_relation_model(trained[0]), picture, SUBJECT, OBJECT)


def test_each_loader_refuses_the_other_tasks_file_and_says_what_it_is(trained, tmp_path):
    with pytest.raises(UserError, match="names the relation of two boxes in a picture, not the picture"):
        as_predictor(load_checkpoint(trained[0]), "cpu", "best.pth")
    from tests.prediction.delivered import deliver

    deliver(tmp_path / "flowers.pth", "convnextv2_atto", 32)
    with pytest.raises(UserError, match="which names pictures, not the relation"):
        load_relation_model(tmp_path / "flowers.pth")


def test_any_weights_file_gives_its_network(trained):
    network = load_network(trained[0])
    assert network(network.example_inputs(48)).shape == (1, 10)


def test_weights_of_another_shape_are_refused(trained, tmp_path):
    found = load_checkpoint(trained[0])
    state = dict(found.state_dict)
    state["head.embeddings"] = torch.zeros(9, 24)
    save_checkpoint(
        tmp_path / "other.pth",
        Checkpoint(state, found.spec, found.classes, found.description, 1, {}, found.settings, None),
    )
    with pytest.raises(UserError, match=r"head.embeddings is \(9, 24\), not \(10, 24\)"):
        load_relation_model(tmp_path / "other.pth")
