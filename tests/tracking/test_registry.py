"""Registered versions in a real MLflow store: who holds the alias, no second version, what is in one, and that nothing
in it is code of ours.
"""

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.prediction.standalone import flowers_classifier, pyfunc
from flowerml.selection.registration import AliasAction
from flowerml.tracking import register
from tests.data.pictures import encode, scene
from tests.tracking.finished_runs import CLASSES, LOCAL, TOTAL, Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """One store with a registered CNN, for the tests that only look at it: (store's address, store, decision,
    registration).
    """
    folder = tmp_path_factory.mktemp("lasting")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        store = Store(folder)
        decision = store.decide(hits=30)
        return uri, store, decision, register(decision, "cnn")


@pytest.fixture
def registered(lasting, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", lasting[0])
    return lasting[1:]


def aliases(name="flowers-cnn"):
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(name).aliases.items()}


def versions(name="flowers-cnn"):
    return [one.version for one in MlflowClient().search_model_versions(f"name = '{name}'")]


class TestTheAlias:
    def test_the_first_decision_takes_it_and_the_same_one_makes_no_second_version(self, store):
        decision = store.decide()
        first, again = register(decision, "cnn"), register(decision, "cnn", force=True)
        assert (first.version, first.created, first.verdict.action) == ("1", True, AliasAction.FIRST)
        assert (again.version, again.created, again.verdict.action) == ("1", False, AliasAction.SAME)
        assert aliases() == {"champion": "1"}
        assert len(versions()) == 1

    def test_a_better_one_takes_it_and_the_former_is_previous(self, store):
        register(store.decide(hits=20), "cnn")
        better = register(store.decide(hits=21, config="e" * 64), "cnn")
        assert better.verdict.action is AliasAction.BETTER
        assert aliases() == {"champion": "2", "previous": "1"}

    def test_a_worse_one_is_registered_without_it_unless_forced(self, store):
        register(store.decide(hits=20), "cnn")
        worse = store.decide(hits=19, config="e" * 64)
        kept = register(worse, "cnn")
        assert (kept.verdict.action, kept.version, kept.created) == (AliasAction.KEEP, "2", True)
        assert aliases() == {"champion": "1"}
        forced = register(worse, "cnn", force=True)
        assert (forced.verdict.action, forced.version, forced.created) == (AliasAction.FORCED, "2", False)
        assert aliases() == {"champion": "2", "previous": "1"}

    def test_a_demo_with_accuracy_1_does_not_keep_a_real_decision_from_it(self, store):
        """Drawn flowers are another split digest: the real one takes the alias, and says that the two can't be
        compared.
        """
        register(store.decide(hits=TOTAL, split="1" * 64, data="2" * 64), "cnn")
        real = register(store.decide(hits=28, config="e" * 64), "cnn")
        assert real.verdict.action is AliasAction.OTHER_SPLIT
        assert "can't be compared" in real.words
        assert aliases() == {"champion": "2", "previous": "1"}

    def test_an_earlier_decision_comes_back_as_the_version_it_had(self, store):
        first = store.decide(hits=20)
        register(first, "cnn")
        register(store.decide(hits=30, split="1" * 64), "cnn")
        back = register(first, "cnn")
        assert (back.version, back.created) == ("1", False)
        assert aliases() == {"champion": "1", "previous": "2"}

    def test_a_retrained_model_stands_in_for_the_best_seed_of_the_same_decision_only_once(self, store):
        decision = store.decide(hits=20)
        register(decision, "cnn")
        final = store.put(hits=0, kind="final", config="f" * 64)
        retrained = register(decision, "cnn", retrained_id=final.run_id)
        assert retrained.verdict.action is AliasAction.RETRAINED
        assert aliases() == {"champion": "2", "previous": "1"}
        assert MlflowClient().get_model_version("flowers-cnn", "2").run_id == final.run_id
        for again in ({}, {"retrained_id": final.run_id}):
            assert register(decision, "cnn", **again).verdict.action is AliasAction.SAME
        assert len(versions()) == 2

    def test_the_two_families_do_not_meet(self, store):
        register(store.decide(hits=20), "cnn")
        assert register(store.decide("vit", hits=10), "vit").verdict.action is AliasAction.FIRST
        assert (aliases("flowers-cnn"), aliases("flowers-vit")) == ({"champion": "1"}, {"champion": "1"})


