"""The database that a study lives in: opened, kept alive, and waited for while it is away."""

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

RETRIES = 2  # of one trial, after the process that ran it has died
TROUBLE = (SQLAlchemyError, StorageInternalError)  # what a database raises that is away, or answers late
_PATIENCE_S = 300.0
_TABLES_S = (0.3, 1.0, 3.0)  # pauses: several processes that make the tables of one database at once crash, all but one

Answer = TypeVar("Answer")


class Storage(RDBStorage):
    """Optuna's, with two gaps closed.

    A trial has a sign of life before it is RUNNING, not after: one whose process dies in between would be RUNNING for
    ever. And a sign that does not get through is not the last one: the thread that gives it goes on.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        """Give a trial's sign of life."""
        with suppress(*TROUBLE):
            super().record_heartbeat(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's."""
        if state is TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        return super().set_trial_state_values(trial_id, state, values)


def open_storage(address: str, beat: int) -> Storage:
    """The database at `address`, with Optuna's tables. `beat`: seconds between two signs of life of a trial; after
    three without one it counts as dead, and is queued again, at most RETRIES times.

    Raises:
        UserError: it can't be had.
    """
    # A connection that was cut off (the server was started again) is replaced; an SQLite file that somebody writes to
    # is waited for.
    engine = {"connect_args": {"timeout": 60}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    again = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES, inherit_intermediate_values=True)
    for pause in (*_TABLES_S, None):
        try:
            return Storage(
                address,
                engine_kwargs=engine,
                heartbeat_interval=beat,
                grace_period=3 * beat,
                heartbeat_stale_trial_callback=again,
            )
        except (ArgumentError, ImportError, ValueError) as error:
            raise UserError(
                f"--storage {named(address)}: {_line(error)}. Allowed: sqlite:///FILE.db, postgresql+psycopg2://…"
            ) from error
        except TROUBLE as error:
            if pause is None:
                raise away(address, error) from error
            time.sleep(pause)
    raise AssertionError


def away(address: str, error: Exception) -> UserError:
    """The line for a database that does not answer."""
    return UserError(f"--storage {named(address)} can't be had ({_line(error)}): start it, or name another one")


def patiently(address: str, ask: Callable[[], Answer], seconds: float = _PATIENCE_S) -> Answer:
    """What `ask` says; asked again for so many seconds while the database does not answer. Raises UserError after that."""
    until, pause, told = time.monotonic() + seconds, 0.5, False
    while True:
        try:
            answer = ask()
        except TROUBLE as error:
            if time.monotonic() + pause > until:
                raise away(address, error) from error
            if not told:
                logger.warning(f"--storage {named(address)} does not answer ({_line(error)}): waiting for it")
            told = True
            time.sleep(pause)
            pause = min(10.0, 2 * pause)
        else:
            if told:
                logger.info("it answers again")
            return answer


def named(address: str) -> str:
    """The address without its password."""
    head, sign, rest = address.partition("://")
    return f"{head}{sign}{'***@' + rest.rsplit('@', 1)[1] if '@' in rest else rest}"


def _line(error: BaseException) -> str:
    """The first line of what lies at the bottom of it: Optuna says only that something went wrong."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__).splitlines()[0][:160]
