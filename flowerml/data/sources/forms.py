"""Which form the pictures have at a path: a folder per class, a table, tar or Parquet files."""

import os
import re
from collections.abc import Sequence
from enum import StrEnum
from itertools import product
from pathlib import Path

from flowerml.settings.addresses import is_remote

TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
TAR, PARQUET = ".tar", ".parquet"
_COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_RANGE = 100_000
_SPLIT = re.compile(r"(train|test|validation|valid|val|dev)(?![a-z])", re.IGNORECASE)


class Form(StrEnum):
    """A form of labelled pictures."""

    FOLDERS = "folders"
    TABLE = "table"
    SHARDS = "shards"
    PARQUET = "parquet"


_BY_SUFFIX = {TAR: Form.SHARDS, PARQUET: Form.PARQUET}  # also of the files of a folder


def form_of(root: Path) -> Form:
    """The form of the pictures at `root`, by names; folders of classes where nothing says otherwise.

    A folder has another form where its files do, all of one, and it has no sub-folder.
    """
    if not is_file_name(root.name) or root.is_dir():
        return _form_of_folder(root)
    if root.suffix.lower() in TABLE_SUFFIXES:
        return Form.TABLE
    return _BY_SUFFIX.get(root.suffix.lower(), Form.SHARDS)


def files_of(root: Path) -> list[Path]:
    """The tar or Parquet files at `root`, in order: all of a folder, those of a pattern `a-{000..003}.tar`, or one."""
    if root.is_dir():
        return sorted(path for path in root.iterdir() if path.suffix.lower() in _BY_SUFFIX and _is_visible(path.name))
    return [Path(text) for text in expanded(str(root))]


def splits_of(files: Sequence[Path]) -> list[str]:
    """The splits that the names of files begin with (`train-00000-of-00002.parquet`), each once, in order."""
    found = [match[1].lower() for path in files if (match := _SPLIT.match(path.name)) is not None]
    return [*dict.fromkeys(found)]


def has_pictures_at(path: str | Path) -> bool:
    """Whether `path` is a folder, or a form of pictures in files, that exists on this machine; yes for an address."""
    root = Path(path)
    if root.is_dir() or is_remote(str(path)):
        return True
    form = form_of(root)
    return form is not Form.FOLDERS and any(file.is_file() for file in files_of(root))


def _form_of_folder(root: Path) -> Form:
    found: set[Form] = set()
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if not _is_visible(entry.name):
                    continue
                if entry.is_dir():
                    return Form.FOLDERS
                if (form := _BY_SUFFIX.get(Path(entry.name).suffix.lower())) is not None:
                    found.add(form)
    except OSError:  # reading it says why
        return Form.FOLDERS
    return found.pop() if len(found) == 1 else Form.FOLDERS


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def is_file_name(name: str) -> bool:
    """Whether a name is that of a table, a tar or a Parquet file, by its suffix."""
    return Path(name).suffix.lower() in (*TABLE_SUFFIXES, *_BY_SUFFIX) or name.lower().endswith(_COMPRESSED_TAR)


def expanded(pattern: str) -> list[str]:
    """The names that a pattern with ranges of numbers stands for, as in WebDataset; a name without one is itself."""
    parts = _RANGE.split(pattern)  # text, first, last, text, first, last, ..., text
    ranges = [_numbers(first, last) for first, last in zip(parts[1::3], parts[2::3], strict=True)]
    return [
        "".join(text + number for text, number in zip(parts[::3], (*numbers, ""), strict=True))
        for numbers in product(*ranges)
    ]


def _numbers(first: str, last: str) -> list[str]:
    """The numbers of a range, all as wide as the first; none of one that runs backwards."""
    end = min(int(last), int(first) + _MAX_RANGE)
    return [f"{number:0{len(first)}d}" for number in range(int(first), end + 1)]
