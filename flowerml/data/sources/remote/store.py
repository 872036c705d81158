"""What a server of files offers, whichever protocol it speaks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flowerml.errors import UserError


@dataclass(frozen=True)
class ObjectVersion:
    """Which version of a file the server has: its size in bytes and its tag (ETag, else a date); unknown where None."""

    size: int | None = None
    tag: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether another version would differ."""
        return self.size is not None and self.tag is not None


class NotThere(UserError):
    """The server has no such file."""


class Forbidden(UserError):
    """The server gives the file to nobody, or not with these credentials."""


class Store(Protocol):
    """Files by their address. Every method raises UserError, with the address and the reason in one line."""

    def list_folder(self, address: str) -> Mapping[str, ObjectVersion]:
        """The files below a folder, at any depth, by their path below it."""
        ...

    def stat(self, address: str) -> ObjectVersion:
        """The version of a file. Raises NotThere where there is none."""
        ...

    def fetch(self, address: str, target: Path, expected: ObjectVersion) -> None:
        """Write the file to `target`, which is removed by the caller where this raises. Another size is refused."""
        ...


def require_whole(address: str, received: int, expected: int | None) -> None:
    """Raise UserError where a file has another size than the server has said."""
    if expected is not None and received != expected:
        raise UserError(
            f"{address}: {received:,} of {expected:,} bytes came: the connection broke, or the file has changed. Try"
            " again"
        )
