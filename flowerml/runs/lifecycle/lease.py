"""Who may work on a run's folder: attempts with rising numbers, each a lease with a sign of life, fenced off when
another one follows.

A run may be started more than once, on several hosts that share its folder, and counts once. Nothing here needs locks
of the file system: one rename makes a claim (it fails where another has made it), and one rename ends the writing of
whoever held the one before (`flowerml.files.staged`).
"""

import json
import logging
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flowerml.errors import LeaseLost, UserError
from flowerml.files import fenced_writes_to, staging_dir, write_json
from flowerml.human_units import duration
from flowerml.journal import find_journals
from flowerml.runs.lifecycle.process_identity import is_alive, machine, start_time

logger = logging.getLogger(__name__)

ATTEMPTS, CLAIM, HEARTBEAT = "attempts", "claim.json", "heartbeat.json"
JOURNAL_FILES = ("journal.jsonl", "delivered.json")
_FENCED = ".fenced"
_NAME = re.compile(rf"(\d{{4,}})({re.escape(_FENCED)})?")
_UNKNOWN_LEASE = 60.0  # seconds
_TRIES = 10  # of a claimant that others overtake
_PATIENCE = 5.0  # seconds in which one that only closes a dead run has let go of it


@dataclass(frozen=True)
class LeaseOwner:
    """Who made an attempt: its number, the process (`born` and `machine`: see
    `flowerml.runs.lifecycle.process_identity`), when it began, its lease in seconds, and whether it has let go;
    `closes`: it does not go on with the run, and has let go in a moment. `seen` is its last sign of life. Times are
    seconds since 1970.
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
    def silent(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, time.time() - max(self.since, self.seen))

    @property
    def expired(self) -> bool:
        """Whether nobody works on it any more: let go of, its process is dead, or it was silent for longer than its
        lease.
        """
        return self.released or self.dead or self.silent > self.lease

    @property
    def dead(self) -> bool:
        """Whether its process has ended, as far as this host can tell."""
        return (
            self.machine != ""
            and (self.host, self.machine) == (socket.gethostname(), machine())
            and not is_alive(self.pid, self.born)
        )

    def __str__(self) -> str:
        return (
            f"process {self.pid} on {self.host} (attempt {self.token}, last sign of life {duration(self.silent)} ago)"
        )


@dataclass(frozen=True)
class Lease:
    """A claim that was made: its folder, and the folder in that where everything on its way into the run's folder is
    made (of a name that never comes again, while a number may: see `_taken`). `previous` is the folder of the attempt
    before it, fenced off, None for the first.
    """

    root: Path
    folder: Path
    staging: Path
    holder: LeaseOwner
    previous: Path | None

    def heartbeat(self) -> None:
        """Give a sign of life. Raises Fenced where another attempt has followed."""
        write_json(self.folder / HEARTBEAT, {"time": time.time()})

    def withdraw(self) -> None:
        """Undo the claim of an attempt that could not begin: all is as it was before."""
        if self.previous is not None and self.folder.is_dir():
            self.previous.rename(self.previous.with_name(self.previous.name.removesuffix(_FENCED)))
        gone = self.folder.with_name(f".{uuid.uuid4().hex}")  # at once: half of it would look like somebody's
        with suppress(FileNotFoundError):  # it was followed already
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def release(self) -> None:
        """Let go: another attempt may follow at once. Only the claim and the journal stay; a fenced attempt leaves all
        as it is.

        Never raises: the end of the process lets go as well.
        """
        try:
            staging_dir(self.folder)
            for path in self.folder.iterdir():
                if path.name not in (CLAIM, *JOURNAL_FILES, self.staging.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            _write_claim(self.folder, replace(self.holder, released=True))
            shutil.rmtree(self.staging, ignore_errors=True)
        except LeaseLost:
            return
        except (OSError, UserError) as error:
            logger.warning(f"{self.root}: that this process has let go of it could not be written down ({error})")


def lease_owner(root: Path) -> LeaseOwner | None:
    """Who made the newest attempt on a run's folder, None where there was none."""
    newest = _newest(root)
    return None if newest is None else _read(newest)


