"""Folders of pictures: one sub-folder per class, matched to class names by name."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerml.data.folders.kinds import MAIN_SUFFIXES, Kind, Reason, beside_pictures, is_output_folder, kind_of_file
from flowerml.data.folders.walk import PassedOver, passed_over_line, walk_pictures
from flowerml.data.location import PictureLocation
from flowerml.errors import UserError
from flowerml.text import distinct_nfc, nfc

ALL_FOLDERS = ("folders",)


@dataclass(frozen=True)
class PictureFile:
    """One picture: `file` is `<folder>/<path>` on disk, or how its list calls it; `label` its class.

    `keeps_form` where another file of the class has the same name in Unicode's other form, so that both have a key.
    `name` is the key's part behind the class where it is not the path below the class folder, `location` where the
    bytes are if not in `file`.
    """

    file: str
    label: str
    keeps_form: bool = False
    name: str | None = None
    location: PictureLocation | None = None

    @property
    def key(self) -> str:
        """`<class>/<path>`, in NFC: the same for `roses/a.jpg` and `rose/a.jpg`, on every machine."""
        path = self.file.split("/", 1)[1] if self.name is None else self.name
        return f"{self.label}/{path if self.keeps_form else nfc(path)}"

    def locate(self, root: Path) -> PictureLocation:
        """Where the bytes are; `root` is the folder that was listed."""
        return root / self.file if self.location is None else self.location


@dataclass(frozen=True)
class FolderLayout:
    """The classes in label order, their picture files sorted by key, the folders left out, and what is passed over.

    `remarks` are lines that a person should read. Of a list, the folders left out are labels.
    """

    classes: tuple[str, ...]
    files: tuple[PictureFile, ...]
    left_out: tuple[str, ...]
    passed_over: tuple[PassedOver, ...] = ()
    remarks: tuple[str, ...] = ()


def read_layout(
    root: Path, classes: Sequence[str], aliases: Mapping[str, str], *, may_lack: bool = False
) -> FolderLayout:
    """List the pictures of `root/<class>/`, at any depth (see `walk_pictures`).

    `classes` are class names, or ("folders",) for every sub-folder that is neither hidden, nor the system's, nor
    output. `aliases` maps other accepted folder names to class names (`roses` -> `rose`). Names are compared in NFC.
    With `may_lack` (a test folder) all but two of the named classes may have no folder or no pictures, unless there are
    other folders, which may be those classes under another name.

    Raises:
        UserError: no such folder, a missing class, two folders for one class, or a class without pictures.
    """
    takes_all = tuple(classes) == ALL_FOLDERS
    wanted = tuple(sorted({nfc(name) for name in classes}))
    folders, passed_over = _list_folders(root, () if takes_all else wanted, aliases)
    by_class: dict[str, list[str]] = {}
    for folder in folders:
        by_class.setdefault(class_of(folder, wanted, aliases), []).append(folder)
    names = tuple(sorted(by_class)) if takes_all else wanted
    may_lack = may_lack and {*by_class} <= {*names} and len(by_class) > 1
    present = tuple(name for name in names if name in by_class or not may_lack)
    _check_classes(root, names, present, by_class, passed_over)
    files: list[PictureFile] = []
    for name in present:
        walk = walk_pictures(root / by_class[name][0])
        files += _picture_files(by_class[name][0], name, walk.files)
        passed_over += walk.counts(name)
    if not may_lack or not files:
        _check_pictures(root, present, files, passed_over)
    left_out = tuple(folder for folder in folders if class_of(folder, wanted, aliases) not in names)
    return FolderLayout(names, tuple(sorted(files, key=lambda picture: picture.key)), left_out, tuple(passed_over))


def _picture_files(folder: str, label: str, paths: Sequence[str]) -> list[PictureFile]:
    forms = zip(paths, distinct_nfc(paths), strict=True)
    return [PictureFile(f"{folder}/{path}", label, keeps_form=path == form != nfc(path)) for path, form in forms]


def class_of(folder: str, classes: Sequence[str], aliases: Mapping[str, str]) -> str:
    """The class that a folder or label stands for, in NFC."""
    plain = nfc(folder)
    if plain in classes:  # a class named `roses` takes precedence over the alias
        return plain
    return aliases.get(plain, plain)


def _list_folders(root: Path, classes: Sequence[str], aliases: Mapping[str, str]) -> tuple[list[str], list[PassedOver]]:
    """The sub-folders that may be classes, sorted, and what else lies in `root`. `classes` are taken in any case."""
    folders: list[str] = []
    passed_over: list[PassedOver] = []
    try:
        if not root.is_dir():
            what = "is a file" if root.is_file() else "does not exist"
            raise UserError(
                f"the pictures' folder {str(root)!r} {what}: it must be a folder with one sub-folder of pictures per"
                " class"
            )
        for name in sorted(path.name for path in root.iterdir()):
            if not (root / name).is_dir():
                if beside_pictures(name) is None and (kind := kind_of_file(root / name))[0] is not Kind.OTHER:
                    passed_over.append(PassedOver("", Reason.OUTSIDE, kind[1], 1))
            elif class_of(name, classes, aliases) not in classes and (reason := _why_no_class(root, name)):
                passed_over.append(PassedOver("", reason, name, 1))
            else:
                folders.append(name)
    except OSError as error:
        raise UserError(
            f"the pictures' folder {str(root)!r} can't be read: {error.strerror}. Name another, or mend this one"
        ) from error
    return folders, passed_over


def _why_no_class(root: Path, name: str) -> Reason | None:
    """Why the sub-folder is no class, whatever classes are asked for; None where it may be one."""
    if (reason := beside_pictures(name)) is not None:
        return reason
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(root / name)):  # a link upwards
        return Reason.REPEATED
    return Reason.OWN_OUTPUT if is_output_folder(root / name) else None


def _check_classes(
    root: Path,
    names: Sequence[str],
    required: Sequence[str],
    by_class: Mapping[str, list[str]],
    passed_over: Sequence[PassedOver],
) -> None:
    missing = [name for name in required if name not in by_class]
    if missing or not names:
        line = passed_over_line(passed_over)
        found = ", ".join(sorted(folder for group in by_class.values() for folder in group)) or "no sub-folders"
        raise UserError(
            f"{root}: no folder for {', '.join(missing) or 'any class'}; expected {', '.join(names) or 'sub-folders'};"
            f" found {found}{f' ({line})' if line else ''}. Name another folder, or, where a new model is trained,"
            " other classes: --classes a,b, or --classes folders for all of them"
        )
    for name in required:
        if len(by_class[name]) > 1:
            forms = " (one name in two Unicode forms)" if len({*map(nfc, by_class[name])}) == 1 else ""
            raise UserError(
                f"{root}: {' and '.join(by_class[name])} both mean class {name}{forms}: merge them into one folder"
            )
    if len(names) < 2:
        raise UserError(f"{root}: only one class ({names[0]}): a classifier needs at least two")


def _check_pictures(
    root: Path, names: Sequence[str], files: Sequence[PictureFile], passed_over: Sequence[PassedOver]
) -> None:
    empty = sorted({*names} - {picture.label for picture in files})
    if not empty:
        return
    unread = [entry for entry in passed_over if entry.folder in empty and entry.reason is Reason.CONVERTIBLE]
    there = f"; there are {', '.join(sorted({entry.kind for entry in unread}))}: convert them" if unread else ""
    others = [name for name in names if name not in empty]
    classes = f", or train on the other classes: --classes {','.join(others)}" if len(others) > 1 else ""
    raise UserError(
        f"{root}: no pictures ({MAIN_SUFFIXES}) in the folder of {', '.join(empty)}{there}. Add some{classes}"
    )
