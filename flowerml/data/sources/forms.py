"""Which form the pictures have at a path: a folder per class, or a list of pictures."""

from enum import StrEnum
from pathlib import Path

TABLE_SUFFIXES = frozenset({".csv", ".tsv"})


class Form(StrEnum):
    """A form of labelled pictures."""

    FOLDERS = "folders"
    TABLE = "table"


def form_of(root: Path) -> Form:
    """The form of the pictures at `root`, by its name; a folder of classes where nothing says otherwise."""
    return Form.TABLE if root.suffix.lower() in TABLE_SUFFIXES and not root.is_dir() else Form.FOLDERS


def has_pictures_at(path: str | Path) -> bool:
    """Whether `path` is a folder, or the file of a list of pictures, that exists on this machine."""
    root = Path(path)
    return root.is_dir() if form_of(root) is Form.FOLDERS else root.is_file()
