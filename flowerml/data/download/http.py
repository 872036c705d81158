"""One HTTP request: short time-outs, the proxy of the environment, http and https only, and a short reason for whatever
goes wrong.
"""

import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from flowerml.errors import UserError

CONNECT_S = 10.0
READ_S = 30.0
WAYS = (
    "bring the archive from elsewhere and give it as --archive FILE.tgz, name a mirror with --url URL, put photos of"
    " your own into one sub-folder per class, or draw a set with `flowerml dataset make`"
)


class RetryableError(Exception):
    """A try that failed; the message is the reason. `tries` is how often another one makes sense before anything has
    arrived.
    """

    def __init__(self, reason: str, tries: int, answered: bool) -> None:  # noqa: FBT001 - an exception's own fields
        super().__init__(reason)
        self.tries = tries
        self.answered = answered


class NoConnection(OSError):
    """A connection that did not come about; the message names the host (which may be a proxy) and why. `tries` as in
    `Broken`.
    """

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason)
        self.tries = tries


def require_address(url: str) -> None:
    """Raises UserError where `url` is not an http or https address, or has a password in it (it would end up in logs)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.username is not None or parts.password is not None:
        raise UserError(
            "--url with a user name or password in it is not taken: fetch it with another tool and give it as --archive"
            " FILE.tgz"
        )
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", url):
        raise UserError(
            f"--url is {url!r}. Allowed: http://… or https://…, plain ASCII without spaces (others as %XX); for a file:"
            " --archive FILE.tgz"
        )


def open_url(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send a GET request, follow redirects, and return the answer, whatever its status. The body has not been read.

    Raises:
        Broken: no connection, or no answer on it.
        UserError: a redirect to something that is not http or https.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "flowerml", "Accept-Encoding": "identity", **headers})
    opener = urllib.request.OpenerDirector()  # not build_opener: that one also opens file: and ftp:
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(),
        _Https(),
        _Answers(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    try:
        answer = opener.open(request, timeout=CONNECT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(f"{url} redirects in a circle or to nowhere ({error.code}): {WAYS}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error) from error
    except ValueError as error:  # a redirect to a host name that can't be one
        raise UserError(f"{url} leads to an address that can't be one: {WAYS}") from error
    assert isinstance(answer, http.client.HTTPResponse)
    return answer


def reading_failed(error: Exception) -> RetryableError:
    """What to say of an answer that broke off in the middle."""
    return RetryableError(_reason(error), tries=1, answered=True)


def _broken(error: Exception) -> RetryableError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    # Waiting for a time-out once more, or for a certificate to become valid, only keeps a person waiting.
    lasting = isinstance(cause, TimeoutError | ssl.SSLError)
    tries = cause.tries if isinstance(cause, NoConnection) else 0 if lasting else 1
    return RetryableError(_reason(cause), tries, answered=False)


def _reason(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}; a company's own certificates can be named by SSL_CERT_FILE=FILE.pem"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'the connection was closed'}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead | ConnectionError):
        return "the connection was closed"
    if isinstance(error, http.client.HTTPException):
        return "the answer is not HTTP"
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return " ".join(text.split())


def _dial(address: tuple[str, int], _timeout: object = None, _source: object = None) -> socket.socket:
    """As socket.create_connection, but one address per family: where a firewall swallows packets, sixteen would take
    sixteen time-outs.
    """
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NoConnection(f"the name {host} does not resolve", tries=1) from error
    failed: OSError | None = None
    for family in dict.fromkeys(entry[0] for entry in found):
        _, kind, protocol, _, place = next(entry for entry in found if entry[0] == family)
        try:
            return _connected(socket.socket(family, kind, protocol), place)
        except OSError as error:
            failed = error
    late = isinstance(failed, TimeoutError)
    why = f"no connection within {CONNECT_S:g} s" if late else str(failed.strerror if failed else "no address").lower()
    raise NoConnection(f"{host}:{port}: {why}", tries=0 if late else 1) from failed


def _connected(line: socket.socket, place: Any) -> socket.socket:  # noqa: ANN401 - an address of any family
    try:
        line.settimeout(CONNECT_S)
        line.connect(place)
    except BaseException:
        line.close()
        raise
    return line


class _Connection(http.client.HTTPConnection):
    """Plain HTTP: `CONNECT_S` until the connection (and a proxy's tunnel) stands, `READ_S` of silence after that."""

    def connect(self) -> None:
        self._create_connection = _dial  # http.client sets its own on the instance
        try:
            super().connect()
        except (NoConnection, TimeoutError, http.client.HTTPException):
            raise
        except OSError as error:
            raise _refusal(error) from error
        self.sock.settimeout(READ_S)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """HTTPS: the same. http.client's own TLS step comes between, still within `CONNECT_S`."""


def _refusal(error: OSError) -> OSError:
    """http.client says a proxy's refusal as a plain OSError with a text."""
    refused = re.fullmatch(r"Tunnel connection failed: (\d+) ?(.*)", str(error), re.DOTALL)
    if not refused:
        return error
    phrase = http.client.responses.get(int(refused[1]), "")
    return NoConnection(f"the proxy refuses: {refused[1]} {phrase}".rstrip(), tries=0)


class _Http(urllib.request.AbstractHTTPHandler):
    http_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request)


class _Https(urllib.request.AbstractHTTPHandler):
    https_request = urllib.request.AbstractHTTPHandler.do_request_

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, request)


class _Answers(urllib.request.HTTPErrorProcessor):
    """Only redirects are dealt with on the way: every other status is an answer to read."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:  # noqa: ANN401 - as urllib declares it
        return super().http_response(request, response) if 300 <= response.status < 400 else response

    https_response = http_response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """http and https only: a server must not make us read a file: or ftp: address."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any | None:  # noqa: ANN401
        target = urljoin(req.full_url, headers.get("location", ""))
        if urlsplit(target).scheme not in ("http", "https"):
            fp.close()
            raise UserError(f"{req.full_url} redirects to {target[:200]!r}, which is neither http nor https: {WAYS}")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
