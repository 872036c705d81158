"""From a list of pictures with labels to the layout that a folder per class has: the same keys, classes and checks.

A picture's key decides its place in the order, its split and its random draws. In a folder it is `<class>/<path below
the class folder>`; a list gives the same one where its paths have the class folder in them, else `<class>/<file name>`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerml.data.folders.layout import ALL_FOLDERS, FolderLayout, PictureFile, class_of
from flowerml.data.location import PictureLocation
from flowerml.errors import UserError
from flowerml.text import cut_list, distinct_nfc, nfc

_SEPARATORS = re.compile(r"[,;|]")
_LISTED = 5


@dataclass(frozen=True)
class ListedPicture:
    """One picture of a list: its path, which the key is made of, its label, its bytes, and where it is listed.

    `path` has `/` and is relative where the list has a folder that it lies in. `where` ("line 7") is for messages about
    the list, `file` for those about the picture: no other one of the list has the same.
    """

    path: str
    label: str
    location: PictureLocation
    where: str
    file: str


@dataclass(frozen=True)
class PictureList:
    """The pictures of a list in its order, and lines that a person should read."""

    pictures: Sequence[ListedPicture]
    remarks: tuple[str, ...] = ()


def list_layout(
    root: Path, listed: PictureList, classes: Sequence[str], aliases: Mapping[str, str], *, may_lack: bool = False
) -> FolderLayout:
    """The layout of a list at `root`; parameters as those of `read_layout`, with labels in place of folder names.

    Raises:
        UserError: an empty or odd label, several classes in one, a picture that is listed twice, a class without
            pictures, or fewer than two classes.
    """
    for picture in listed.pictures:
        _check_label(root, picture)
    _refuse_repeated(root, listed.pictures)
    takes_all = tuple(classes) == ALL_FOLDERS
    wanted = () if takes_all else tuple(sorted({nfc(name) for name in classes}))
    by_class = _by_class(listed.pictures, wanted, aliases)
    _refuse_several_labels(root, listed.pictures, {*wanted, *by_class}, wanted, aliases)
    names = tuple(sorted(by_class)) if takes_all else wanted
    may_lack = may_lack and {*by_class} <= {*names} and len(by_class) > 1
    present = tuple(name for name in names if name in by_class or not may_lack)
    _check_classes(root, names, present, by_class)
    files = [file for name in present for file in _picture_files(root, name, by_class[name], wanted, aliases)]
    left_out = tuple(sorted(by_class.keys() - {*names}))
    return FolderLayout(names, tuple(sorted(files, key=lambda file: file.key)), left_out, (), listed.remarks)


def locations_by_key(root: Path, listed: PictureList, aliases: Mapping[str, str]) -> dict[str, PictureLocation]:
    """Where each picture of a list is, by its key, whichever classes it was made for. Raises UserError."""
    found: dict[str, PictureLocation] = {}
    for accepted in ({}, aliases):
        for name, pictures in _by_class(listed.pictures, (), accepted).items():
            files = _picture_files(root, name, pictures, (), accepted)
            found |= {file.key: file.locate(root) for file in files}
    return found


def _by_class(
    pictures: Iterable[ListedPicture], wanted: Sequence[str], aliases: Mapping[str, str]
) -> dict[str, list[ListedPicture]]:
    by_class: dict[str, list[ListedPicture]] = {}
    for picture in pictures:
        by_class.setdefault(class_of(picture.label, wanted, aliases), []).append(picture)
    return by_class


def _picture_files(
    root: Path, name: str, pictures: Sequence[ListedPicture], wanted: Sequence[str], aliases: Mapping[str, str]
) -> list[PictureFile]:
    names = _names_of_class(root, name, pictures, wanted, aliases)
    forms = zip(pictures, names, distinct_nfc(names), strict=True)
    return [
        PictureFile(picture.file, name, text == form != nfc(text), text, picture.location)
        for picture, text, form in forms
    ]


def _names_of_class(
    root: Path, label: str, pictures: Sequence[ListedPicture], wanted: Sequence[str], aliases: Mapping[str, str]
) -> list[str]:
    """The keys' parts behind the class: short ones, and the whole paths of those that would get the same one."""
    short = [_below_class_folder(picture.path, label, wanted, aliases) for picture in pictures]
    whole = [_whole_name(picture.path) for picture in pictures]
    counted = Counter(short)
    names = [one if counted[one] == 1 else other for one, other in zip(short, whole, strict=True)]
    if len({*names}) < len(names):
        names = whole
    if len({*names}) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        where = " and ".join(picture.where for picture, name in zip(pictures, names, strict=True) if name == repeated)
        raise UserError(f"{root}: {where} have one name, {label}/{repeated}: rename one of the pictures")
    return names


