"""The thread that delivers a run's journal while it is being written. A server that is away costs the training nothing."""

import logging
import os
import threading
import time
from collections.abc import Callable

from mlflow.tracking import get_tracking_uri

from flowerml.errors import LeaseLost, UserError
from flowerml.tracking.client.connection import is_remote
from flowerml.tracking.client.errors import is_server_response, redact_secrets, short_reason, to_user_error
from flowerml.tracking.delivery.journal_delivery import JournalDelivery

logger = logging.getLogger(__name__)

_SILENCE_S = 0.5  # of a server on a network, after which the start goes on without it
_FAREWELL_S, _AWAY_FAREWELL_S = (
    2.0,
    0.4,
)  # of silence that the end waits for; the second where the server was away already
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # between tries
_BEAT_S = 30.0


class BackgroundSender:
    """Delivers until it is closed; `opened` is the run that `mlflow run` has opened for this process.

    An answer that refuses the run stops it at the start, and only there: later it is one more reason to try again.
    """

    def __init__(self, make: Callable[[Callable[[], None]], JournalDelivery], opened: str | None) -> None:
        self._state = threading.Condition()
        self._delivery = make(self._heard)
        self._opened = opened
        self._remote = is_remote(get_tracking_uri())
        self._store = f"the MLflow tracking store {redact_secrets(get_tracking_uri())}"
        self._where = self._delivery.journal.root
        self._answers = 0  # of the server, and so a sign that waiting is of use
        self._fails = 0  # since its last answer
        self._starting, self._closing, self._over = True, False, False
        self._told = False  # that it is away
        self._refused: Exception | None = None
        self._news = False
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty until the server has answered."""
        return self._delivery.run_id

    @property
    def delivery(self) -> JournalDelivery:
        """What it delivers."""
        return self._delivery

    def start(self) -> None:
        """Begin. Waits until the run is there; for a server on a network only as long as it answers.

        Raises:
            UserError: it refuses, or it is no address at all; a file that can't be opened is no more than that.
            Fenced: another process has taken the run over.
        """
        self._thread.start()
        with self._state:
            self._wait(
                lambda: self._delivery.is_open or self._fails > 0 or self._over, _SILENCE_S if self._remote else None
            )
            self._starting = False
            gone = self._over and not self._fails
            refused = self._refused
            silent = not self._told and not self._delivery.is_open and self._fails == 0
            self._told = self._told or silent
        if refused is not None:
            self.abandon()
            raise to_user_error(refused) from refused
        if gone:
            raise LeaseLost(f"{self._where}: another process has taken this run over; nothing more is written here")
        if silent:
            logger.warning(
                f"{self._store} has not answered yet: the training begins, its events are kept in {self._where}"
            )

    def notify(self) -> None:
        """There is something to deliver."""
        with self._state:
            self._news = True
            self._state.notify_all()

    def close(self) -> None:
        """Deliver the rest and stop. Waits as long as the server takes it, or nobody interrupts it; says what is left."""
        try:
            with self._state:
                self._closing = True
                self._state.notify_all()
                self._wait_for_the_end()
        finally:
            self._part()

    def _part(self) -> None:
        if self._over and self.pending() == 0:
            return
        self.abandon()
        self._thread.join(0.1)  # it is between two tries, or in one that nobody answers
        left = self.pending()
        if left:
            logger.warning(
                f"{left} events are not at MLflow yet; they are kept in {self._where}: `flowerml sync {self._where}`"
                " delivers them"
            )

    def abandon(self) -> None:
        """Stop without delivering the rest. A request that is under way is not waited for."""
        with self._state:
            self._over = True
            self._state.notify_all()

    def pending(self) -> int:
        """How many events are not at MLflow."""
        try:
            return self._delivery.pending()
        except OSError:
            return 0  # taken over: the journal is another process's

    def _wait(self, ready: Callable[[], bool], silence_s: float | None) -> None:
        """Until `ready`, or until the server has said nothing for so long."""
        while not ready():
            answers = self._answers
            self._state.wait_for(lambda: ready() or self._answers > answers, silence_s)  # noqa: B023 - same iteration
            if silence_s is not None and self._answers == answers:
                return

    def _wait_for_the_end(self) -> None:
        """Until everything is delivered, or until the server has said nothing for so long; for a file it has what its
        size takes.
        """
        answers, since = self._answers, time.monotonic()
        patience_s = _AWAY_FAREWELL_S if self._fails else _FAREWELL_S
        while not self._over:
            self._state.wait(0.05)
            if answers != self._answers:
                answers, since, patience_s = self._answers, time.monotonic(), _FAREWELL_S
            silent_s = time.monotonic() - since
            if silent_s > patience_s and (self._fails or (self._remote and silent_s > patience_s + self._upload_s())):
                return

    def _upload_s(self) -> float:
        try:
            return self._delivery.upload_s()
        except OSError:
            return 0.0

    def _heard(self) -> None:
        with self._state:
            self._answers += 1
            self._state.notify_all()

    def _run(self) -> None:
        due = time.monotonic() + _BEAT_S
        try:
            while self._go_on(due):
                self._news = False
                try:
                    self._deliver()
                    if self._is_taken_over():  # by a process that may have ended the run: it must not be opened again
                        return
                    if time.monotonic() >= due and not self._closing:
                        self._delivery.send_heartbeat()
                        self._delivery.assert_running()
                        due = time.monotonic() + _BEAT_S
                except (
                    Exception
                ) as error:  # whatever a server, a disk or a network in between may raise: the training goes on
                    if self._is_taken_over() or self._is_refused(error):
                        return
                    self._fail(error)
        finally:
            with self._state:
                self._over = True
                self._state.notify_all()
            self._delivery.close()

    def _go_on(self, due: float) -> bool:
        """Wait until there is something to do; False where nothing ever will be."""
        with self._state:
            if self._over:
                return False
            if self._fails:
                closing = self._closing
                pause_s = 0.2 if closing else _PAUSES_S[min(self._fails, len(_PAUSES_S)) - 1]
                self._state.wait_for(lambda: self._over or self._closing != closing, pause_s)
            elif self._closing:
                return not self._over and self.pending() > 0
            elif self._delivery.is_open:
                self._state.wait_for(
                    lambda: self._over or self._closing or self._news, max(0.0, due - time.monotonic())
                )
            return not self._over

    def _deliver(self) -> None:
        if not self._delivery.is_open:
            self._delivery.open(self._opened, alive=True)
        if self._fails:
            self._delivery.assert_running()
            self._back()
        while not self._over and self._delivery.deliver_batch():
            if not self._delivery.is_open:
                self._delivery.open(None, alive=True)

    def _back(self) -> None:
        left = self.pending()
        with self._state:
            self._fails = 0
            told, self._told = self._told, False
        if told:
            logger.info(f"{self._store} is there again: {left} events go to it")

    def _is_refused(self, error: Exception) -> bool:
        """At the start only: whether this ends the run before it has begun."""
        with self._state:
            if self._starting and (is_server_response(error) or not self._remote):
                self._refused = error
                self._fails = 1
                self._state.notify_all()
                return True
        return False

    def _is_taken_over(self) -> bool:
        return not os.path.exists(self._delivery.journal.path)  # noqa: PTH110 - never raises

    def _fail(self, error: Exception) -> None:
        with self._state:
            self._fails += 1
            told, self._told = self._told, True
            self._state.notify_all()
        if not told and not self._over:
            does = "refuses" if is_server_response(error) and not isinstance(error, UserError) else "does not answer"
            why = str(error) if isinstance(error, UserError) else f"{self._store} {does} ({short_reason(error)})"
            logger.warning(f"{why}: events are kept in {self._where} and go there later")
