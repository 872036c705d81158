"""The code that goes with served weights of pairs: one file beside `flowers_classifier.py`, without this package, with
the same answers.
"""

import base64
import json
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

from flowerml.data.relations import geometry, records
from flowerml.data.relations.geometry import BoxFeatures, feature_names
from flowerml.data.relations.records import RELATIONS
from flowerml.models.pairs.classifier import build_pair_classifier
from flowerml.prediction import load_relation_model, predict_relation_proba
from flowerml.prediction.bundle import bundle
from flowerml.prediction.delivered import served_code
from flowerml.settings import find_model, resolve
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from tests.data.pictures import encode, scene
from tests.prediction.single_file import load_relations_file

relations_classifier = load_relations_file()
NAME = "relation:timm:test_resnet"
SUBJECT, OBJECT = (2.0, 3.0, 20.0, 30.0), (10.0, 12.5, 44.0, 38.0)


@pytest.fixture(scope="module", params=list(BoxFeatures))
def weights(request, tmp_path_factory):
    settings, _ = resolve(
        {"model": NAME, "weights": "none", "img_size": 32, "box_features": request.param.value, "temperature": 0.5}
    )
    torch.manual_seed(0)
    built = build_pair_classifier(
        find_model(NAME), 10, len(feature_names(request.param)), img_size=32, embedding=128, temperature=0.5
    )
    path = tmp_path_factory.mktemp("served") / "relations.pth"
    content = settings.model_dump(mode="json")
    save_checkpoint(
        path, Checkpoint(built.model.state_dict(), find_model(NAME), RELATIONS, built.description, 1, {}, content, None)
    )
    return path


def row(picture: bytes, subject=SUBJECT, other=OBJECT) -> dict:
    edges = dict(zip(relations_classifier.COLUMNS, (*subject, *other), strict=True))
    return {"image": [base64.b64encode(picture).decode("ascii")], **{name: [value] for name, value in edges.items()}}


@pytest.mark.slow
def test_gives_the_packages_answers_in_a_process_without_the_package(weights, tmp_path):
    code = served_code("relation", {})
    assert list(code) == ["relations_classifier.py", "flowers_classifier.py"]
    for name, source in code.items():
        (tmp_path / name).write_text(source)
    picture = encode(scene(3), "PNG")
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import relations_classifier as rc\nserved ="
        " rc._load_pyfunc(sys.argv[2])\nprint(json.dumps([served.predict(json.loads(sys.argv[3])), [n for n in"
        " sys.modules if n.split('.')[0] == 'flowerml']]))\n"
    )
    command = [sys.executable, "-I", "-c", script, str(tmp_path), str(weights), json.dumps(row(picture))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (answer,), ours = json.loads(done.stdout)
    assert ours == []
    wanted = predict_relation_proba(load_relation_model(weights), picture, SUBJECT, OBJECT)
    assert list(answer["probabilities"]) == list(RELATIONS)
    assert list(answer["probabilities"].values()) == pytest.approx(wanted.tolist(), abs=1e-5)
    assert answer["label"] == RELATIONS[int(wanted.argmax())]


def test_answers_a_table_of_rows(weights):
    served = relations_classifier._load_pyfunc(str(weights))
    rows = pd.DataFrame(
        [{name: values[0] for name, values in row(encode(scene(number), "JPEG")).items()} for number in (3, 4)]
    )
    answers = served.predict(rows)
    model = load_relation_model(weights)
    for number, answer in zip((3, 4), answers, strict=True):
        shares = predict_relation_proba(model, encode(scene(number), "JPEG"), SUBJECT, OBJECT)
        assert np.allclose(list(answer["probabilities"].values()), shares, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subject": (2.0, 3.0, 90.0, 30.0)}, "row 1: subject_box is"),
        ({"other": (5.0, 5.0, 5.0, 9.0)}, "row 1: object_box is"),
    ],
)
def test_a_bad_box_names_its_row(weights, changes, reason):
    served = relations_classifier._load_pyfunc(str(weights))
    with pytest.raises(Exception, match=reason):
        served.predict(row(encode(scene(3), "PNG"), **changes))


def test_weights_of_another_task_are_refused(tmp_path):
    from tests.prediction.delivered import deliver

    deliver(tmp_path / "cnn.pth", "convnextv2_atto", 32)
    with pytest.raises(ValueError, match="is of family 'cnn', which is not relation"):
        relations_classifier.load_relation_model(tmp_path / "cnn.pth")


def test_the_file_needs_nothing_of_the_package_and_runs():
    source = served_code("relation", {})["relations_classifier.py"]
    assert not [line for line in source.splitlines() if line.lstrip().startswith(("import flowerml", "from flowerml"))]
    compile(source, "relations_classifier.py", "exec")
    assert source.startswith('"""Name the relation of two boxed objects in a picture')


def test_modules_that_define_one_name_can_not_be_one_file():
    with pytest.raises(ValueError, match="is defined in"):
        bundle((records, records_again()), title=records)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"imports flowerml.data.relations.records, which is not in the file"):
        bundle((geometry,), title=geometry)


def records_again() -> types.ModuleType:
    """The records once more, as a module of another name."""
    again = types.ModuleType("again")
    again.__file__ = records.__file__
    return again
