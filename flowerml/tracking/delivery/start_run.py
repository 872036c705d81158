"""The run a command writes to: a training's own, through its journal; or an evaluation's, straight at MLflow."""

import logging
import os
import socket
import uuid
from pathlib import Path

from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flowerml.events import Ended, Status
from flowerml.journal import JOURNAL, Journal, RunResumed, RunStarted, find_journals
from flowerml.settings import Settings
from flowerml.tracking.client.connection import connect, set_request_timeout
from flowerml.tracking.client.errors import is_unknown_run, short_reason, to_user_error
from flowerml.tracking.delivery.background_sender import BackgroundSender
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.tracking.delivery.run_lookup import find_run, get_launcher_run, get_or_create_experiment
from flowerml.tracking.delivery.run_writer import KIND, REASON
from flowerml.tracking.recorder import JournalRecorder, MlflowRecorder

logger = logging.getLogger(__name__)


def start_run(
    settings: Settings, experiment: str, run_name: str, attempt: Path, previous: Path | None = None
) -> JournalRecorder:
    """The run of a training with these complete settings. Its journal lies in `attempt`, one attempt's folder in the
    run's own.

    With `previous`, the folder of an earlier attempt, it goes on in that one's journal and MLflow run. Under `mlflow
    run` a new run is the one opened there, unless its params, which can't be changed, say something else than what runs
    (a `-P lr_head=auto`): then a run of its own, and the opened one becomes its launcher, as it does where an earlier
    run goes on.

    A server on a network that does not answer is not waited for: what is in the journal goes there later.

    Raises:
        UserError: the tracking store refuses, or its address can't be one; or the folder can't be written to.
        Fenced: another process has taken the run over.
        KeyboardInterrupt: stopped meanwhile; a run that was made is KILLED.
    """
    opened = os.environ.get("MLFLOW_RUN_ID") or None
    journal = None if previous is None else _passed_on(previous, attempt)
    goes_on = journal is not None
    if journal is None:
        journal = Journal.create(attempt, _opening(settings, experiment, run_name, opened))
    begun = journal
    sender = BackgroundSender(lambda heard: JournalDelivery(begun, heard), opened)
    try:
        sender.start()
    except KeyboardInterrupt:
        if not goes_on:  # else the run at MLflow is in the state that it had
            journal.append(Ended(Status.KILLED, "stopped before it began"))
        sender.close()
        raise
    if goes_on:
        journal.append(RunResumed(socket.gethostname(), opened))
    sender.notify()
    return JournalRecorder(journal, sender)


def _opening(settings: Settings, experiment: str, run_name: str, opened: str | None) -> RunStarted:
    return RunStarted(
        journal=uuid.uuid4().hex,
        experiment=experiment,
        run_name=run_name,
        host=socket.gethostname(),
        opened=opened,
        settings=settings.model_dump(mode="json"),
        tags=resolve_tags(),
    )


def _passed_on(previous: Path, attempt: Path) -> Journal | None:
    """The journal of the earlier attempt, to go on with; None where there is none, or where its beginning can't be read
    any more.
    """
    root = attempt.parent.parent
    found = (
        [previous] if (previous / JOURNAL).is_file() else find_journals(root)[-1:]
    )  # an attempt may have ended before it wrote one
    try:
        journal = Journal.continue_from(found[0] if found else previous, attempt)
    except OSError:
        return None
    if journal.started is None:
        logger.warning(
            f"{previous}: the journal's first line is damaged, so which run it belongs to is lost: a new one begins"
        )
        return None
    return journal


def start_child_run(parent_id: str | None, experiment: str, run_name: str, kind: str) -> MlflowRecorder:
    """A run of another kind (an evaluation) under the training run `parent_id`, if the server knows that one.

    Under `mlflow run` it is the run opened there.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connect()
        parent = find_run(client, parent_id)
        tags = {KIND: kind} | ({MLFLOW_PARENT_RUN_ID: parent_id} if parent and parent_id else {})
        run = get_launcher_run(client, os.environ.get("MLFLOW_RUN_ID"))
        if run is not None:
            for name, text in tags.items():
                client.set_tag(run.info.run_id, name, text)
            return MlflowRecorder(client, str(run.info.run_id))
        where = str(parent.info.experiment_id) if parent else get_or_create_experiment(client, experiment)
        all_tags = {**resolve_tags(), **tags, MLFLOW_RUN_NAME: run_name}
        return MlflowRecorder(client, str(client.create_run(where, tags=all_tags, run_name=run_name).info.run_id))
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def note_failure(reason: str) -> None:
    """Under `mlflow run`, write on the run it opened why nothing was begun; it will show as FAILED. Elsewhere nothing
    to do.
    """
    opened = os.environ.get("MLFLOW_RUN_ID")
    if not opened:
        return
    set_request_timeout(5)
    try:
        MlflowClient().set_tag(opened, REASON, reason[:5000])
    except Exception as error:  # the reason stands on the console already: it must not be buried under another one
        if not is_unknown_run(error):
            logger.warning(f"MLflow could not be told ({short_reason(error)})")
