"""The journal file: appended to by one process, read by whoever delivers it. What is written is on the disk before
`append` returns.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flowerml.errors import LeaseLost, UserError
from flowerml.events import Ended, Metrics, Params, Tags
from flowerml.files import sync_folder
from flowerml.journal.delivered import DELIVERED, read_delivered, write_delivered
from flowerml.journal.records import Opening, Record, as_line, from_line

JOURNAL = "journal.jsonl"
_BEGINNING = re.compile(rb"[0-9a-f]{16} \{")
_synced = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True)
class Entry:
    """A whole record, and the place in the file where it ends."""

    record: Record
    end: int


@dataclass(frozen=True)
class Damage:
    """A line that can't be read: its number, the place where it ends, and why."""

    line: int
    end: int
    reason: str


class Journal:
    """The records of one run in `folder`, which is one attempt's (`attempts/NNNN` in the run's folder).

    A record counts once: figures of a step, and params, that stand in the journal are not written again. So an attempt
    that goes on from a checkpoint, and does some steps a second time, doubles nothing.
    """

    def __init__(self, folder: Path) -> None:
        """Read what stands in `folder`. Raises OSError where there is no journal."""
        self.folder = folder
        self.path = folder / JOURNAL
        self.root = folder.parent.parent
        self.opening: Opening | None = None
        self.ended: Ended | None = None  # the last record, where that is an end
        self._figures: set[tuple[str, int]] = set()
        self._params: set[str] = set()
        self._tags: dict[str, str] = {}
        data = self.path.read_bytes()
        self._end = data.rfind(b"\n") + 1
        for found in _records(data[: self._end], 0, self.root):
            if isinstance(found, Entry):
                self._remember(found.record)

    @classmethod
    def create(cls, folder: Path, opening: Opening) -> "Journal":
        """A new journal, of which nothing is delivered.

        Raises:
            Fenced: `folder` is gone: another process has taken the run over.
            UserError: it can't be written to.
        """
        journal = cls._written(folder, as_line(opening, folder.parent.parent))
        (folder / DELIVERED).unlink(missing_ok=True)
        return journal

    @classmethod
    def passed_on(cls, previous: Path, folder: Path) -> "Journal":
        """A journal that goes on where the one in `previous` stops, delivered as far as that; a torn last line stays
        behind.

        Raises:
            OSError: there is none in `previous`.
            Fenced, UserError: as `create`.
        """
        data = (previous / JOURNAL).read_bytes()
        journal = cls._written(folder, data[: data.rfind(b"\n") + 1])
        write_delivered(folder, read_delivered(previous))
        return journal

    @classmethod
    def _written(cls, folder: Path, data: bytes) -> "Journal":
        try:
            with (folder / JOURNAL).open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            sync_folder(folder)
            return cls(folder)
        except FileNotFoundError as error:
            raise _fenced(folder.parent.parent) from error
        except OSError as error:
            raise UserError(_refused(folder / JOURNAL, error)) from error

    def append(self, record: Record) -> bool:
        """Write what is new of `record`; False where nothing is.

        Raises:
            Fenced: the folder is gone: another process has taken the run over.
            UserError: the disk is full, and the journal as before; or it is broken.
        """
        fresh = self._fresh(record)
        if fresh is None:
            return False
        line = as_line(fresh, self.root)
        try:
            handle = os.open(
                self.path, os.O_RDWR | os.O_CLOEXEC
            )  # by its name each time, which is gone when the run is taken over
        except FileNotFoundError as error:
            raise _fenced(self.root) from error
        except OSError as error:
            raise UserError(_refused(self.path, error)) from error
        try:
            self._write(handle, line, fresh)
            _synced(handle)
        except OSError as error:
            raise UserError(_refused(self.path, error)) from error
        finally:
            os.close(handle)
        return True

    def _write(self, handle: int, line: bytes, record: Record) -> None:
        """Write a line. It counts as soon as it is whole, whatever comes after that (a signal, a disk that fails): it
        may be delivered already, so nothing is ever written over it.
        """
        begin, written = self._end, 0
        self._end += len(line)
        try:
            while written < len(line):
                written += os.pwrite(handle, line[written:], begin + written)
        except BaseException:
            if os.pread(handle, len(line), begin) != line:
                with suppress(OSError):
                    os.ftruncate(handle, begin)
                self._end = begin
            raise
        self._remember(record)

    def records(self, start: int = 0) -> Iterator[Entry | Damage]:
        """Everything behind the place `start` (an entry's end), in order. Raises OSError."""
        with self.path.open("rb") as handle:
            handle.seek(start)
            data = handle.read()
        whole = data[: data.rfind(b"\n") + 1]
        for found in _records(whole, start, self.root):
            if isinstance(found, Damage):
                before = self.path.read_bytes()[:start].count(b"\n")
                yield Damage(found.line + before, found.end, found.reason)
            else:
                yield found

    @property
    def end(self) -> int:
        """The place where the last whole line ends."""
        return self._end

    def _fresh(self, record: Record) -> Record | None:
        match record:
            case Metrics(values, step, timestamp):
                figures = {name: value for name, value in values.items() if (name, step) not in self._figures}
                return Metrics(figures, step, timestamp) if figures else None
            case Params(texts):
                fresh = {name: text for name, text in texts.items() if name not in self._params}
                return Params(fresh) if fresh else None
            case Tags(texts):
                changed = {name: text for name, text in texts.items() if self._tags.get(name) != text}
                return Tags(changed) if changed else None
        return record

    def _remember(self, record: Record) -> None:
        self.ended = record if isinstance(record, Ended) else None
        match record:
            case Opening():
                self.opening = self.opening or record
            case Metrics(values, step):
                self._figures |= {(name, step) for name in values}
            case Params(texts):
                self._params |= set(texts)
            case Tags(texts):
                self._tags |= texts


def _records(data: bytes, start: int, root: Path) -> Iterator[Entry | Damage]:
    """The records in whole lines that begin at the place `start`; lines are counted from there."""
    end = start
    for number, text in enumerate(data.split(b"\n")[:-1], start=1):
        begin, end = end, end + len(text) + 1
        try:
            yield Entry(from_line(text, root), end)
        except ValueError as error:
            starts = [found.start() for found in _BEGINNING.finditer(text)]
            rescued = list(_parts(text, starts, begin, root))
            yield from rescued
            if starts[:1] != [0] or len(rescued) != len(starts):
                yield Damage(number, end, str(error))


def _parts(line: bytes, starts: list[int], begin: int, root: Path) -> Iterator[Entry]:
    """The whole records in a damaged line: where the end of a line was hit, two stand in one."""
    for place, following in zip(starts, [*starts[1:], len(line) + 1], strict=False):
        with suppress(ValueError):
            yield Entry(from_line(line[place : following - 1], root), begin + following)


def _fenced(root: Path) -> LeaseLost:
    return LeaseLost(f"{root}: another process has taken this run over; nothing more is written here")


def _refused(path: Path, error: OSError) -> str:
    return f"can't write {path}: {error.strerror or error}. Free space or permissions there"
