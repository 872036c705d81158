"""The last few checkpoints of a run on disk: written atomically, verified by digest before they are read."""

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
from flowerml.training.checkpoints.plain_file import save_plain, size_in_bytes
from flowerml.training.checkpoints.progress import Progress, StateDict

logger = logging.getLogger(__name__)

FORMAT = "flowerml-state-1"
STATE, BEST, MANIFEST = "state.pt", "best.pth", "manifest.json"
BEST_HEAD = "best_head.pth"
_FOLDER_NAME = re.compile(r"epochs-(\d+)-steps-(\d+)")


@dataclass(frozen=True)
class StoredCheckpoint:
    """A valid checkpoint: its folder and training position."""

    folder: Path
    progress: Progress

    def load(self) -> StateDict:
        """The state dict, on the CPU."""
        state: StateDict = torch.load(self.folder / STATE, map_location="cpu", weights_only=True)
        return state

    def restore_best(self, path: Path) -> None:
        """Overwrite `path` with this checkpoint's `best.pth`, if it has one (`path` may be a later one).

        Raises:
            UserError: the file can't be written.
        """
        if (self.folder / BEST).exists():
            copy_file(self.folder / BEST, path)


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run: folders with the state, the `best.pth` at that step, and a manifest written last.

    A checkpoint is valid if its manifest equals the one computed from configuration, seed, position and file contents.
    The last `keep` are kept.
    """

    folder: Path
    config_id: str
    seed: int
    keep: int

    @property
    def best_head(self) -> Path:
        """Where a run that trains the head alone keeps its best one, until it is part of a whole `best.pth`."""
        return self.folder / BEST_HEAD

    def positions(self) -> list[Progress]:
        """Positions of all checkpoints, valid or not, in order."""
        found = [_FOLDER_NAME.fullmatch(path.name) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(Progress(int(match[1]), int(match[2])) for match in found if match)

    def save(self, progress: Progress, state: StateDict, best: Path) -> None:
        """Save a state and the file `best`, if it exists; then remove all but the last `keep` up to this position.

        Raises:
            UserError: the folder can't be written to or the disk is full; the earlier checkpoints stay.
        """
        final = self.folder_of(progress)
        part = (staging_dir(final) or self.folder) / f".{final.name}.part"
        with _user_errors(final, state):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".*.part"):  # of a process that was killed while writing
                shutil.rmtree(leftover)
            try:
                part.mkdir()  # without parents: a run folder that was moved away must not reappear
                save_plain(part / STATE, state)
                if best.exists():
                    copy_file(best, part / BEST)  # no hard link: one bad block would spoil every checkpoint
                write_bytes(part / MANIFEST, self._expected_manifest(part, progress))
                fsync_dir(part)
                staging_dir(final)  # raises LeaseLost if another process has taken the run over
                # A damaged or earlier checkpoint of the same position is removed once the new one is in place.
                replaced = _move_aside(final) if final.exists() else None
                part.rename(final)
                if replaced is not None:
                    shutil.rmtree(replaced)
            finally:
                shutil.rmtree(part, ignore_errors=True)  # ignore_errors: keep the original error
            for parent in (self.folder, self.folder.parent):
                fsync_dir(parent)
            up_to_here = [position for position in self.positions() if position <= progress]
            for position in set(self.positions()) - set(up_to_here[-self.keep :]):
                _remove_checkpoint(self.folder_of(position))

    def latest(self) -> StoredCheckpoint | None:
        """The last valid checkpoint, None if there are none at all; damaged ones are logged as warnings.

        Raises:
            UserError: there are checkpoints, but each is damaged.
        """
        damaged: list[str] = []
        for progress in reversed(self.positions()):
            reason = self._find_damage(progress)
            if reason is None:
                for line in damaged:
                    logger.warning(f"{line}: that checkpoint is not used, but the one {progress}")
                return StoredCheckpoint(self.folder_of(progress), progress)
            damaged.append(f"{self.folder_of(progress)}: {reason}")
        if damaged:
            raise UserError(
                f"no checkpoint is whole ({'; '.join(damaged)}): start over with --resume never, or with --overwrite,"
                " or choose another --output-dir"
            )
        return None

    def clear(self) -> None:
        """Remove all checkpoints and a best head, and the folder if nothing else is in it. Raises UserError."""
        if not self.folder.is_dir():
            return
        with _user_errors(self.folder):
            for progress in self.positions():
                _remove_checkpoint(self.folder_of(progress))
            for leftover in self.folder.glob(".*.part"):
                shutil.rmtree(leftover)
            self.best_head.unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def folder_of(self, progress: Progress) -> Path:
        """The folder of the checkpoint at a position, whether it exists or not."""
        return self.folder / f"epochs-{progress.epochs:04d}-steps-{progress.steps:06d}"

    def _expected_manifest(self, folder: Path, progress: Progress) -> bytes:
        """The manifest these files must have, byte for byte."""
        parts = [folder / name for name in (STATE, BEST) if (folder / name).exists()]
        files = {path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for path in parts}
        run = {
            "format": FORMAT,
            "config_id": self.config_id,
            "seed": self.seed,
            "epochs": progress.epochs,
            "steps": progress.steps,
        }
        return (json.dumps({**run, "files": files}, indent=2) + "\n").encode()

    def _find_damage(self, progress: Progress) -> str | None:
        """What is wrong with a checkpoint, for messages; None if it is valid."""
        folder = self.folder_of(progress)
        if not (folder / STATE).exists():
            return f"{STATE} is missing"
        try:
            found, expected = (folder / MANIFEST).read_bytes(), self._expected_manifest(folder, progress)
        except (OSError, UserError) as error:
            return f"{MANIFEST}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if found == expected:
            return None
        files = json.loads(expected)["files"]
        changed = [name for name, part in files.items() if part["sha256"].encode() not in found]
        if len(changed) == 1:
            return f"{changed[0]} ({files[changed[0]]['bytes']:,} bytes) is not what {MANIFEST} says"
        return f"{MANIFEST} does not fit its files and this run"


def _remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint; a process killed meanwhile leaves no half of it under its name. Raises as `_move_aside`."""
    shutil.rmtree(_move_aside(folder))


def _move_aside(folder: Path) -> Path:
    """Rename a checkpoint to a temporary name, and return it. Raises OSError, and LeaseLost as `staging_dir`."""
    gone = (staging_dir(folder) or folder.parent) / f".{folder.name}.gone.part"
    shutil.rmtree(gone, ignore_errors=True)
    return folder.rename(gone)


@contextmanager
def _user_errors(path: Path, state: StateDict | None = None) -> Iterator[None]:
    """Translate disk errors into UserError; `state` is what was being written."""
    try:
        yield
    except UserError as error:
        cause = error.__cause__
        if state is None or not isinstance(cause, OSError) or cause.errno not in DISK_FULL:
            raise
        raise _disk_full_error(path, state, cause) from cause
    except OSError as error:
        staging_dir(path)  # raises LeaseLost where that is the reason
        if state is not None and error.errno in DISK_FULL:
            raise _disk_full_error(path, state, error) from error
        raise UserError(
            f"checkpoint {path}: {error.strerror or error}. Choose another folder, or free space or permissions there"
        ) from error


def _disk_full_error(path: Path, state: StateDict, error: OSError) -> UserError:
    return UserError(
        f"checkpoint {path}: {error.strerror}: it needs about {size_in_bytes(state):,} bytes,"
        f" {free_space(path)} are free. The earlier checkpoints stay as they are; free"
        " space, and the same command goes on from there"
    )
