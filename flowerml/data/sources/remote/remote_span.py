"""A part of a file on a server, read when it is needed: the picture's bytes come from the cache, else from there."""

import hashlib
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from flowerml.data.location import Unreachable
from flowerml.data.scan_cache import cache_folder
from flowerml.data.sources.remote.limits import STREAMED_VARIABLE, limit_bytes
from flowerml.data.sources.remote.picture_cache import PictureCache
from flowerml.data.sources.remote.store import Interrupted, ObjectVersion, Store
from flowerml.errors import UserError

RETRY_DELAYS_S = (1.0, 2.0, 4.0, 8.0, 16.0)  # between attempts: a server that is started again is waited for


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a server, in the known version that was listed."""

    address: str
    version: ObjectVersion

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes (1 or more) from `offset` on, from the server. Raises UserError, after some attempts."""
        store = store_of(self.address)
        for delay_s in RETRY_DELAYS_S:
            try:
                return store.read_part(self.address, offset, size, self.version)
            except Interrupted:
                time.sleep(delay_s)
        return store.read_part(self.address, offset, size, self.version)

    def digest(self, what: str = "") -> str:
        """sha256 (hex) of address, version and `what`."""
        text = f"{self.address}\n{self.version.size}\n{self.version.tag}\n{what}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class RemoteSpan:
    """`size` bytes of the file from `offset` on; no connection is in it, so it goes to other processes."""

    file: RemoteFile
    offset: int
    size: int

    @property
    def is_remote(self) -> bool:
        """As `Part.is_remote`."""
        return True

    def read(self) -> bytes:
        """The bytes. Raises Unreachable where the server can't be reached, or has another version."""
        cache, key = streamed_pictures(), self.key
        data = cache.get(key)
        if data is None or len(data) != self.size:
            try:
                data = self.file.read(self.offset, self.size) if self.size else b""
            except UserError as error:
                raise Unreachable(str(error)) from error
            cache.put(key, data)
        return data

    @property
    def key(self) -> str:
        """Its name in the cache."""
        return self.file.digest(f"{self.offset} {self.size}")

    def state(self) -> list[int]:
        """As `location_state`."""
        return [self.file.version.size or 0, 0, 0, int(self.file.digest()[:15], 16), self.offset, self.size]


def streamed_pictures() -> PictureCache:
    """The cache of pictures that were read from servers. Raises UserError as `limit_bytes`."""
    return PictureCache(cache_folder() / "streamed", limit_bytes(STREAMED_VARIABLE))


def store_of(address: str) -> Store:
    """What speaks with the server of `address`, of this process: connections must not be shared with a forked one."""
    parts = urlsplit(address)
    return _store(parts.scheme, parts.netloc, os.getpid())


@lru_cache(maxsize=16)
def _store(scheme: str, _host: str, _process: int) -> Store:
    if scheme == "s3":
        from flowerml.data.sources.remote.s3_store import S3Store

        return S3Store()
    from flowerml.data.sources.remote.http_store import HttpStore  # late: it imports requests

    return HttpStore()
