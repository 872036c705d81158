"""Heartbeats: the tag `flowerml.heartbeat`, whose age tells a live run from one whose process is gone."""

import json
import os
import socket
from dataclasses import asdict, dataclass

from flowerml.events import now_ms
from flowerml.journal import RunStarted

HEARTBEAT = "flowerml.heartbeat"


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
