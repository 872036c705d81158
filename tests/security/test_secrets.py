"""Doors of secrets: what a process knows from its environment and addresses is in no file, log or store it writes."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.runs.conftest import SMALL

SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "hunter2-tracking",
    "HF_TOKEN": "hf_hunter2hunter2",
    "AWS_SECRET_ACCESS_KEY": "hunter2/aws+secret",
    "DATABASE_PASSWORD": "hunter2-database",
}


@pytest.mark.slow
def test_no_secret_of_the_environment_is_written(flowers, tmp_path):
    """A whole run: log, folder, journal, and MLflow's database with its params, tags and artifacts."""
    settings = {**SMALL, "epochs": 1, "warmup_epochs": 0, "freeze_backbone_epochs": 0}
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    start = "from flowerml.cli.main import main_process; main_process()"
    given = ["--train-dir", str(flowers), "--output-dir", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", start, "train", "-v", *words, *given],
        cwd=tmp_path,
        env={
            **os.environ,
            **SECRETS,
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/m.db",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    for name, secret in SECRETS.items():
        assert secret not in done.stdout + done.stderr, name
        holding = [path for path in files if secret.encode() in path.read_bytes()]
        assert holding == [], name
