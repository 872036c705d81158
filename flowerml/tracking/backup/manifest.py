"""What a backup holds: `manifest.json`, with size and sha256 of each file, and which names a file in it may have."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from flowerml.errors import UserError

FORMAT = "flowerml-backup-1"
MANIFEST = "manifest.json"
STORE = {"sqlite": "store.db", "postgresql": "store.dump"}
ACCOUNTS = "accounts.db"
ARTIFACTS = "artifacts/"
_DIGITS = 64  # of a sha256 in hexadecimal


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and sha256 (hexadecimal) of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds and where it is from.

    `kind` is the database's (`sqlite` or `postgresql`), `rows` its rows by table, `artifact_root` the absolute folder
    that the artifacts were in, or the bucket that they are in still. `left_out` names local folders outside of it that
    the database points to. `files` are by name, with `/`.
    """

    kind: str
    rows: Mapping[str, int]
    artifact_root: str
    created: str
    mlflow: str
    left_out: tuple[str, ...] = ()
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    @property
    def store_file(self) -> str:
        """The name of the database's file."""
        return STORE[self.kind]

    @property
    def has_artifacts(self) -> bool:
        """Whether the artifacts are in it: those of a bucket are not."""
        return not is_bucket(self.artifact_root)

    @property
    def total_bytes(self) -> int:
        """The size of all files."""
        return sum(entry.size for entry in self.files.values())

    @property
    def artifacts(self) -> dict[str, FileEntry]:
        """The artifacts, by their path below `artifact_root`."""
        return {name.removeprefix(ARTIFACTS): entry for name, entry in self.files.items() if name.startswith(ARTIFACTS)}

    def to_json(self) -> str:
        """The text of `manifest.json`: ASCII, so that names which are no UTF-8 keep their bytes."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def parse_manifest(text: bytes, where: str) -> Manifest:
    """The manifest of the backup `where`. Raises UserError if it is none, or names a file outside of the backup."""
    try:
        read = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{where}: {MANIFEST} is damaged ({error}): take another backup") from error
    found = read.get("format") if isinstance(read, dict) else None
    if found != FORMAT:
        raise UserError(f"{where}: {MANIFEST} is of format {found!r}. Allowed: {FORMAT}")
    try:
        manifest = _from_json(read)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: {MANIFEST} is damaged ({error!r}): take another backup") from error
    for name in manifest.files:
        if not is_safe_name(name) or not (
            name in (manifest.store_file, ACCOUNTS) or (name.startswith(ARTIFACTS) and name != ARTIFACTS)
        ):
            raise UserError(f"{where}: {MANIFEST} names the file {name!r}, which no backup holds: it is not restored")
    if manifest.store_file not in manifest.files:
        raise UserError(f"{where}: {MANIFEST} names no {manifest.store_file}: take another backup")
    return manifest


def _from_json(read: dict[str, Any]) -> Manifest:
    files = {}
    for name, entry in read["files"].items():
        size, digest = entry["size"], entry["sha256"]
        if type(size) is not int or size < 0 or len(digest) != _DIGITS or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"entry of {name}")
        files[name] = FileEntry(size, digest)
    if read["kind"] not in STORE:
        raise ValueError(f"kind {read['kind']}")
    texts = [read[name] for name in ("artifact_root", "created", "mlflow")] + list(read["left_out"])
    rows = {str(table): int(count) for table, count in read["rows"].items()}
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is missing")
    return Manifest(read["kind"], rows, texts[0], texts[1], texts[2], tuple(texts[3:]), files)


def is_bucket(artifacts: str) -> bool:
    """Whether artifacts are at an address (`s3://…`) and not in a local folder."""
    return re.match(r"[A-Za-z][\w+.-]*://", artifacts) is not None


def is_safe_name(name: str) -> bool:
    """Whether a name stays below the folder that it is joined to: relative, with no `..` and no NUL in it."""
    parts = name.split("/")
    return "\0" not in name and not PurePosixPath(name).is_absolute() and not {"", ".", ".."} & set(parts)
