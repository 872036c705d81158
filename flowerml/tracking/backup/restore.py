"""Restore a backup: everything is checked before anything is written, and again when it is in its place.

Artifacts come first and the database last: a store that is there has all that it names.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from flowerml.errors import UserError
from flowerml.files import (
    TemporaryAt,
    check_space,
    file_digest,
    remove_tree,
    require_empty_dir,
    temporary_path,
    write_error,
    write_private,
)
from flowerml.progress_bar import track, track_bytes
from flowerml.redaction import redact_secrets
from flowerml.tracking.backup.address import EXAMPLES, open_database
from flowerml.tracking.backup.artifacts import check_files, extract_file, read_checked
from flowerml.tracking.backup.container import BackupReader, open_backup
from flowerml.tracking.backup.create import ServerData, make_scratch
from flowerml.tracking.backup.database import Database, FolderMove
from flowerml.tracking.backup.manifest import ACCOUNTS, ARTIFACTS, MANIFEST, Manifest, parse_manifest
from flowerml.tracking.backup.sqlite import check_new_file, check_sound

logger = logging.getLogger(__name__)


def check_backup(source: Path) -> Manifest:
    """Read a backup and compare each file with its sha256. Raises UserError if it is none, or damaged."""
    with open_backup(source) as reader:
        manifest = _read_manifest(reader, source)
        _check(reader, manifest, source)
        return manifest


def restore_backup(source: Path, target: ServerData) -> Manifest:
    """Restore a backup into an empty database, an empty folder and a new file of accounts; the backup stays.

    Locations in the database that name the folder of then name the one of now.

    Raises:
        UserError: the backup is damaged or of another kind of database, something is there already, or can't be
            written. Nothing is left then.
    """
    with open_backup(source) as reader:
        manifest = _read_manifest(reader, source)
        database = open_database(target.store)
        _check_targets(manifest, database, target, source)
        _check(reader, manifest, source)
        root = target.artifact_folder if manifest.has_artifacts else None
        place = Path(tempfile.gettempdir()) if root is None else root
        check_space(place / "files", manifest.total_bytes)
        with ExitStack() as undo:
            if root is not None:
                _make_folder(root, undo)
            with TemporaryAt(temporary_path(place / "restore")) as scratch:
                make_scratch(scratch, place)
                _extract(reader, manifest, scratch, source)
                if root is not None:
                    _move_artifacts(scratch / ARTIFACTS, root, undo)
                    _check_artifacts(manifest, root)
                if ACCOUNTS in manifest.files and target.users is not None:
                    check_sound("the backup's accounts", scratch / ACCOUNTS)
                    _move_accounts(scratch / ACCOUNTS, target.users, undo)
                move = _folder_move(manifest, root)
                logger.info("restoring the database")
                moved = database.restore(scratch / manifest.store_file, manifest.rows, move)
                undo.pop_all()
        if moved and move is not None:
            logger.info(f"{moved} locations of artifacts in the database name {root} now instead of {move.old}")
    return manifest


def _read_manifest(reader: BackupReader, source: Path) -> Manifest:
    with reader.open(MANIFEST) as file:
        return parse_manifest(file.read(), f"--from {source}")


def _check(reader: BackupReader, manifest: Manifest, source: Path) -> None:
    for _ in track_bytes(check_files(reader, manifest, str(source)), "checked", manifest.total_bytes):
        pass


def _check_targets(manifest: Manifest, database: Database, target: ServerData, source: Path) -> None:
    """Raise UserError if there is something where the backup would be written."""
    if database.kind != manifest.kind:
        raise UserError(
            f"--store {redact_secrets(target.store)}: the backup {source} is of a {manifest.kind} database, and can be"
            f" restored into one of that kind alone ({EXAMPLES[manifest.kind]})"
        )
    if manifest.has_artifacts:
        if target.artifact_folder is None:
            raise UserError(
                f"--artifacts {target.artifacts}: the backup {source} has artifacts of a folder. Name an empty or new"
                " folder"
            )
        require_empty_dir("--artifacts", target.artifact_folder)
    if ACCOUNTS in manifest.files:
        if target.users is None:
            raise UserError(f"the backup {source} has accounts of a log-in: name a new file with --users")
        check_new_file(f"--users {target.users}", target.users)
    database.check_empty()


def _folder_move(manifest: Manifest, root: Path | None) -> FolderMove | None:
    """The change of the artifacts' folder; None if they are where they were."""
    old = manifest.artifact_root
    return None if root is None or str(root) == old else FolderMove(old, str(root))


def _make_folder(folder: Path, undo: ExitStack) -> None:
    """Make a folder and those above it that are missing. Raises UserError."""
    for one in reversed((folder, *folder.parents)):
        if not one.exists():
            undo.callback(_remove_empty, one)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(write_error(folder, error)) from error


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _extract(reader: BackupReader, manifest: Manifest, scratch: Path, source: Path) -> None:
    """Write all files of the backup below `scratch`, each compared with its sha256 again."""

    def chunks() -> Iterator[bytes]:
        for name, entry in manifest.files.items():
            yield from extract_file(read_checked(reader, name, entry, str(source)), scratch / name)

    for _ in track_bytes(chunks(), "restored", manifest.total_bytes):
        pass


def _move_artifacts(extracted: Path, root: Path, undo: ExitStack) -> None:
    """Rename what is in `extracted` into `root`, which may be a disk of its own."""
    if not extracted.is_dir():
        return  # none were backed up
    for path in sorted(extracted.iterdir()):
        target = root / path.name
        undo.callback(remove_tree, target)
        path.rename(target)


def _check_artifacts(manifest: Manifest, root: Path) -> None:
    """Read the artifacts where they are now. Raises UserError if the disk gives other bytes back."""
    for name, entry in track(manifest.artifacts.items(), "checked where they are now", len(manifest.artifacts)):
        if file_digest(root / name) != entry.sha256:
            raise UserError(f"{root / name} has other bytes than were written: check the disk. Nothing is restored")


def _move_accounts(extracted: Path, users: Path, undo: ExitStack) -> None:
    """Copy the accounts to their place, readable by this user alone: they hold hashes of passwords."""
    try:
        users.parent.mkdir(parents=True, exist_ok=True)
        undo.callback(users.unlink, missing_ok=True)
        write_private(users, extracted.read_bytes())
    except OSError as error:
        raise UserError(write_error(users, error)) from error