def _below_class_folder(path: str, label: str, wanted: Sequence[str], aliases: Mapping[str, str]) -> str:
    """What follows the folder of the class in `path`, else the file name.

    A class may have the name of a folder above the pictures: of a path that is not relative, the last one counts.
    """
    parts = path.split("/")
    places = [place for place, part in enumerate(parts[:-1]) if class_of(part, wanted, aliases) == label]
    if not places:
        return parts[-1]
    is_relative = parts[0] not in ("", "..")
    return "/".join(parts[(places[0] if is_relative else places[-1]) + 1 :])


def _whole_name(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", ".."))


def _check_label(root: Path, picture: ListedPicture) -> None:
    if not picture.label:
        raise UserError(f"{root}, {picture.where}: the label is empty: write the class of {picture.path!r}")
    if not picture.label.isprintable() or "/" in picture.label or picture.label in (".", ".."):
        raise UserError(
            f"{root}, {picture.where}: the label {picture.label!r} is no class name. Allowed: printable text without /"
        )


def _refuse_repeated(root: Path, pictures: Sequence[ListedPicture]) -> None:
    first: dict[PictureLocation, ListedPicture] = {}
    for picture in pictures:
        other = first.setdefault(picture.location, picture)
        if other is picture:
            continue
        if other.label != picture.label:
            raise UserError(
                f"{root}, {picture.where}: {picture.path!r} has the label {picture.label!r}, and {other.label!r} in"
                f" {other.where}: a picture has one class. Take one of the two out"
            )
        raise UserError(
            f"{root}, {picture.where}: {picture.path!r} is listed in {other.where} too: take one of them out"
        )


def _refuse_several_labels(
    root: Path, pictures: Sequence[ListedPicture], known: set[str], wanted: Sequence[str], aliases: Mapping[str, str]
) -> None:
    """Refuse a label like `rose;tulip`, all parts of which are classes."""
    for picture in pictures:
        if _SEPARATORS.search(picture.label) is None or class_of(picture.label, wanted, aliases) in wanted:
            continue
        parts = [part.strip(" []()'\"") for part in _SEPARATORS.split(picture.label)]
        if all(class_of(part, wanted, aliases) in known for part in parts):
            raise UserError(
                f"{root}, {picture.where}: the label {picture.label!r} names several classes: a picture has one."
                " Several labels of a picture (multi-label) are not supported"
            )


def _check_classes(
    root: Path, names: Sequence[str], required: Sequence[str], by_class: Mapping[str, Sequence[ListedPicture]]
) -> None:
    if missing := [name for name in required if name not in by_class]:
        found = ", ".join(cut_list(sorted(by_class), listed=_LISTED))
        if all(name.isdecimal() for name in by_class):
            found += " (numbers: name their classes in a file classes.txt beside the pictures' files, a name a line)"
        raise UserError(
            f"{root}: no picture of {', '.join(missing)}; expected {', '.join(names)}; found {found}. Name another"
            " list, or, where a new model is trained, other classes: --classes a,b, or --classes folders for all labels"
        )
    if len(names) < 2:
        raise UserError(f"{root}: only one class ({names[0]}): a classifier needs at least two")
