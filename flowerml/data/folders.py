"""Folders of pictures: one sub-folder per class, matched to class names by name."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerml.data.decode import SUFFIXES
from flowerml.errors import UserError

ALL_FOLDERS = ("folders",)


@dataclass(frozen=True)
class PictureFile:
    """One picture file: `file` is `<folder>/<name>` on disk, `label` its class."""

    file: str
    label: str

    @property
    def key(self) -> str:
        """`<class>/<name>`: the same for `roses/a.jpg` and `rose/a.jpg`, on every machine."""
        return f"{self.label}/{self.file.split('/', 1)[1]}"


@dataclass(frozen=True)
class FolderLayout:
    """The classes in label order, their picture files sorted by key, and the folders left out."""

    classes: tuple[str, ...]
    files: tuple[PictureFile, ...]
    left_out: tuple[str, ...]


def read_layout(root: Path, classes: Sequence[str], aliases: Mapping[str, str]) -> FolderLayout:
    """List the pictures of `root/<class>/`.

    `classes` are class names, or ("folders",) for every sub-folder. `aliases` maps other accepted folder names to class
    names (`roses` -> `rose`).

    Raises:
        UserError: no such folder, a missing class, two folders for one class, or a class without pictures.
    """
    folders = _list_folders(root)
    by_class: dict[str, list[str]] = {}
    for folder in folders:
        by_class.setdefault(_class_of(folder, classes, aliases), []).append(folder)
    names = tuple(sorted(by_class)) if tuple(classes) == ALL_FOLDERS else tuple(sorted(set(classes)))
    _check_classes(root, names, by_class, folders)
    files = [PictureFile(file, name) for name in names for file in _list_pictures(root, by_class[name][0])]
    empty = sorted(set(names) - {picture.label for picture in files})
    if empty:
        raise UserError(f"{root}: no pictures ({', '.join(sorted(SUFFIXES))}) in the folder of {', '.join(empty)}")
    left_out = tuple(folder for folder in folders if _class_of(folder, classes, aliases) not in names)
    return FolderLayout(names, tuple(sorted(files, key=lambda picture: picture.key)), left_out)


def _class_of(folder: str, classes: Sequence[str], aliases: Mapping[str, str]) -> str:
    plain = unicodedata.normalize("NFC", folder)  # macOS writes é as e and an accent
    if plain in classes:  # a class named `roses` takes precedence over the alias
        return plain
    return aliases.get(plain, plain)


def _list_folders(root: Path) -> list[str]:
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


def _check_classes(root: Path, names: Sequence[str], by_class: Mapping[str, list[str]], folders: Sequence[str]) -> None:
    missing = [name for name in names if name not in by_class]
    if missing or not names:
        found = ", ".join(folders) or "no sub-folders"
        raise UserError(
            f"{root}: no folder for {', '.join(missing) or 'any class'}; expected {', '.join(names) or 'sub-folders'};"
            f" found {found}. Name another folder, or, where a new model is trained, other classes: --classes a,b, or"
            " --classes folders for all of them"
        )
    for name in names:
        if len(by_class[name]) > 1:
            raise UserError(
                f"{root}: {' and '.join(by_class[name])} both mean class {name}: merge them into one folder"
            )
    if len(names) < 2:
        raise UserError(f"{root}: only one class ({names[0]}): a classifier needs at least two")


def _list_pictures(root: Path, folder: str) -> list[str]:
    try:
        paths = list((root / folder).iterdir())
    except OSError as error:
        raise UserError(f"{root / folder}: {error.strerror}") from error
    names = [path.name for path in paths if not path.is_dir() and path.suffix.lower() in SUFFIXES]
    return [f"{folder}/{name}" for name in names if not re.match(r"^\._", name)]  # macOS leaves ._x.jpg beside x.jpg


def find_pictures(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """The given files, and the pictures in the given folders: by suffix, at any depth, sorted, each once.

    Also returns the number of other files in those folders. Names that begin with a dot are skipped.

    Raises:
        UserError: no such file or folder, an unreadable folder, or one without pictures.
    """
    found: dict[Path, None] = {}
    other_count = 0
    for path in paths:
        try:
            if path.is_file():
                found[path] = None
                continue
            if not path.is_dir():
                raise UserError(
                    f"{path}: no such file or folder. Name pictures, or a folder that holds them at any depth"
                )
        except OSError as error:
            raise UserError(
                f"{path}: {error.strerror}. Name pictures, or a folder that holds them at any depth"
            ) from error
        files = list(_walk_files(path))
        pictures = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
        if not pictures:
            raise UserError(f"{path}: no pictures in it ({', '.join(sorted(SUFFIXES))})")
        found |= dict.fromkeys(pictures)
        other_count += len(files) - len(pictures)
    return list(found), other_count


def _walk_files(root: Path) -> Iterator[Path]:
    try:
        for path in root.iterdir():
            if path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():  # links may form a cycle
                yield from _walk_files(path)
            elif not path.is_dir():
                yield path
    except OSError as error:
        raise UserError(f"{root}: {error.strerror}") from error
