"""The one walk through a folder of pictures, for training, checks, evaluation and prediction.

Sub-folders are taken at any depth, links are followed (each folder once, none that lies above), and what is passed over
is counted by reason.
"""

import os
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowerml.data.folders.kinds import HEIF_SUFFIXES, Kind, Reason, beside_pictures, is_output, kind_of_file
from flowerml.errors import UserError, one_line

_NAMED = 5  # classes and kinds that are named in a line
_REMEDIES = {
    Reason.CONVERTIBLE: "convert them to JPEG or PNG to use them",
    Reason.OUTSIDE: "move them into one of the class folders to use them",
}


@dataclass(frozen=True)
class PassedOver:
    """Files or folders of one class folder ("" outside of all) that are not used, all for one reason.

    `kind` is their suffix or name.
    """

    folder: str
    reason: Reason
    kind: str
    count: int


@dataclass
class Walk:
    """The pictures below a folder: paths relative to it with `/`, unsorted; what is passed over, by reason and kind."""

    files: list[str] = field(default_factory=list)
    passed_over: Counter[tuple[Reason, str]] = field(default_factory=Counter)

    def counts(self, folder: str) -> list[PassedOver]:
        """What is passed over, counted as that of the class folder `folder`."""
        return [PassedOver(folder, *key, count) for key, count in sorted(self.passed_over.items())]


def walk_pictures(root: Path) -> Walk:
    """Find the pictures below `root`, at any depth. `root` itself is taken whatever its name.

    Raises:
        UserError: a folder can't be read.
    """
    walk = Walk()
    real_root = Path(os.path.realpath(root))
    seen: set[Path] = set()
    folders = deque([_Folder("", real_root, real_root)])
    links: deque[_Folder] = deque()
    while folders or links:  # links last: what is also reached without one keeps its own path
        folder = folders.popleft() if folders else links.popleft()
        if folder.real in seen or folder.lies_above(real_root):
            walk.passed_over[Reason.REPEATED, Path(folder.path).name] += 1
            continue
        seen.add(folder.real)
        for entry in _entries(root / folder.path, walk, is_root=not folder.path):
            path = f"{folder.path}/{entry.name}" if folder.path else entry.name
            if not _is_folder(entry):
                _add_file(walk, root, path)
            elif entry.is_symlink():
                links.append(_Folder(path, Path(os.path.realpath(root / path)), folder.real))
            else:
                folders.append(_Folder(path, folder.real / entry.name, folder.real))
    return walk


@dataclass(frozen=True)
class _Folder:
    """A folder to visit: its path below the root, its real path, and that of the folder in which it was found."""

    path: str
    real: Path
    parent: Path

    def lies_above(self, real_root: Path) -> bool:
        """Whether it is a link to a folder that holds the link itself or the root: a loop."""
        return self.path != "" and any(place.is_relative_to(self.real) for place in (self.parent, real_root))


def _entries(folder: Path, walk: Walk, *, is_root: bool) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name, without what is passed over by its name."""
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}. Make it readable, or take it out") from error
    if not is_root and is_output(folder.name, [entry.name for entry in entries]):
        walk.passed_over[Reason.OWN_OUTPUT, folder.name] += 1
        return []
    kept = []
    for entry in entries:
        if (reason := beside_pictures(entry.name)) is None:
            kept.append(entry)
        else:
            walk.passed_over[reason, _short(entry.name)] += 1
    return kept


def _add_file(walk: Walk, root: Path, path: str) -> None:
    kind, suffix = kind_of_file(root / path)
    if kind is Kind.PICTURE:
        walk.files.append(path)
    else:
        walk.passed_over[Reason(kind), suffix or "no suffix"] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _short(name: str) -> str:
    return "._…" if name.startswith("._") else name  # macOS leaves ._x.jpg beside x.jpg


def passed_over_line(entries: Iterable[PassedOver]) -> str | None:
    """One line that counts what is passed over, by reason, kind and class; None where there is nothing."""
    by_reason: dict[Reason, list[PassedOver]] = {}
    for entry in entries:
        by_reason.setdefault(entry.reason, []).append(entry)
    parts = []
    for reason in Reason:  # pictures that are lost stand first
        if found := by_reason.get(reason):
            kinds, folders = Counter[str](), Counter[str]()
            for entry in found:
                kinds[entry.kind] += entry.count
                folders[entry.folder] += entry.count
            remedy = f": {_REMEDIES[reason]}" if reason in _REMEDIES else ""
            if reason is Reason.CONVERTIBLE and not HEIF_SUFFIXES.isdisjoint(kinds):
                remedy += ', or pip install "flowerml[heif]", which reads HEIC'
            where = f"; in {_counts_text(folders)}" if {*folders} != {""} else ""
            parts.append(f"{kinds.total():,} {reason} ({_counts_text(kinds)}{where}){remedy}")
    return f"passed over: {'; '.join(parts)}" if parts else None


def has_lost_pictures(entries: Iterable[PassedOver]) -> bool:
    """Whether pictures are among what is passed over: worth a warning."""
    return any(entry.reason in _REMEDIES for entry in entries)


def _counts_text(counted: Mapping[str, int]) -> str:
    order = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{one_line(name or 'outside')} {count:,}" for name, count in order[:_NAMED])
    return text + (f" and {len(order) - _NAMED:,} more" if len(order) > _NAMED else "")
