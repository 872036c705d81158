"""Records as lines of text and back: a checksum, a space, JSON. One flipped bit is noticed; a person can read it."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flowerml.events import Artifact, DatasetInput, Ended, Event, Metrics, Params, Status, Tags, now_ms

_DIGITS = 16  # of the sha256: 64 bits, against accidents and not against people


@dataclass(frozen=True)
class Opening:
    """A journal's first record: all that is needed to make the run on a server that may not be there for days.

    `journal` names it for good; `opened` is the run that `mlflow run` had opened for it; `settings` are complete, as
    JSON; `tags` say who started it from where, in MLflow's names.
    """

    journal: str
    experiment: str
    run_name: str
    host: str
    opened: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    timestamp: int = field(default_factory=now_ms)


@dataclass(frozen=True)
class Reopening:
    """A later attempt goes on with the run; `opened` is the run that `mlflow run` has opened for the attempt."""

    host: str
    opened: str | None = None
    timestamp: int = field(default_factory=now_ms)


Record = Opening | Reopening | Event

_KINDS: Mapping[str, type] = {
    "opening": Opening,
    "reopening": Reopening,
    "params": Params,
    "metrics": Metrics,
    "tags": Tags,
    "artifact": Artifact,
    "input": DatasetInput,
    "ended": Ended,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_READ: Mapping[str, Callable[[Any], object]] = {"status": Status, "path": Path}


def as_line(record: Record, root: Path) -> bytes:
    """The record as a line with its end. Paths below `root`, the run's folder, are written from there on: the folder
    may move.
    """
    values = asdict(record)
    if isinstance(record, Artifact):
        path = os.path.abspath(record.path)  # noqa: PTH100 - as named, links not followed
        inside = Path(path).is_relative_to(os.path.abspath(root))  # noqa: PTH100
        values["path"] = os.path.relpath(path, root) if inside else path
    if isinstance(record, Metrics):
        values["values"] = {name: float(value) for name, value in record.values.items()}  # NumPy's have no JSON
    text = json.dumps({"kind": _NAMES[type(record)], **values}).encode()
    return _checksum(text) + b" " + text + b"\n"


def from_line(line: bytes, root: Path) -> Record:
    """What `as_line` was given. Raises ValueError, with the reason, for any other line."""
    checksum, space, text = line.removesuffix(b"\n").partition(b" ")
    if not space or checksum != _checksum(text):
        raise ValueError("its checksum does not fit")
    try:
        values = json.loads(text)
        kind = _KINDS[values.pop("kind")]
        read = {name: _READ.get(name, _same)(value) for name, value in values.items()}
        record: Record = kind(**read)
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # whole, and by another version of flowerml
        raise ValueError(f"it is of no known kind ({error})") from error
    return Artifact(root / record.path, record.folder) if isinstance(record, Artifact) else record


def _same(value: object) -> object:
    return value


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_DIGITS].encode()
