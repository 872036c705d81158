"""Tar files with a picture and a label per sample, as WebDataset writes them: read in place, never unpacked.

A sample is `key.jpg` (or another picture) and `key.cls`, whose text is the label. Other members (`key.json`) are passed
over. The index of a file has each picture's offset and size, so that any order of pictures costs the same.
"""

import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flowerml.data.folders.kinds import HEIF_SUFFIXES, SUFFIXES
from flowerml.data.location import Span
from flowerml.data.sources.class_names import name_classes
from flowerml.data.sources.index_cache import Rows, cached_index
from flowerml.data.sources.listing import ListedPicture, PictureList
from flowerml.data.sources.remote.remote_span import RemoteSpan
from flowerml.data.sources.remote.streamed_index import read_index
from flowerml.data.sources.shard_files import require_files
from flowerml.errors import UserError

MAX_PICTURE_BYTES = 2**30  # 90 million pixels with 16 bits, without compression, are half of it
_MAX_LABEL_BYTES = 4096
_LABEL = ".cls"
_KIND = "tar-1"
_REFUSED = "the file is refused, nothing of it is read"


def read_shard_list(root: Path) -> PictureList:
    """The pictures of all tar files at `root`: a file, a pattern `a-{000..003}.tar`, or a folder of them.

    Raises:
        UserError: a file that is cut off, compressed or no tar; a member that is a link, a device, too large or leads
            out of its folder; a picture without a label, or a sample with two pictures; or as `require_files`.
    """
    files = require_files(root)
    pictures = [picture for path in files for picture in _pictures_of(path)]
    return PictureList(name_classes(files[0].parent, pictures))


def _pictures_of(path: Path) -> Iterator[ListedPicture]:
    streamed = read_index(path)
    rows = cached_index(path, _KIND, index_tar) if streamed is None else streamed.rows
    for name, offset, size, label in rows:
        part = Span(path, offset, size) if streamed is None else RemoteSpan(streamed.file, offset, size)
        yield ListedPicture(f"{path.name}/{name}", label, part, f"{path.name}: {name}", f"{path}/{name}")


def index_tar(path: Path) -> Rows:
    """[name, offset, size, label] of every picture, in the order of the file. Raises UserError."""
    pictures: dict[str, list[tarfile.TarInfo]] = defaultdict(list)
    labels: dict[str, tarfile.TarInfo] = {}
    names: set[str] = set()
    for member in _members(path):
        stem, suffix = _stem_and_suffix(member.name)
        if member.name in names:
            raise UserError(f"{path}: member {member.name[:200]!r} is there twice: {_REFUSED}")
        names.add(member.name)
        if suffix == _LABEL:
            labels[stem] = member
        elif suffix in SUFFIXES or suffix in HEIF_SUFFIXES:
            pictures[stem].append(member)
    rows: Rows = []
    with path.open("rb") as file:
        for stem, found in pictures.items():
            if stem not in labels:
                if _sample_of(stem) in labels:  # another field of a sample, such as a mask
                    continue
                raise UserError(
                    f"{path}: {found[0].name[:200]!r} has no label: write its class into a member {stem + _LABEL!r}"
                )
            if len(found) > 1:
                raise UserError(
                    f"{path}: sample {stem!r} has two pictures, {found[0].name!r} and {found[1].name!r}: give each a"
                    " name of its own"
                )
            file.seek(labels[stem].offset_data)
            label = _label_text(path, labels[stem].name, file.read(labels[stem].size))
            rows.append([found[0].name, found[0].offset_data, found[0].size, label])
    if not rows:
        raise UserError(f"{path}: no pictures with labels in it (members key.jpg and key.cls)")
    return rows


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The plain files of a tar, in order, checked. Raises UserError."""
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if reason := _why_refused(member, size):
                    raise UserError(f"{path}: member {member.name[:200]!r} {reason}: {_REFUSED}")
                if member.isreg() and _is_sample(member.name):
                    yield member
            _check_end(path, tar.offset, size)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise UserError(
            f"{path}: not a whole, uncompressed tar file ({error}): bring it again; decompress a .tar.gz, as pictures"
            " are read from their places in it"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}. Make it readable, or name another") from error


def _why_refused(member: tarfile.TarInfo, file_size: int) -> str:
    name = PurePosixPath(member.name)
    if member.issym() or member.islnk():
        return "is a link"
    if not (member.isdir() or member.isreg()) or member.issparse():
        return "is neither a plain file nor a folder"
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        return "leads out of its folder"
    if member.offset_data + member.size > file_size:
        return "is cut off"
    limit = _MAX_LABEL_BYTES if member.name.lower().endswith(_LABEL) else MAX_PICTURE_BYTES
    return f"has {member.size:,} bytes (allowed: {limit:,})" if member.size > limit else ""


def _check_end(path: Path, offset: int, size: int) -> None:
    """Refuse a file whose members end in something else than zeros: Python's module takes that for the end."""
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(tarfile.BLOCKSIZE)
    if offset < size and (len(block) < tarfile.BLOCKSIZE or block.strip(b"\0")):
        raise tarfile.ReadError(f"no header at byte {offset:,}")


def _is_sample(name: str) -> bool:
    """Whether WebDataset would take it: macOS leaves `._a.jpg` beside `a.jpg`."""
    return not PurePosixPath(name).name.startswith(".")


def _stem_and_suffix(name: str) -> tuple[str, str]:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix), suffix.lower()


def _sample_of(stem: str) -> str:
    """The key of a sample: its name up to the first dot."""
    folder, slash, name = stem.rpartition("/")
    return folder + slash + name.split(".")[0]


def _label_text(path: Path, name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: member {name[:200]!r} is not UTF-8: write the class name, or its number") from error
