"""The folders of a sweep's runs: whose they are, and what of them the tracking server does not have yet."""

import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.events import Ended, Metrics, Status, Tags
from flowerml.journal import Journal, RunStarted, has_undelivered
from flowerml.runs.lifecycle.lease import acquire
from flowerml.runs.lifecycle.run_file import RunFile, write_run_file
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.settings import resolve
from flowerml.sweep.folders import LOGS, OUTPUTS, check_own_folder, check_run_owners, deliver_journals, values_by_epoch


@pytest.fixture
def left(tmp_path):
    """Makes a run's folder as a training leaves it that never heard of its server."""

    def make(name, campaign, status="FINISHED"):
        folder = tmp_path / name
        attempt = acquire(folder, 60.0)
        settings = resolve({"model": "convnextv2_atto"})[0]
        opening = RunStarted(name, "flowers", name, "host", None, settings.model_dump(mode="json"), {})
        journal = Journal.create(attempt.folder, opening)
        for event in (Tags({"flowerml.campaign": campaign}), Metrics({"val_accuracy": 0.5}, 1), Ended(Status(status))):
            journal.append(event)
        write_run_file(folder, RunFile("", "c", 11, status))
        attempt.release()
        return folder

    return make


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_folder_of_the_studys_name_with_files_of_others_is_refused(tmp_path, name):
    check_own_folder(tmp_path / "s")
    (tmp_path / "s").mkdir()
    check_own_folder(tmp_path / "s")
    (tmp_path / "s" / name).write_text("mine")
    with pytest.raises(UserError, match=f"s holds a {name} of unknown origin: choose another --study"):
        check_own_folder(tmp_path / "s")
    (tmp_path / "s" / LOGS).mkdir()  # as a sweep leaves it from its first second on
    check_own_folder(tmp_path / "s")


def test_a_folder_of_another_study_is_refused_by_its_name(left, tmp_path):
    own, other = left("s-trial-0000", "s-1234"), left("s-trial-0001", "s-5678")
    check_run_owners([own, tmp_path / "empty"], "s-1234")
    with pytest.raises(
        UserError, match=r"s-trial-0001 holds a run of another study: choose another --study or --runs-root"
    ):
        check_run_owners([own, other], "s-1234")


def test_what_runs_have_kept_is_brought_to_the_server(left):
    folders = [left("s-trial-0000", "s-1"), left("s-trial-0001", "s-1")]
    assert [run_id_of(folder) for folder in folders] == ["", ""]
    deliver_journals(folders, lambda: None, 60.0)
    assert not any(has_undelivered(folder / "attempts" / "0001") for folder in folders)
    for folder in folders:
        run = MlflowClient().get_run(run_id_of(folder))
        assert run.info.status == "FINISHED"
        assert run.data.metrics["val_accuracy"] == 0.5


def test_a_server_that_stays_away_costs_no_more_than_is_allowed(left, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    heard = []
    deliver_journals([left("s-trial-0000", "s-1")], lambda: heard.append(1), 0.2)
    told = capsys.readouterr().err
    assert "waiting for MLflow to take what 1 runs have kept" in told
    assert "`flowerml sync --all` delivers the rest" in told
    assert heard, "it can be stopped meanwhile"


def test_the_values_of_a_run_by_epoch(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,val_accuracy,val_loss\n1,0.5,1.25\n2,0.75,1.5\n")
    assert values_by_epoch(tmp_path, "val_loss") == {1: 1.25, 2: 1.5}
