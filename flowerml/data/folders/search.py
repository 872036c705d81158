"""The pictures in any files and folders, which need not stand for classes: those of `predict`."""

from collections.abc import Sequence
from pathlib import Path

from flowerml.data.folders.kinds import MAIN_SUFFIXES
from flowerml.data.folders.walk import PassedOver, passed_over_line, walk_pictures
from flowerml.errors import UserError


def find_pictures(paths: Sequence[Path]) -> tuple[list[Path], list[PassedOver]]:
    """The given files, and the pictures in the given folders (see `walk_pictures`), sorted, each path once.

    Also returns what is passed over in those folders.

    Raises:
        UserError: no such file or folder, an unreadable folder, or one without pictures.
    """
    found: dict[Path, None] = {}
    passed_over: list[PassedOver] = []
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
        walk = walk_pictures(path)
        counts = walk.counts("")
        if not walk.files:
            line = passed_over_line(counts)
            raise UserError(f"{path}: no pictures in it ({MAIN_SUFFIXES}){f'; {line}' if line else ''}")
        found |= dict.fromkeys(sorted(path / file for file in walk.files))
        passed_over += counts
    return list(found), passed_over
