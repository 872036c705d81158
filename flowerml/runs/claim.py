"""Who may work on a run's folder: attempts with rising numbers, each a lease with a sign of life, fenced off when another one follows.

A run may be started more than once, on several hosts that share its folder, and counts once. Nothing here needs locks of the file
system: one rename makes a claim (it fails where another has made it), and one rename ends the writing of whoever held the one before
(`flowerml.files.staged`).
"""

import json
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from flowerml.console import duration
from flowerml.errors import Fenced, UserError
from flowerml.files import require_staging, staged, write_json

ATTEMPTS, CLAIM, HEARTBEAT = "attempts", "claim.json", "heartbeat.json"
JOURNAL_FILES = ("journal.jsonl", "delivered.json")
_FENCED = ".fenced"
_NAME = re.compile(rf"(\d{{4,}})({re.escape(_FENCED)})?")


@dataclass(frozen=True)
class Holder:
    """Who made an attempt: its number, the process (`born`: its start in seconds since 1970, as numbers of processes are used again),
    when it began, its lease in seconds, and whether it has let go. `seen` is its last sign of life. Times are seconds since 1970.
    """

    token: int
    host: str
    pid: int
    born: float
    since: float
    lease: float
    released: bool = False
    seen: float = 0.0

    @property
    def silent(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, time.time() - max(self.since, self.seen))

    @property
    def gone(self) -> bool:
        """Whether nobody works on it any more: let go of, its process is dead, or it was silent for longer than its lease."""
        return self.released or self.dead or self.silent > self.lease

    @property
    def dead(self) -> bool:
        """Whether its process has ended, as far as this host can tell."""
        return self.host == socket.gethostname() and not _lives(self.pid, self.born)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (attempt {self.token}, last sign of life {duration(self.silent)} ago)"


@dataclass(frozen=True)
class Attempt:
    """A claim that was made: its folder, where everything on its way into the run's folder is made; `previous` is the folder of the
    attempt before it, fenced off, None for the first.
    """

    root: Path
    folder: Path
    holder: Holder
    previous: Path | None

    def beat(self) -> None:
        """Give a sign of life. Raises Fenced where another attempt has followed."""
        require_staging(self.folder)
        write_json(self.folder / HEARTBEAT, {"time": time.time()})

    def withdraw(self) -> None:
        """Undo the claim of an attempt that could not begin: all is as it was before."""
        if self.previous is not None and self.folder.is_dir():
            self.previous.rename(self.previous.with_name(self.previous.name.removesuffix(_FENCED)))
        shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> None:
        """Let go: another attempt may follow at once. Only the claim and the journal stay; a fenced attempt leaves all as it is."""
        try:
            require_staging(self.folder)
        except Fenced:
            return
        for path in self.folder.iterdir():
            if path.name not in (CLAIM, *JOURNAL_FILES):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        _write_claim(self.folder, replace(self.holder, released=True))


def holder(root: Path) -> Holder | None:
    """Who made the newest attempt on a run's folder, None where there was none."""
    newest = _newest(root)
    return None if newest is None else _read(newest)


def claim(root: Path, lease: float) -> Attempt:
    """Make an attempt on a run's folder. `lease`: seconds without a sign of life after which others may take the run over.

    Raises:
        UserError: somebody works on it (says who), or the folder can't be written to.
    """
    attempts = root / ATTEMPTS
    newest = _newest(root)
    before = None if newest is None else _read(newest)
    if before is not None and not before.gone:
        raise _held(root, before)
    me = psutil.Process()
    token = 1 if before is None else before.token + 1
    mine = Holder(token, socket.gethostname(), me.pid, me.create_time(), time.time(), lease)
    folder, made = attempts / f"{token:04d}", attempts / f".{uuid.uuid4().hex}"
    try:
        _write_claim(made, mine)
        try:
            made.rename(folder)  # fails where another one stands: exactly one of several wins
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            other = _read(folder) if folder.is_dir() else None
            if other is None:
                raise
            raise _held(root, other) from error
        previous = None
        for place, number, fenced in _all(root):
            if number < token:
                if not fenced:
                    place = place.rename(place.with_name(place.name + _FENCED))
                previous = place
    except OSError as error:
        raise UserError(
            f"can't claim {root}: {error.strerror or error}. Choose another folder, or free space or permissions there"
        ) from error
    return Attempt(root, folder, mine, previous)


@contextmanager
def writing(attempt: Attempt) -> Iterator[None]:
    """Inside, whatever is written below the run's folder is this attempt's, and fails (Fenced) once another has followed. Lets go at the
    end.
    """
    with staged(attempt.root, attempt.folder):
        try:
            yield
        finally:
            attempt.release()


def forget_fenced(attempt: Attempt) -> None:
    """Remove what earlier attempts have left: the newest journal has all they had."""
    for place, _, fenced in _all(attempt.root):
        if fenced:
            shutil.rmtree(place, ignore_errors=True)


def _held(root: Path, who: Holder) -> UserError:
    return UserError(f"{root} is being worked on by {who}: wait for it, or choose another --output-dir")


def _all(root: Path) -> list[tuple[Path, int, bool]]:
    """Every attempt's folder, its number, and whether it is fenced off; in the order of the numbers."""
    try:
        found = [(path, _NAME.fullmatch(path.name)) for path in (root / ATTEMPTS).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(((path, int(match[1]), bool(match[2])) for path, match in found if match), key=lambda entry: entry[1])


def _newest(root: Path) -> Path | None:
    entries = _all(root)
    return entries[-1][0] if entries else None


def _read(folder: Path) -> Holder:
    """Who made the attempt in `folder`. One whose claim can't be read is nobody's: it is over once it is as old as a lease."""
    match = _NAME.fullmatch(folder.name)
    assert match is not None
    try:
        written = Holder(**json.loads((folder / CLAIM).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return Holder(int(match[1]), "an unknown host", 0, 0.0, folder.stat().st_mtime if folder.exists() else 0.0, 60.0)
    try:
        seen = float(json.loads((folder / HEARTBEAT).read_text("utf-8"))["time"])
    except (OSError, ValueError, TypeError, KeyError):
        seen = 0.0
    return replace(written, seen=seen, released=written.released or bool(match[2]))


def _write_claim(folder: Path, who: Holder) -> None:
    content = asdict(who)
    del content["seen"]
    write_json(folder / CLAIM, content)


def _lives(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - born) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it may not be looked at: then it lives
        return True
