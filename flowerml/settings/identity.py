"""`config_id`: one name for everything that shapes a result, whatever the run is called and wherever it ran."""

import hashlib
import json
from dataclasses import dataclass

from flowerml.settings.declaration import Settings, fields
from flowerml.settings.spec import note


@dataclass(frozen=True)
class Digests:
    """What stands in the identity for the paths: the data, the split and the starting weights, each by content."""

    data: str
    split: str
    weights: str


def identity(settings: Settings, digests: Digests) -> dict[str, object]:
    """The part of the settings that shapes the result, as plain values.

    Not in it: seed, folders, names, experiment, workers, device, compile, micro-batches, checkpoints, bad-images. The
    data folder, the split's settings and the weights' path stand in it by content. A setting that came later (`late`)
    is not in it at its default.
    """
    values = settings.model_dump(mode="json")
    shaping: dict[str, object] = {
        name: _plain(values[name])
        for name, field in fields().items()
        if note(field, "identity") and not (note(field, "late") and values[name] == field.default)
    }
    return {**shaping, "data": digests.data, "split": digests.split, "weights": digests.weights}


def _plain(value: object) -> object:
    return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0


def config_id(settings: Settings, digests: Digests) -> str:
    """sha256 (hex) of the canonical typed JSON of `identity`: 1e-4 and 0.0001 are one, and so are any two orders of the
    keys.
    """
    text = json.dumps(identity(settings, digests), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
