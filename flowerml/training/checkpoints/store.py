"""Kept states on the disk: whole or not counted, the last few, each checked by its digests before anything in it is
read.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from flowerml.errors import UserError
from flowerml.files import DISK_FULL, copy_file, file_digest, free_space, fsync_dir, staging_dir, write_bytes
from flowerml.training.checkpoints.checkpoint import save_plain, size_in_bytes
from flowerml.training.checkpoints.progress import Progress, StateDict

logger = logging.getLogger(__name__)

FORMAT = "flowerml-state-1"
STATE, BEST, MANIFEST = "state.pt", "best.pth", "manifest.json"
_NAME = re.compile(r"epochs-(\d+)-steps-(\d+)")


@dataclass(frozen=True)
class StoredCheckpoint:
    """A whole checkpoint: its folder, and how far the training had come."""

    folder: Path
    progress: Progress

    def load(self) -> StateDict:
        """The state, on the CPU."""
        content: StateDict = torch.load(self.folder / STATE, map_location="cpu", weights_only=True)
        return content

    def restore_best(self, path: Path) -> None:
        """Make `path` the `best.pth` of that time (a later one may stand there); leaves it where there was none yet.
        Raises UserError.
        """
        if (self.folder / BEST).exists():
            copy_file(self.folder / BEST, path)


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run, each a folder in `folder`: the state, the `best.pth` of that time and, written last,
    a manifest.

    A checkpoint counts when its manifest is the one that configuration, seed, place and the content of its files give.
    The last `keep` stay.
    """

    folder: Path
    config_id: str
    seed: int
    keep: int

    def positions(self) -> list[Progress]:
        """Where there are checkpoints, whole or not, in the order of the training."""
        found = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(Progress(int(match[1]), int(match[2])) for match in found if match)

    def save(self, place: Progress, content: StateDict, best: Path) -> None:
        """Keep a state and `best`, where there is one; then remove what is older than the last `keep`, or of a later
        place.

        Raises:
            UserError: the folder can't be written to or the disk is full; the earlier checkpoints stay.
        """
        final = self._at(place)
        part = (staging_dir(final) or self.folder) / f".{final.name}.part"
        with _user_errors(final, content):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".*.part"):  # of a process that was killed while it wrote
                shutil.rmtree(leftover)
            try:
                part.mkdir()  # not its parents: a folder that was taken away must not come back
                save_plain(part / STATE, content)
                if best.exists():
                    copy_file(best, part / BEST)  # no hard link: one bad block would spoil every checkpoint
                write_bytes(part / MANIFEST, self._manifest(part, place))
                fsync_dir(part)
                staging_dir(final)
                # What a resumed run found damaged there, or kept there before: it goes when the new one stands.
                before_it = _aside(final) if final.exists() else None
                part.rename(final)
                if before_it is not None:
                    shutil.rmtree(before_it)
            finally:
                shutil.rmtree(part, ignore_errors=True)  # what could not be written has its own error
            for parent in (self.folder, self.folder.parent):
                fsync_dir(parent)
            before = [other for other in self.positions() if other <= place]
            for other in set(self.positions()) - set(before[-self.keep :]):
                _remove(self._at(other))

    def latest(self) -> StoredCheckpoint | None:
        """The last whole checkpoint, None where there is none at all; names what is damaged in a warning.

        Raises:
            UserError: there are checkpoints, and each is damaged.
        """
        damaged: list[str] = []
        for place in reversed(self.positions()):
            reason = self._damage(place)
            if reason is None:
                for line in damaged:
                    logger.warning(f"{line}: that checkpoint is not used, but the one {place}")
                return StoredCheckpoint(self._at(place), place)
            damaged.append(f"{self._at(place)}: {reason}")
        if damaged:
            raise UserError(
                f"no checkpoint is whole ({'; '.join(damaged)}): start over with --resume never, or with --overwrite,"
                " or choose another --output-dir"
            )
        return None

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it. Raises UserError."""
        if not self.folder.is_dir():
            return
        with _user_errors(self.folder):
            for place in self.positions():
                _remove(self._at(place))
            for leftover in self.folder.glob(".*.part"):
                shutil.rmtree(leftover)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _at(self, place: Progress) -> Path:
        return self.folder / f"epochs-{place.epochs:04d}-steps-{place.steps:06d}"

    def _manifest(self, folder: Path, place: Progress) -> bytes:
        """What the manifest of these files must be, to the byte."""
        parts = [folder / name for name in (STATE, BEST) if (folder / name).exists()]
        files = {path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for path in parts}
        run = {
            "format": FORMAT,
            "config_id": self.config_id,
            "seed": self.seed,
            "epochs": place.epochs,
            "steps": place.steps,
        }
        return (json.dumps({**run, "files": files}, indent=2) + "\n").encode()

    def _damage(self, place: Progress) -> str | None:
        """What is wrong with a checkpoint, in words; None where it is whole."""
        folder = self._at(place)
        if not (folder / STATE).exists():
            return f"{STATE} is missing"
        try:
            written, own = (folder / MANIFEST).read_bytes(), self._manifest(folder, place)
        except (OSError, UserError) as error:
            return f"{MANIFEST}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if written == own:
            return None
        files = json.loads(own)["files"]
        changed = [name for name, part in files.items() if part["sha256"].encode() not in written]
        if len(changed) == 1:
            return f"{changed[0]} ({files[changed[0]]['bytes']:,} bytes) is not what {MANIFEST} says"
        return f"{MANIFEST} does not fit its files and this run"


def _remove(folder: Path) -> None:
    """Remove a checkpoint so that a process killed meanwhile leaves none that looks damaged. Raises OSError; Fenced as
    `staging_of`.
    """
    shutil.rmtree(_aside(folder))


def _aside(folder: Path) -> Path:
    """Take a checkpoint out of the row; where it lies now. Raises as `_remove`."""
    gone = (staging_dir(folder) or folder.parent) / f".{folder.name}.gone.part"
    shutil.rmtree(gone, ignore_errors=True)
    return folder.rename(gone)


@contextmanager
def _user_errors(path: Path, content: StateDict | None = None) -> Iterator[None]:
    """Errors of the disk as one line for people; `content` is what was to be written."""
    try:
        yield
    except UserError as error:
        cause = error.__cause__
        if content is None or not isinstance(cause, OSError) or cause.errno not in DISK_FULL:
            raise
        raise _disk_full(path, content, cause) from cause
    except OSError as error:
        staging_dir(path)  # raises Fenced where that is the reason
        if content is not None and error.errno in DISK_FULL:
            raise _disk_full(path, content, error) from error
        raise UserError(
            f"checkpoint {path}: {error.strerror or error}. Choose another folder, or free space or permissions there"
        ) from error


def _disk_full(path: Path, content: StateDict, error: OSError) -> UserError:
    return UserError(
        f"checkpoint {path}: {error.strerror}: it needs about {size_in_bytes(content):,} bytes, {free_space(path)} are free. The"
        " earlier checkpoints stay as they are; free space, and the same command goes on from there"
    )
