"""What MLflow's pages show of an experiment: the view for model training, and links to what people look for."""

import shutil

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from flowerml.tracking import where_to_look
from flowerml.tracking.client.experiments import (
    describe_experiment,
    experiment_note,
    get_or_create_experiment,
    show_champions,
)
from flowerml.tracking.client.shared_view import KEY, TAG, best_first

KIND, NOTE = "mlflow.experimentKind", "mlflow.note.content"


@pytest.fixture
def client(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowClient()


def test_a_new_experiment_opens_as_model_training_and_says_where_things_are(client):
    experiment = client.get_experiment(get_or_create_experiment(client, "petals"))
    assert experiment.tags == {
        KIND: "custom_model_development",
        TAG: best_first(),
        NOTE: experiment_note(str(experiment.experiment_id)),
    }
    assert f"runs?workflowType=machine_learning&viewStateShareKey={KEY})" in experiment.tags[NOTE]
    first = experiment.tags[NOTE].splitlines()[0]  # what a page shows before it is unfolded
    assert first.startswith("[Champions](#/models?workflowType=machine_learning)")
    assert first.count(f"(#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning") == 3


def test_an_older_experiment_gets_what_it_lacks_and_keeps_what_a_person_wrote(client):
    old = client.create_experiment("old", tags={NOTE: "our photos of May"})
    assert get_or_create_experiment(client, "old") == old
    assert client.get_experiment(old).tags == {
        KIND: "custom_model_development",
        TAG: best_first(),
        NOTE: "our photos of May",
    }
    client.set_experiment_tag(old, KIND, "classification")
    describe_experiment(client, old)
    assert client.get_experiment(old).tags[KIND] == "classification"


def test_a_description_that_cannot_be_written_fails_nothing(client, monkeypatch):
    """A reader's rights, or two processes that write it at once: SQLite then says that the tag is there."""

    def refuse(*_):
        raise MlflowException("UNIQUE constraint failed: experiment_tags.key")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    assert get_or_create_experiment(client, "petals") == get_or_create_experiment(client, "petals")


def test_champions_are_linked_until_a_person_writes_there(client):
    experiment = get_or_create_experiment(client, "petals")
    show_champions(client, experiment, {"flowers-cnn": "2", "flowers-vit": "1"})
    first, _, rest = client.get_experiment(experiment).tags[NOTE].partition("\n")
    assert first.startswith(
        "Champions: [flowers-cnn](#/models/flowers-cnn/versions/2?workflowType=machine_learning),"
        " [flowers-vit](#/models/flowers-vit/versions/1?workflowType=machine_learning) · "
    )
    assert rest == experiment_note(experiment).partition("\n")[2]
    client.set_experiment_tag(experiment, NOTE, "ours")
    show_champions(client, experiment, {"flowers-cnn": "3"})
    assert client.get_experiment(experiment).tags[NOTE] == "ours"


def test_a_search_in_an_address_is_quoted(client):
    note = experiment_note("7")
    assert "searchFilter=tags.%60flowerml.kind%60%20%3D%20%27campaign%27)" in note


@pytest.mark.slow
def test_a_run_at_a_server_is_shown_by_its_address(server):
    client = MlflowClient()
    experiment = get_or_create_experiment(client, "petals")
    run_id = client.create_run(experiment).info.run_id
    page = f"/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
    assert where_to_look(run_id) == server.address + page
    assert where_to_look("f" * 32) == "MLflow"


def test_a_run_in_a_file_needs_the_pages_started(client):
    assert where_to_look("f" * 32) == "`flowerml ui` shows it"


def test_a_server_that_is_away_does_not_fail_what_is_over(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert where_to_look("f" * 32) == "MLflow"


def test_a_server_has_pages_of_its_own(server, monkeypatch, capsys):
    """`flowerml ui` starts none beside it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert run_command("ui", ["--store", server.address]) == 0
    assert f"{server.address}/#/experiments" in capsys.readouterr().err
