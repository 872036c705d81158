"""The journal file: append-only, one writer, many readers; `append` returns once the record is on disk (fdatasync)."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.errors import LeaseLost, UserError
from flowerml.events import Ended, Metrics, Params, Tags
from flowerml.files import fsync_dir
from flowerml.journal.delivered import DELIVERED, read_delivered, write_delivered
from flowerml.journal.records import Record, RunStarted, decode_record, encode_record

JOURNAL = "journal.jsonl"
_LINE_START = re.compile(rb"[0-9a-f]{16} \{")
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True)
class JournalEntry:
    """An intact record and the offset in the file where its line ends."""

    record: Record
    end: int


@dataclass(frozen=True)
class DamagedLine:
    """A line that can't be decoded: its number, the offset where it ends, and the reason."""

    line: int
    end: int
    reason: str


class Journal:
    """The records of one run, in the folder of one attempt (`attempts/NNNN` in the run's folder).

    Records are deduplicated: metrics of a step and params that are in the journal are not written again, so an attempt
    that resumes from a checkpoint and repeats steps adds no duplicates.
    """

    def __init__(self, folder: Path) -> None:
        """Read the journal in `folder`. Raises OSError if there is none."""
        self.folder = folder
        self.path = folder / JOURNAL
        self.root = folder.parent.parent
        self.started: RunStarted | None = None  # None if the first line is damaged
        self.ended: Ended | None = None  # the last record, if the run has ended
        self._logged_metrics: set[tuple[str, int]] = set()  # (name, step)
        self._logged_params: set[str] = set()
        self._tags: dict[str, str] = {}
        data = self.path.read_bytes()
        self._end = data.rfind(b"\n") + 1
        for entry in _decode_lines(data[: self._end], 0, self.root):
            if isinstance(entry, JournalEntry):
                self._index(entry.record)

    @classmethod
    def create(cls, folder: Path, started: RunStarted) -> "Journal":
        """A new journal in `folder`, with nothing delivered.

        Raises:
            LeaseLost: `folder` is gone: a newer attempt owns the run.
            UserError: it can't be written to.
        """
        journal = cls._write_new(folder, encode_record(started, folder.parent.parent))
        (folder / DELIVERED).unlink(missing_ok=True)
        return journal

    @classmethod
    def continue_from(cls, previous: Path, folder: Path) -> "Journal":
        """Copy the journal and delivery state of the attempt `previous` into `folder`, without a torn last line.

        Raises:
            OSError: there is no journal in `previous`.
            LeaseLost, UserError: as `create`.
        """
        data = (previous / JOURNAL).read_bytes()
        journal = cls._write_new(folder, data[: data.rfind(b"\n") + 1])
        write_delivered(folder, read_delivered(previous))
        return journal

    @classmethod
    def _write_new(cls, folder: Path, data: bytes) -> "Journal":
        try:
            with (folder / JOURNAL).open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            fsync_dir(folder)
            return cls(folder)
        except FileNotFoundError as error:
            raise _lease_lost(folder.parent.parent) from error
        except OSError as error:
            raise UserError(_write_failed(folder / JOURNAL, error)) from error

    def append(self, record: Record) -> bool:
        """Write the part of `record` that is new; False if nothing is.

        Raises:
            LeaseLost: the folder is gone: a newer attempt owns the run.
            UserError: the disk is full, and the journal as before; or the disk fails.
        """
        new = self._without_duplicates(record)
        if new is None:
            return False
        line = encode_record(new, self.root)
        try:
            # Opened by name each time: the name is gone once a newer attempt has renamed the folder.
            handle = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _lease_lost(self.root) from error
        except OSError as error:
            raise UserError(_write_failed(self.path, error)) from error
        try:
            self._write_line(handle, line, new)
            _fdatasync(handle)
        except OSError as error:
            raise UserError(_write_failed(self.path, error)) from error
        finally:
            os.close(handle)
        return True

    def _write_line(self, handle: int, line: bytes, record: Record) -> None:
        """Write a line, or truncate the file again if it could not be written whole.

        A whole line is never overwritten, whatever fails after it (a signal, the sync): it may be delivered already.
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
        self._index(record)

    def records(self, start: int = 0) -> Iterator[JournalEntry | DamagedLine]:
        """All entries after the offset `start` (the end of an entry), in order. Raises OSError."""
        with self.path.open("rb") as handle:
            handle.seek(start)
            data = handle.read()
        whole = data[: data.rfind(b"\n") + 1]
        for entry in _decode_lines(whole, start, self.root):
            if isinstance(entry, DamagedLine):
                lines_before = self.path.read_bytes()[:start].count(b"\n")
                yield DamagedLine(entry.line + lines_before, entry.end, entry.reason)
            else:
                yield entry

    @property
    def end(self) -> int:
        """The offset where the last whole line ends."""
        return self._end

    def _without_duplicates(self, record: Record) -> Record | None:
        match record:
            case Metrics(values, step):
                new = {name: value for name, value in values.items() if (name, step) not in self._logged_metrics}
                return replace(record, values=new) if new else None
            case Params(texts):
                added = {name: text for name, text in texts.items() if name not in self._logged_params}
                return Params(added) if added else None
            case Tags(texts):
                changed = {name: text for name, text in texts.items() if self._tags.get(name) != text}
                return Tags(changed) if changed else None
        return record

    def _index(self, record: Record) -> None:
        """Update what `append` deduplicates against, and the run's state."""
        self.ended = record if isinstance(record, Ended) else None
        match record:
            case RunStarted():
                self.started = self.started or record
            case Metrics(values, step):
                self._logged_metrics |= {(name, step) for name in values}
            case Params(texts):
                self._logged_params |= set(texts)
            case Tags(texts):
                self._tags |= texts


def _decode_lines(data: bytes, start: int, root: Path) -> Iterator[JournalEntry | DamagedLine]:
    """Decode whole lines that begin at the offset `start`; line numbers count from there, from 1."""
    end = start
    for number, text in enumerate(data.split(b"\n")[:-1], start=1):
        begin, end = end, end + len(text) + 1
        try:
            yield JournalEntry(decode_record(text, root), end)
        except ValueError as error:
            starts = [found.start() for found in _LINE_START.finditer(text)]
            recovered = list(_recover_joined(text, starts, begin, root))
            yield from recovered
            if starts[:1] != [0] or len(recovered) != len(starts):
                yield DamagedLine(number, end, str(error))


def _recover_joined(line: bytes, starts: list[int], begin: int, root: Path) -> Iterator[JournalEntry]:
    """The intact records in a damaged line: a damaged newline joins two records into one line."""
    for start, next_start in zip(starts, [*starts[1:], len(line) + 1], strict=False):
        with suppress(ValueError):
            yield JournalEntry(decode_record(line[start : next_start - 1], root), begin + next_start)


def _lease_lost(root: Path) -> LeaseLost:
    return LeaseLost(f"{root}: another process has taken this run over; nothing more is written here")


def _write_failed(path: Path, error: OSError) -> str:
    return f"can't write {path}: {error.strerror or error}. Free space or permissions there"
