"""A whole campaign, from the first run to the delivery."""

import json
import os
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flowerml.campaign.status import CampaignStatus, RunStatus
from flowerml.cli.main import main
from flowerml.models.weights.average import average_states
from flowerml.text import escape_markdown
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.campaign.campaigns import TINY, run_here, runs_at_mlflow
from tests.delivery.test_robustness_result import leave_result

# So many validation pictures that runs are calibrated.
HELD_OUT = "val_split=0.85"
ORDER = ["A1", "B1", "B2", "C1", "D1", "D2", "F1", "F2"]


@pytest.fixture(scope="module")
def whole(flowers, tmp_path_factory):
    """A finished campaign: its snapshot, the jobs, its folder, which has the store too."""
    folder = tmp_path_factory.mktemp("whole")
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    snapshot, jobs = run_here(flowers, folder, TINY, HELD_OUT)
    os.environ["MLFLOW_TRACKING_URI"] = before or ""
    return snapshot, jobs, folder


@pytest.fixture
def of_whole(whole, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{whole[2] / 'mlflow.db'}")
    return whole


@pytest.mark.slow
class TestWhole:
    def test_every_run_once_and_in_order(self, of_whole):
        snapshot, jobs, _ = of_whole
        assert jobs == ORDER
        assert snapshot.status is CampaignStatus.FINISHED
        assert [run.status for run in snapshot.runs] == [RunStatus.FINISHED] * 8

    def test_runs_are_nested_under_the_campaigns_and_found_by_tags(self, of_whole):
        snapshot, _, _ = of_whole
        (parent,) = runs_at_mlflow("campaign")["campaign tiny"]
        assert parent.info.run_id == snapshot.run_id
        assert parent.info.status == "FINISHED"
        assert parent.data.tags["flowerml.plan_digest"] == snapshot.plan_digest
        assert parent.data.tags["flowerml.data_digest"] == snapshot.data_digest
        assert parent.data.metrics["runs_finished"] == 8
        kinds = {"A1": "smoke", "F1": "final", "F2": "final"}
        everything = runs_at_mlflow()
        for name in ORDER:
            (run,) = everything[name]
            tags = run.data.tags
            assert (tags["mlflow.parentRunId"], tags["flowerml.campaign"]) == (parent.info.run_id, snapshot.id)
            assert (tags["flowerml.kind"], tags["flowerml.phase"]) == (kinds.get(name, "train"), name[0])
            assert run.info.status == "FINISHED"
        selections = runs_at_mlflow("select")
        assert sorted(selections) == ["select B", "select C", "select D"]
        assert {run.data.tags["mlflow.parentRunId"] for (run,) in selections.values()} == {parent.info.run_id}

    def test_table_and_report_are_artifacts_of_its_run(self, of_whole):
        snapshot, _, folder = of_whole
        here = folder / "runs" / snapshot.id
        names = {one.path for one in MlflowClient().list_artifacts(snapshot.run_id)}
        assert names == {"table.md", "table.csv", "report.html", "MODEL_CARD.md"}
        table = (here / "table.md").read_text()
        assert [line.split(" | ")[0].strip("| ") for line in table.splitlines() if "best.pth" in line] == ORDER
        assert "campaign FINISHED" in table
        fetched = MlflowClient().download_artifacts(snapshot.run_id, "table.md")
        assert Path(fetched).read_text() == table

    def test_what_follows_is_of_the_configuration_that_was_chosen(self, of_whole):
        snapshot, _, folder = of_whole
        by_name = {run.name: run for run in snapshot.runs}
        (first,) = next(phase for phase in snapshot.phases if phase.name == "B").decision.chosen
        assert by_name["C1"].config == first
        assert by_name["C1"].config_id == by_name[first].config_id
        settings = json.loads((folder / "runs" / "F1" / "settings.json").read_text())["settings"]
        mean = (by_name[first].best_epoch + by_name["C1"].best_epoch) / 2
        assert (settings["val_split"], settings["seed"], settings["stop_epoch"]) == (0.0, 11, int(mean + 0.5))
        assert settings["lr_head"] == {"B1": 1e-3, "B2": 3e-3}[first]

    def test_a_retrained_model_is_calibrated_by_the_runs_of_its_configuration(self, of_whole):
        """It has no validation photos of its own; the delivered file answers with sets all the same."""
        from flowerml import load_cnn_model, predict_set

        snapshot, _, folder = of_whole
        chosen = {phase.name: phase.decision.chosen[0] for phase in snapshot.phases if phase.name in "BD"}
        for final, runs in {"F1": [chosen["B"], "C1"], "F2": [chosen["D"]]}.items():
            content = json.loads((folder / "runs" / final / "calibration.json").read_text())
            assert sorted(content["predictions_of_runs"]) == sorted(runs)
            calibration = load_checkpoint(folder / "runs" / final / "best.pth").calibration
            assert content["temperature"] == calibration.temperature
            assert content["fitted_on"] == len(calibration.scores) == 50 * len(runs)
        model = load_cnn_model(str(folder / "out" / "cnn_flowers.pth"))
        picture = next(Path(snapshot.train_dir).glob("rose*/*"))
        assert set(predict_set(model, str(picture))) <= set(model.classes)

    def test_it_delivers_the_versions_it_has_registered(self, of_whole):
        from flowerml import load_cnn_model, predict

        snapshot, _, folder = of_whole
        assert {one.family: (one.registered_model, one.version) for one in snapshot.delivered} == {
            "cnn": ("flowers-cnn", "1"),
            "vit": ("flowers-vit", "1"),
        }
        manifest = json.loads((folder / "out" / "MANIFEST.json").read_text())["files"]
        assert manifest["cnn_flowers.pth"]["run_id"] == next(run.run_id for run in snapshot.runs if run.name == "F1")
        model = load_cnn_model(str(folder / "out" / "cnn_flowers.pth"))
        picture = next(Path(snapshot.train_dir).glob("rose*/*"))
        assert predict(model, str(picture)) in model.classes

    def test_started_again_it_runs_nothing_and_changes_nothing(self, of_whole, flowers):
        snapshot, _, folder = of_whole
        before = (folder / "runs" / snapshot.id / "table.md").read_text()
        again, jobs = run_here(flowers, folder, TINY, HELD_OUT)
        assert jobs == []
        assert (folder / "runs" / snapshot.id / "table.md").read_text() == before
        assert [one.version for one in again.delivered] == ["1", "1"]
        assert {name: len(runs) for name, runs in runs_at_mlflow().items()} == dict.fromkeys(
            [*ORDER, "campaign tiny", "select B", "select C", "select D"], 1
        )

    def test_robustness_that_was_measured_stands_in_the_card(self, of_whole, flowers):
        _, _, folder = of_whole
        leave_result(folder / "runs" / "F1" / "robustness", folder / "runs" / "F1" / "best.pth", part="test")
        run_here(flowers, folder, TINY, HELD_OUT)
        of_cnn, of_vit = (folder / "out" / "MODEL_CARD.md").read_text().split("## vit")
        assert "with best.pth on the photos of photos" in of_cnn
        assert "was not measured: `flowerml robustness" in of_vit

    def test_robustness_that_mlflow_has_stands_in_the_card_too(self, of_whole, flowers, tmp_path):
        """Its files are not in a folder of the campaign's runs: measured on another host."""
        _, _, folder = of_whole
        words = ["--output-dir", str(tmp_path / "out"), "--test-dir", str(flowers), "--limit", "1", "--workers", "0"]
        assert main(["robustness", str(folder / "runs" / "F2"), *words]) == 0
        run_here(flowers, folder, TINY, HELD_OUT)
        of_vit = (folder / "out" / "MODEL_CARD.md").read_text().split("## vit")[1]
        assert f"with best.pth on the photos of {escape_markdown(flowers.name)}" in of_vit
        for run in (run for runs in runs_at_mlflow("robustness").values() for run in runs):
            MlflowClient().delete_run(run.info.run_id)  # other tests expect none

    def test_a_run_that_this_host_never_saw_is_known_from_the_server(self, of_whole, flowers, tmp_path):
        """The folders are gone, or on another host: what is FINISHED with the server is not run again."""
        snapshot, _, _ = of_whole
        again, jobs = run_here(flowers, tmp_path, TINY, HELD_OUT)
        assert jobs == []
        assert [run.accuracy for run in again.runs] == [run.accuracy for run in snapshot.runs]
        assert [(one.version, one.sha256) for one in again.delivered] == [
            (one.version, one.sha256) for one in snapshot.delivered
        ]


@pytest.mark.slow
def test_a_final_model_may_be_the_average_of_the_runs_it_was_chosen_from(flowers, tmp_path, monkeypatch):
    """Of all its phases' runs, but for those that can't be averaged (C1 started at random from another seed);
    registered, exported and checked as any final model.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    text = TINY[: TINY.index("  D:\n")] + "  F:\n    final: {mode: soup, of: [C]}\n    runs: [F1]\n"
    snapshot, jobs = run_here(flowers, tmp_path, text, HELD_OUT)
    assert snapshot.status is CampaignStatus.FINISHED
    assert jobs == ["A1", "B1", "B2", "C1", "F1"]
    folder = tmp_path / "runs" / "F1"
    content = json.loads((folder / "combine.json").read_text())
    assert {Path(one["path"]).parent.name for one in content["ingredients"]} == {"B1", "B2"}
    taken = [load_checkpoint(Path(one["path"])).state_dict for one in content["ingredients"] if one["taken"]]
    own = load_checkpoint(folder / "best.pth")
    expected = average_states(taken)
    assert all((own.state_dict[name] == tensor).all() for name, tensor in expected.items())
    assert own.calibration is not None
    (run,) = runs_at_mlflow("final")["F1"]
    assert run.data.metrics["best_val_accuracy"] == content["validation"]["accuracy"] == own.metrics["val_accuracy"]
    assert run.data.tags["flowerml.val_total"] == "50"
    (row,) = [one for one in snapshot.runs if one.name == "F1"]
    assert row.accuracy == own.metrics["val_accuracy"]
    (delivered,) = snapshot.delivered
    manifest = json.loads((tmp_path / "out" / "MANIFEST.json").read_text())["files"]["cnn_flowers.pth"]
    assert (delivered.version, manifest["run_id"]) == ("1", run.info.run_id)
