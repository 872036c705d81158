"""`config_id`: a hash of everything that shapes a result, independent of names, folders and machines."""

import hashlib
import json
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from flowerml.settings.declaration import Settings, fields
from flowerml.settings.spec import metadata


@dataclass(frozen=True)
class Digests:
    """Content hashes (sha256, hex) that replace paths in the identity: the data, the split, the starting weights."""

    data: str
    split: str
    weights: str


def identity_values(settings: Settings, digests: Digests) -> dict[str, object]:
    """The settings that shape the result, as plain values.

    Excluded: seed, folders, names, experiment, workers, device, compile, gradient checkpointing, micro-batches,
    checkpoints, bad-images. The data folder, the split's settings and the weights' path are represented by `digests`. A
    `late` setting at its default is left out, and of values that are `alike` the first stands for all.
    """
    values = settings.model_dump(mode="json")
    shaping: dict[str, object] = {
        name: _representative(field, _without_negative_zero(values[name]))
        for name, field in fields().items()
        if metadata(field, "identity") and not (metadata(field, "late") and values[name] == field.default)
    }
    return {**shaping, "data": digests.data, "split": digests.split, "weights": digests.weights}


def _representative(field: FieldInfo, value: object) -> object:
    alike: list[str] = metadata(field, "alike")
    return alike[0] if value in alike else value


def _without_negative_zero(value: object) -> object:
    return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0


def config_id(settings: Settings, digests: Digests) -> str:
    """sha256 (hex) of the canonical typed JSON of `identity_values`: 1e-4 equals 0.0001, key order is irrelevant."""
    text = json.dumps(identity_values(settings, digests), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
