"""Atomic file writes (temporary file, fsync, rename), fenced so that an attempt without the lease can't write."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flowerml.errors import LeaseLost, UserError

DISK_FULL = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
)
_MISSING, _IS_FOLDER = "no such file", "it is a folder"
# Both are of the process: writer threads must see them too.
_staging: dict[Path, Path] = {}  # root -> the folder where temporary files for it are made
_retired: set[Path] = set()  # staging folders of attempts that ended; a writer thread may still be using one


@contextmanager
def fenced_writes_to(root: Path, staging: Path) -> Iterator[None]:
    """Context in which files below `root` are made in the folder `staging` (on the same disk) and renamed into place.

    A newer attempt fences this process off by renaming `staging`: the next rename from there fails, and LeaseLost is
    raised. Renames are atomic, so a process can't write after that, however long it was suspended. `staging` is never
    written to again after the context.
    """
    root, staging = Path(os.path.realpath(root)), Path(os.path.realpath(staging))
    _staging[root] = staging
    try:
        yield
    finally:
        del _staging[root]
        _retired.add(staging)


def staging_dir(path: Path) -> Path | None:
    """The folder for temporary files of `path`; None if they are made beside it. Raises LeaseLost if it is gone."""
    real = Path(os.path.realpath(path)) if _staging or _retired else path
    for root, staging in _staging.items():
        if real.is_relative_to(root):
            if not staging.is_dir():
                raise LeaseLost(f"another process has taken {root} over (or removed it): nothing more is written there")
            return path.parent if real.is_relative_to(staging) else staging
    if not _retired.isdisjoint(real.parents):
        raise LeaseLost(f"{path} was being written when its run was left: it is not written any more")
    return None


def write_with(path: Path, write: Callable[[Path], None], needed: int | None = None) -> None:
    """Call `write` with a temporary path, then rename that file to `path`.

    A reader sees the old file or the new one, never half of one, also after a power cut (fsync before the rename).
    `needed` is the approximate size in bytes, for the message of a full disk.

    Raises:
        UserError: the folder can't be written to or the disk is full.
        LeaseLost: see `fenced_writes_to`.
    """
    staging = staging_dir(path)
    temporary = temporary_path(path, staging)
    try:
        _create(temporary, path, staging)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        staging_dir(path)  # raises LeaseLost if that is the cause
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # before the message, which tells the free space
        raise UserError(write_error(path, error, needed)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_path(path: Path, folder: Path | None = None) -> Path:
    """A free path for a temporary file or folder of `path`: beside it, or in `folder`. Nothing is created.

    Create it inside of the `try` or `TemporaryAt` that removes it: a signal that arrives just as it is created then
    leaves nothing. `tempfile` tells the name after the creation, when that is too late.
    """
    return (folder or path.parent) / f".{_short_name(path)}.{secrets.token_hex(8)}.part"


class TemporaryAt:
    """Context with a free path, at which a file or folder may be created; what is there is gone after it.

    Entering it creates nothing, so there is no moment at which a signal would leave something. (A generator with
    `contextmanager` has one: it may be left suspended behind its `yield`, and cleans up when it is collected.)
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        remove_tree(self._path)


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as that can be done; a link itself, not its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def create_private(path: Path) -> None:
    """Create the empty file `path`, readable by this user alone. Raises OSError if it can't be or is there already."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def check_writable(path: Path) -> None:
    """Check before long work that `write_with` will be able to write `path`; leaves no file. Raises UserError."""
    reason = missing_reason(path)
    if reason == _IS_FOLDER:
        raise UserError(f"can't write {path}: {_IS_FOLDER}. Name a file in it")
    if reason not in (None, _MISSING):
        raise UserError(f"can't write {path}: {reason}. Choose another name")
    with TemporaryAt(temporary_path(path)) as temporary:
        _create(temporary, path, None)


def require_no_input(flag: str, target: Path, inputs: Iterable[Path]) -> None:
    """Check that the file `target`, given with `flag`, is none of those that are read. Raises UserError."""
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise UserError(f"{flag} {target} is a file that is read, and would be replaced: choose another name")


def require_empty_dir(flag: str, folder: Path) -> None:
    """Check that `folder`, given with `flag`, is empty or does not exist. Raises UserError."""
    try:
        found = next((path.name for path in folder.iterdir()), None) if folder.exists() else None
    except OSError as error:
        raise UserError(f"{flag} {folder}: {error.strerror or error}. Name a new or empty folder") from error
    if found is not None:
        raise UserError(f"{flag} {folder} is not empty (it holds {found}): name a new or empty folder")


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Context after whose failure an empty `folder` that was made in it is gone again."""
    existed = folder.exists()
    try:
        yield
    except BaseException:
        if not existed:
            with suppress(OSError):
                folder.rmdir()
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Creates parent folders. Raises as `write_with`."""

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_with(path, fill)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically. Raises as `write_with`.

    Undecodable bytes of file names are escaped (`\\udce9`): the file is valid UTF-8, whatever the names.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_private(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, readable by this user alone at every moment. Raises OSError."""
    with TemporaryAt(temporary_path(path)) as temporary:
        create_private(temporary)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write `value` as indented JSON atomically. Raises as `write_with`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def copy_file(source: Path, target: Path) -> None:
    """Copy `source` to `target` atomically. Raises as `write_with`; UserError too if `source` can't be read."""

    def fill(temporary: Path) -> None:
        shutil.copyfile(source, temporary)

    write_with(target, fill, source.stat().st_size if source.exists() else None)


