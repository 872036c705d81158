"""Unpack an untrusted archive of pictures: plain files and folders only, bounded in size, moved into place at once."""

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

MAX_MEMBERS = 500_000
MAX_GROWTH = 20  # unpacked bytes per archive byte; photos have 1.0, a bomb up to 1,000
GROWTH_ALLOWANCE = 16_000_000  # bytes: tar pads small files, so a tiny valid archive may grow more


class BadArchive(UserError):
    """An archive that is refused or damaged; another attempt gives the same result."""


def unpack(archive: Path, target: Path, arrange: Callable[[Path], Path]) -> None:
    """Unpack a .tgz into the folder `target`, which must be absent or empty.

    It is unpacked into a hidden folder beside `target`. `arrange` gets that folder, may change it or raise, and returns
    the folder within it that one rename then makes `target`. The leftovers of a killed process are removed first.

    Raises:
        BadArchive: not a whole .tgz, anything in it but plain files and folders below it, too many or too large.
        UserError: no space or no permission.
    """
    stage = unpacking_dir(target)
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        _extract(archive, stage)
        root = arrange(stage)
        os.sync()  # once for all files: after a power cut the folder must not be there with empty pictures
        root.rename(target)
    except OSError as error:
        what = error.strerror or str(error)
        raise UserError(
            f"can't unpack into {target}: {what}. Free space or permissions there, or name another folder: --train-dir"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def unpacking_dir(target: Path) -> Path:
    """The hidden folder beside `target` that archives are unpacked into."""
    return target.with_name(f".{target.name[:100]}.unpacking")


def require_space(folder: Path, archive: int, remaining: int) -> None:
    """Raise UserError where the disk has no room for the rest of an archive and its content.

    `archive` is the archive's whole size, `remaining` what is still to download of it, in bytes.
    """
    unpacked = archive + archive // 10  # photos do not compress; a tenth more for block sizes
    free = shutil.disk_usage(folder).free
    if free < remaining + unpacked:
        raise UserError(
            f"{folder}: {amount(free)} free, but {amount(remaining + unpacked)} needed ({amount(remaining)} to"
            f" fetch, about {amount(unpacked)} unpacked): free space, or name a folder on another disk with --train-dir"
        )


class _LimitedReader:
    """Reads the decompressed stream and raises BadArchive after `limit` bytes, whatever the tar headers claim."""

    def __init__(self, source: IO[bytes], limit: int, archive: Path) -> None:
        self._source = source
        self._remaining = limit
        self._message = (
            f"{archive} grows to more than {amount(limit)} when unpacked, as only a decompression bomb does:"
            " it is refused"
        )

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. Raises BadArchive at the limit."""
        data = self._source.read(size)
        self._remaining -= len(data)
        if self._remaining < 0:
            raise BadArchive(self._message)
        return data


def _extract(archive: Path, stage: Path) -> None:
    try:
        with gzip.open(archive, "rb") as stream:
            limit = MAX_GROWTH * archive.stat().st_size + GROWTH_ALLOWANCE
            limited = _LimitedReader(stream, limit, archive)  # type: ignore[arg-type]  # GzipFile reads bytes
            # Mode "r|" needs only `read`.
            with tarfile.open(fileobj=limited, mode="r|") as tar:  # type: ignore[call-overload]
                for count, member in enumerate(track(tar, "unpacking"), start=1):
                    if count > MAX_MEMBERS:
                        raise BadArchive(f"{archive} has more than {MAX_MEMBERS} entries: it is refused")
                    _extract_member(tar, member, stage, archive)
            while limited.read(1 << 16):  # to the end, where gzip's checksum is
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BadArchive(f"{archive} is not a whole .tgz ({reason}): bring it again") from error


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, stage: Path, archive: Path) -> None:
    """Write one entry below `stage`, with the process's permissions and the current time."""
    name = PurePosixPath(member.name)
    if reason := _member_error(member, name, stage):
        raise BadArchive(
            f"{archive}: entry {member.name[:200]!r} {reason}: the archive is refused, nothing of it is kept"
        )
    if name.name.startswith("._"):
        return  # macOS leaves ._x.jpg beside x.jpg
    path = stage.joinpath(*name.parts)
    try:
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        content = tar.extractfile(member)
        assert content is not None  # it is a regular file
        with path.open("xb") as target:
            shutil.copyfileobj(content, target)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadArchive(
            f"{archive}: entry {member.name[:200]!r} is there twice: the archive is refused, nothing of it is kept"
        ) from error


def _member_error(member: tarfile.TarInfo, name: PurePosixPath, stage: Path) -> str:
    if member.issym() or member.islnk():
        return "is a link"
    if not (member.isdir() or member.isreg()) or member.issparse():
        return "is neither a plain file nor a folder"
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        return "points outside its folder"
    if not hasattr(tarfile, "data_filter"):  # 3.11.0 to 3.11.3; the rules above are stricter
        return ""
    try:
        tarfile.data_filter(member, str(stage))
    except tarfile.FilterError:
        return "is refused by Python's filter for data"
    return ""
