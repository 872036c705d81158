"""Reading every picture once before training: what is there, what can't be read, and digests that name the data by
content.
"""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np

from flowerml.data.decode import BadImage, decode, read_bytes
from flowerml.data.folders import Found, Layout
from flowerml.data.scan_cache import ScanCache
from flowerml.errors import UserError, one_line
from flowerml.progress_bar import track


@dataclass(frozen=True)
class Picture:
    """A readable picture: its file, class, content and size. `phash` is the 64-bit perceptual hash."""

    file: str
    label: str
    key: str
    sha256: str
    width: int
    height: int
    phash: int


@dataclass(frozen=True)
class BadFile:
    """A file that can't be used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """A folder's pictures sorted by key, its bad files, its classes in label order."""

    root: Path
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    bad: tuple[BadFile, ...]
    left_out: tuple[str, ...]

    @property
    def digest(self) -> str:
        """sha256 (hex) over every picture's class, name and content, in the order of the keys: the same on every
        machine.
        """
        lines = "\n".join(f"{picture.key}\t{picture.sha256}" for picture in self.pictures)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    def counts(self) -> dict[str, int]:
        """Pictures per class, in label order."""
        counted = Counter(picture.label for picture in self.pictures)
        return {name: counted[name] for name in self.classes}


def scan(root: Path, layout: Layout, memory: ScanCache | None = None) -> Scan:
    """Decode every file of `layout` under `root`, on all cores (decoding releases the interpreter's lock).

    With a `memory`, only those that may have changed since they were looked at; what can't be read is looked at each
    time.
    """
    known = {found.file: picture for found in layout.files if (picture := _recalled(found, memory)) is not None}
    to_read = [found for found in layout.files if found.file not in known]
    # Filters belong to the process, so they are set here, once, and not in the threads: Pillow's remarks on odd EXIF
    # data and large sizes.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        looked = pool.map(lambda found: _look(root, found, memory), to_read)
        read = dict(
            zip((found.file for found in to_read), track(looked, "reading pictures", total=len(to_read)), strict=True)
        )
    if memory is not None:
        memory.save()
    results = [known.get(found.file) or read[found.file] for found in layout.files]
    pictures = tuple(result for result in results if isinstance(result, Picture))
    bad = tuple(result for result in results if isinstance(result, BadFile))
    return Scan(root, layout.classes, pictures, bad, layout.left_out)


def require_readable(scanned: Scan, bad_images: str | None) -> None:
    """Stop on unreadable pictures unless `bad_images` is "skip"; stop in any case where a class has none left.

    None is "stop" of a command without such a flag.

    Raises:
        UserError: lists every bad file by path and reason.
    """
    if scanned.bad and bad_images != "skip":
        otherwise = "" if bad_images is None else ", or go on without them: --bad-images skip"
        total = len(scanned.bad) + len(scanned.pictures)
        raise UserError(
            f"{len(scanned.bad)} of {total} pictures can't be read (mend or remove them{otherwise}):",
            list_bad(scanned.bad),
        )
    empty = [name for name, count in scanned.counts().items() if count == 0]
    if empty:
        raise UserError(f"{scanned.root}: no readable picture of {', '.join(empty)}:", list_bad(scanned.bad))


def list_bad(bad: Sequence[BadFile]) -> list[str]:
    """One line per file: path, tab, reason. Paths are quoted so that odd names stay on their line."""
    return [f"{entry.file!r}\t{one_line(entry.reason)}" for entry in bad]


def _recalled(found: Found, memory: ScanCache | None) -> Picture | None:
    facts = memory.get(found.file) if memory is not None else None
    return None if facts is None else Picture(file=found.file, label=found.label, key=found.key, **facts)


def _look(root: Path, found: Found, memory: ScanCache | None) -> Picture | BadFile:
    try:
        found.file.encode()
    except UnicodeEncodeError:
        return BadFile(found.file, "the file name is not valid UTF-8: rename it")
    before = memory.state(found.file) if memory is not None else None
    try:
        data = read_bytes(root / found.file)
        image = decode(data)
    except BadImage as error:
        return BadFile(found.file, str(error))
    bits = imagehash.phash(image).hash.flatten()
    facts: dict[str, Any] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": image.width,
        "height": image.height,
        "phash": int.from_bytes(np.packbits(bits).tobytes(), "big"),
    }
    if memory is not None:
        memory.put(found.file, before, facts)
    return Picture(file=found.file, label=found.label, key=found.key, **facts)
