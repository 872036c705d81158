"""From folders to class names: by name, never by position."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerml.data.decode import SUFFIXES
from flowerml.errors import UserError

ALL_FOLDERS = ("folders",)


@dataclass(frozen=True)
class Found:
    """One picture file. `file` is `<folder>/<name>` as it lies on disk, `label` its class."""

    file: str
    label: str

    @property
    def key(self) -> str:
        """`<class>/<name>`: the same for `roses/a.jpg` and `rose/a.jpg`, on every machine."""
        return f"{self.label}/{self.file.split('/', 1)[1]}"


@dataclass(frozen=True)
class Layout:
    """What a folder holds: the classes in label order, their picture files sorted by key, and folders that were left
    out.
    """

    classes: tuple[str, ...]
    files: tuple[Found, ...]
    left_out: tuple[str, ...]


def read_layout(root: Path, classes: Sequence[str], aliases: Mapping[str, str]) -> Layout:
    """List the pictures of `root/<class>/`.

    `classes` are the names wanted, or ("folders",) for every sub-folder. `aliases` maps other accepted folder names to
    class names (`roses` -> `rose`).

    Raises:
        UserError: no such folder, classes missing (expected against found), two folders for one class, or a class
            without pictures.
    """
    folders = _folders(root)
    by_class: dict[str, list[str]] = {}
    for folder in folders:
        by_class.setdefault(_class_of(folder, classes, aliases), []).append(folder)
    wanted = tuple(sorted(by_class)) if tuple(classes) == ALL_FOLDERS else tuple(sorted(set(classes)))
    _check(root, wanted, by_class, folders)
    files = [Found(file, name) for name in wanted for file in _pictures(root, by_class[name][0])]
    empty = sorted(set(wanted) - {found.label for found in files})
    if empty:
        raise UserError(f"{root}: no pictures ({', '.join(sorted(SUFFIXES))}) in the folder of {', '.join(empty)}")
    left_out = tuple(folder for folder in folders if _class_of(folder, classes, aliases) not in wanted)
    return Layout(wanted, tuple(sorted(files, key=lambda found: found.key)), left_out)


def _class_of(folder: str, classes: Sequence[str], aliases: Mapping[str, str]) -> str:
    plain = unicodedata.normalize("NFC", folder)  # macOS writes é as e and an accent
    if plain in classes:  # a class that is really called `roses` beats the alias
        return plain
    return aliases.get(plain, plain)


def _folders(root: Path) -> list[str]:
    try:
        if not root.is_dir():
            what = "is a file" if root.is_file() else "does not exist"
            raise UserError(
                f"the pictures' folder {str(root)!r} {what}: it must be a folder with one sub-folder of pictures per"
                " class"
            )
        return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"the pictures' folder {str(root)!r} can't be read: {error.strerror}. Name another, or mend this one"
        ) from error


def _check(root: Path, wanted: Sequence[str], by_class: Mapping[str, list[str]], folders: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in by_class]
    if missing or not wanted:
        found = ", ".join(folders) or "no sub-folders"
        raise UserError(
            f"{root}: no folder for {', '.join(missing) or 'any class'}; expected {', '.join(wanted) or 'sub-folders'};"
            f" found {found}. Name another folder, or, where a new model is trained, other classes: --classes a,b, or"
            " --classes folders for all of them"
        )
    for name in wanted:
        if len(by_class[name]) > 1:
            raise UserError(
                f"{root}: {' and '.join(by_class[name])} both mean class {name}: merge them into one folder"
            )
    if len(wanted) < 2:
        raise UserError(f"{root}: only one class ({wanted[0]}): a classifier needs at least two")


def _pictures(root: Path, folder: str) -> list[str]:
    try:
        paths = list((root / folder).iterdir())
    except OSError as error:
        raise UserError(f"{root / folder}: {error.strerror}") from error
    names = [path.name for path in paths if not path.is_dir() and path.suffix.lower() in SUFFIXES]
    return [f"{folder}/{name}" for name in names if not re.match(r"^\._", name)]  # macOS leaves ._x.jpg beside x.jpg


def find_pictures(places: Sequence[Path]) -> tuple[list[Path], int]:
    """The files that are named, and the pictures in the folders that are named: by suffix, at any depth, sorted, each
    once.

    Also returns how many other files lie in those folders. What is hidden (a name that begins with a dot) is not looked
    at.

    Raises:
        UserError: there is no such file or folder, a folder can't be read, or there are no pictures in it.
    """
    found: dict[Path, None] = {}
    others = 0
    for place in places:
        try:
            if place.is_file():
                found[place] = None
                continue
            if not place.is_dir():
                raise UserError(
                    f"{place}: no such file or folder. Name pictures, or a folder that holds them at any depth"
                )
        except OSError as error:
            raise UserError(
                f"{place}: {error.strerror}. Name pictures, or a folder that holds them at any depth"
            ) from error
        files = list(_below(place))
        pictures = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
        if not pictures:
            raise UserError(f"{place}: no pictures in it ({', '.join(sorted(SUFFIXES))})")
        found |= dict.fromkeys(pictures)
        others += len(files) - len(pictures)
    return list(found), others


def _below(root: Path) -> Iterator[Path]:
    try:
        for path in root.iterdir():
            if path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():  # links may lead round in a circle
                yield from _below(path)
            elif not path.is_dir():
                yield path
    except OSError as error:
        raise UserError(f"{root}: {error.strerror}") from error
