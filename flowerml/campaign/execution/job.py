"""What one run's process is told, and what comes back of it: plain values, as they go through a socket or to another
host.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class JobKind(StrEnum):
    """What a process is to do."""

    TRAIN = "train"
    SMOKE = "smoke"  # train, then evaluate the written checkpoint on its validation pictures
    COPY = "copy"  # make a run of another run's best.pth


@dataclass(frozen=True)
class Job:
    """One run of the plan: its name, its complete settings as plain values, its tags, and the file that takes what it
    prints.

    `source` is the folder whose best.pth is copied, `figures` what that one reached. `threads`: how many to compute
    with, None: as it is.
    """

    name: str
    kind: JobKind
    settings: Mapping[str, Any]
    labels: Mapping[str, str]
    log: str
    source: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Job":
        """From what `as_json` gave."""
        return Job(**{**values, "work": JobKind(values["work"])})


@dataclass(frozen=True)
class JobResult:
    """How a run's process ended: its exit code (negative: killed by that signal), and what it said at its end.

    Codes are those of every command: 0 well, 1 failed, 2 refused (nothing was begun), 130 stopped. `lost`: the machine
    or the process that was to tell is gone, so nothing is known; `said` is the last line of it, for people.
    """

    name: str
    exit_code: int
    last_line: str = ""
    lost: bool = False
