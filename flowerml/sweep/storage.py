"""The database of a study: opened, with heartbeats of its trials, and retried while it is unreachable."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.sweep.database import check_sqlite_file, is_optuna_database

logger = logging.getLogger(__name__)

MAX_RETRIES = 2  # of one trial, after the process that ran it has died
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)  # of a database that is unreachable or slow
_ALLOWED = "sqlite:///FILE.db, postgresql+psycopg2://…"
_REFUSALS = re.compile("authentication failed|does not exist|permission denied|no pg_hba")  # by a server that answers
_RETRY_S = 300.0
_CREATE_PAUSES_S = (0.3, 1.0, 3.0)  # processes that create the tables at once crash, all but one

Result = TypeVar("Result")


class Storage(RDBStorage):
    """Optuna's RDBStorage with three gaps closed.

    A trial has a heartbeat before it is RUNNING, not after: one whose process dies in between would be RUNNING for
    ever. A heartbeat that fails does not end the thread that writes them. And on SQLite, which has no row locks, a
    trial's state is read and written under one write lock: two workers would take the same trial otherwise, or two
    processes would enqueue a dead one again.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        """Write a trial's heartbeat; an unreachable database is ignored."""
        with suppress(*DATABASE_ERRORS):
            super().record_heartbeat(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's."""
        if state is TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        if self.engine.dialect.name == "sqlite":
            self._begin_writing()
        return super().set_trial_state_values(trial_id, state, values)

    def _begin_writing(self) -> None:
        """Begin a transaction that no other one writes beside; the session's next commit or rollback ends it."""
        try:
            self.scoped_session().execute(text("BEGIN IMMEDIATE"))
        except SQLAlchemyError:
            self.scoped_session.remove()
            raise


def open_storage(address: str, heartbeat_s: int) -> Storage:
    """The database at `address`, with Optuna's tables.

    A trial without a heartbeat for three times `heartbeat_s` seconds counts as dead, and is enqueued again, at most
    MAX_RETRIES times.

    Raises:
        UserError: it is unreachable, not an address of a database, another program's, or of another Optuna version;
            nothing was written into it.
    """
    for pause in (*_CREATE_PAUSES_S, None):
        try:
            check_sqlite_file(make_url(address))
            return _open(address, heartbeat_s)
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            raise _storage_error(address, _root_cause_text(error), f"Allowed: {_ALLOWED}") from error
        except RuntimeError as error:  # Optuna's, about its tables
            raise _storage_error(address, _root_cause_text(error), "Or name another one") from error
        except DATABASE_ERRORS as error:
            if pause is None:
                raise unreachable_error(address, error) from error
            time.sleep(pause)
    raise AssertionError


def _open(address: str, heartbeat_s: int) -> Storage:
    # Dropped connections (the server was restarted) are replaced; a lock on an SQLite file is waited for.
    options = {"connect_args": {"timeout": 60}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    engine = create_engine(make_url(address), **options)
    try:
        exists = is_optuna_database(engine, redact_secrets(address, address))
    finally:
        engine.dispose()
    return Storage(
        address,
        engine_kwargs=options,
        heartbeat_interval=heartbeat_s,
        grace_period=3 * heartbeat_s,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
            max_retry=MAX_RETRIES, inherit_intermediate_values=True
        ),
        skip_table_creation=exists,  # tables of another version are looked at, not added to
    )


def _storage_error(address: str, reason: str, remedy: str) -> UserError:
    return UserError(redact_secrets(f"--storage {address}: {reason}. {remedy}", address))


def unreachable_error(address: str, error: Exception) -> UserError:
    """The error for an unreachable database."""
    reason = _root_cause_text(error)
    remedy = "start it, or name another one"
    if "readonly" in reason:
        remedy = "make it writable, or name another one"
    elif _REFUSALS.search(reason):
        remedy = "mend what it names"
    return UserError(redact_secrets(f"--storage {address} can't be had ({reason}): {remedy}", address))


def call_with_retries(address: str, function: Callable[[], Result], seconds: float = _RETRY_S) -> Result:
    """Call a function, again for so many seconds while the database is unreachable. Raises UserError after that."""
    deadline, pause, warned = time.monotonic() + seconds, 0.5, False
    while True:
        try:
            result = function()
        except DATABASE_ERRORS as error:
            if time.monotonic() + pause > deadline:
                raise unreachable_error(address, error) from error
            if not warned:
                reason = _root_cause_text(error)
                logger.warning(
                    redact_secrets(f"--storage {address} does not answer ({reason}): waiting for it", address)
                )
            warned = True
            time.sleep(pause)
            pause = min(10.0, 2 * pause)
        else:
            if warned:
                logger.info("it answers again")
            return result


def _root_cause_text(error: BaseException) -> str:
    """The first line of the cause that Optuna wraps: its own message says only that something went wrong."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__).splitlines()[0]
