"""The database of a study: opened, with heartbeats of its trials, and retried while it is unreachable."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from flowerml.errors import UserError

logger = logging.getLogger(__name__)

MAX_RETRIES = 2  # of one trial, after the process that ran it has died
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)  # of a database that is unreachable or slow
_RETRY_S = 300.0
_CREATE_PAUSES_S = (0.3, 1.0, 3.0)  # processes that create the tables at once crash, all but one

Result = TypeVar("Result")


class Storage(RDBStorage):
    """Optuna's RDBStorage with two gaps closed.

    A trial has a heartbeat before it is RUNNING, not after: one whose process dies in between would be RUNNING for
    ever. And a heartbeat that fails does not end the thread that writes them.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        """Write a trial's heartbeat; an unreachable database is ignored."""
        with suppress(*DATABASE_ERRORS):
            super().record_heartbeat(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's."""
        if state is TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        return super().set_trial_state_values(trial_id, state, values)


def open_storage(address: str, heartbeat_s: int) -> Storage:
    """The database at `address`, with Optuna's tables.

    A trial without a heartbeat for three times `heartbeat_s` seconds counts as dead, and is enqueued again, at most
    MAX_RETRIES times.

    Raises:
        UserError: it is unreachable, or not an address of a database.
    """
    # Dropped connections (the server was restarted) are replaced; a lock on an SQLite file is waited for.
    engine = {"connect_args": {"timeout": 60}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    retry = RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES, inherit_intermediate_values=True)
    for pause in (*_CREATE_PAUSES_S, None):
        try:
            return Storage(
                address,
                engine_kwargs=engine,
                heartbeat_interval=heartbeat_s,
                grace_period=3 * heartbeat_s,
                heartbeat_stale_trial_callback=retry,
            )
        except (ArgumentError, ImportError, ValueError) as error:
            raise UserError(
                f"--storage {redact_password(address)}: {_root_cause_text(error)}. Allowed: sqlite:///FILE.db, postgresql+psycopg2://…"
            ) from error
        except DATABASE_ERRORS as error:
            if pause is None:
                raise unreachable_error(address, error) from error
            time.sleep(pause)
    raise AssertionError


def unreachable_error(address: str, error: Exception) -> UserError:
    """The error for an unreachable database."""
    return UserError(
        f"--storage {redact_password(address)} can't be had ({_root_cause_text(error)}): start it, or name another one"
    )


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
                logger.warning(
                    f"--storage {redact_password(address)} does not answer ({_root_cause_text(error)}): waiting for it"
                )
            warned = True
            time.sleep(pause)
            pause = min(10.0, 2 * pause)
        else:
            if warned:
                logger.info("it answers again")
            return result


def redact_password(address: str) -> str:
    """The address without its password."""
    head, sign, rest = address.partition("://")
    return f"{head}{sign}{'***@' + rest.rsplit('@', 1)[1] if '@' in rest else rest}"


def _root_cause_text(error: BaseException) -> str:
    """The first line of the cause that Optuna wraps: its own message says only that something went wrong."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__).splitlines()[0][:160]
