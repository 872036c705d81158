"""The services of docker/compose.yaml as they work together, without containers: the same processes and environments.

Postgres, the server with its log-in, a training that reports to it and a selection; then a backup of it while it runs,
everything lost, and the restored server.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import yaml
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from tests.tracking import compose_server as compose
from tests.tracking.backup.stores import digests
from tests.tracking.compose_server import ADMIN_PASSWORD, PASSWORD, ROOT, answer, authorization, interpolated

pytestmark = [pytest.mark.slow, pytest.mark.no_store]
postgres = compose.postgres  # fixture
TRAIN = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["train"]
EXPERIMENT = "/api/2.0/mlflow/experiments/get?experiment_id=0"
SMALL = "--weights none --img-size 32 --epochs 1 --warmup-epochs 0 --workers 0 --seed 11 --output-dir run"


@contextmanager
def server(folder, store_port, port):
    """The service `mlflow`; afterwards nothing of it is left."""
    environment = compose.environment_here(folder, store_port)
    command = compose.command_here(port, store_port, folder / "artifacts")
    ready = lambda: answer(port, "/health") == (200, b"OK")  # noqa: E731
    with compose.running(command, ready, folder / "log", signal.SIGTERM, cwd=folder, env=environment):
        yield


def train(folder, port, photos):
    """The service `train`, on the same machine: `with-secrets flowerml train …`."""
    variables = {name: interpolated(text) for name, text in TRAIN["environment"].items()}
    assert variables.pop("MLFLOW_TRACKING_URI") == "http://mlflow:5000"
    assert variables.pop("MLFLOW_TRACKING_PASSWORD_FILE") == "/run/secrets/tracking_password"
    variables |= {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
        "MLFLOW_TRACKING_PASSWORD_FILE": str(folder / "admin_password"),
        "PYTHONPATH": str(ROOT),
    }
    words = ["train", "--model", "timm:test_convnext2", "--train-dir", str(photos), *SMALL.split()]
    command = [ROOT / "docker" / "with-secrets", sys.executable, "-m", "flowerml.cli.main", *words]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    done = subprocess.run(command, cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def everything(port, folder):
    """Runs with params and metrics, and the digests of their artifacts, through the server."""
    client = MlflowClient(f"http://127.0.0.1:{port}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    found = {}
    for run in runs:
        back = folder / run.info.run_id
        back.mkdir(parents=True)
        for one in client.list_artifacts(run.info.run_id):
            client.download_artifacts(run.info.run_id, one.path, str(back))
        found[run.info.run_id] = (run.info.status, run.data.params, run.data.metrics, digests(back))
    return found


def test_training_selection_backup_and_restore(postgres, tmp_path, monkeypatch, flowers, capsys):
    port, artifacts = compose.free_port(), tmp_path / "artifacts"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # as every process of ours has it
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    data = ["--store", f"postgresql+psycopg2://mlflow@127.0.0.1:{postgres}/mlflow", "--artifacts", str(artifacts)]
    with server(tmp_path, postgres, port):
        assert answer(port, EXPERIMENT)[0] == 200
        assert answer(port, EXPERIMENT, login=authorization(password="wrong word"))[0] == 401
        assert answer(port, EXPERIMENT, login={})[0] == 401
        assert answer(port, EXPERIMENT, host="evil.example")[0] == 403
        train(tmp_path, port, flowers)
        capsys.readouterr()
        assert run_command("select", ["--family", "cnn", "--seeds", "11", "--json"]) == 0
        chosen = json.loads(capsys.readouterr().out)["chosen_run"]
        before = everything(port, tmp_path / "before")
        assert (chosen["seed"], before[chosen["run_id"]][0]) == (11, "FINISHED")
        assert {name for *_, files in before.values() for name in files} > {"best.pth", "history.csv"}
        assert run_command("backup", ["--output", "backup.tar", *data]) == 0
    where = ["--host=127.0.0.1", f"--port={postgres}", "--username=mlflow"]
    for program in ("dropdb", "createdb"):
        subprocess.run([program, *where, "mlflow"], check=True, timeout=60)
    shutil.rmtree(artifacts)
    assert run_command("restore", ["--from", "backup.tar", *data]) == 0
    (tmp_path / "admin_password").write_text("another word, that is not taken")  # the account is there already
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with server(tmp_path, postgres, port):
        assert answer(port, EXPERIMENT)[0] == 200, "the accounts are restored too"
        assert everything(port, tmp_path / "after") == before
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log[-3000:]
