"""A lease on a run's folder: attempts with rising numbers, each with a heartbeat; a newer one fences the older one.

A run may be started more than once, on several hosts that share its folder, and counts once. Two renames do it, without
locks of the file system: one makes the attempt's folder (it fails where another process has made it), one fences the
attempt before it, whose writes fail from then on (`flowerml.files.staging_dir`). Weighed against filelock and
portalocker: their locks tell a process neither that it was taken over nor who holds them, and are not reliable on NFS,
so a process that wakes up after its lease could still write.
"""

import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.errors import LeaseLost, UserError
from flowerml.files import fenced_writes_to, staging_dir, write_json
from flowerml.journal import find_journals
from flowerml.runs.lifecycle.attempts import (
    ATTEMPTS,
    CLAIM,
    FENCED,
    HEARTBEAT,
    LeaseOwner,
    lease_owner,
    list_attempts,
    write_claim,
)
from flowerml.runs.lifecycle.process_identity import machine, start_time

logger = logging.getLogger(__name__)

JOURNAL_FILES = ("journal.jsonl", "delivered.json")
HEARTBEATS_PER_LEASE = 6  # so many may fail, or be late, before the lease expires
_MAX_TRIES = 10  # to make an attempt, where other processes are faster
_CLOSING_WAIT_S = 5.0  # for a process that only closes a dead run


@dataclass(frozen=True)
class Lease:
    """An attempt that was made: the run's folder `root`, the attempt's own, and its owner.

    `staging`, within the attempt's folder, is where every file is written before it is renamed into the run's folder;
    its name is unique, while an attempt's number may be used again (see `_create_attempt`). `previous` is the fenced
    folder of the attempt before, None for the first.
    """

    root: Path
    folder: Path
    staging: Path
    owner: LeaseOwner
    previous: Path | None

    def heartbeat(self) -> None:
        """Write the current time. Raises LeaseLost where another attempt has followed."""
        write_json(self.folder / HEARTBEAT, {"time": time.time()})

    def withdraw(self) -> None:
        """Undo an attempt that could not begin: the folder is as it was before."""
        if self.previous is not None and self.folder.is_dir():
            self.previous.rename(self.previous.with_name(self.previous.name.removesuffix(FENCED)))
        removed = self.folder.with_name(f".{uuid.uuid4().hex}")  # in one step: half of a folder would look like a claim
        with suppress(FileNotFoundError):  # another attempt has followed
            self.folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def release(self) -> None:
        """End the lease: another attempt may follow at once. Only claim and journal stay; a fenced attempt stays whole.

        Never raises: the end of the process ends the lease as well.
        """
        try:
            staging_dir(self.folder)
            for path in self.folder.iterdir():
                if path.name not in (CLAIM, *JOURNAL_FILES, self.staging.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            write_claim(self.folder, replace(self.owner, released=True))
            shutil.rmtree(self.staging, ignore_errors=True)
        except LeaseLost:
            return
        except (OSError, UserError) as error:
            logger.warning(f"{self.root}: that this process has let go of it could not be written down ({error})")


def acquire(root: Path, lease: float, *, closes: bool = False) -> Lease:
    """Make an attempt on a run's folder.

    Args:
        root: the run's folder.
        lease: seconds without a heartbeat after which others may take the run over.
        closes: only to close a dead run. Others wait a moment for such an attempt instead of being refused.

    Raises:
        UserError: another process holds the lease (says which), or the folder can't be written to.
    """
    give_up = time.monotonic() + _CLOSING_WAIT_S
    try:
        for _ in range(_MAX_TRIES):
            current = lease_owner(root)
            while current is not None and current.closes and not current.expired and time.monotonic() < give_up:
                time.sleep(0.02)
                current = lease_owner(root)
            if current is not None and not current.expired:
                raise UserError(f"{root} is being worked on by {current}: wait for it, or choose another --output-dir")
            owner = _this_process(1 if current is None else current.token + 1, lease, closes=closes)
            staging = _create_attempt(root, owner)
            if staging is not None:
                return Lease(root, staging.parent, staging, owner, _fence_earlier(root, owner.token))
    except OSError as error:
        raise UserError(
            f"can't claim {root}: {error.strerror or error}. Choose another folder, or free space or permissions there"
        ) from error
    raise UserError(
        f"{root}: other processes begin and leave it all the time. Wait for them, or choose another --output-dir"
    )


def _this_process(token: int, lease: float, *, closes: bool) -> LeaseOwner:
    pid = os.getpid()
    return LeaseOwner(
        token, socket.gethostname(), pid, start_time(pid), time.time(), lease, machine=machine(), closes=closes
    )


def _create_attempt(root: Path, owner: LeaseOwner) -> Path | None:
    """The folder `Lease.staging`, in the attempt's own; None where another process was faster. Raises OSError."""
    attempts, name = root / ATTEMPTS, f".{uuid.uuid4().hex}"
    folder, temporary = attempts / f"{owner.token:04d}", attempts / name
    try:
        (temporary / name).mkdir(parents=True)
        write_claim(temporary, owner)
        try:
            temporary.rename(folder)  # fails where it exists: exactly one of several processes wins
        except OSError:
            if folder.is_dir():
                return None
            raise
        # Between `lease_owner` and here another attempt of this number may have come, been fenced and been removed.
        if any(number > owner.token or (number == owner.token and fenced) for _, number, fenced in list_attempts(root)):
            with suppress(FileNotFoundError):  # it was fenced already
                folder.rename(temporary)
            return None
        return folder / name
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fence_earlier(root: Path, token: int) -> Path | None:
    """Fence all attempts before `token`; returns the last one's folder under its new name. Raises OSError."""
    previous = None
    for folder, number, fenced in list_attempts(root):
        if number < token:
            previous = folder.with_name(f"{number:04d}{FENCED}")
            if not fenced:
                try:
                    folder.rename(previous)
                except OSError:
                    if not previous.exists():  # else it was a late one, which withdraws by itself: `_create_attempt`
                        raise
    return previous


@contextmanager
def fenced_writes(lease: Lease) -> Iterator[None]:
    """Inside, writes below the run's folder raise LeaseLost once another attempt has followed. Releases at the end."""
    with fenced_writes_to(lease.root, lease.staging):
        try:
            yield
        finally:
            lease.release()


def clean_fenced(lease: Lease) -> None:
    """Remove the folders of earlier attempts, whose records the latest journal has.

    The journal of a run that was started over stays: something of it may have to be delivered.
    """
    journal_folders = find_journals(lease.root)
    for folder, _, fenced in list_attempts(lease.root):
        if fenced and folder not in journal_folders:
            shutil.rmtree(folder, ignore_errors=True)
