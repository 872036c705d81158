"""The two shapes of a backup, a folder and a `.tar` file: written under a temporary name, read without following links.

A tar file is written here block by block: sizes are known beforehand, and an entry whose source changes while it is
copied is taken back. It is read with `tarfile`, and `tar` unpacks it to the folder of the same backup.
"""

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from flowerml.errors import UserError
from flowerml.files import TemporaryAt, create_private, fsync_dir, temporary_path, write_error
from flowerml.tracking.backup.manifest import MANIFEST, is_safe_name

TAR = ".tar"
_BLOCK = 512  # bytes, of the tar format
_END = b"\0" * (2 * _BLOCK)


class BackupWriter(Protocol):
    """A backup that is being written."""

    def entry(self, name: str, size: int) -> AbstractContextManager[BinaryIO]:
        """Context that gives a file for a content of `size` bytes; an exception in it leaves no such entry."""


class BackupReader(Protocol):
    """A finished backup: the names of its files, and their content."""

    names: frozenset[str]

    def open(self, name: str) -> BinaryIO:
        """The content of the file `name`. Raises OSError."""


@contextmanager
def new_backup(output: Path) -> Iterator[BackupWriter]:
    """Context in which the backup `output` is written; it has its name after the context alone, when it is whole.

    Raises:
        UserError: there is such a file or folder already, or it can't be written.
    """
    check_new_backup(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with _new_tar(output) if output.suffix == TAR else _new_folder(output) as writer:
            yield writer
        fsync_dir(output.parent)
    except OSError as error:
        raise UserError(write_error(output, error)) from error


def check_new_backup(output: Path) -> None:
    """Raise UserError if there is such a file or folder already."""
    if os.path.lexists(output):
        raise UserError(f"--output {output} is there already: name a new file ({TAR}) or folder")


@contextmanager
def _new_folder(output: Path) -> Iterator[BackupWriter]:
    with TemporaryAt(temporary_path(output)) as staging:
        staging.mkdir(mode=0o700)  # a database has what its owner may read only
        yield _FolderWriter(staging)
        os.sync()  # once, instead of each of thousands of files
        check_new_backup(output)
        staging.rename(output)


@contextmanager
def _new_tar(output: Path) -> Iterator[BackupWriter]:
    with TemporaryAt(temporary_path(output)) as staging:
        create_private(staging)
        with staging.open("wb") as file:
            yield _TarWriter(file)
            file.write(_END)
            file.flush()
            os.fsync(file.fileno())
        check_new_backup(output)
        staging.rename(output)


class _FolderWriter:
    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def entry(self, name: str, size: int) -> Iterator[BinaryIO]:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise


class _TarWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @contextmanager
    def entry(self, name: str, size: int) -> Iterator[BinaryIO]:
        start = self._file.tell()
        about = tarfile.TarInfo(name)
        about.size, about.mode = size, 0o600
        try:
            self._file.write(about.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
            yield self._file
            self._file.write(b"\0" * (-size % _BLOCK))
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            raise


@contextmanager
def open_backup(path: Path) -> Iterator[BackupReader]:
    """Context that reads the backup `path`.

    Raises:
        UserError: there is none, it can't be read, or something in it is neither a file nor a folder, or lies outside.
    """
    try:
        if path.is_dir():
            yield _FolderReader(path)
        elif path.is_file():
            with tarfile.open(path, "r:") as archive:
                yield _TarReader(path, archive)
        else:
            raise UserError(f"--from {path}: no such backup. Name a folder or a {TAR} file that flowerml backup made")
    except (OSError, tarfile.TarError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise UserError(f"--from {path} can't be read: {reason}. Take another backup") from error


class _FolderReader:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.names = frozenset(self._walk(root))
        _check_manifest(root, self.names)

    def _walk(self, folder: Path) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    yield Path(entry.path).relative_to(self._root).as_posix()
                else:
                    raise UserError(f"--from {self._root}: {entry.path} is a link or no file: it is not restored")

    def open(self, name: str) -> BinaryIO:
        handle = os.open(self._root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(f"{name} is no file any more")
        return os.fdopen(handle, "rb")


class _TarReader:
    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isdir() and (name in ("", ".") or is_safe_name(name)):
                continue  # as `tar` writes them, where it has packed an unpacked backup again
            if not member.isreg() or not is_safe_name(name) or name in self._members:
                raise UserError(
                    f"--from {path}: its entry {member.name!r} is a link, stands there twice or lies outside: it is not"
                    " restored"
                )
            self._members[name] = member
        self.names = frozenset(self._members)
        _check_manifest(path, self.names)

    def open(self, name: str) -> BinaryIO:
        found = self._archive.extractfile(self._members[name])
        if found is None:  # regular files only are members
            raise OSError(f"{name} is no file")
        return found  # type: ignore[return-value]


def _check_manifest(path: Path, names: frozenset[str]) -> None:
    if MANIFEST not in names:
        raise UserError(f"--from {path} is no whole backup: it has no {MANIFEST}. Name what flowerml backup made")
