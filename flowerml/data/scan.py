"""Read every picture of a folder once before training: sizes, hashes, unreadable files, and a digest of the data."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from flowerml.data.decode import BadImage, decode
from flowerml.data.folders import FolderLayout, PassedOver, PictureFile
from flowerml.data.location import PictureLocation, Unreachable, read_location
from flowerml.data.scan_cache import ScanCache
from flowerml.errors import UserError, one_line
from flowerml.process.threads import usable_cores
from flowerml.progress_bar import track


@dataclass(frozen=True)
class Picture:
    """A readable picture: file, class, sha256 (hex) of its content, size in pixels and 64-bit perceptual hash.

    `contrast` is the standard deviation of its grey levels (0 to 255) at 32x32 pixels, `colours` the RGB bytes (hex) of
    a 4x4 thumbnail; None where they are not known. `location` is as in `PictureFile`.
    """

    file: str
    label: str
    key: str
    sha256: str
    width: int
    height: int
    phash: int
    contrast: float | None = None
    colours: str | None = None
    location: PictureLocation | None = None

    def locate(self, root: Path) -> PictureLocation:
        """Where its bytes are; `root` is the folder that was scanned."""
        return root / self.file if self.location is None else self.location


@dataclass(frozen=True)
class BadFile:
    """A file that can't be used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """A folder's pictures sorted by key, its unreadable files, its classes in label order, and what is not used.

    `root` may also be a list of pictures; `remarks` are those of `FolderLayout`.
    """

    root: Path
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    bad: tuple[BadFile, ...]
    left_out: tuple[str, ...]
    passed_over: tuple[PassedOver, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 (hex) over every picture's class, name and content, ordered by key: equal on every machine."""
        lines = "\n".join(f"{picture.key}\t{picture.sha256}" for picture in self.pictures)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    def counts(self) -> dict[str, int]:
        """Pictures per class, in label order."""
        counted = Counter(picture.label for picture in self.pictures)
        return {name: counted[name] for name in self.classes}


def scan_folder(root: Path, layout: FolderLayout, cache: ScanCache | None = None) -> Scan:
    """Decode every file of `layout` under `root`, in threads (decoding releases the GIL).

    With a `cache`, files that have not changed since the last scan are not read again; unreadable ones always are.

    Raises:
        UserError: a server that has pictures can't be reached: without them the set would be another.
    """
    known = {entry.file: picture for entry in layout.files if (picture := _from_cache(entry, cache)) is not None}
    to_read = [entry for entry in layout.files if entry.file not in known]
    # Warning filters are process-wide: set here once, not in the threads. Pillow warns of odd EXIF data and sizes.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=min(16, usable_cores())) as pool:
        warnings.simplefilter("ignore")
        results_in_order = pool.map(lambda entry: _read_picture(root, entry, cache), to_read)
        read = dict(
            zip(
                (entry.file for entry in to_read),
                track(results_in_order, "reading pictures", total=len(to_read)),
                strict=True,
            )
        )
    if cache is not None:
        cache.save()
    results = [known.get(entry.file) or read[entry.file] for entry in layout.files]
    pictures = tuple(result for result in results if isinstance(result, Picture))
    bad = tuple(result for result in results if isinstance(result, BadFile))
    return Scan(root, layout.classes, pictures, bad, layout.left_out, layout.passed_over, layout.remarks)


def require_readable(scanned: Scan, bad_images: str | None) -> None:
    """Raise on unreadable pictures unless `bad_images` is "skip", and always where a class has no picture left.

    `bad_images` None means "stop", for commands without that flag.

    Raises:
        UserError: lists every unreadable file by path and reason.
    """
    if scanned.bad and bad_images != "skip":
        skip_hint = "" if bad_images is None else ", or go on without them: --bad-images skip"
        total = len(scanned.bad) + len(scanned.pictures)
        raise UserError(
            f"{len(scanned.bad)} of {total} pictures can't be read (mend or remove them{skip_hint}):",
            bad_file_lines(scanned.bad),
        )
    empty = [name for name, count in scanned.counts().items() if count == 0]
    if empty:
        raise UserError(f"{scanned.root}: no readable picture of {', '.join(empty)}:", bad_file_lines(scanned.bad))


def bad_file_lines(bad: Sequence[BadFile]) -> list[str]:
    """One line per file: path, tab, reason; all of them. Paths are quoted, so that any name fits on its line."""
    return [f"{entry.file!r}\t{one_line(entry.reason)}" for entry in bad]


def _from_cache(entry: PictureFile, cache: ScanCache | None) -> Picture | None:
    facts = cache.get(entry.file, entry.location) if cache is not None else None
    return None if facts is None else _make_picture(entry, facts)


def _make_picture(entry: PictureFile, facts: Mapping[str, Any]) -> Picture:
    return Picture(file=entry.file, label=entry.label, key=entry.key, location=entry.location, **facts)


def _read_picture(root: Path, entry: PictureFile, cache: ScanCache | None) -> Picture | BadFile:
    try:
        entry.file.encode()
    except UnicodeEncodeError:
        return BadFile(entry.file, "the file name is not valid UTF-8: rename it")
    before = cache.file_state(entry.file, entry.location) if cache is not None else None
    try:
        data = read_location(entry.locate(root))
        facts = picture_facts(data)
    except Unreachable as error:
        raise UserError(str(error)) from error
    except BadImage as error:
        return BadFile(entry.file, str(error))
    if cache is not None:
        cache.put(entry.file, before, facts, entry.location)
    return _make_picture(entry, facts)


def picture_facts(data: bytes) -> dict[str, Any]:
    """What a scan keeps of a picture, by the names of the fields of `Picture`. Raises BadImage."""
    image = decode(data)
    bits = imagehash.phash(image).hash.flatten()
    small = image.resize((32, 32), Image.Resampling.BOX)
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": image.width,
        "height": image.height,
        "phash": int.from_bytes(np.packbits(bits).tobytes(), "big"),
        "contrast": round(float(np.asarray(small.convert("L")).std()), 3),
        "colours": small.resize((4, 4), Image.Resampling.BOX).tobytes().hex(),
    }
