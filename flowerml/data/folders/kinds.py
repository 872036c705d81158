"""What a file or folder is: a picture by its suffix or else by its first bytes, something beside pictures, or output.

A file counts as a picture if its suffix is one of SUFFIXES. Any other file is one if its first bytes are those of a
format that is read, unless its suffix is that of a copy or of a part of a download. TIFF's first bytes count only in
files without a suffix, because camera raw files begin with them too. HEIC is read where pillow-heif is installed.
"""

import re
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path, PurePath

from flowerml.data.decode import can_read_heif, is_avif, is_heif

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"}  # all of them JPEG
    | {".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
)
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
MAIN_SUFFIXES = ".avif, .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp"  # for messages
_CONVERTIBLE = frozenset(
    {".jxl", ".jp2", ".j2k", ".jpx", ".jxr", ".psd", ".svg", ".tga", ".ppm", ".pgm"}
    | {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"}
)
_COPIES = frozenset({".bak", ".orig", ".old", ".tmp", ".swp", ".part", ".partial", ".crdownload", ".download"})
_SYSTEM_NAMES = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "recycler", "recycled", "system volume information", "lost+found"}
    | {"#recycle", "#snapshot", "@recycle", "@recently-snapshot", "temporary items", "network trash folder"}
    | {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__pycache__"}
)
_OWN_NAMES = frozenset({"mlruns", "mlartifacts"})
# Files that, side by side, make a folder one that flowerml has written.
_OWN_FILES = tuple(
    map(
        frozenset,
        (
            ("run.json", "attempts"),
            ("run.json", "settings.json"),
            ("attempts", "journal.jsonl"),
            ("campaign.json", "attempts"),
            ("campaign.json", "table.csv"),
            ("confusion_matrix.png", "predictions.csv"),  # an evaluation
            ("combine.json", "best.pth"),
            ("robustness.json", "robustness.md"),
            ("explain.html",),
            ("decision.json", "decision.md"),
            ("trials.csv", "trials.md"),
            ("flowers_classifier.py",),
            ("mlflow.db", "data", "runs"),  # the demo
        ),
    )
)
_MLFLOW_RUN = re.compile(r"[0-9a-f]{32}")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes; "BM" alone may begin a text
_HEAD = 32  # bytes, enough for each of the formats


class Kind(StrEnum):
    """What a file is; the values stand in messages."""

    PICTURE = "pictures"
    CONVERTIBLE = "pictures in formats that are not read"
    OTHER = "other files"


class Reason(StrEnum):
    """Why something is passed over; the values stand in messages, after a number."""

    CONVERTIBLE = Kind.CONVERTIBLE
    OUTSIDE = "pictures outside the class folders"
    OTHER = Kind.OTHER
    HIDDEN = "hidden files and folders"
    SYSTEM = "files and folders of the system"
    OWN_OUTPUT = "folders of flowerml's or MLflow's output"
    REPEATED = "links to folders that are taken already or lie above"


def kind_of_file(path: Path) -> tuple[Kind, str]:
    """The kind of a file, and its suffix in lower case. Reads the file's first bytes where the suffix does not tell."""
    suffix = PurePath(path.name).suffix.lower()
    if suffix in SUFFIXES:
        return Kind.PICTURE, suffix
    if suffix in HEIF_SUFFIXES:
        return Kind.PICTURE if can_read_heif() else Kind.CONVERTIBLE, suffix
    if suffix in _CONVERTIBLE:
        return Kind.CONVERTIBLE, suffix
    if suffix in _COPIES or path.name.endswith("~"):
        return Kind.OTHER, suffix
    return _kind_of_content(_read_head(path), with_suffix=bool(suffix)), suffix


def beside_pictures(name: str) -> Reason | None:
    """Why a file or folder of this name is passed over: hidden, or made by a system or file manager; else None."""
    if name.casefold() in _SYSTEM_NAMES:
        return Reason.SYSTEM
    return Reason.HIDDEN if name.startswith(".") else None


def is_output(name: str, entries: Collection[str]) -> bool:
    """Whether a folder `name` that holds the names `entries` is one that flowerml or MLflow has written."""
    return (
        name in _OWN_NAMES
        or any(files <= {*entries} for files in _OWN_FILES)
        or ("artifacts" in entries and _MLFLOW_RUN.fullmatch(name) is not None)
    )


def is_output_folder(folder: Path) -> bool:
    """Whether `folder`, or a folder in it while it has no picture of its own, is output (a `runs` folder)."""
    names = _names_in(folder)
    if is_output(folder.name, names):
        return True
    if any(PurePath(name).suffix.lower() in (SUFFIXES | HEIF_SUFFIXES) for name in names):
        return False
    return any(is_output(name, _names_in(folder / name)) for name in names)


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:  # a file, or it can't be read: then reading its pictures says so
        return []


def _read_head(path: Path) -> bytes:
    try:
        if not path.is_file():  # a broken link; opening a named pipe would block
            return b""
        with path.open("rb") as handle:
            return handle.read(_HEAD)
    except OSError:
        return b""


def _kind_of_content(head: bytes, *, with_suffix: bool) -> Kind:
    if (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS)
        or (head.startswith((b"II*\0", b"MM\0*")) and not with_suffix)
        or is_avif(head)
    ):
        return Kind.PICTURE
    if is_heif(head):
        return Kind.PICTURE if can_read_heif() else Kind.CONVERTIBLE
    return Kind.OTHER
