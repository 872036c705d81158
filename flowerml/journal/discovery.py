"""Find the journals in a run's folder: one per attempt, of which only the newest copy is current."""

import re
from pathlib import Path

from flowerml.journal.delivered import read_delivered
from flowerml.journal.file import JOURNAL

_ATTEMPT = re.compile(r"(\d{4,})(?:\.fenced)?")


def find_run_folders(runs_root: Path) -> list[Path]:
    """Folders that may hold a run, by name: those in `runs_root`, and in them those of a cross-validation's folds."""
    return sorted({path for path in runs_root.glob("*") if path.is_dir()} | set(runs_root.glob("*/fold[0-9]*")))


def find_fold_folders(folder: Path) -> list[Path]:
    """The folders of a cross-validation's folds that hold a journal, by name."""
    return [path for path in sorted(folder.glob("fold[0-9]*")) if find_journals(path)]


def find_journals(root: Path) -> list[Path]:
    """The attempts' folders whose journal no later attempt has continued, oldest first.

    The last one belongs to the folder's current run; earlier ones to runs that were started over in the folder.
    """
    newest: dict[bytes, Path] = {}  # by the first line, which identifies a journal
    for folder in _attempt_folders(root):
        try:
            with (folder / JOURNAL).open("rb") as handle:
                first_line = handle.readline()
        except OSError:
            continue
        newest.pop(first_line, None)
        newest[first_line] = folder
    return list(newest.values())


def has_undelivered(folder: Path) -> bool:
    """Whether an attempt's folder may have undelivered records or files. Cheap: compares sizes and offsets."""
    state = read_delivered(folder)
    try:
        return (folder / JOURNAL).stat().st_size > state.bytes or bool(state.waiting)
    except OSError:
        return False


def _attempt_folders(root: Path) -> list[Path]:
    """The attempts' folders in the order of their numbers."""
    try:
        found = [(path, _ATTEMPT.fullmatch(path.name)) for path in (root / "attempts").iterdir()]
    except OSError:
        return []
    return [path for _, path in sorted((int(match[1]), path) for path, match in found if match)]
