"""The registered pyfunc model: code, requirements, signature; it loads without pickle and without this package."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.artifacts import download_artifacts

from flowerml.prediction.standalone import flowers_classifier, pyfunc
from tests.data.pictures import encode, scene
from tests.tracking.finished_runs import CLASSES, LOCAL

pytestmark = pytest.mark.slow


@pytest.fixture
def files(registered, tmp_path):
    return Path(download_artifacts(artifact_uri="models:/flowers-cnn@champion", dst_path=str(tmp_path / "model")))


class TestTheModel:
    def test_its_only_code_is_the_single_file_which_knows_the_digest_of_its_weights(self, files):
        assert [path.name for path in (files / "code").rglob("*.py")] == ["flowers_classifier.py"]
        source = (files / "code" / "flowers_classifier.py").read_text()
        assert not any(
            line.startswith(("import flowerml", "from flowerml", "import mlflow", "from mlflow"))
            for line in source.splitlines()
        )
        assert '"cnn_flowers.pth": "' in source
        assert not [path for path in files.rglob("*") if path.suffix in (".pkl", ".pickle")]

    def test_its_requirements_are_pinned_and_never_name_flowerml(self, files):
        for name in ("requirements.txt", "conda.yaml", "python_env.yaml", "MLmodel"):
            assert "flowerml" not in (files / name).read_text().replace("flowerml-checkpoint", "").replace(
                str(files), ""
            )
        lines = (files / "requirements.txt").read_text().splitlines()
        assert {line.split("==")[0] for line in lines} == {
            "mlflow",
            "torch",
            "torchvision",
            "numpy",
            "pandas",
            "pillow",
            "timm",
        }
        assert all("==" in line and "+" not in line for line in lines)

    def test_it_has_no_local_paths(self, files):
        assert not [path for path in files.rglob("*") if path.is_file() and LOCAL.encode() in path.read_bytes()]

    def test_its_signature_and_example(self, files):
        model = yaml.safe_load((files / "MLmodel").read_text())
        assert json.loads(model["signature"]["inputs"]) == [{"type": "string", "name": "image", "required": True}]
        assert [column["name"] for column in json.loads(model["signature"]["outputs"])] == ["label", "probabilities"]
        example = json.loads((files / model["saved_input_example_info"]["artifact_path"]).read_text())
        assert base64.b64decode(example["data"][0][0]).startswith(b"\xff\xd8")

    def test_it_loads_without_unpickling_and_gives_the_same_as_the_package(self, registered, monkeypatch, tmp_path):
        """In another process, outside the project: `flowers_classifier` must be the model's; pickle is forbidden."""
        photo = encode(scene(3), "JPEG")
        script = (
            "import sys, json, base64, mlflow.pyfunc, pandas as pd\n"
            "model = mlflow.pyfunc.load_model('models:/flowers-cnn@champion')\n"
            "rows = pd.DataFrame({'image': [sys.argv[1], 'data:image/jpeg;base64,' + sys.argv[1]]})\n"
            "own = [name for name in sys.modules if name.split('.')[0] == 'flowerml']\n"
            "print(json.dumps([model.predict(rows), own]))\n"
        )
        monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        command = [sys.executable, "-I", "-c", script, base64.b64encode(photo).decode("ascii")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        answer, imported = json.loads(done.stdout.splitlines()[-1])
        assert imported == []
        _, decision, _ = registered
        path = mlflow.artifacts.download_artifacts(
            run_id=decision.chosen.run_id, artifact_path="best.pth", dst_path=str(tmp_path)
        )
        model = flowers_classifier.load_model(path)
        shares = flowers_classifier.predict_proba(model, photo)[0]
        for row in answer:
            assert row["label"] == flowers_classifier.predict(model, photo)
            assert list(row["probabilities"]) == list(CLASSES)
            assert list(row["probabilities"].values()) == pytest.approx(shares.tolist(), abs=1e-6)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("%%%", "picture 2: not base64"),
            (base64.b64encode(b"<html>").decode(), "picture 2: not a picture in"),
            (5, "picture 2: the base64 text of a picture file is wanted, not int"),
        ],
    )
    def test_a_bad_picture_is_mlflows_own_error_and_names_its_row(self, files, text, reason):
        served = pyfunc._load_pyfunc(str(files / "data" / "cnn_flowers.pth"))
        good = base64.b64encode(encode(scene(3), "JPEG")).decode("ascii")
        with pytest.raises(mlflow.MlflowException, match=reason) as caught:
            served.predict(pd.DataFrame({"image": [good, text]}))
        assert caught.value.get_http_status_code() == 400
        assert len(served.predict(pd.DataFrame({"image": [good]}))) == 1
