"""Files into a backup and out of it, in chunks: each is hashed while it is copied."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tarfile import TarError

from flowerml.errors import UserError
from flowerml.files import write_error
from flowerml.tracking.backup.container import BackupReader, BackupWriter
from flowerml.tracking.backup.manifest import MANIFEST, FileEntry, Manifest

_CHUNK = 1 << 20  # bytes
_TRIES, _PAUSE_S = 5, 1.0  # for a file that an upload is writing


class _Changed(Exception):
    """A file has changed while it was copied."""


@dataclass(frozen=True)
class SourceFile:
    """A file to be backed up: its name in the backup, where it is, and its size in bytes when it was listed."""

    name: str
    path: Path
    size: int


def list_files(root: Path, prefix: str) -> list[SourceFile]:
    """All files below `root` in the order of their names, named below `prefix`.

    Raises:
        UserError: something is a link, a device or a socket, or can't be read.
    """
    found, waiting = [], [root]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        name = prefix + path.relative_to(root).as_posix()
                        found.append(SourceFile(name, path, entry.stat(follow_symlinks=False).st_size))
                    else:
                        raise UserError(
                            f"{path} is a link or no file, and MLflow makes none: move it away, or put there what it"
                            " points to"
                        )
    except OSError as error:
        raise UserError(f"can't read {error.filename}: {error.strerror}. Mend its permissions") from error
    return sorted(found, key=lambda file: file.name)


def add_files(writer: BackupWriter, files: Sequence[SourceFile], entries: dict[str, FileEntry]) -> Iterator[bytes]:
    """Copy `files` into a backup and note them in `entries`; yields the chunks, for a progress bar.

    A file that changes meanwhile is copied again; one that is gone since it was listed was deleted, and is left out.

    Raises:
        UserError: a file can't be read, or goes on changing.
    """
    for file in files:
        for left in reversed(range(_TRIES)):
            try:
                yield from _add_file(writer, file, entries)
                break
            except _Changed:
                if not left:
                    raise UserError(f"{file.path} goes on changing: back up when its upload is over") from None
                time.sleep(_PAUSE_S)


def _add_file(writer: BackupWriter, file: SourceFile, entries: dict[str, FileEntry]) -> Iterator[bytes]:
    try:
        handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"can't read {file.path}: {error.strerror}. Mend its permissions") from error
    with os.fdopen(handle, "rb") as source:
        before, digest = _identity(handle), hashlib.sha256()
        left = size = os.fstat(handle).st_size
        with writer.entry(file.name, size) as target:
            while left:
                chunk = source.read(min(left, _CHUNK))
                if not chunk:
                    raise _Changed
                target.write(chunk)
                digest.update(chunk)
                left -= len(chunk)
                yield chunk
            if _identity(handle) != before:
                raise _Changed
    entries[file.name] = FileEntry(size, digest.hexdigest())


def _identity(handle: int) -> tuple[int, int]:
    about = os.fstat(handle)
    return about.st_size, about.st_mtime_ns


def check_files(reader: BackupReader, manifest: Manifest, where: str) -> Iterator[bytes]:
    """Read all files of the backup `where`, compare them with its manifest, and yield their chunks.

    Raises:
        UserError: a file is missing, damaged, can't be read, or is not named in the manifest.
    """
    for name in sorted(manifest.files.keys() ^ (reader.names - {MANIFEST})):
        what = "lacks its file" if name in manifest.files else "has a file that its manifest does not name:"
        raise UserError(f"--from {where} {what} {name}. Nothing is restored: take another backup")
    for name in manifest.files:
        yield from read_checked(reader, name, manifest.files[name], where)


def read_checked(reader: BackupReader, name: str, entry: FileEntry, where: str) -> Iterator[bytes]:
    """The chunks of one file of a backup. Raises UserError if it can't be read, or, after the last, is damaged."""
    digest, size = hashlib.sha256(), 0
    try:
        with reader.open(name) as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                yield chunk
    except (OSError, TarError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"--from {where}: {name} can't be read ({reason}): take another backup") from error
    if (size, digest.hexdigest()) != (entry.size, entry.sha256):
        raise UserError(
            f"--from {where}: {name} is damaged (its sha256 is not that of the manifest). Nothing is restored: take"
            " another backup"
        )


def extract_file(chunks: Iterator[bytes], target: Path) -> Iterator[bytes]:
    """Write `chunks` to the new file `target`, whose folders are made; yields them. Raises UserError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
                yield chunk
    except OSError as error:
        raise UserError(write_error(target, error)) from error
