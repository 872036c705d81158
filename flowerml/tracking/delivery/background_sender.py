"""Background thread that delivers a run's journal during training; a server outage never blocks the training."""

import logging
import os
import threading
import time
from collections.abc import Callable

from mlflow.tracking import get_tracking_uri

from flowerml.errors import LeaseLost
from flowerml.redaction import redact_secrets
from flowerml.tracking.client.connection import is_remote
from flowerml.tracking.client.failure_table import Kind
from flowerml.tracking.client.failures import find_failure, is_permanent, to_user_error
from flowerml.tracking.delivery.journal_delivery import JournalDelivery

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 0.5  # without a response of a remote server, after which the training starts anyway
_CLOSE_TIMEOUT_S, _CLOSE_TIMEOUT_DOWN_S = 2.0, 0.4  # without a response at the end; the second if the server is down
_RETRY_DELAYS_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_HEARTBEAT_INTERVAL_S = 30.0


class BackgroundSender:
    """Delivers a journal in a daemon thread until it is closed; `env_run_id` is this process's MLFLOW_RUN_ID.

    A refusal by the server is fatal only in `start`; later it is retried like any other error.
    """

    def __init__(self, make_delivery: Callable[[Callable[[], None]], JournalDelivery], env_run_id: str | None) -> None:
        """`make_delivery` is called with the callback for the server's responses."""
        self._changed = threading.Condition()
        self._delivery = make_delivery(self._on_response)
        self._env_run_id = env_run_id
        self._remote = is_remote(get_tracking_uri())
        self._store = f"the MLflow tracking store {redact_secrets(get_tracking_uri())}"
        self._root = self._delivery.journal.root
        self._responses = 0  # of the server so far; while it grows, waiting makes sense
        self._failures = 0  # since the last success
        self._starting, self._closing, self._stopped = True, False, False
        self._reported: set[Kind] = set()  # kinds of failure told since the server answered last
        self._refusal: Exception | None = None
        self._has_new_records = False
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)

    @property
    def run_id(self) -> str:
        """MLflow's run id; empty until the server has responded."""
        return self._delivery.run_id

    @property
    def delivery(self) -> JournalDelivery:
        """The journal's delivery."""
        return self._delivery

    def start(self) -> None:
        """Start the thread and wait until the run exists; for a remote server only as long as it responds.

        Raises:
            UserError: the server refuses, the address is invalid, or a local store can't be opened.
            LeaseLost: a newer attempt owns the run.
        """
        self._thread.start()
        with self._changed:
            self._wait_while_responding(
                lambda: self._delivery.is_open or self._failures > 0 or self._stopped,
                _START_TIMEOUT_S if self._remote else None,
            )
            self._starting = False
            lease_lost = self._stopped and not self._failures
            refusal = self._refusal
            no_response = not self._reported and not self._delivery.is_open and self._failures == 0
            if no_response:
                self._reported.add(Kind.AWAY)
        if refusal is not None:
            self.abandon()
            raise to_user_error(refusal) from refusal
        if lease_lost:
            raise LeaseLost(f"{self._root}: another process has taken this run over; nothing more is written here")
        if no_response:
            logger.warning(
                f"{self._store} has not answered yet: the training begins, its events are kept in {self._root}"
            )

    def notify(self) -> None:
        """Wake the thread: the journal has new records."""
        with self._changed:
            self._has_new_records = True
            self._changed.notify_all()

    def close(self) -> None:
        """Deliver the rest and stop; waits as long as the server responds, then logs how much is left."""
        try:
            with self._changed:
                self._closing = True
                self._delivery.files.close()
                self._changed.notify_all()
                self._wait_for_delivery()
        finally:
            self._stop_and_report()

    def _stop_and_report(self) -> None:
        if self._stopped and self.pending() == 0:
            return
        self.abandon()
        self._thread.join(0.1)  # it sleeps between retries, or hangs in a request
        pending, files = self.pending(), self._delivery.waiting_files
        if files == pending > 0:
            logger.warning(
                f"{_count_files(files)} not at MLflow yet; they lie in {self._root}: `flowerml sync {self._root}`"
                " uploads them"
            )
        elif pending:
            logger.warning(
                f"{pending} events are not at MLflow yet; they are kept in {self._root}: `flowerml sync {self._root}`"
                " delivers them"
            )

    def abandon(self) -> None:
        """Stop without delivering the rest; does not wait for a pending request."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def pending(self) -> int:
        """The number of undelivered events."""
        try:
            return self._delivery.pending()
        except OSError:
            return 0  # fenced: the journal is the newer attempt's

    def _wait_while_responding(self, is_ready: Callable[[], bool], timeout_s: float | None) -> None:
        """Wait until `is_ready`, or until the server has not responded for `timeout_s`."""
        while not is_ready():
            responses = self._responses
            self._changed.wait_for(
                lambda: is_ready() or self._responses > responses,  # noqa: B023 - same iteration
                timeout_s,
            )
            if timeout_s is not None and self._responses == responses:
                return

    def _wait_for_delivery(self) -> None:
        """Wait until all is delivered or the server stops responding; an upload gets extra time for its size."""
        responses, since = self._responses, time.monotonic()
        timeout_s = _CLOSE_TIMEOUT_DOWN_S if self._failures else _CLOSE_TIMEOUT_S
        while not self._stopped:
            self._changed.wait(0.05)
            if responses != self._responses:
                responses, since, timeout_s = self._responses, time.monotonic(), _CLOSE_TIMEOUT_S
            waited_s = time.monotonic() - since
            if waited_s > timeout_s and (
                self._failures or (self._remote and waited_s > timeout_s + self._upload_allowance_s())
            ):
                return

    def _upload_allowance_s(self) -> float:
        try:
            return self._delivery.estimate_upload_s()
        except OSError:
            return 0.0

    def _on_response(self) -> None:
        with self._changed:
            self._responses += 1
            self._changed.notify_all()

    def _run(self) -> None:
        heartbeat_due = time.monotonic() + _HEARTBEAT_INTERVAL_S
        try:
            while self._wait_for_work(heartbeat_due):
                self._has_new_records = False
                try:
                    self._deliver()
                    if self._lease_lost():  # the newer attempt may have ended the run: don't set it to RUNNING again
                        return
                    if time.monotonic() >= heartbeat_due and not self._closing:
                        self._delivery.send_heartbeat()
                        self._delivery.assert_running()
                        heartbeat_due = time.monotonic() + _HEARTBEAT_INTERVAL_S
                except Exception as error:  # of the server, the disk or the network: none may end the training
                    if self._lease_lost() or self._is_refused_at_start(error):
                        return
                    self._on_failure(error)
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            self._delivery.close()

    def _wait_for_work(self, heartbeat_due: float) -> bool:
        """Wait for new records, the next heartbeat or the next retry; False when the thread should end."""
        with self._changed:
            if self._stopped:
                return False
            if self._failures:
                closing = self._closing
                delay_s = 0.2 if closing else _RETRY_DELAYS_S[min(self._failures, len(_RETRY_DELAYS_S)) - 1]
                self._changed.wait_for(lambda: self._stopped or self._closing != closing, delay_s)
            elif self._closing:
                return not self._stopped and self._has_work()
            elif self._delivery.is_open:
                self._changed.wait_for(
                    lambda: self._stopped or self._closing or self._has_new_records,
                    max(0.0, self._next_wake_up(heartbeat_due) - time.monotonic()),
                )
            return not self._stopped

    def _next_wake_up(self, heartbeat_due: float) -> float:
        if not self._delivery.waiting_files:
            return heartbeat_due
        return min(heartbeat_due, time.monotonic() + self._delivery.files.retry_in_s)

    def _has_work(self) -> bool:
        try:
            return self._delivery.has_work()
        except OSError:
            return False  # as in `pending`

    def _deliver(self) -> None:
        if not self._delivery.is_open:
            self._delivery.open(self._env_run_id, alive=True)
        pending = self.pending()
        if self._failures:
            self._delivery.assert_running()
        while not self._stopped and self._delivery.deliver_batch():
            self._on_recovery(pending)  # once it takes events: a server whose disk is full may answer questions
            if not self._delivery.is_open:
                self._delivery.open(None, alive=True)
        self._on_recovery(pending)

    def _on_recovery(self, pending: int) -> None:
        """End an outage, if there was one: the server takes the `pending` events."""
        with self._changed:
            self._failures = 0
            was_reported = bool(self._reported)
            self._reported.clear()
        if was_reported:
            logger.info(f"{self._store} is there again: {pending} events go to it")

    def _is_refused_at_start(self, error: Exception) -> bool:
        """Whether `error` is fatal: only during `start`, if the server refuses or the store is local."""
        with self._changed:
            if self._starting and (is_permanent(error) or not self._remote):
                self._refusal = error
                self._failures = 1
                self._changed.notify_all()
                return True
        return False

    def _lease_lost(self) -> bool:
        return not os.path.exists(self._delivery.journal.path)  # noqa: PTH110 - never raises

    def _on_failure(self, error: Exception) -> None:
        failure = find_failure(error)
        with self._changed:
            self._failures += 1
            was_reported = failure.kind in self._reported
            self._reported.add(failure.kind)
            self._changed.notify_all()
        if not was_reported and not self._stopped:
            reason = failure.problem if failure.kind is Kind.AWAY else str(failure)
            logger.warning(f"{reason}: events are kept in {self._root} and go there later")


def _count_files(count: int) -> str:
    return f"{count} files are" if count > 1 else "1 file is"
