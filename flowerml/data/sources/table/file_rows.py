"""Rows of a list that name the file of a picture: paths relative to the folder of the list.

Paths are handled as text, by `os.path`: pathlib takes 0.1 ms for a row, and a list is read at each start.
"""

# ruff: noqa: PTH100, PTH110, PTH117, PTH118

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from flowerml.data.sources.listing import ListedPicture, PictureList
from flowerml.errors import UserError
from flowerml.text import nfc, nfd

_NAMED = 20  # missing files that are listed


class FileRow(NamedTuple):
    """A picture's path as it is written, its label, and where it is listed ("line 7")."""

    path: str
    label: str
    where: str


def list_files(root: Path, rows: Iterable[FileRow]) -> PictureList:
    """The pictures of the list `root`; absolute paths and paths out of its folder are taken too, with a remark.

    Raises:
        UserError: an empty path, or one that no file has; the message has the first, its lines the others.
    """
    folder = str(root.parent)
    pictures, missing, outside, total = [], [], 0, 0
    for text, label, where in rows:
        total += 1
        if not text.strip() or "\0" in text:
            raise UserError(f"{root}, {where}: the path is {text!r}: write that of a picture")
        if (found := _existing(folder, text)) is None:
            missing.append(f"{where}: {text!r}")
            continue
        path = _relative_to(folder, found)
        outside += path.startswith(("/", "../"))
        # Links are not resolved: each is a picture, as in a folder. Two ways to write a path are one location.
        location = Path(os.path.normpath(os.path.join(folder, found)))
        pictures.append(ListedPicture(path, label, location, where, path))
    if missing:
        raise UserError(
            f"{root}: {len(missing)} of {total} files are not there (paths are relative to its folder), the first in"
            f" {missing[0]}",
            missing[1:_NAMED],
        )
    note = f"{outside} of {total} pictures of {root.name} lie outside of its folder"
    return PictureList(pictures, (note,) if outside else ())


def _existing(folder: str, text: str) -> str | None:
    """The path as it is on disk: with Windows' separators as `/`, or in another Unicode form, where it is not there."""
    for one in (text, text.replace("\\", "/")):
        for form in (one, nfc(one), nfd(one)):
            if os.path.exists(os.path.join(folder, form)):
                return form
    return None


def _relative_to(folder: str, path: str) -> str:
    """The path below `folder`, or up from it (`../`), with `/`; an absolute one where that is how it leaves it."""
    base = os.path.abspath(folder)
    whole = os.path.normpath(os.path.join(base, path))
    if whole.startswith(base.rstrip(os.sep) + os.sep):
        whole = whole[len(base.rstrip(os.sep)) + 1 :]
    elif not os.path.isabs(path):
        whole = os.path.relpath(whole, base)
    return whole.replace(os.sep, "/")