def remove_file(path: Path) -> None:
    """Remove a file, if there is one. Raises UserError and LeaseLost as `write_with`."""
    staging = staging_dir(path)
    try:
        # Through the staging folder: a plain unlink could remove what a newer attempt has written since.
        if staging not in (None, path.parent):
            path = path.rename(staging / f".{_short_name(path)}.gone")
        path.unlink()
    except FileNotFoundError:
        staging_dir(path)  # raises LeaseLost if that is the cause
    except OSError as error:
        raise UserError(write_error(path, error)) from error


def fsync_dir(folder: Path) -> None:
    """fsync a folder, so that creations, renames and removals in it survive a power cut. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's content. Raises UserError if it can't be read."""
    try:
        if path.exists() and (reason := missing_reason(path)):
            raise UserError(f"can't read {path}: {reason}")
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error


def file_size(path: Path) -> int:
    """The size of a file in bytes; 0 for a folder, and where there is nothing (any more)."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def missing_reason(path: Path) -> str | None:
    """Why there is no regular file at `path`, as text; None if there is one. Reading a pipe could block for ever."""
    try:
        if path.is_file():
            return None
        return _IS_FOLDER if path.is_dir() else "not a regular file" if path.exists() else _MISSING
    except OSError as error:  # name too long, no permission on a parent folder
        return error.strerror or str(error)


def check_space(path: Path, needed: int) -> None:
    """Check before long work that the disk of `path`, which need not exist, has `needed` bytes. Raises UserError."""
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if shutil.disk_usage(existing).free < needed:
        raise UserError(
            f"{path} needs about {needed:,} bytes, and {free_space(path)} are free there. Choose another disk, or free"
            " space"
        )


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, is that of a full disk."""
    while error is not None and not (isinstance(error, OSError) and error.errno in DISK_FULL):
        error = error.__cause__ or error.__context__
    return error is not None


def write_error(path: Path, error: OSError, needed: int | None = None) -> str:
    """Why `path` can't be written, and what to do; `needed`: its approximate size in bytes, for a full disk."""
    what = error.strerror or str(error)
    if error.errno in DISK_FULL:
        what += f" ({'' if needed is None else f'it needs about {needed:,} bytes, '}{free_space(path)} are free there)"
    if isinstance(error, FileExistsError):  # raised by mkdir
        what = f"{path.parent} is a file"
    return f"can't write {path}: {what}. Choose another folder, or free space or permissions there"


def _create(temporary: Path, path: Path, staging: Path | None) -> None:
    """Create the empty file `temporary`, and the parent folder of `path`. Raises UserError."""
    try:
        if staging != path.parent:  # a staging folder that was renamed must not be created again
            path.parent.mkdir(parents=True, exist_ok=True)
        create_private(temporary)
    except OSError as error:
        staging_dir(path)  # raises LeaseLost if that is the cause
        raise UserError(write_error(path, error)) from error


def _short_name(path: Path) -> str:
    """The beginning of a file's name, in bytes: names are limited to 255 of them, and a prefix and suffix are added."""
    return os.fsencode(path.name)[:100].decode("utf-8", "ignore")


def free_space(path: Path) -> str:
    """The free bytes on the disk of `path`, which need not exist, as text."""
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    return f"{shutil.disk_usage(existing).free:,} bytes"


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
