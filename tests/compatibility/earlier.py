"""A working folder that an earlier version has left, and what is read from it in tests."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from flowerml.cli.main import main

FAMILIES = ("cnn", "vit")


@dataclass(frozen=True)
class Earlier:
    """`folder` is the working folder, `expected` what the earlier version was asked for there, and answered."""

    folder: Path
    expected: dict[str, Any]

    def run_file(self, name):
        """`run.json` of a run."""
        return json.loads((self.folder / "runs" / name / "run.json").read_text())


def flowerml(command):
    """Run a command as typed, which must go well."""
    assert main(command.split()) == 0, command


def all_runs():
    """Every run of the store, by its name."""
    client = MlflowClient()
    found = {}
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()]):
        found.setdefault(run.info.run_name, []).append(run)
    return found


def steps(run_id, metric="val_accuracy"):
    """The steps at which a metric has points, in the order of MLflow."""
    return [point.step for point in MlflowClient().get_metric_history(run_id, metric)]


def without(content, *names):
    """A mapping without some of its keys."""
    return {key: value for key, value in content.items() if key not in names}
