"""The settings of a training run at the server, to be repeated."""

import json
import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient, get_tracking_uri

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.settings import Settings, settings_from_json
from flowerml.settings.serialization import values_from_params
from flowerml.tracking.client.artifacts import call_artifact_store, is_late
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.client.runs import CONTINUES, KIND, PREFIX, find_run
from flowerml.tracking.delivery.run_writer import PARAM_LIMIT
from flowerml.tracking.environment.env_run import ignore_foreign_env_run

logger = logging.getLogger(__name__)

_KINDS = ("train", "smoke", "final", "trial")  # of runs that were trained
_FILE = "settings.json"
_ID_LENGTH = 32


@dataclass(frozen=True)
class TrainingRun:
    """A training run's complete settings; `digests` (data, split and, where it is known, weights) and `config_id` are
    those by which runs are compared.
    """

    run_id: str
    settings: Settings
    digests: Mapping[str, str]
    config_id: str


def find_training_run(run_id: str) -> TrainingRun:
    """The training run with an id, or the only one whose id begins with these characters; it may be running.

    Its settings are read from its artifact settings.json, or else from its params.

    Raises:
        UserError: no such run, several, none of a training, or one with settings of another version; or the tracking
            server can't be reached or refuses.
    """
    if not re.fullmatch(r"[0-9a-f]{6,32}", run_id):
        raise UserError(
            f"--like is {run_id!r}. Allowed: the id of an MLflow run ({_ID_LENGTH} of 0-9 and a-f), or its first"
            " characters, at least 6"
        )
    ignore_foreign_env_run()
    try:
        client = connect()
        return _read_run(client, _find_one(client, run_id))
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def _find_one(client: MlflowClient, run_id: str) -> Run:
    if len(run_id) == _ID_LENGTH:
        found = [run] if (run := find_run(client, run_id)) is not None else []
    else:
        experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
        found = list(client.search_runs(experiments, f"attributes.run_id LIKE '{run_id}%'", max_results=2))
    if len(found) > 1:
        raise UserError(f"--like {run_id}: several runs begin so, like {_names(found)}: give more characters")
    if not found:
        store = redact_secrets(get_tracking_uri())
        raise UserError(
            f"--like {run_id}: the MLflow tracking store {store} has no such run: take the id from the run's page, or"
            " set MLFLOW_TRACKING_URI to the store that has it"
        )
    return found[0]


def _names(runs: list[Run]) -> str:
    return " and ".join(f"{run.info.run_id[:12]} ({run.info.run_name})" for run in runs)


def _read_run(client: MlflowClient, run: Run) -> TrainingRun:
    run_id, tags = str(run.info.run_id), run.data.tags
    kind = tags.get(KIND)
    if kind == "launcher":
        raise UserError(f"--like {run_id} only started run {tags.get(CONTINUES)}: give that one")
    if kind not in _KINDS:
        what = f"is of kind {kind}" if kind else f"has no tag {KIND}"
        raise UserError(f"--like {run_id}: it {what}. Allowed: runs of flowerml train, campaign and sweep")
    content = _fetch_settings(client, run)
    values = _from_params(run) if content is None else content.get("settings", {})
    try:
        settings = settings_from_json(values)
    except UserError as error:
        raise UserError(f"--like {run_id}: it has settings of another version of flowerml: {error}") from error
    digests = {name: text for name in ("data", "split") if (text := tags.get(f"{PREFIX}{name}_digest"))}
    if content is not None and "weights" in content["identity"]:
        digests["weights"] = content["identity"]["weights"]
    return TrainingRun(run_id, settings, digests, tags.get(f"{PREFIX}config_id", ""))


def _from_params(run: Run) -> dict[str, str | None]:
    """Settings from the params of a run. Raises UserError where it has none yet, or one was cut off."""
    values = values_from_params(run.data.params)
    if not values:
        raise UserError(f"--like {run.info.run_id}: its settings are not at the MLflow tracking store (yet)")
    for name, text in values.items():
        if text is not None and len(text) >= PARAM_LIMIT:
            raise UserError(
                f"--like {run.info.run_id}: its artifact {_FILE} can't be had, and its param {name} was cut off at"
                f" {PARAM_LIMIT} characters"
            )
    return values


def _fetch_settings(client: MlflowClient, run: Run) -> dict[str, Any] | None:
    """The content of a run's settings.json; None where it can't be had, as from another machine's folder."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = call_artifact_store(
                client,
                run,
                lambda: client.download_artifacts(run.info.run_id, _FILE, folder),
                lambda waited_s: is_late(waited_s, 0),
            )
            content = json.loads(Path(path).read_text("utf-8"))
            return content if {"settings", "identity"} <= content.keys() else None
        except Exception as error:  # each artifact store has its own
            logger.debug(f"run {run.info.run_id}: no {_FILE} ({error}): its params are read")
            return None
