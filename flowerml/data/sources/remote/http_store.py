"""Files over http and https, by `requests` with the transport of downloads."""

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from flowerml.data.download.adapter import PrivateAddress
from flowerml.data.download.http import (
    CONNECT_S,
    READ_S,
    RetryableError,
    iter_body,
    root_cause,
    to_retryable,
    trusted_certificates,
)
from flowerml.data.download.resumable import RETRYABLE_STATUS
from flowerml.data.download.session import GuardedSession, private_redirect
from flowerml.data.sources.remote.store import (
    Forbidden,
    Interrupted,
    NoParts,
    NotThere,
    ObjectVersion,
    changed,
    require_part,
    require_whole,
)
from flowerml.errors import UserError

_ATTEMPTS = 3


class HttpStore:
    """The files of one http or https server. Each thread keeps its connection: a new one costs three round trips."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def list_folder(self, address: str) -> Mapping[str, ObjectVersion]:
        """Refused: http has no folders."""
        raise UserError(
            f"{address}: a folder can't be listed over http. Allowed: the address of a .csv, .tar or .parquet file, or"
            " s3://bucket/folder"
        )

    def stat(self, address: str) -> ObjectVersion:
        """As `Store.stat`, by a HEAD request; nothing is known where the server does not take it."""
        with self._request("HEAD", address) as response:
            if response.status_code in (405, 501):
                return ObjectVersion()
            _require_ok(address, response)
            return _version(response)

    def fetch(self, address: str, target: Path, expected: ObjectVersion) -> None:
        """As `Store.fetch`; a connection that breaks is tried again."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._fetch_once(address, target, expected)
            except RetryableError as error:
                if attempt == _ATTEMPTS:
                    raise UserError(
                        f"{address} broke off {_ATTEMPTS} times (last: {error}). Try again later"
                    ) from error
            else:
                return

    def read_part(self, address: str, offset: int, size: int, expected: ObjectVersion) -> bytes:
        """As `Store.read_part`."""
        try:
            return self._read_part(address, offset, size, expected)
        except RetryableError as error:
            raise Interrupted(f"{address} can't be read ({error}). Try again later") from error

    def _read_part(self, address: str, offset: int, size: int, expected: ObjectVersion) -> bytes:
        with self._send("GET", address, {"Range": f"bytes={offset}-{offset + size - 1}"}) as response:
            status = response.status_code
            if status in RETRYABLE_STATUS:
                raise RetryableError(f"the server answers {_phrase(status)}", retries=1, responded=True)
            if status == 416 or (status == 200 and _version(response) != expected):
                raise changed(address)
            if status == 200:
                raise NoParts(f"{address}: the server gives whole files only (it answers 200 to a request with Range)")
            if status != 206:
                _require_ok(address, response)
            require_part(address, response.headers.get("Content-Range"), _tag(response), offset, size, expected)
            data = b"".join(iter_body(response, size))
            if len(data) < size:
                raise RetryableError("the connection was closed", retries=1, responded=True)
            return data

    def _fetch_once(self, address: str, target: Path, expected: ObjectVersion) -> None:
        with self._request("GET", address) as response:
            _require_ok(address, response)
            length = response.raw.length_remaining
            if expected.is_known and _version(response) != expected:
                raise UserError(f"{address} has changed while it was being fetched: try again")
            received = 0
            with target.open("wb") as file:
                for chunk in iter_body(response, None):
                    file.write(chunk)
                    received += len(chunk)
            if length is not None and received < length:
                raise RetryableError("the connection was closed", retries=1, responded=True)
            require_whole(address, received, length)

    @contextmanager
    def _request(self, method: str, address: str) -> Iterator[requests.Response]:
        """The response, whatever its status, its body unread. Raises UserError."""
        try:
            response = self._send(method, address, {})
        except RetryableError as error:
            raise UserError(f"{address} can't be reached ({error}). Try again later") from error
        with response:
            yield response

    def _send(self, method: str, address: str, headers: Mapping[str, str]) -> requests.Response:
        """As `_request`; to be closed. Raises RetryableError where no answer comes, else UserError."""
        try:
            return self._session(address).request(
                method,
                address,
                headers={"User-Agent": "flowerml", "Accept-Encoding": "identity", **headers},
                stream=method == "GET",
                timeout=(CONNECT_S, READ_S),
                verify=trusted_certificates(),
                allow_redirects=True,
            )
        except requests.TooManyRedirects as error:
            raise UserError(f"{address} redirects in a circle. Name the address that it should lead to") from error
        except requests.RequestException as error:
            cause = root_cause(error)
            if isinstance(cause, PrivateAddress):
                raise private_redirect(address, str(cause)) from error
            raise to_retryable(cause) from error
        except ValueError as error:  # what urllib.parse raises for an impossible host name
            raise UserError(f"{address} leads to an address that can't be one ({error}): name another") from error

    def _session(self, address: str) -> requests.Session:
        session: requests.Session | None = getattr(self._of_thread, "session", None)
        if session is None:
            session = self._of_thread.session = _Session(address)
        return session


def _require_ok(address: str, response: requests.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    phrase = _phrase(status)
    if status in (404, 410):
        raise NotThere(f"{address}: not there (the server answers {phrase}). Name another address")
    if status in (401, 403, 407):
        raise Forbidden(
            f"{address}: the server wants a log-in (it answers {phrase}), and none can be given in an address, which is"
            " recorded. Bring the files by other means, or name a public address"
        )
    raise UserError(f"{address} can't be had (the server answers {phrase}). Try again later, or name another address")


def _phrase(status: int) -> str:
    return f"{status} {http.client.responses.get(status, '')}".rstrip()


def _version(response: requests.Response) -> ObjectVersion:
    length = response.headers.get("Content-Length", "")
    return ObjectVersion(int(length) if length.isdecimal() else None, _tag(response))


def _tag(response: requests.Response) -> str | None:
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


class _Session(GuardedSession):
    """Redirects stay within http and https, do not lose TLS, and are guarded."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where the response redirects to. Raises UserError where it may not."""
        location = super().get_redirect_target(resp)
        if location is None:
            return None
        target = urlsplit(urljoin(resp.url, location))
        if target.scheme not in ("http", "https") or (resp.url.startswith("https:") and target.scheme == "http"):
            raise UserError(f"{resp.url} redirects to {target.scheme}://, which is refused: name another address")
        return location
