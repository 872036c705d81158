"""The registered pyfunc model of the relations task: MLflow loads it without this package and without pickle."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from flowerml.data.relations.records import RELATIONS
from flowerml.prediction.relations_served import COLUMNS
from flowerml.tracking import register
from tests.data.pictures import encode, scene
from tests.tracking.finished_runs import LOCAL, Store


@pytest.fixture
def registered_pairs(tmp_path):
    return register(Store(tmp_path).decide("relation"), "relation")


def test_the_best_of_the_decision_is_champion_of_relations(registered_pairs):
    assert (registered_pairs.name, registered_pairs.version, registered_pairs.created) == ("relations", "1", True)
    version = MlflowClient().get_model_version_by_alias("relations", "champion")
    assert version.tags["flowerml.seeds"] == "11,23"
    assert "mean" in version.description


@pytest.mark.slow
def test_mlflow_loads_it_and_answers_a_picture_with_two_boxes(registered_pairs, monkeypatch, tmp_path):
    files = Path(download_artifacts(artifact_uri="models:/relations@champion", dst_path=str(tmp_path / "model")))
    assert {path.name for path in (files / "code").rglob("*.py")} == {
        "relations_classifier.py",
        "flowers_classifier.py",
    }
    assert (files / "data" / "relations.pth").is_file()
    for name in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        assert "flowerml" not in (files / name).read_text()
    assert not [path for path in files.rglob("*") if path.is_file() and LOCAL.encode() in path.read_bytes()]
    script = (
        "import sys, json, mlflow.pyfunc, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/relations@champion')\n"
        "rows = pd.DataFrame(json.loads(sys.argv[1]))\n"
        "print(json.dumps([model.predict(rows), [name for name in sys.modules if name.split('.')[0] == 'flowerml']]))\n"
    )
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    edges = dict(zip(COLUMNS, ([2.0], [3.0], [20.0], [30.0], [10.0], [12.5], [44.0], [38.0]), strict=True))
    rows = {"image": [base64.b64encode(encode(scene(3), "JPEG")).decode("ascii")], **edges}
    command = [sys.executable, "-I", "-c", script, json.dumps(rows)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (answer,), imported = json.loads(done.stdout.splitlines()[-1])
    assert imported == []
    assert list(answer["probabilities"]) == list(RELATIONS)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
