"""Whatever variable of MLflow is set, a run arrives the same, or a line says why not.

Set one by one are all that `mlflow.environment_variables` declares, with another value of their type than the default.
"""

import shutil

import mlflow.environment_variables as declared
import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.events import Status
from flowerml.tracking import default_experiment, start_run
from tests.tracking.delivery.helpers import sample_events, settings
from tests.tracking.faulty_server import rows

_DECLARED = (value for value in vars(declared).values() if isinstance(value, declared._EnvironmentVariable))
VARIABLES = list({value.name: value for value in _DECLARED}.values())
STORE = "MLFLOW_TRACKING_URI"  # where the run goes
# Those that change what a client does.
KNOWN = {
    "MLFLOW_ACTIVE_MODEL_ID",
    "MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH",
    "MLFLOW_ENABLE_ASYNC_LOGGING",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING",
    "MLFLOW_ENABLE_WORKSPACES",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI",
    "MLFLOW_RUN_CONTEXT",
    "MLFLOW_RUN_ID",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRUNCATE_LONG_VALUES",
}
# The run is another one as the variable asks for it.
ASKED = {
    "MLFLOW_EXPERIMENT_NAME": lambda run: {**run, "experiment": "x"},
    "MLFLOW_TRACKING_USERNAME": lambda run: {**run, "tags": {**run["tags"], "mlflow.user": "x"}},
}


def another_value(variable):
    if variable.type is bool:
        return str(not variable.default).lower()
    return "1" if variable.type in (int, float) else "x"


def record(store, folder, monkeypatch):
    """A small run as `flowerml train` makes it, in a copy of an empty store; the address of the copy."""
    attempt = folder / "run" / "attempts" / "0001"
    attempt.mkdir(parents=True)
    shutil.copy(store, folder / "mlflow.db")
    address = f"sqlite:///{folder / 'mlflow.db'}"
    monkeypatch.setenv(STORE, address)
    recorder = start_run(settings(), default_experiment() or "flowers", "x", attempt)
    for event in sample_events(folder / "run"):
        recorder.record(event)
    recorder.close()
    return address, recorder.run_id


def found(address, run_id):
    """The rows of the run but for its times, which no two runs share."""
    result = rows(MlflowClient(address), run_id)
    name, status, _, end, experiment = result.pop("state")
    return {**result, "name": name, "status": status, "end": end, "experiment": experiment}


def check(variables, store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where MLflow puts the files of a store that is a database
    expected = found(*record(store, tmp_path / "none", monkeypatch))
    assert (expected["status"], len(expected["files"])) == (Status.FINISHED.value, 3)
    wrong = {}
    for variable in variables:
        capsys.readouterr()
        monkeypatch.setenv(variable.name, another_value(variable))
        try:
            place, refusal = record(store, tmp_path / str(len(list(tmp_path.iterdir()))), monkeypatch), ""
        except UserError as error:
            place, refusal = None, str(error)
        except Exception as error:
            wrong[variable.name] = f"{type(error).__name__}: {error}"
            continue
        finally:
            monkeypatch.delenv(variable.name, raising=False)
        said = f"{refusal}{capsys.readouterr().err}"
        result = None if place is None else found(*place)
        asked = ASKED.get(variable.name, dict)(expected)
        if result != asked and variable.name not in said:
            differences = {} if result is None else {part for part in expected if result[part] != expected[part]}
            wrong[variable.name] = f"{said} {differences}"
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())


@pytest.mark.slow
def test_a_run_is_the_same_whatever_is_set(empty_store, tmp_path, monkeypatch, capsys):
    chosen = [one for one in VARIABLES if one.name in KNOWN]
    assert len(chosen) == len(KNOWN)
    check(chosen, empty_store, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.repeats
def test_a_run_is_the_same_whatever_is_set_of_all(empty_store, tmp_path, monkeypatch, capsys):
    assert len(VARIABLES) > 200
    check([one for one in VARIABLES if one.name != STORE], empty_store, tmp_path, monkeypatch, capsys)
