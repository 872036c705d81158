"""The copy of an address in the cache folder: each file whole or not at all, as the server has it at the start.

`remote/<digest of the address>/` has the files, with the versions of all in `objects.json`. A process asks the server
once which versions there are, and fetches what it lacks; files that the server no longer has are removed.
"""

import fcntl
import hashlib
import json
import logging
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import quote

from flowerml.data.sources.class_names import CLASSES_FILE
from flowerml.data.sources.forms import TABLE_SUFFIXES, expanded, is_file_name
from flowerml.data.sources.remote.http_store import HttpStore
from flowerml.data.sources.remote.s3_store import S3Store
from flowerml.data.sources.remote.store import Forbidden, NotThere, ObjectVersion, Store
from flowerml.data.sources.table.csv_table import read_rows
from flowerml.errors import UserError
from flowerml.files import write_json, write_with
from flowerml.human_units import amount
from flowerml.progress_bar import track
from flowerml.settings.addresses import may_hold_secret

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "FLOWERML_REMOTE_GB"
_LIMIT_GB = 50.0
_THREADS = 16
_FILES, _RECORD, _LOCK = "files", "objects.json", "lock"
_BESIDE = (CLASSES_FILE, "manifest.csv")  # files that belong to pictures where they are there


@lru_cache(maxsize=64)
def local_copy(address: str, cache: Path) -> Path:
    """The path of the pictures of `address` below the cache folder `cache`, brought up to date.

    The server is asked once in the life of a process.

    Raises:
        UserError: the address may hold a credential, is not there, can't be read or listed, or is too large; or the
            cache folder can't be written to.
    """
    if may_hold_secret(address):
        raise UserError(
            f"{address.partition('?')[0].partition('#')[0]}: an address with a user, a password, or a query (?…) is not"
            " taken, as it would be recorded with the run. Credentials for S3 come from the environment or ~/.aws; what"
            " has a signed address must be fetched by other means"
        )
    address = address.rstrip("/")
    store: Store = S3Store() if address.startswith("s3:") else HttpStore()
    folder = cache / "remote" / hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    with _locked(folder):
        return _Copy(store, address, folder).bring()


class _Copy:
    """The files of one address in its folder of the cache."""

    def __init__(self, store: Store, address: str, folder: Path) -> None:
        self._store, self._address, self._folder = store, address, folder
        self._base, _, self._name = address.rpartition("/")
        self._versions = _read_record(folder / _RECORD)

    def bring(self) -> Path:
        """Fetch what is missing or has changed; returns the path of the pictures."""
        if not is_file_name(self._name):
            return self._bring_folder()
        names = expanded(self._name)
        self._bring({name: self._stat(name) for name in names})
        beside = {name: version for name in _BESIDE if (version := self._stat_optional(name)) is not None}
        self._bring(beside)
        pictures: Sequence[str] = ()
        if posixpath.splitext(self._name)[1].lower() in TABLE_SUFFIXES:
            pictures = self._names_of_rows()
            with ThreadPoolExecutor(_THREADS) as pool:
                versions = list(track(pool.map(self._stat, pictures), "asking for pictures", total=len(pictures)))
            self._bring(dict(zip(pictures, versions, strict=True)))
        self._remove_others({*names, *beside, *pictures})
        return self._folder / _FILES / self._name

    def _bring_folder(self) -> Path:
        self._base = self._address
        listed = self._store.list_folder(self._address)
        for name in listed:
            _require_file_name(self._address, name)
        self._bring(listed)
        self._remove_others({*listed})
        return self._folder / _FILES

    def _names_of_rows(self) -> list[str]:
        table = self._folder / _FILES / self._name
        names: dict[str, None] = {}
        for row in read_rows(table):
            name = posixpath.normpath(row.path)
            if name.startswith(("/", "../")) or "://" in row.path or name in (".", ".."):
                raise UserError(
                    f"{self._address}, {row.where}: {row.path!r} is not below the table's address. Allowed in a table"
                    " from elsewhere: paths relative to it"
                )
            _require_file_name(f"{self._address}, {row.where}", name)
            names[name] = None
        return [*names]

    def _stat(self, name: str) -> ObjectVersion:
        return self._store.stat(self._address_of(name))

    def _stat_optional(self, name: str) -> ObjectVersion | None:
        try:
            return self._stat(name)
        except (NotThere, Forbidden):  # S3 also forbids what is not there, to who may not list the bucket
            return None

    def _address_of(self, name: str) -> str:
        return f"{self._base}/{name if self._base.startswith('s3:') else quote(name)}"

    def _bring(self, wanted: Mapping[str, ObjectVersion]) -> None:
        """Fetch the files of `wanted` that the copy lacks, in threads; what has come stays if one of them fails."""
        lacking = {name: version for name, version in wanted.items() if not self._has(name, version)}
        if not lacking:
            return
        self._require_room(sum(version.size or 0 for version in lacking.values()))
        pool = ThreadPoolExecutor(_THREADS)
        try:
            fetched = pool.map(partial(self._fetch_file, lacking), lacking)
            for name in track(fetched, f"fetching from {self._address}", total=len(lacking)):
                self._versions[name] = lacking[name]
        finally:
            pool.shutdown(cancel_futures=True)
            record = {name: asdict(version) for name, version in self._versions.items()}
            write_json(self._folder / _RECORD, record)

    def _fetch_file(self, versions: Mapping[str, ObjectVersion], name: str) -> str:
        version, path = versions[name], self._folder / _FILES / name
        write_with(path, lambda target: self._store.fetch(self._address_of(name), target, version), version.size)
        return name

    def _has(self, name: str, version: ObjectVersion) -> bool:
        path = self._folder / _FILES / name
        try:
            return version.is_known and self._versions.get(name) == version and path.stat().st_size == version.size
        except OSError:
            return False

    def _require_room(self, needed: int) -> None:
        limit = _limit_bytes()
        remote = self._folder.parent
        taken = sum(path.stat().st_size for path in remote.rglob("*") if path.is_file())
        if taken + needed > limit:
            raise UserError(
                f"{self._address}: {amount(needed)} to fetch, and the copies in {remote} take {amount(taken)} already"
                f" (allowed: {amount(limit)}). Remove those that no run needs, or allow more: {LIMIT_VARIABLE}=GB"
            )

    def _remove_others(self, wanted: set[str]) -> None:
        """Remove files that the server has no more: they would count as pictures."""
        root = self._folder / _FILES
        for path in [*root.rglob("*")]:
            if path.is_file() and path.relative_to(root).as_posix() not in wanted:
                path.unlink()
        self._versions = {name: version for name, version in self._versions.items() if name in wanted}


def _require_file_name(where: str, name: str) -> None:
    if "\0" in name or any(part in ("", ".", "..") or len(os.fsencode(part)) > 255 for part in name.split("/")):
        raise UserError(f"{where}: {name[:200]!r} is no name that a file can have: rename it there")


def _limit_bytes() -> int:
    text = os.environ.get(LIMIT_VARIABLE) or str(_LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < 1e6:
        raise UserError(f"{LIMIT_VARIABLE} is {text!r}. Allowed: a number of GB, > 0")
    return int(limit * 10**9)


def _read_record(file: Path) -> dict[str, ObjectVersion]:
    try:
        return {name: ObjectVersion(**version) for name, version in json.loads(file.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Context of one process at a time: another one that wants the same address waits, and finds it brought."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / _LOCK).open("w")
    except OSError as error:
        raise UserError(
            f"the cache folder {folder} can't be written to ({error.strerror}). Name another: FLOWERML_CACHE_DIR"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info(f"another process brings {folder} up to date: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
