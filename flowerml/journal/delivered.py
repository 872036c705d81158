"""Delivery state of a journal, `delivered.json` beside it: the store, the run and the offset that was delivered."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flowerml.redaction import redact_secrets

DELIVERED = "delivered.json"
COMPARISON = 0  # where no record ends


@dataclass(frozen=True)
class Delivered:
    """Everything before the offset `bytes` is in run `run_id` of `store`, but for the files in `waiting`.

    `store` is the address without secrets; `run_id` is empty until the run exists. `unclear`: a request to create the
    run got no response, so the server may create a duplicate. `waiting` are the offsets where the records of files end
    that the artifact store did not take, or `COMPARISON` alone: the files at the server are still to be compared with
    the journal's.
    """

    store: str = ""
    run_id: str = ""
    bytes: int = 0
    unclear: bool = False
    waiting: tuple[int, ...] = ()


def read_delivered(folder: Path) -> Delivered:
    """The state in an attempt's `folder`; nothing delivered if it can't be read, as a repeated delivery is harmless."""
    try:
        values = json.loads((folder / DELIVERED).read_text("utf-8"))
        found = Delivered(**{**values, "waiting": tuple(values.get("waiting", ()))})
        return replace(found, store=redact_secrets(found.store))  # an earlier version may have masked less
    except (OSError, ValueError, TypeError, AttributeError):
        return Delivered()


def write_delivered(folder: Path, delivered: Delivered) -> None:
    """Write the state atomically into an existing folder.

    Not through `flowerml.files`, which creates parent folders: one that a newer attempt has renamed must stay away.

    Raises:
        OSError: the folder is gone, or the disk is full.
    """
    values = asdict(delivered)
    if not delivered.waiting:
        del values["waiting"]  # earlier versions don't know it
    temporary = folder / f".{DELIVERED}.part"
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(values, handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(folder / DELIVERED)
