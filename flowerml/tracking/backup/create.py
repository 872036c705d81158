"""Back up a store: first its database, as of one moment, then the artifacts, so that none that it names is missing."""

import logging
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import mlflow

from flowerml.errors import UserError
from flowerml.files import TemporaryAt, check_space, temporary_path, write_error
from flowerml.progress_bar import track_bytes
from flowerml.tracking.backup.address import open_database
from flowerml.tracking.backup.artifacts import SourceFile, add_files, list_files
from flowerml.tracking.backup.container import BackupWriter, check_new_backup, new_backup
from flowerml.tracking.backup.locations import outside
from flowerml.tracking.backup.manifest import ACCOUNTS, ARTIFACTS, MANIFEST, STORE, FileEntry, Manifest, is_bucket
from flowerml.tracking.backup.sqlite import dump_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerData:
    """What a server keeps: the store's address, the artifacts' folder or bucket, the accounts' SQLite file."""

    store: str
    artifacts: str
    users: Path | None

    @property
    def artifact_folder(self) -> Path | None:
        """The folder of the artifacts, absolute; None where they are in a bucket."""
        return None if is_bucket(self.artifacts) else Path(os.path.abspath(self.artifacts))  # noqa: PTH100 - links stay


def create_backup(data: ServerData, output: Path) -> Manifest:
    """Write a backup of `data` to `output`: a folder, or one file if its name ends in `.tar`. Servers may go on.

    Raises:
        UserError: something can't be read or is damaged, or `output` is there already or can't be written.
    """
    check_new_backup(output)
    database = open_database(data.store)
    root = data.artifact_folder
    if root is not None:
        _check_folder(root, output)
    with TemporaryAt(temporary_path(output)) as folder:
        make_scratch(folder, output)
        logger.info("backing up the database")
        store = folder / STORE[database.kind]
        contents = database.dump(store)
        files = [_source(store)]
        if data.users is not None:
            dump_file(f"--users {data.users}", data.users, folder / ACCOUNTS)
            files.append(_source(folder / ACCOUNTS))
        if root is not None:
            root = _named_root(root, contents.folders)
            files += list_files(root, ARTIFACTS)
        manifest = Manifest(
            kind=database.kind,
            rows=contents.rows,
            artifact_root=data.artifacts if root is None else str(root),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            mlflow=mlflow.__version__,
            left_out=outside(root, contents.folders),
        )
        check_space(output, sum(file.size for file in files))
        with new_backup(output) as writer:
            return _fill(writer, files, manifest)


def _fill(writer: BackupWriter, files: list[SourceFile], manifest: Manifest) -> Manifest:
    entries: dict[str, FileEntry] = {}
    total = sum(file.size for file in files)
    for _ in track_bytes(add_files(writer, files, entries), "backed up", total):
        pass
    manifest = replace(manifest, files=entries)
    text = manifest.to_json().encode()
    with writer.entry(MANIFEST, len(text)) as target:
        target.write(text)
    return manifest


def _check_folder(root: Path, output: Path) -> None:
    if not root.is_dir():
        raise UserError(
            f"--artifacts {root}: no such folder. Name the one that the server keeps artifacts in, or its bucket"
            " (s3://…), which is left out"
        )
    if Path(os.path.realpath(output)).is_relative_to(os.path.realpath(root)):
        raise UserError(f"--output {output} is inside of --artifacts {root}: name a place outside of it")


def _named_root(root: Path, folders: frozenset[str]) -> Path:
    """The folder under the name that the database has for it: links are followed there, or not."""
    real = Path(os.path.realpath(root))
    return real if any(Path(one).is_relative_to(real) for one in folders) else root


def make_scratch(folder: Path, output: Path) -> None:
    """Make a folder for this user alone, as a database has what its owner may read only.

    Raises:
        UserError: it can't be made, so that `output`, which is beside it, could not be either.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise UserError(write_error(output, error)) from error


def _source(path: Path) -> SourceFile:
    return SourceFile(path.name, path, path.stat().st_size)
