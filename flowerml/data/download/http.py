"""One GET request with `requests`: time-outs, redirects within http and https, errors as short reasons.

Differs from a plain `requests.get` in four ways: TLS trusts the system's certificates (and SSL_CERT_FILE) before
certifi's, ~/.netrc is not read, at most one address per family is dialled, and the body is read as it arrives, so that
an interrupted download keeps every byte received.
"""

import http.client
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from flowerml.data.download.adapter import ConnectError, PrivateAddress
from flowerml.data.download.session import GuardedSession, private_redirect
from flowerml.errors import UserError

CONNECT_S = 10.0  # per address: TCP, TLS and a proxy's tunnel
READ_S = 30.0  # without a byte
ALTERNATIVES = (
    "bring the archive from elsewhere and give it as --archive FILE.tgz, name a mirror with --url URL, put photos of"
    " your own into one sub-folder per class, or draw a set with `flowerml dataset make`"
)
_CHUNK = 1 << 16


class RetryableError(Exception):
    """A failed attempt; the message is the reason.

    `retries` is how many more attempts are worthwhile while no server has responded; `responded` says whether one has.
    """

    def __init__(self, reason: str, retries: int, responded: bool) -> None:  # noqa: FBT001 - an exception's own fields
        super().__init__(reason)
        self.retries = retries
        self.responded = responded


def require_url(url: str) -> None:
    """Raises UserError where `url` is not an http or https URL, or holds a password (it would end up in logs)."""
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


@contextmanager
def open_url(url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
    """Send a GET request, follow redirects, and yield the response, whatever its status; the body is still unread.

    Raises:
        RetryableError: no connection, or no response on it.
        UserError: the redirects leave http and https, do not end, or lead to an invalid address or, from outside, to a
            machine of this network.
    """
    with _Session(url) as session, _get(session, url, headers) as response:
        if 300 <= response.status_code < 400:
            raise _endless_redirect(url, response.status_code)
        yield response


def iter_body(response: requests.Response, limit: int | None) -> Iterator[bytes]:
    """The body as it arrives, `limit` bytes at most. Raises RetryableError where the connection breaks."""
    raw = response.raw
    raw.enforce_content_length = False  # a body that ends early is the caller's to notice: it knows the whole size
    while limit is None or limit > 0:
        try:
            chunk: bytes = raw.read1(_CHUNK if limit is None else min(_CHUNK, limit), decode_content=False)
        except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, ValueError) as error:
            raise RetryableError(_error_reason(root_cause(error)), retries=1, responded=True) from error
        if not chunk:
            return
        limit = None if limit is None else limit - len(chunk)
        yield chunk


def _get(session: requests.Session, url: str, headers: Mapping[str, str]) -> requests.Response:
    headers = {"User-Agent": "flowerml", "Accept-Encoding": "identity", **headers}
    try:
        return session.get(
            url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S), verify=trusted_certificates()
        )
    except requests.TooManyRedirects as error:
        raise _endless_redirect(url, None if error.response is None else error.response.status_code) from error
    except (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema) as error:
        raise UserError(
            f"the proxy of the environment can't be used ({_error_reason(error)}): mend it, or {ALTERNATIVES}"
        ) from error
    except requests.exceptions.InvalidHeader as error:
        raise RetryableError("the answer is not HTTP", retries=1, responded=False) from error
    except ValueError as error:  # InvalidURL, and what urllib.parse raises for a redirect to an impossible host name
        raise UserError(f"{url} leads to an address that can't be one: {ALTERNATIVES}") from error
    except requests.RequestException as error:
        cause = root_cause(error)
        if isinstance(cause, PrivateAddress):
            raise private_redirect(url, str(cause)) from error
        raise to_retryable(cause) from error


def _endless_redirect(url: str, status: int | None) -> UserError:
    return UserError(f"{url} redirects in a circle or to nowhere ({status}): {ALTERNATIVES}")


def trusted_certificates() -> str | bool:
    """SSL_CERT_FILE or the system's certificates (a file or a folder); True, certifi's, where the system has none."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def root_cause(error: Exception) -> Exception:
    """The innermost exception: requests and urllib3 wrap the socket's in attributes or arguments of their own."""
    while True:
        inner = (getattr(error, "reason", None), getattr(error, "original_error", None), *error.args)
        cause = next((value for value in inner if isinstance(value, Exception)), None)
        if cause is None:
            return error
        error = cause


def to_retryable(cause: Exception) -> RetryableError:
    """The `root_cause` of a request that failed, as a short reason."""
    refused = re.fullmatch(r"Tunnel connection failed: (\d+) ?(.*)", str(cause), re.DOTALL)  # http.client has no class
    if refused:
        phrase = http.client.responses.get(int(refused[1]), "")
        return RetryableError(f"the proxy refuses: {refused[1]} {phrase}".rstrip(), retries=0, responded=False)
    if isinstance(cause, ConnectError):
        return RetryableError(str(cause), cause.retries, responded=False)
    # A second time-out, or waiting for a certificate to become valid, only costs time.
    permanent = isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError | ssl.SSLError)
    return RetryableError(_error_reason(cause), retries=0 if permanent else 1, responded=False)


def _error_reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}; a company's own certificates can be named by SSL_CERT_FILE=FILE.pem"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'the connection was closed'}"
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead | ConnectionError):
        return "the connection was closed"
    if isinstance(error, http.client.HTTPException):
        return "the answer is not HTTP"
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return " ".join(text.split())


class _Session(GuardedSession):
    """Redirects only to http and https."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where the response redirects to. Raises UserError for any scheme but http and https (file:, ftp:, …)."""
        location = super().get_redirect_target(resp)
        if location is None:
            return None
        target = urljoin(resp.url, location)
        if urlsplit(target).scheme not in ("http", "https"):
            raise UserError(
                f"{resp.url} redirects to {target[:200]!r}, which is neither http nor https: {ALTERNATIVES}"
            )
        return location