def acquire(root: Path, lease: float, *, closes: bool = False) -> Lease:
    """Make an attempt on a run's folder. `lease`: seconds without a sign of life after which others may take the run
    over. `closes`: only to close it. Every start closes what is dead: one that begins in this moment waits for that,
    instead of being refused.

    Raises:
        UserError: somebody works on it (says who), or the folder can't be written to.
    """
    patience = time.monotonic() + _PATIENCE
    try:
        for _ in range(_TRIES):
            before = lease_owner(root)
            while before is not None and before.closes and not before.expired and time.monotonic() < patience:
                time.sleep(0.02)
                before = lease_owner(root)
            if before is not None and not before.expired:
                raise UserError(f"{root} is being worked on by {before}: wait for it, or choose another --output-dir")
            token = 1 if before is None else before.token + 1
            mine = LeaseOwner(
                token,
                socket.gethostname(),
                os.getpid(),
                start_time(os.getpid()),
                time.time(),
                lease,
                machine(),
                closes=closes,
            )
            staging = _taken(root, mine)
            if staging is not None:
                return Lease(root, staging.parent, staging, mine, _fence_off(root, token))
    except OSError as error:
        raise UserError(
            f"can't claim {root}: {error.strerror or error}. Choose another folder, or free space or permissions there"
        ) from error
    raise UserError(
        f"{root}: other processes begin and leave it all the time. Wait for them, or choose another --output-dir"
    )


def _taken(root: Path, mine: LeaseOwner) -> Path | None:
    """The folder `Attempt.staging`, in the attempt's own; None where somebody else was faster. Raises OSError."""
    attempts, name = root / ATTEMPTS, f".{uuid.uuid4().hex}"
    folder, made = attempts / f"{mine.token:04d}", attempts / name
    try:
        (made / name).mkdir(parents=True)
        _write_claim(made, mine)
        try:
            made.rename(folder)  # fails where another one stands: exactly one of several wins
        except OSError:
            if folder.is_dir():
                return None
            raise
        # Whoever was slow from its look at the folder to here finds the number free again: its owner was followed, and
        # fenced off.
        if any(number > mine.token or (number == mine.token and fenced) for _, number, fenced in _all(root)):
            with suppress(FileNotFoundError):  # it was fenced off already
                folder.rename(made)
            return None
        return folder / name
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _fence_off(root: Path, token: int) -> Path | None:
    """End the writing of all attempts before `token`; the last one's folder as it is named now. Raises OSError."""
    previous = None
    for place, number, fenced in _all(root):
        if number < token:
            previous = place.with_name(f"{number:04d}{_FENCED}")
            if not fenced:
                try:
                    place.rename(previous)
                except OSError:
                    if not previous.exists():  # else it was one that was slow, see above, and will see that itself
                        raise
    return previous


@contextmanager
def fenced_writes(attempt: Lease) -> Iterator[None]:
    """Inside, whatever is written below the run's folder is this attempt's, and fails (Fenced) once another has
    followed. Lets go at the end.
    """
    with fenced_writes_to(attempt.root, attempt.staging):
        try:
            yield
        finally:
            attempt.release()


def clean_fenced(attempt: Lease) -> None:
    """Remove what earlier attempts have left: the newest journal has all they had. The journal of a run that was
    started over stays, as something of it may have to be delivered.
    """
    own = find_journals(attempt.root)
    for place, _, fenced in _all(attempt.root):
        if fenced and place not in own:
            shutil.rmtree(place, ignore_errors=True)


def _all(root: Path) -> list[tuple[Path, int, bool]]:
    """Every attempt's folder, its number, and whether it is fenced off; in the order of the numbers."""
    try:
        found = [(path, _NAME.fullmatch(path.name)) for path in (root / ATTEMPTS).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        ((path, int(match[1]), bool(match[2])) for path, match in found if match), key=lambda entry: entry[1:]
    )


def _newest(root: Path) -> Path | None:
    entries = _all(root)
    return entries[-1][0] if entries else None


def _read(folder: Path) -> LeaseOwner:
    """Who made the attempt in `folder`. One whose claim can't be read is nobody's: it is over once it is as old as a
    lease.
    """
    match = _NAME.fullmatch(folder.name)
    assert match is not None
    try:
        written = LeaseOwner(**json.loads((folder / CLAIM).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        since = 0.0
        with suppress(OSError):
            since = folder.stat().st_mtime
        return LeaseOwner(int(match[1]), "an unknown host", 0, 0.0, since, _UNKNOWN_LEASE)
    try:
        seen = float(json.loads((folder / HEARTBEAT).read_text("utf-8"))["time"])
    except (OSError, ValueError, TypeError, KeyError):
        seen = 0.0
    return replace(written, seen=seen, released=written.released or bool(match[2]))


def _write_claim(folder: Path, who: LeaseOwner) -> None:
    content = asdict(who)
    del content["seen"]
    write_json(folder / CLAIM, content)
