"""The copy of an address in the cache folder: each file whole or not at all, as the server has it at the start.

`remote/<digest of the address>/` has the files, with the versions of all in `objects.json`. A process asks the server
once which versions there are, and fetches what it lacks; files that the server no longer has are removed. Tar and
Parquet files that do not fit stay on the server, and their pictures are read from there.
"""

import fcntl
import hashlib
import json
import logging
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from urllib.parse import quote

from flowerml.data.sources.class_names import CLASSES_FILE
from flowerml.data.sources.forms import PARQUET, TABLE_SUFFIXES, TAR, expanded, is_file_name
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE, limit_bytes
from flowerml.data.sources.remote.remote_span import RemoteFile, store_of
from flowerml.data.sources.remote.store import Forbidden, NoParts, NotThere, ObjectVersion, Store
from flowerml.data.sources.remote.streamed_index import COPIES, FILES, remove_other_indexes
from flowerml.data.sources.remote.streaming import list_streamed, require_parts
from flowerml.data.sources.table.csv_table import read_rows
from flowerml.errors import UserError
from flowerml.files import file_size, write_json, write_with
from flowerml.human_units import amount
from flowerml.progress_bar import track
from flowerml.settings.addresses import may_hold_secret

logger = logging.getLogger(__name__)

_THREADS = 16
_RECORD, _LOCK = "objects.json", "lock"
_BESIDE = (CLASSES_FILE, "manifest.csv")  # files that belong to pictures where they are there


@lru_cache(maxsize=64)
def local_copy(address: str, cache: Path) -> Path:
    """The path of the pictures of `address` below the cache folder `cache`, brought up to date.

    The server is asked once in the life of a process.

    Raises:
        UserError: a bound in the environment is none; the address may hold a credential, is not there, can't be read
            or listed, or is too large; or the cache folder can't be written to.
    """
    for variable in (COPIES_VARIABLE, STREAMED_VARIABLE):  # before the server is asked, which takes a while
        limit_bytes(variable)
    if may_hold_secret(address):
        raise UserError(
            f"{address.partition('?')[0].partition('#')[0]}: an address with a user, a password, or a query (?…) is not"
            " taken, as it would be recorded with the run. Credentials for S3 come from the environment or ~/.aws; what"
            " has a signed address must be fetched by other means"
        )
    address = address.rstrip("/")
    folder = cache / COPIES / hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    with _locked(folder):
        return _Copy(store_of(address), address, folder).bring()


