"""Where the journals of a run's folder lie: one in each attempt's folder, of which the newest copy counts."""

import re
from pathlib import Path

from flowerml.journal.delivered import read_delivered
from flowerml.journal.file import JOURNAL

_ATTEMPT = re.compile(r"(\d{4,})(?:\.fenced)?")


def journals(root: Path) -> list[Path]:
    """The attempts' folders that hold a journal which no later attempt has gone on with, oldest first.

    The last is the run's own; any before it are of runs that were begun here and then started over.
    """
    newest: dict[bytes, Path] = {}
    for folder in _attempts(root):
        try:
            with (folder / JOURNAL).open("rb") as handle:
                first = handle.readline()
        except OSError:
            continue
        newest.pop(first, None)
        newest[first] = folder
    return list(newest.values())


def has_undelivered(folder: Path) -> bool:
    """Whether something of the journal in an attempt's folder may still have to be delivered. Cheap: two looks at the
    disk.
    """
    try:
        return (folder / JOURNAL).stat().st_size > read_delivered(folder).bytes
    except OSError:
        return False


def _attempts(root: Path) -> list[Path]:
    """In the order of their numbers."""
    try:
        found = [(path, _ATTEMPT.fullmatch(path.name)) for path in (root / "attempts").iterdir()]
    except OSError:
        return []
    return [path for _, path in sorted((int(match[1]), path) for path, match in found if match)]
