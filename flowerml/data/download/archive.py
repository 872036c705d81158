"""Unpacking an archive of pictures that may be malicious: plain files and folders only, bounded, in place whole or not
at all.
"""

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from flowerml.errors import UserError
from flowerml.human_units import amount
from flowerml.progress_bar import track

MOST_MEMBERS = 500_000
MOST_GROWTH = 20  # unpacked bytes per archive byte; photos have 1.0, a bomb up to 1,000
FREE_GROWTH = 16_000_000  # bytes: tar pads small files, so a tiny honest archive may grow more


class BadArchive(UserError):
    """An archive that will not be unpacked, however often one tries."""


def unpack(archive: Path, target: Path, arrange: Callable[[Path], Path]) -> None:
    """Unpack a .tgz into the folder `target`, which must be absent or empty.

    It is unpacked into a hidden folder beside `target`; `arrange` is given that folder, may change it or refuse it, and
    returns the folder in it that one rename then makes `target`. What a process that was killed has left is cleared
    first.

    Raises:
        BadArchive: not a whole .tgz, anything in it but plain files and folders below it, too many or too large.
        UserError: no space or no permission.
    """
    stage = stage_of(target)
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        _fill(archive, stage)
        root = arrange(stage)
        os.sync()  # one for all files: after a power cut the folder must not stand there with empty pictures
        root.rename(target)
    except OSError as error:
        what = error.strerror or str(error)
        raise UserError(
            f"can't unpack into {target}: {what}. Free space or permissions there, or name another folder: --train-dir"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def stage_of(target: Path) -> Path:
    """The hidden folder beside `target` in which it grows."""
    return target.with_name(f".{target.name[:100]}.unpacking")


def require_space(folder: Path, archive: int, still_to_come: int) -> None:
    """Raises UserError where `folder`'s disk has no room for the rest of an archive and for what it holds (both in
    bytes).
    """
    unpacked = archive + archive // 10  # photos do not compress; a tenth for block sizes
    free = shutil.disk_usage(folder).free
    if free < still_to_come + unpacked:
        raise UserError(
            f"{folder}: {amount(free)} free, but {amount(still_to_come + unpacked)} needed ({amount(still_to_come)} to"
            f" fetch, about {amount(unpacked)} unpacked): free space, or name a folder on another disk with --train-dir"
        )


class _Bounded:
    """The unpacked stream of a .tgz that ends with a refusal at `limit` bytes: counts what tar headers claim and hide,
    too.
    """

    def __init__(self, source: IO[bytes], limit: int, archive: Path) -> None:
        self._source = source
        self._left = limit
        self._refusal = (
            f"{archive} grows to more than {amount(limit)} when unpacked, as only a decompression bomb does: it is"
            " refused"
        )

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. Raises BadArchive at the limit."""
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BadArchive(self._refusal)
        return data


def _fill(archive: Path, stage: Path) -> None:
    try:
        with gzip.open(archive, "rb") as stream:
            limit = MOST_GROWTH * archive.stat().st_size + FREE_GROWTH
            bounded = _Bounded(stream, limit, archive)  # type: ignore[arg-type]  # GzipFile reads bytes
            # a stream needs only read
            with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
                for count, member in enumerate(track(tar, "unpacking"), start=1):
                    if count > MOST_MEMBERS:
                        raise BadArchive(f"{archive} has more than {MOST_MEMBERS} entries: it is refused")
                    _put(tar, member, stage, archive)
            while bounded.read(1 << 16):  # to the end: gzip's own checksum stands there
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BadArchive(f"{archive} is not a whole .tgz ({reason}): bring it again") from error


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, stage: Path, archive: Path) -> None:
    """Write one entry below `stage`, with the process's own permissions and the current time."""
    name = PurePosixPath(member.name)
    if reason := _refusal(member, name, stage):
        raise BadArchive(
            f"{archive}: entry {member.name[:200]!r} {reason}: the archive is refused, nothing of it is kept"
        )
    if name.name.startswith("._"):
        return  # macOS leaves ._x.jpg beside x.jpg
    place = stage.joinpath(*name.parts)
    try:
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        content = tar.extractfile(member)
        assert content is not None  # it is a regular file
        with place.open("xb") as target:
            shutil.copyfileobj(content, target)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadArchive(
            f"{archive}: entry {member.name[:200]!r} is there twice: the archive is refused, nothing of it is kept"
        ) from error


def _refusal(member: tarfile.TarInfo, name: PurePosixPath, stage: Path) -> str:
    if member.issym() or member.islnk():
        return "is a link"
    if not (member.isdir() or member.isreg()) or member.issparse():
        return "is neither a plain file nor a folder"
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        return "points outside its folder"
    if not hasattr(tarfile, "data_filter"):  # 3.11.0 to 3.11.3: our own rules are stricter anyhow
        return ""
    try:
        tarfile.data_filter(member, str(stage))
    except tarfile.FilterError:
        return "is refused by Python's filter for data"
    return ""
