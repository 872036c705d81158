"""Tar files as WebDataset writes them, and bad ones."""

import io
import tarfile
from pathlib import Path


def add(tar, name, data=b"", **fields):
    """Append a member; `fields` change its header (type, linkname, size)."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data) if info.isreg() else None)


def shard(path: Path, *members):
    """A tar of members (name, bytes or text, fields)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data, *fields in members:
            add(tar, name, data.encode() if isinstance(data, str) else data, **(fields[0] if fields else {}))
    return path


def sample(file: Path, key: str, label: str):
    """The two members of a picture's sample."""
    return [(f"{key}{file.suffix}", file.read_bytes()), (f"{key}.cls", label)]


def shards_of(root: Path, folder: Path, count=3):
    """The pictures of a folder of classes in `count` tar files, in an order that is not the folder's."""
    files = sorted(root.rglob("*.jpg"), key=lambda file: file.name)
    for number in range(count):
        members = [
            member
            for file in files[number::count]
            for member in sample(
                file, file.relative_to(root).with_suffix("").as_posix(), file.relative_to(root).parts[0]
            )
        ]
        shard(folder / f"flowers-{number:03d}.tar", *members)
    return folder
