"""`classes.txt`: the names of classes that a list numbers, one a line, in the order of the numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flowerml.data.sources.listing import ListedPicture
from flowerml.errors import UserError

CLASSES_FILE = "classes.txt"


def name_classes(folder: Path, pictures: Sequence[ListedPicture]) -> list[ListedPicture]:
    """The pictures with names in place of numbers, where all labels are numbers and `folder` has the file.

    Raises:
        UserError: the file can't be read, names a class twice, or has no line for a number.
    """
    path = folder / CLASSES_FILE
    if not path.is_file() or not all(picture.label.isdecimal() for picture in pictures):
        return [*pictures]
    names = _read_names(path)
    for picture in pictures:
        if int(picture.label) >= len(names):
            raise UserError(
                f"{path}: has {len(names)} names, and {picture.where} has the number {picture.label} (the first is 0):"
                " add the missing names, a line each"
            )
    return [replace(picture, label=names[int(picture.label)]) for picture in pictures]


def _read_names(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read ({error}). It has a class name a line, as UTF-8") from error
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: names {', '.join(repeated)} twice: each line is one class, in the order of numbers")
    return names
