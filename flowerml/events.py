"""Events of a run as plain records, and the protocol of the recorders that take them.

Independent of MLflow: training and reports emit events, and `flowerml.tracking` delivers them, through a journal or
directly.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from flowerml.redaction import redact_secrets


class Status(StrEnum):
    """Terminal states of a run, with MLflow's names."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


def now_ms() -> int:
    """Unix time in milliseconds, the unit of MLflow's timestamps."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Params:
    """Parameters by name, as text without passwords; immutable once logged."""

    values: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _without_secrets(self.values))


@dataclass(frozen=True)
class Metrics:
    """Metrics of one step: the 1-based epoch, or 0 for metrics of the whole run. `timestamp` is in ms.

    `of_model`: they also are those of the run's `TrainedModel`.
    """

    values: Mapping[str, float]
    step: int = 0
    timestamp: int = field(default_factory=now_ms)
    of_model: bool = False


@dataclass(frozen=True)
class Tags:
    """Tags by name, by which runs are searched; without passwords."""

    values: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _without_secrets(self.values))


@dataclass(frozen=True)
class Artifact:
    """A complete file to upload; `folder` is the artifact path ("" for the top)."""

    path: Path
    folder: str = ""


@dataclass(frozen=True)
class DatasetInput:
    """A dataset the run used: name, digest (MLflow keeps 36 characters), source path, and context (its use).

    `profile` says how much of what it holds, as JSON.
    """

    name: str
    digest: str
    source: str
    context: str
    profile: str = ""


@dataclass(frozen=True)
class TrainedModel:
    """The model that the run has trained; its weights are the run's artifact `best.pth`."""

    name: str
    params: Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """The run's last event; `reason` is without passwords, `timestamp` (ms) is not compared."""

    status: Status
    reason: str = ""
    timestamp: int = field(default_factory=now_ms, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", redact_secrets(self.reason))


def _without_secrets(values: Mapping[str, str]) -> dict[str, str]:
    return {name: redact_secrets(text) for name, text in values.items()}


Event = Params | Metrics | Tags | Artifact | DatasetInput | TrainedModel | Ended


class Recorder(Protocol):
    """Takes a run's events in order."""

    @property
    def run_id(self) -> str:
        """The tracking server's id of the run; empty until the server has answered."""
        ...

    def record(self, event: Event) -> None:
        """Take one event. A failing delivery must not affect training."""
        ...

    def close(self) -> None:
        """After the last event: wait for the delivery, as long as the server responds."""
        ...


class MemoryRecorder:
    """Keeps the events in a list: for tests, and for runs without tracking."""

    def __init__(self, run_id: str = "memory") -> None:
        self._run_id = run_id
        self.events: list[Event] = []

    @property
    def run_id(self) -> str:
        """The id passed to the constructor."""
        return self._run_id

    def record(self, event: Event) -> None:
        """Append the event."""
        self.events.append(event)

    def close(self) -> None:
        """Nothing to do."""

    def metric(self, name: str) -> list[tuple[int, float]]:
        """(step, value) pairs of one metric, in the order recorded."""
        found = (e for e in self.events if isinstance(e, Metrics))
        return [(e.step, e.values[name]) for e in found if name in e.values]

    def tags(self) -> dict[str, str]:
        """All tags; later values override earlier ones."""
        merged: dict[str, str] = {}
        for event in self.events:
            if isinstance(event, Tags):
                merged.update(event.values)
        return merged
