"""What a server of files offers, whichever protocol it speaks."""

import re
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


class Interrupted(UserError):
    """The server could not be reached, or broke off: another attempt may succeed."""


class NoParts(UserError):
    """The server gives whole files alone, or does not say which part, or of which version, it gives."""


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

    def read_part(self, address: str, offset: int, size: int, expected: ObjectVersion) -> bytes:
        """`size` bytes, 1 or more, of the file from `offset` on, of the known version `expected`; one attempt.

        Raises Interrupted where another attempt may succeed, NoParts, or UserError where the file has changed.
        """
        ...


_PART = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


def require_part(
    address: str, header: str | None, tag: str | None, offset: int, size: int, expected: ObjectVersion
) -> None:
    """Raise where an answer, by its Content-Range and tag, is not the part asked for, of the version `expected`.

    Raises:
        NoParts: it is another part, or does not say; UserError: the file has changed.
    """
    found = _PART.fullmatch((header or "").strip())
    if found is None or tag is None:
        what = "which bytes (Content-Range)" if found is None else "of which version (ETag)"
        raise NoParts(f"{address}: the server gives a part of it and does not say {what}")
    if tag != expected.tag or found[3] not in ("*", str(expected.size)):
        raise changed(address)
    if (int(found[1]), int(found[2])) != (offset, offset + size - 1):
        raise NoParts(f"{address}: the server gives the bytes {found[1]}-{found[2]}, not those that were asked for")


def changed(address: str) -> UserError:
    """The error for a file whose version is no longer the one that was listed."""
    return UserError(f"{address} has changed on the server since its pictures were listed: start again")


def require_whole(address: str, received: int, expected: int | None) -> None:
    """Raise UserError where a file has another size than the server has said."""
    if expected is not None and received != expected:
        raise UserError(
            f"{address}: {received:,} of {expected:,} bytes came: the connection broke, or the file has changed. Try"
            " again"
        )