class _Copy:
    """The files of one address in its folder of the cache."""

    def __init__(self, store: Store, address: str, folder: Path) -> None:
        self._store, self._address, self._folder = store, address, folder
        self._files = folder / FILES
        self._base, _, self._name = address.rpartition("/")
        self._versions = _read_record(folder / _RECORD)
        self._streamed: set[str] = set()

    def bring(self) -> Path:
        """Fetch what is missing or has changed; returns the path of the pictures."""
        if not is_file_name(self._name):
            return self._bring_folder()
        names = expanded(self._name)
        versions = {name: self._stat(name) for name in names}
        beside = {name: version for name in _BESIDE if (version := self._stat_optional(name)) is not None}
        self._bring(beside)
        self._bring(versions, may_stay=self._name.lower().endswith((TAR, PARQUET)))
        pictures: Sequence[str] = ()
        if posixpath.splitext(self._name)[1].lower() in TABLE_SUFFIXES:
            pictures = self._names_of_rows()
            with ThreadPoolExecutor(_THREADS) as pool:
                found = list(track(pool.map(self._stat, pictures), "asking for pictures", total=len(pictures)))
            self._bring(dict(zip(pictures, found, strict=True)))
        self._remove_others({*names, *beside, *pictures})
        return self._files / self._name

    def _bring_folder(self) -> Path:
        self._base, self._name = self._address, ""
        listed = self._store.list_folder(self._address)
        for name in listed:
            _require_file_name(self._address, name)
        packed = {name: version for name, version in listed.items() if name.lower().endswith((TAR, PARQUET))}
        self._bring({name: version for name, version in listed.items() if name not in packed})
        self._bring(packed, may_stay=_is_of_packed_files(listed))
        self._remove_others({*listed})
        return self._files

    def _names_of_rows(self) -> list[str]:
        table = self._files / self._name
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

    def _bring(self, wanted: Mapping[str, ObjectVersion], *, may_stay: bool = False) -> None:
        """Fetch the files of `wanted` that the copy lacks; with `may_stay`, those that do not fit stay on the server.

        In the order of `wanted`, all from the first on that does not fit.
        """
        lacking = {name: version for name, version in wanted.items() if not self._has(name, version)}
        copied = self._that_fit(lacking)
        streamed = {name: version for name, version in lacking.items() if name not in copied}
        files = {self._files / name: RemoteFile(self._address_of(name), version) for name, version in streamed.items()}
        if streamed:
            self._require_streamable(lacking, [*files.values()], may_stay=may_stay)
        self._fetch(copied)
        if streamed:
            self._say_where(wanted, streamed)
            list_streamed(self._files / self._name, files)
            self._streamed = {*streamed}

    def _that_fit(self, lacking: Mapping[str, ObjectVersion]) -> dict[str, ObjectVersion]:
        if not lacking:
            return {}
        room = limit_bytes(COPIES_VARIABLE) - self._taken()
        ends = accumulate(version.size or 0 for version in lacking.values())
        return {name: version for (name, version), end in zip(lacking.items(), ends, strict=True) if end <= room}

    def _require_streamable(
        self, lacking: Mapping[str, ObjectVersion], files: Sequence[RemoteFile], *, may_stay: bool
    ) -> None:
        """Raise UserError where the files, which do not fit, can't be left on the server."""
        needed = sum(version.size or 0 for version in lacking.values())
        problem = (
            f"{self._address}: {amount(needed)} to fetch, and the copies in {self._folder.parent} take"
            f" {amount(self._taken())} already (allowed: {amount(limit_bytes(COPIES_VARIABLE))}). Remove those that no"
            f" run needs, or allow more: {COPIES_VARIABLE}=GB."
        )
        if not may_stay:
            raise UserError(
                f"{problem} Tar (WebDataset) and Parquet files need no copy: their pictures are read from the server"
            )
        try:
            require_parts(files)
        except NoParts as error:
            raise UserError(f"{problem} Without a copy its pictures can't be read: {error}") from error

    def _taken(self) -> int:
        return sum(map(file_size, self._folder.parent.glob(f"*/{FILES}/**/*")))

    def _say_where(self, wanted: Mapping[str, ObjectVersion], streamed: Mapping[str, ObjectVersion]) -> None:
        copied = sum(version.size or 0 for name, version in wanted.items() if name not in streamed)
        read = sum(version.size or 0 for version in streamed.values())
        logger.info(
            f"{self._address}: {len(wanted) - len(streamed)} of {len(wanted)} files ({amount(copied)}) are copied to"
            f" {self._folder}; the pictures of the other {len(streamed)} ({amount(read)}) are read from the server as"
            f" they are needed, and up to {amount(limit_bytes(STREAMED_VARIABLE))} of them are kept"
            f" ({COPIES_VARIABLE}, {STREAMED_VARIABLE})"
        )

    def _fetch(self, lacking: Mapping[str, ObjectVersion]) -> None:
        """Fetch the files, in threads; what has come stays if one of them fails."""
        if not lacking:
            return
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
        version, path = versions[name], self._files / name
        write_with(path, lambda target: self._store.fetch(self._address_of(name), target, version), version.size)
        return name

    def _has(self, name: str, version: ObjectVersion) -> bool:
        path = self._files / name
        try:
            return version.is_known and self._versions.get(name) == version and path.stat().st_size == version.size
        except OSError:
            return False

    def _remove_others(self, wanted: set[str]) -> None:
        """Remove files that the server has no more: they would count as pictures."""
        root = self._files
        remove_other_indexes(root, self._streamed)
        for path in [*root.rglob("*")]:
            if path.is_file() and path.relative_to(root).as_posix() not in wanted:
                path.unlink()
        self._versions = {name: version for name, version in self._versions.items() if name in wanted}


def _require_file_name(where: str, name: str) -> None:
    if "\0" in name or any(part in ("", ".", "..") or len(os.fsencode(part)) > 255 for part in name.split("/")):
        raise UserError(f"{where}: {name[:200]!r} is no name that a file can have: rename it there")


def _is_of_packed_files(names: Iterable[str]) -> bool:
    """Whether a folder of these files is read as tar or as Parquet files, as `form_of` says of the copy."""
    visible = [name.lower() for name in names if not name.startswith(".")]
    forms = [suffix for suffix in (TAR, PARQUET) if any(name.endswith(suffix) for name in visible)]
    return len(forms) < 2 and not any("/" in name for name in visible)


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
