"""Stores to be backed up: runs with params, metrics, artifacts and model versions, and all of it read back."""

import hashlib
import os
from pathlib import Path

import mlflow
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

SECRET_BYTES = os.urandom(100_000)


def fill(address, artifacts):
    """Three runs in two experiments, whose artifacts are below the folder `artifacts` (None: where the store says)."""
    client = MlflowClient(address)
    for number, name in enumerate(("plain", "as address")):
        place = None if artifacts is None else artifacts / name if number == 0 else (artifacts / name).as_uri()
        experiment = client.create_experiment(name, None if place is None else str(place))
        for seed in range(1 + number):
            run_id = client.create_run(experiment, tags={"flowerml.seed": str(seed)}).info.run_id
            client.log_param(run_id, "lr_head", "0.001")
            for step in range(3):
                client.log_metric(run_id, "val_accuracy", 0.5 + step / 10, timestamp=step, step=step)
            client.log_text(run_id, f"{name} {seed}", "é and spaces/history.csv")
            _log_bytes(client, run_id, "best.pth", SECRET_BYTES)
            client.set_terminated(run_id)
    client.create_registered_model("flowers-cnn")
    version = client.create_model_version("flowers-cnn", f"{client.get_run(run_id).info.artifact_uri}/best.pth", run_id)
    client.set_registered_model_alias("flowers-cnn", "champion", version.version)


def _log_bytes(client, run_id, name, data):
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        client.log_artifact(run_id, str(path))


def everything(address, folder):
    """All runs with histories and the digest of each artifact, as MLflow's client finds them, and the champion."""
    client, found = MlflowClient(address), {}
    experiments = client.search_experiments(view_type=ViewType.ALL)
    for run in client.search_runs([one.experiment_id for one in experiments], max_results=100):
        run_id = run.info.run_id
        history = [(point.step, point.value) for point in client.get_metric_history(run_id, "val_accuracy")]
        back = folder / run_id
        back.mkdir(parents=True)
        mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(back), tracking_uri=address)
        found[run_id] = (run.info.status, run.data.params, dict(run.data.tags), history, digests(back))
    champion = client.get_model_version_by_alias("flowers-cnn", "champion")
    return found, (champion.version, champion.run_id)


def digests(folder):
    """{path below: sha256} of all files of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
