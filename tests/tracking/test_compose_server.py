"""The tracking server of docker/compose.yaml, started with the same command on a real Postgres."""

from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended, Metrics, Params, Status
from flowerml.settings import resolve
from flowerml.tracking import start_run
from tests.tracking import compose_server as compose
from tests.tracking.compose_server import ADMIN_PASSWORD, PASSWORD, SERVICE, answer, authorization, command_line

pytestmark = pytest.mark.slow
postgres, compose_server = compose.postgres, compose.compose_server  # fixtures


def workers(processes):
    """The worker processes, which hold the listening socket and run the application."""
    return [pid for pid in processes if any("spawn_main" in word for word in command_line(pid))]


@pytest.mark.parametrize(
    ("host", "status"),
    [("mlflow:5000", 200), ("localhost:5055", 200), ("localhost", 200), ("evil.example", 403), ("mlflow:5001", 403)],
)
def test_only_listed_hosts_are_answered(compose_server, host, status):
    """The hosts that containers and a local browser send, and ones that DNS rebinding would send."""
    port, _, _ = compose_server
    assert answer(port, "/api/2.0/mlflow/experiments/get?experiment_id=0", host)[0] == status


def test_a_run_comes_back_through_http(compose_server, tmp_path, monkeypatch):
    """Params, metrics and a file, written by our recorder; the file is in the server's volume."""
    port, _, artifacts = compose_server
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
    mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
    try:
        asked = {
            "model": "convnextv2_atto",
            "weights": "none",
            "epochs": 10,
            "output_dir": "runs/x",
            "run_name": "x",
            "classes": "a,b",
        }
        attempt = tmp_path / "out" / "attempts" / "0001"
        attempt.mkdir(parents=True)
        recorder = start_run(resolve(asked)[0], "flowers", "x", attempt)
        history = tmp_path / "history.csv"
        history.write_text("epoch,val_accuracy\n1,0.5\n2,0.75\n")
        recorder.record(Params({"lr_head": "0.0001"}))
        for epoch, value in ((1, 0.5), (2, 0.75)):
            recorder.record(Metrics({"val_accuracy": value}, step=epoch, timestamp=1000 * epoch))
        recorder.record(Artifact(history))
        recorder.record(Ended(Status.FINISHED))
        recorder.close()
        client = MlflowClient()
        run = client.get_run(recorder.run_id)
        assert (run.info.status, run.data.params) == ("FINISHED", {"lr_head": "0.0001"})
        points = client.get_metric_history(recorder.run_id, "val_accuracy")
        assert [(point.step, point.value, point.timestamp) for point in points] == [(1, 0.5, 1000), (2, 0.75, 2000)]
        back = client.download_artifacts(recorder.run_id, "history.csv", str(tmp_path))
        assert Path(back).read_bytes() == history.read_bytes()
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert [path.name for path in artifacts.rglob("*.csv")] == ["history.csv"]
    finally:
        mlflow.set_tracking_uri(None)


def test_every_worker_runs_on_uvloop(compose_server):
    """Its shared library is mapped into the workers; the option makes the server fail without it."""
    _, processes, _ = compose_server
    assert "--uvicorn-opts=--loop uvloop" in SERVICE["command"]
    mapped = {pid: "/uvloop/loop." in Path(f"/proc/{pid}/maps").read_text() for pid in workers(processes)}
    assert list(mapped.values()) == [True, True]


def test_no_optional_services_run(compose_server):
    """Only `mlflow server`, uvicorn, two workers and Python's resource tracker: no job runner, queue or gateway."""
    port, processes, _ = compose_server
    lines = {pid: " ".join(command_line(pid)) for pid in processes}
    helpers = [pid for pid, line in lines.items() if "multiprocessing.resource_tracker" in line]
    assert len(processes) - len(helpers) == 4, lines
    assert [line for line in lines.values() if "huey" in line or "jobs" in line] == []
    assert answer(port, "/gateway/mlflow/v1/chat/completions", method="POST")[0] == 501
    environments = {pid: Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in processes}
    assert [pid for pid, names in environments.items() if "MLFLOW_DISABLE_TELEMETRY=true" not in names] == []


def test_the_passwords_are_in_no_command_line(compose_server):
    _, processes, _ = compose_server
    lines = "\n".join(" ".join(command_line(pid)) for pid in processes)
    assert PASSWORD not in lines
    assert ADMIN_PASSWORD not in lines


@pytest.mark.parametrize("login", [{}, authorization("admin", "another word"), authorization("root")])
def test_without_the_right_name_and_password_nothing_is_answered(compose_server, login):
    port, _, _ = compose_server
    assert answer(port, "/api/2.0/mlflow/experiments/get?experiment_id=0", login=login)[0] == 401
    assert answer(port, "/api/2.0/mlflow/runs/create", method="POST", login=login)[0] == 401
    assert answer(port, "/health", login=login)[0] == 200, "what Compose asks"
