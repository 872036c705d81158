"""The attempts on a run's folder: `attempts/<number>/`, each with a claim and a heartbeat that say who works there."""

import json
import re
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flowerml.files import write_json
from flowerml.human_units import duration
from flowerml.runs.lifecycle.process_identity import is_alive, machine

ATTEMPTS, CLAIM, HEARTBEAT = "attempts", "claim.json", "heartbeat.json"
FENCED = ".fenced"  # suffix of the folder of an attempt that another one has followed
_FOLDER_NAME = re.compile(rf"(\d{{4,}})({re.escape(FENCED)})?")
_UNREADABLE_CLAIM_LEASE_S = 60.0


@dataclass(frozen=True)
class LeaseOwner:
    """The owner of an attempt, as `claim.json` has it; times are seconds since 1970.

    `token` is the attempt's number; `born` and `machine` identify the process (`process_identity`); `since` is when it
    began, `lease` in seconds; `released`: it ended; `closes`: it only closes a dead run. `seen` is the last heartbeat.
    """

    token: int
    host: str
    pid: int
    born: float
    since: float
    lease: float
    machine: str = ""
    released: bool = False
    closes: bool = False
    seen: float = 0.0

    @property
    def heartbeat_age(self) -> float:
        """Seconds between the last heartbeat and now. One of the future is one of before the clock was set back."""
        return abs(time.time() - (self.seen or self.since))

    @property
    def expired(self) -> bool:
        """Whether the lease is free: released, its process dead, or its last heartbeat older than the lease."""
        return self.released or self.is_dead or self.heartbeat_age > self.lease

    @property
    def is_dead(self) -> bool:
        """Whether its process has ended; False where this host can't tell."""
        return (
            self.machine != ""
            and (self.host, self.machine) == (socket.gethostname(), machine())
            and not is_alive(self.pid, self.born)
        )

    def __str__(self) -> str:
        age = duration(self.heartbeat_age)
        return f"process {self.pid} on {self.host} (attempt {self.token}, last sign of life {age} ago)"


def lease_owner(root: Path) -> LeaseOwner | None:
    """The owner of the latest attempt on a run's folder, None where there was none."""
    attempts = list_attempts(root)
    return _read_owner(attempts[-1][0]) if attempts else None


def list_attempts(root: Path) -> list[tuple[Path, int, bool]]:
    """Each attempt's folder, its number, and whether it is fenced; in the order of the numbers."""
    try:
        found = [(path, _FOLDER_NAME.fullmatch(path.name)) for path in (root / ATTEMPTS).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        ((path, int(match[1]), bool(match[2])) for path, match in found if match), key=lambda entry: entry[1:]
    )


def write_claim(folder: Path, owner: LeaseOwner) -> None:
    """Write `claim.json` into an attempt's folder. Raises UserError as the atomic writer."""
    content = asdict(owner)
    del content["seen"]
    write_json(folder / CLAIM, content)


def _read_owner(folder: Path) -> LeaseOwner:
    """The owner of the attempt in `folder`; an unreadable claim has none, and expires once it is as old as a lease."""
    match = _FOLDER_NAME.fullmatch(folder.name)
    assert match is not None
    try:
        written = LeaseOwner(**json.loads((folder / CLAIM).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        since = 0.0
        with suppress(OSError):
            since = folder.stat().st_mtime
        return LeaseOwner(int(match[1]), "an unknown host", 0, 0.0, since, _UNREADABLE_CLAIM_LEASE_S)
    try:
        seen = float(json.loads((folder / HEARTBEAT).read_text("utf-8"))["time"])
    except (OSError, ValueError, TypeError, KeyError):
        seen = 0.0
    return replace(written, seen=seen, released=written.released or bool(match[2]))