class TestRefusals:
    def test_a_run_without_weights(self, store):
        with pytest.raises(UserError, match=r"has no best\.pth among its artifacts"):
            register(store.decide(files=False), "cnn")
        assert versions() == []

    def test_weights_that_are_not_those_of_the_run(self, store):
        decision = store.decide(hits=20)
        other = replace(decision, chosen=replace(decision.chosen, accuracy=0.9))
        with pytest.raises(UserError, match="these are not the run's weights"):
            register(other, "cnn")
        assert versions() == []

    def test_a_retrained_run_that_is_no_final_one(self, store):
        decision = store.decide()
        other = store.put("vit", kind="final")
        for run, what in ((decision.chosen, "of kind train and family cnn"), (other, "of kind final and family vit")):
            with pytest.raises(UserError, match=f"{what}: a FINISHED final run of a cnn is wanted"):
                register(decision, "cnn", retrained_id=run.run_id)
        with pytest.raises(UserError, match="refuses"):
            register(decision, "cnn", retrained_id="0" * 32)
        assert versions() == []

    def test_a_family_that_has_no_registered_model(self, store):
        with pytest.raises(UserError, match="Allowed: cnn, vit"):
            register(store.decide(), "other")


class TestWhatAVersionSays:
    def test_rule_runs_seeds_figures_and_digests(self, registered):
        _, decision, registration = registered
        version = MlflowClient().get_model_version("flowers-cnn", registration.version)
        runs = decision.winner.configuration.runs
        assert version.run_id == version.tags["flowerml.source_run"] == decision.chosen.run_id
        assert version.tags["flowerml.runs"].split(",") == [run.run_id for run in runs]
        assert version.tags["flowerml.seeds"] == "11,23"
        assert version.tags["flowerml.mean_val_accuracy"] == "0.75"
        assert (version.tags["flowerml.hits"], version.tags["flowerml.total"]) == ("60", "80")
        assert version.tags["flowerml.split_digest"] == decision.split_digest
        assert version.tags["flowerml.rule"].startswith(
            "mean accuracy over the seeds; where it is equal: mean macro-F1, then variance"
        )
        assert decision.words in version.description
        assert all(run.run_id in version.description for run in runs)

    def test_its_data_and_metrics_are_linked(self, registered):
        """The logged model is that of the training's run, READY, and its figures name the data they were measured on."""
        _, decision, registration = registered
        version = MlflowClient().get_model_version("flowers-cnn", registration.version)
        model = MlflowClient().get_logged_model(version.source.removeprefix("models:/"))
        assert model.source_run_id == decision.chosen.run_id
        assert str(model.status).endswith("READY")
        assert {(one.key, one.value) for one in model.metrics} >= {
            ("mean_val_accuracy", 0.75),
            ("chosen_val_accuracy", 0.75),
        }
        assert {one.dataset_digest for one in model.metrics} == {decision.data_digest[:36]}
        assert MlflowClient().get_run(decision.chosen.run_id).info.status == "FINISHED"


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

    def test_nothing_in_it_names_the_machine_that_trained(self, files):
        assert not [path for path in files.rglob("*") if path.is_file() and LOCAL.encode() in path.read_bytes()]

    def test_its_signature_and_example(self, files):
        model = yaml.safe_load((files / "MLmodel").read_text())
        assert json.loads(model["signature"]["inputs"]) == [{"type": "string", "name": "image", "required": True}]
        assert [column["name"] for column in json.loads(model["signature"]["outputs"])] == ["label", "probabilities"]
        example = json.loads((files / model["saved_input_example_info"]["artifact_path"]).read_text())
        assert base64.b64decode(example["data"][0][0]).startswith(b"\xff\xd8")

    def test_it_loads_without_unpickling_and_gives_the_same_as_the_package(self, registered, monkeypatch, tmp_path):
        """In a process of its own, outside the project: `flowers_classifier` must be the model's own, and pickle is
        forbidden.
        """
        photo = encode(scene(3), "JPEG")
        script = (
            "import sys, json, base64, mlflow.pyfunc, pandas as pd\nmodel ="
            " mlflow.pyfunc.load_model('models:/flowers-cnn@champion')\nrows = pd.DataFrame({'image': [sys.argv[1],"
            " 'data:image/jpeg;base64,' + sys.argv[1]]})\nprint(json.dumps([model.predict(rows), [name for name in"
            " sys.modules if name.split('.')[0] == 'flowerml']]))\n"
        )
        monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        command = [sys.executable, "-I", "-c", script, base64.b64encode(photo).decode("ascii")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        answer, ours = json.loads(done.stdout.splitlines()[-1])
        assert ours == []
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
