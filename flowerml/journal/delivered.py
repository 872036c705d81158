"""How far a journal has been delivered, and to which run of which store: `delivered.json` beside it."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

DELIVERED = "delivered.json"


@dataclass(frozen=True)
class Delivered:
    """Up to which place of the journal (bytes) everything stands in run `run_id` ("": there is none yet) of `store`.

    `store` is its address without secrets. `unclear`: the making of a run was asked for and not answered, so one too
    many may turn up.
    """

    store: str = ""
    run_id: str = ""
    bytes: int = 0
    unclear: bool = False


def read_delivered(folder: Path) -> Delivered:
    """What stands in an attempt's `folder`; nothing delivered where that can't be read: repeating does no harm."""
    try:
        return Delivered(**json.loads((folder / DELIVERED).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return Delivered()


def write_delivered(folder: Path, delivered: Delivered) -> None:
    """Write it, whole or not at all, into a folder that exists: one that was taken away must not come back, so not by
    `flowerml.files`.

    Raises:
        OSError: the folder is gone, or the disk is full.
    """
    temporary = folder / f".{DELIVERED}.part"
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(asdict(delivered), handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(folder / DELIVERED)
