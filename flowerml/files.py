"""The one door through which files are written: whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flowerml.errors import LeaseLost, UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk, a quota or a limit of the process says when it is full
_NOTHING, _FOLDER = "no such file", "it is a folder"
_staging: dict[Path, Path] = {}  # of this process, all its threads: folder -> where files on their way into it are made
_left: set[Path] = set()  # such places that are not used any more: a thread may still be on its way there


@contextmanager
def fenced_writes_to(root: Path, staging: Path) -> Iterator[None]:
    """Inside, whatever is written below `root` is made in the folder `staging` (on the same disk) and moved to its
    place from there.

    Whoever renames `staging` away fences this process off: its next move finds no source any more, and raises `Fenced`.
    A rename is one step to the system, so no process, however long it was stopped in between, can still write after
    that. Afterwards `staging` is never written to again.
    """
    root, staging = Path(os.path.realpath(root)), Path(os.path.realpath(staging))
    _staging[root] = staging
    try:
        yield
    finally:
        del _staging[root]
        _left.add(staging)


def staging_dir(path: Path) -> Path | None:
    """The folder where what is written to `path` is made first, None where that is beside it. Raises Fenced where it
    was taken away.
    """
    real = Path(os.path.realpath(path)) if _staging or _left else path
    for root, staging in _staging.items():
        if real.is_relative_to(root):
            if not staging.is_dir():
                raise LeaseLost(f"another process has taken {root} over (or removed it): nothing more is written there")
            return path.parent if real.is_relative_to(staging) else staging
    if not _left.isdisjoint(real.parents):
        raise LeaseLost(f"{path} was being written when its run was left: it is not written any more")
    return None


def write_with(path: Path, write: Callable[[Path], None], needed: int | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place.

    A reader sees the old file or the new one, never half of one, also after a power cut (fsync before the rename).
    `needed`: about how many bytes it takes, for the message where there is no room.

    Raises:
        UserError: the folder can't be written to or the disk is full.
        Fenced: see `staged`.
    """
    staging = staging_dir(path)
    temporary = _temporary(path, staging)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; these are results to share
        temporary.replace(path)
    except OSError as error:
        staging_dir(path)  # raises Fenced where that is the reason
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # now, as what it takes is free again
        raise UserError(_reason(path, error, needed)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raise now what `write_with` would raise at the end of long work, and leave nothing. Raises UserError."""
    reason = missing_reason(path)
    if reason == _FOLDER:
        raise UserError(f"can't write {path}: {_FOLDER}. Name a file in it")
    if reason not in (None, _NOTHING):
        raise UserError(f"can't write {path}: {reason}. Choose another name")
    _temporary(path, None).unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Creates parent folders. Raises UserError as `write_with`."""

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_with(path, fill)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all. Raises UserError as `write_with`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write `value` as indented JSON, whole or not at all. Raises UserError as `write_with`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def copy(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, whole or not at all. Raises UserError as `write_with`, also where `source`
    can't be read.
    """

    def fill(temporary: Path) -> None:
        shutil.copyfile(source, temporary)

    write_with(target, fill, source.stat().st_size if source.exists() else None)


def remove(path: Path) -> None:
    """Remove a file, where there is one. Raises UserError as `write_with`, and Fenced."""
    staging = staging_dir(path)
    try:
        if staging not in (
            None,
            path.parent,
        ):  # a plain unlink would still reach what another process has written there since
            path = path.rename(staging / f".{path.name[:100]}.gone")
        path.unlink()
    except FileNotFoundError:
        staging_dir(path)  # raises Fenced where that is the reason
    except OSError as error:
        raise UserError(_reason(path, error)) from error


def sync_folder(folder: Path) -> None:
    """Let what was made, renamed or removed in `folder` outlast a power cut. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's content. Raises UserError where it can't be read."""
    try:
        if path.exists() and (reason := missing_reason(path)):
            raise UserError(f"can't read {path}: {reason}")
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error


def missing_reason(path: Path) -> str | None:
    """Why there is no file to read at `path`, in words; None where there is one. What is no plain file (a pipe) could
    be read for ever.
    """
    try:
        if path.is_file():
            return None
        return _FOLDER if path.is_dir() else "not a regular file" if path.exists() else _NOTHING
    except OSError as error:  # a name that is too long, a folder on the way that may not be entered
        return error.strerror or str(error)


def _temporary(path: Path, staging: Path | None) -> Path:
    """An empty file beside `path`, or in `staging`; the path's folder is made if need be. Raises UserError."""
    try:
        if staging != path.parent:  # a staging folder that was taken away must not come back
            path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=staging or path.parent)
        os.close(handle)
    except OSError as error:
        staging_dir(path)  # as above
        raise UserError(_reason(path, error)) from error
    return Path(name)


def free(path: Path) -> str:
    """How many bytes are free where `path` is or would be, in words."""
    place = next(parent for parent in path.absolute().parents if parent.exists())
    return f"{shutil.disk_usage(place).free:,} bytes"


def _umask() -> int:
    """The process's umask. There is no call that only reads it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _reason(path: Path, error: OSError, needed: int | None = None) -> str:
    what = error.strerror or str(error)
    if error.errno in FULL:
        what += f" ({'' if needed is None else f'it needs about {needed:,} bytes, '}{free(path)} are free there)"
    if isinstance(error, FileExistsError):  # by making the folder
        what = f"{path.parent} is a file"
    return f"can't write {path}: {what}. Choose another folder, or free space or permissions there"
