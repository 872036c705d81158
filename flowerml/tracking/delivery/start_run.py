"""Start the MLflow run of a command: a training run through its journal, or a child run (evaluation) directly."""

import logging
import os
import socket
import uuid
from pathlib import Path

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flowerml.errors import UserError
from flowerml.events import Ended, Status
from flowerml.journal import JOURNAL, Journal, RunResumed, RunStarted, find_journals
from flowerml.settings import Settings
from flowerml.tracking.client.connection import connect, set_request_timeout
from flowerml.tracking.client.errors import short_reason
from flowerml.tracking.client.experiments import get_or_create_experiment
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.client.runs import KIND, REASON, find_run
from flowerml.tracking.client.store_client import StoreClient
from flowerml.tracking.delivery.background_sender import BackgroundSender
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.tracking.environment.env_run import ENV_RUN_ID, get_env_run
from flowerml.tracking.environment.source_tags import source_tags
from flowerml.tracking.recorder import JournalRecorder, MlflowRecorder

logger = logging.getLogger(__name__)


def start_run(
    settings: Settings, experiment: str, run_name: str, attempt: Path, previous: Path | None = None
) -> JournalRecorder:
    """Start or resume the run of a training with these resolved settings; its journal is in the folder `attempt`.

    With `previous`, the folder of an earlier attempt, its journal and MLflow run are continued. Under `mlflow run` a
    new run adopts the one that was opened for it, unless that one's params, which are immutable, differ from the
    settings (a `-P lr_head=auto`): then a run is created, and the opened one becomes its launcher, as on a resume.

    A server on a network that does not respond is not waited for: the journal is delivered to it later.

    Raises:
        UserError: the tracking store refuses, its address is invalid, or the folder can't be written to.
        LeaseLost: a newer attempt owns the run.
        KeyboardInterrupt: interrupted while starting; a run that was created is KILLED.
    """
    env_run_id = os.environ.get(ENV_RUN_ID) or None
    continued = None if previous is None else _continue_journal(previous, attempt)
    journal = continued or Journal.create(attempt, _start_record(settings, experiment, run_name, env_run_id))
    sender = BackgroundSender(lambda on_response: JournalDelivery(journal, on_response), env_run_id)
    try:
        sender.start()
    except KeyboardInterrupt:
        if continued is None:  # a resumed run keeps the status it has
            journal.append(Ended(Status.KILLED, "stopped before it began"))
        sender.close()
        raise
    if continued is not None:
        journal.append(RunResumed(socket.gethostname(), os.environ.get(ENV_RUN_ID) or None))
    sender.notify()
    return JournalRecorder(journal, sender)


def _start_record(settings: Settings, experiment: str, run_name: str, env_run_id: str | None) -> RunStarted:
    return RunStarted(
        journal=uuid.uuid4().hex,
        experiment=experiment,
        run_name=run_name,
        host=socket.gethostname(),
        opened=env_run_id,
        settings=settings.model_dump(mode="json"),
        tags=source_tags(),
    )


def _continue_journal(previous: Path, attempt: Path) -> Journal | None:
    """Continue the journal of an earlier attempt; None if there is none or its first line is damaged."""
    root = attempt.parent.parent
    # An attempt may have ended before it wrote a journal: then the newest one of the folder is continued.
    folders = [previous] if (previous / JOURNAL).is_file() else find_journals(root)[-1:]
    try:
        journal = Journal.continue_from(folders[0] if folders else previous, attempt)
    except OSError:
        return None
    if journal.started is None:
        logger.warning(
            f"{previous}: the journal's first line is damaged, so which run it belongs to is lost: a new one begins"
        )
        return None
    return journal


def start_child_run(parent_id: str | None, experiment: str, run_name: str, kind: str) -> MlflowRecorder:
    """Start a run of another kind (an evaluation), a child of the training run `parent_id` if the server has that one.

    Under `mlflow run` it is the run that this has opened. It has heartbeats, so `flowerml reap` closes it where the
    process is killed or can't deliver its end.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connect()
        parent = find_run(client, parent_id)
        tags = {KIND: kind} | ({MLFLOW_PARENT_RUN_ID: parent_id} if parent and parent_id else {})
        run = get_env_run(client, os.environ.get(ENV_RUN_ID))
        if run is not None:
            for name, text in tags.items():
                client.set_tag(run.info.run_id, name, text)
            return MlflowRecorder(client, str(run.info.run_id), heartbeat=True)
        experiment_id = str(parent.info.experiment_id) if parent else get_or_create_experiment(client, experiment)
        all_tags = {**source_tags(), **tags, MLFLOW_RUN_NAME: run_name}
        run = client.create_run(experiment_id, tags=all_tags, run_name=run_name)
        return MlflowRecorder(client, str(run.info.run_id), heartbeat=True)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def note_failure(reason: str) -> None:
    """Under `mlflow run`, tag the run it has opened, which will end as FAILED, with the reason; else do nothing."""
    env_run_id = os.environ.get(ENV_RUN_ID)
    if not env_run_id:
        return
    set_request_timeout(5)
    try:
        client = StoreClient()
        if get_env_run(client, env_run_id) is not None:
            client.set_tag(env_run_id, REASON, reason[:5000])
    except Exception as error:  # the reason is printed already and must not be hidden by another error
        if not isinstance(error, UserError):  # an unknown run
            logger.warning(f"MLflow could not be told ({short_reason(error)})")
