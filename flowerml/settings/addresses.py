"""Addresses of pictures that are not on this machine: `s3://bucket/photos`, `https://host/photos.csv`."""

import re

SCHEMES = ("s3", "https", "http")
_REMOTE = re.compile(rf"({'|'.join(SCHEMES)}):/+(?=[^/])")  # a Path has one slash where an address has two
_SECRET = re.compile(r"[?#]|^[^/]*//[^/]*@")


def is_remote(text: str) -> bool:
    """Whether `text`, or the text of a Path that was made of it, is such an address."""
    return _REMOTE.match(text) is not None


def canonical_address(text: str) -> str:
    """The address with the two slashes that a Path does not keep."""
    return _REMOTE.sub(r"\1://", text, count=1)


def may_hold_secret(text: str) -> bool:
    """Whether an address has a user, password, query or fragment: what may be a credential, and would be recorded."""
    return is_remote(text) and _SECRET.search(canonical_address(text)) is not None


def require_no_secret(text: str) -> str:
    """The text. Raises ValueError where it is an address that may hold a credential."""
    if may_hold_secret(text):
        raise ValueError("it may hold a credential")
    return text
