"""Encode records as lines and back: a checksum, a space, JSON. A flipped bit is detected; a person can read it."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flowerml.events import Artifact, DatasetInput, Ended, Event, Metrics, Params, Status, Tags, TrainedModel, now_ms

_DIGITS = 16  # of the sha256: 64 bits detect accidents, not tampering


@dataclass(frozen=True)
class RunStarted:
    """A journal's first record: all that is needed to create the run on a server, also days later.

    `journal` is the journal's unique id; `opened` the id of the run that `mlflow run` created for the attempt;
    `settings` the resolved settings as JSON values; `tags` MLflow's context tags (user, source, commit); `timestamp`
    is in ms.
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
class RunResumed:
    """A later attempt resumes the run; `opened` is the id of the run that `mlflow run` created for the attempt."""

    host: str
    opened: str | None = None
    timestamp: int = field(default_factory=now_ms)


Record = RunStarted | RunResumed | Event

# The strings, and the fields of the classes, are the file format: journals of earlier versions have them.
_RECORD_TYPES: Mapping[str, type] = {
    "opening": RunStarted,
    "reopening": RunResumed,
    "params": Params,
    "metrics": Metrics,
    "tags": Tags,
    "artifact": Artifact,
    "input": DatasetInput,
    "model": TrainedModel,
    "ended": Ended,
}
_KINDS = {record_type: kind for kind, record_type in _RECORD_TYPES.items()}
_FIELD_DECODERS: Mapping[str, Callable[[Any], object]] = {"status": Status, "path": Path}


def encode_record(record: Record, root: Path) -> bytes:
    """The record as a line with its newline. Paths below `root`, the run's folder, are stored relative to it."""
    values = asdict(record)
    if isinstance(record, Artifact):
        path = os.path.abspath(record.path)  # noqa: PTH100 - as named, links not followed
        inside = Path(path).is_relative_to(os.path.abspath(root))  # noqa: PTH100
        values["path"] = os.path.relpath(path, root) if inside else path
    if isinstance(record, Metrics):
        values["values"] = {name: float(value) for name, value in record.values.items()}  # json has no NumPy floats
    text = json.dumps({"kind": _KINDS[type(record)], **values}).encode()
    return _checksum(text) + b" " + text + b"\n"


def decode_record(line: bytes, root: Path) -> Record:
    """Inverse of `encode_record`. Raises ValueError, with the reason, for a damaged or unknown line."""
    checksum, space, text = line.removesuffix(b"\n").partition(b" ")
    if not space or checksum != _checksum(text):
        raise ValueError("its checksum does not fit")
    try:
        values = json.loads(text)
        record_type = _RECORD_TYPES[values.pop("kind")]
        decoded = {
            name: _FIELD_DECODERS[name](value) if name in _FIELD_DECODERS else value for name, value in values.items()
        }
        record: Record = record_type(**decoded)
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # intact, but of another version of flowerml
        raise ValueError(f"it is of no known kind ({error})") from error
    return Artifact(root / record.path, record.folder) if isinstance(record, Artifact) else record


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_DIGITS].encode()
