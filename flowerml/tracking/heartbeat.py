"""Heartbeats: the tag `flowerml.heartbeat`, whose age tells a live run from one whose process is gone."""

import json
import os
import socket
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass

from mlflow.tracking import MlflowClient

from flowerml.events import now_ms
from flowerml.journal import RunStarted

HEARTBEAT = "flowerml.heartbeat"
_INTERVAL_S = 30.0


@dataclass(frozen=True)
class HeartbeatRecord:
    """Which process was alive, and when (`time` in ms). The fields are the keys of the tag's JSON."""

    host: str
    pid: int
    time: int

    @property
    def age_s(self) -> float:
        """Seconds since the heartbeat."""
        return (now_ms() - self.time) / 1000


def heartbeat_json(started: RunStarted | None = None) -> str:
    """The tag's value for this process, now; or for the process that started a journal, whose id is unknown (0)."""
    if started is not None:
        record = HeartbeatRecord(started.host, 0, started.timestamp)
    else:
        record = HeartbeatRecord(socket.gethostname(), os.getpid(), now_ms())
    return json.dumps(asdict(record))


def parse_heartbeat(text: str) -> HeartbeatRecord:
    """Inverse of `heartbeat_json`. Raises ValueError or TypeError for any other text."""
    return HeartbeatRecord(**json.loads(text))


class TagHeartbeat:
    """Sets the tag of a run now, and every 30 s until `stop`, from a daemon thread: for runs without a journal."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Raises whatever MLflow, SQLAlchemy and requests raise."""
        self._client = client
        self._run_id = run_id
        self._stopped = threading.Event()
        # Here, not in the thread: what MLflow imports for it must not be imported while loader processes start.
        self._set_tag()
        self._thread = threading.Thread(target=self._repeat, name="run-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Set no tag from now on. A request on its way is waited for, up to its time-out."""
        self._stopped.set()
        self._thread.join()

    def _set_tag(self) -> None:
        self._client.set_tag(self._run_id, HEARTBEAT, heartbeat_json())

    def _repeat(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            with suppress(Exception):  # the server is away: the next one may reach it
                self._set_tag()
