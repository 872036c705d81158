"""What version 0.1.0 has left on a disk goes on with the present code: see `make_fixture.py` for how it was made.

Only what users type is used here, so that the test runs with every version.
"""

import base64
import hashlib
import importlib.util
import json
import sys

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from flowerml import load_cnn_model, load_relation_model, load_vit_model, predict, predict_proba, predict_relation
from flowerml.tracking.heartbeat import HEARTBEAT
from tests.compatibility.earlier import FAMILIES, all_runs, flowerml, steps, without
from tests.compatibility.figures import history, weights_digest

LOAD = {"cnn": load_cnn_model, "vit": load_vit_model}
PACKAGE = (predict, predict_proba)
EPOCHS = 4  # of the interrupted runs


def near(value, tolerance):
    """Equal but for what another kind of processor computes; nested as JSON is."""
    if isinstance(value, dict):
        return {key: near(one, tolerance) for key, one in value.items()}
    if isinstance(value, list):
        return [near(one, tolerance) for one in value]
    return pytest.approx(value, rel=tolerance, abs=tolerance) if isinstance(value, float) else value


def assert_predicts(model, functions, folder, answer):
    """The labels and probabilities that `flowerml predict --json` of the earlier version has found, in `folder`."""
    predict, predict_proba = functions
    pictures = [str(folder / one["image"]) for one in answer["pictures"]]
    assert predict(model, pictures) == [one["predicted"] for one in answer["pictures"]]
    assert predict_proba(model, pictures).tolist() == near(
        [[one["probabilities"][name] for name in answer["classes"]] for one in answer["pictures"]], 1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_delivered_file_predicts_the_same_with_the_package(unpacked, expected, family):
    folder, weights = unpacked / "team", f"delivery/{family}_flowers.pth"
    assert_predicts(LOAD[family](folder / weights), PACKAGE, folder, expected["team"]["predicted"][weights])


def test_the_best_weights_of_a_run_predict_the_same(unpacked, expected):
    folder, weights = unpacked / "team", "runs/cnn-b-s11/best.pth"
    assert_predicts(load_cnn_model(folder / weights), PACKAGE, folder, expected["team"]["predicted"][weights])


def test_a_delivery_loads_with_the_single_file_in_it_and_is_what_its_manifest_says(unpacked, expected, monkeypatch):
    folder = unpacked / "team" / "delivery"
    predicted = expected["team"]["predicted"]
    spec = importlib.util.spec_from_file_location("delivered_by_an_earlier_version", folder / "flowers_classifier.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for family in FAMILIES:
        model = getattr(module, f"load_{family}_model")(folder / f"{family}_flowers.pth")
        assert_predicts(
            model, (module.predict, module.predict_proba), folder.parent, predicted[f"delivery/{family}_flowers.pth"]
        )
    manifest = (folder / "MANIFEST.json").read_text()
    for name in ("cnn_flowers.pth", "vit_flowers.pth", "flowers_classifier.py"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in manifest, name


def test_relations_are_predicted_the_same(unpacked, expected):
    model = load_relation_model(unpacked / "relation" / "best.pth")
    for image, subject, other, answer in expected["relation"]["answers"]:
        assert predict_relation(model, unpacked / "relation" / image, tuple(subject), tuple(other)) == answer


def test_the_predict_command_answers_the_same(team, capsys):
    for path, answer in team.expected["predicted"].items():
        flowerml(f"predict --model {path} ../data/fresh --device cpu --json")
        assert json.loads(capsys.readouterr().out) == near(answer, 1e-5)


def test_an_evaluation_finds_the_same(team, capsys):
    flowerml("eval --checkpoint runs/cnn-a-s11/best.pth --split val --device cpu --workers 0 --json")
    found = json.loads(capsys.readouterr().out)
    assert without(found, "run_id") == near(without(team.expected["evaluated"], "run_id"), 1e-5)
    parent = MlflowClient().get_run(found["run_id"]).data.tags["mlflow.parentRunId"]
    assert parent == team.run_file("cnn-a-s11")["run_id"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_selection_decides_the_same(team, family, capsys):
    flowerml(f"{team.expected['commands']['select'][family]} --no-record --json")
    decision = json.loads(capsys.readouterr().out)
    assert without(decision, "run_id", "registered") == without(
        team.expected["decisions"][family], "run_id", "registered"
    )


def test_a_selection_prints_the_same(team, capsys):
    flowerml(f"{team.expected['commands']['select']['cnn']} --no-record")
    assert capsys.readouterr().out == team.expected["decisions"]["cnn_table"]


def test_dead_runs_are_closed_and_what_was_kept_is_delivered(team, capsys):
    killed, stopped = (team.run_file(name) for name in ("killed", "stopped"))
    assert (killed["status"], stopped["status"]) == ("RUNNING", "KILLED")
    flowerml("reap --json")
    (closed,) = json.loads(capsys.readouterr().out)["closed"]
    assert (closed["folder"], closed["run_id"], closed["status"]) == ("runs/killed", killed["run_id"], "KILLED")
    assert team.run_file("killed")["status"] == "KILLED"
    assert "undelivered" not in all_runs()
    flowerml("sync --all")
    runs = all_runs()
    (killed_run,), (delivered,) = runs["killed"], runs["undelivered"]
    assert (killed_run.info.run_id, killed_run.info.status) == (killed["run_id"], "KILLED")
    assert (delivered.info.run_id, delivered.info.status) == (team.run_file("undelivered")["run_id"], "FINISHED")
    (as_it_went,) = runs["cnn-a-s11"]  # of other settings, and delivered while it was at work
    assert shape(delivered) == shape(as_it_went)


def shape(run):
    """What a run has at MLflow, whatever its settings are."""
    files = sorted(entry.path for entry in MlflowClient().list_artifacts(run.info.run_id))
    data = [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs]
    per_epoch = [steps(run.info.run_id, metric) for metric in ("train_loss", "val_accuracy", "lr_head")]
    tags = sorted({*run.data.tags} - {HEARTBEAT})  # earlier versions left it at runs that had ended
    return sorted(run.data.params), tags, sorted(run.data.metrics), per_epoch, files, data


@pytest.mark.slow
def test_registered_models_are_known_served_and_exported(team, capsys):
    client = MlflowClient()
    for family in FAMILIES:
        flowerml(f"{team.expected['commands']['select'][family]} --register --json")
        assert json.loads(capsys.readouterr().out)["registered"].startswith(
            f"stands already as flowers-{family}, version 1 "
        )
        assert len(client.search_model_versions(f"name = 'flowers-{family}'")) == 1
    flowerml("export --family both --output-dir again")
    for family in FAMILIES:
        old, new = (team.folder / place / f"{family}_flowers.pth" for place in ("delivery", "again"))
        assert weights_digest(new) == weights_digest(old)
        assert_predicts(
            LOAD[family](new), PACKAGE, team.folder, team.expected["predicted"][f"delivery/{family}_flowers.pth"]
        )
    answer = team.expected["predicted"]["delivery/cnn_flowers.pth"]
    pictures = [base64.b64encode((team.folder / one["image"]).read_bytes()).decode() for one in answer["pictures"]]
    served = mlflow.pyfunc.load_model("models:/flowers-cnn@champion").predict(pd.DataFrame({"image": pictures}))
    assert [one["label"] for one in served] == [one["predicted"] for one in answer["pictures"]]
    assert [one["probabilities"] for one in served] == near([one["probabilities"] for one in answer["pictures"]], 1e-5)
    # Another decision on the same split: held against the champion that the earlier version has registered.
    capsys.readouterr()  # what the export has printed
    flowerml("select --family cnn --seeds 23 --register --json")
    assert "version 2" in json.loads(capsys.readouterr().out)["registered"]
    assert sorted(int(version.version) for version in client.search_model_versions("name = 'flowers-cnn'")) == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["killed", "stopped"])
def test_an_interrupted_run_goes_on_and_ends_as_an_undisturbed_one(team, name, monkeypatch):
    command, undisturbed = team.expected["commands"][name], team.expected["undisturbed"][name]
    before, done = team.run_file(name), history(team.folder / "runs" / name)
    assert 0 < len(done) < EPOCHS
    flowerml(command)
    after, left = team.run_file(name), team.folder / "runs" / name
    assert (after["run_id"], after["config_id"], after["status"]) == (before["run_id"], before["config_id"], "FINISHED")
    assert not (left / "state").exists()
    (run,) = all_runs()[name]
    assert (run.info.run_id, run.info.status) == (before["run_id"], "FINISHED")
    assert steps(run.info.run_id) == list(range(1, EPOCHS + 1))
    rows = history(left)
    assert rows[: len(done)] == done == undisturbed["history"][: len(done)]
    # Another kind of processor, or another release of a library, differs in the last bits: then only about the same.
    whole = team.folder.with_name("whole")
    whole.mkdir()
    monkeypatch.chdir(whole)
    flowerml(command)
    fresh = whole / "runs" / name
    if (history(fresh), weights_digest(fresh / "best.pth")) == (undisturbed["history"], undisturbed["weights"]):
        assert rows == undisturbed["history"]
        assert weights_digest(left / "best.pth") == undisturbed["weights"]
    else:
        assert [float(row["train_loss"]) for row in rows] == near(
            [float(row["train_loss"]) for row in undisturbed["history"]], 1e-2
        )


@pytest.mark.slow
def test_a_killed_campaign_goes_on_to_its_end(campaign, capfd):
    """The finished runs are not run again, and all ends as in a campaign that was left alone."""
    names = [
        name
        for name in campaign.expected["campaign"]["runs"]
        if (campaign.folder / "runs" / name / "run.json").exists()
    ]
    before = {name: campaign.run_file(name) for name in names}
    finished = [name for name in names if before[name]["status"] == "FINISHED"]
    assert (finished, before["D1"]["status"]) == (["A1", "B1", "B2", "C1"], "RUNNING")
    ended = {name: runs[0].info.end_time for name, runs in all_runs().items() if name in finished}
    capfd.readouterr()
    flowerml(campaign.expected["commands"]["campaign"])
    found, wanted = json.loads(capfd.readouterr().out), campaign.expected["campaign"]
    assert outcome(found) == near(outcome(wanted), 1e-6)
    runs = all_runs()
    assert {name: runs[name][0].info.end_time for name in finished} == ended
    assert {name: campaign.run_file(name)["run_id"] for name in names} == {
        name: before[name]["run_id"] for name in names
    }
    assert all(len(runs[name]) == 1 and runs[name][0].info.status == "FINISHED" for name in wanted["runs"])
    assert steps(before["D1"]["run_id"]) == [1, 2, 3, 4, 5, 6]
    (whole,) = [run for same in runs.values() for run in same if run.data.tags.get("flowerml.kind") == "campaign"]
    assert (whole.info.run_id, whole.info.status) == (found["run_id"], "FINISHED")
    for family in FAMILIES:
        assert predict(
            LOAD[family](campaign.folder / "delivery" / f"{family}_flowers.pth"), "../data/fresh/tulip/tulip_0000.jpg"
        )


def outcome(result):
    """What must not depend on when a campaign was interrupted, nor on where it lies."""
    kept = ("status", "config_id", "seed", "accuracy", "macro_f1", "best_epoch", "checkpoint")
    runs = {name: {key: run[key] for key in kept} for name, run in result["runs"].items()}
    delivered = {family: without(one, "sha256") for family, one in result["delivered"].items()}
    return {
        "runs": runs,
        "delivered": delivered,
        **{key: result[key] for key in ("campaign", "folder", "plan_digest", "data_digest", "chosen")},
    }
