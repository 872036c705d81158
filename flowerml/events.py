"""What a run says about itself, as plain events, and the small protocol of whoever writes them down.

Nothing here knows MLflow: the loop and the reports emit events; `flowerml.tracking` delivers them. A journal can stand
between the two.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Status(StrEnum):
    """Final states of a run, in MLflow's words."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


def now_ms() -> int:
    """Milliseconds since 1970-01-01 UTC: MLflow's unit of time."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Params:
    """Settings that do not change any more, as text."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Metrics:
    """Figures of one step (the 1-based epoch; 0 for figures of the run as a whole)."""

    values: Mapping[str, float]
    step: int = 0
    timestamp: int = field(default_factory=now_ms)


@dataclass(frozen=True)
class Tags:
    """Labels by which runs are found."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Artifact:
    """A finished file of the run; `folder` is its place among the artifacts ("" for the top)."""

    path: Path
    folder: str = ""


@dataclass(frozen=True)
class DatasetInput:
    """The data a run used: a name, a digest (at most 36 characters in MLflow) and where it lay."""

    name: str
    digest: str
    source: str
    context: str


@dataclass(frozen=True)
class Ended:
    """The run's last event. Two of one status and reason are the same, whenever they came."""

    status: Status
    reason: str = ""
    timestamp: int = field(default_factory=now_ms, compare=False)


Event = Params | Metrics | Tags | Artifact | DatasetInput | Ended


class Recorder(Protocol):
    """Takes a run's events in order."""

    @property
    def run_id(self) -> str:
        """The tracking server's id of the run; empty until the server has answered."""
        ...

    def record(self, event: Event) -> None:
        """Take one event. Must not change the training whatever happens to it afterwards."""
        ...

    def close(self) -> None:
        """After the last event: wait until all are where they go, for as long as somebody takes them there."""
        ...


class MemoryRecorder:
    """Keeps the events in a list: the double that tests pass in, and what a run without tracking uses."""

    def __init__(self, run_id: str = "memory") -> None:
        self._run_id = run_id
        self.events: list[Event] = []

    @property
    def run_id(self) -> str:
        """The id it was made with."""
        return self._run_id

    def record(self, event: Event) -> None:
        """Append the event."""
        self.events.append(event)

    def close(self) -> None:
        """They are in the list already."""

    def metric(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of one metric in the order of arrival."""
        found = (e for e in self.events if isinstance(e, Metrics))
        return [(e.step, e.values[name]) for e in found if name in e.values]

    def tags(self) -> dict[str, str]:
        """All tags, later ones over earlier ones."""
        merged: dict[str, str] = {}
        for event in self.events:
            if isinstance(event, Tags):
                merged.update(event.values)
        return merged
