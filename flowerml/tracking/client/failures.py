"""What is broken when a tracking store fails: one table from the cause to words, remedy and whether waiting helps.

MLflow raises one type for a server that is away, a certificate, a proxy and a refusal, so the cause is read from the
texts of the error and of those behind it.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mlflow.exceptions import MlflowException, RestException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import get_tracking_uri
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.uri import get_uri_scheme
from requests import HTTPError, RequestException
from sqlalchemy.exc import SQLAlchemyError

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.tracking.client.connection import database_file
from flowerml.tracking.client.errors import is_html_page, short_reason

_ALLOWED_STORES = "http://HOST:PORT, https://HOST, sqlite:///FILE.db, postgresql+psycopg2://USER@HOST/DATABASE"
_TRANSIENT_FATAL = r"starting up|shutting down|recovery|too many|remaining connection slots"
_OTHER_STORE = "set MLFLOW_TRACKING_URI to another store"
_NO_RESPONSE_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")  # MLflow's codes for a failed connection, and others


class Kind(StrEnum):
    """What is broken."""

    AWAY = "away"
    HOST_NAME = "host name"
    PROXY = "proxy"
    CERTIFICATE = "certificate"
    CERTIFICATE_FILE = "certificate file"
    NO_TLS = "no TLS"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    NO_MLFLOW = "no MLflow server"
    SERVER_ERROR = "server error"
    LOCKED = "locked"
    NO_DATABASE = "no database"
    DAMAGED = "damaged"
    NOT_WRITABLE = "not writable"
    NOT_OPENED = "can't be opened"
    DISK = "disk"
    SCHEMA = "schema"
    ARTIFACT_STORE = "artifact store"
    ADDRESS = "address"
    PACKAGE = "package"
    REFUSED = "refused"


_UNREACHED = (Kind.AWAY, Kind.HOST_NAME, Kind.PROXY, Kind.CERTIFICATE, Kind.CERTIFICATE_FILE, Kind.NO_TLS)


@dataclass(frozen=True)
class Failure:
    """A failure of the tracking store: its kind, what is wrong and how to mend it, as text.

    `is_permanent`: time alone does not mend it, so a command that begins is refused instead of going on without.
    """

    kind: Kind
    problem: str
    remedy: str
    is_permanent: bool

    @property
    def is_unreached(self) -> bool:
        """Whether the request did not get to the store at all."""
        return self.kind in _UNREACHED

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}" if self.remedy else self.problem


@dataclass(frozen=True)
class _Row:
    """A cause: the pattern of an error's texts, and what to say of it; `{}` is the short reason."""

    kind: Kind
    pattern: str
    problem: str
    remedy: str
    is_permanent: bool = True


# The first row that fits counts. Above: what comes between this process and the server.
_NETWORK = (
    _Row(
        Kind.CERTIFICATE_FILE,
        r"suitable TLS CA certificate bundle|\[X509|NO_CERTIFICATE_OR_CRL_FOUND|PEM lib",
        "can't be asked: the file of certificates can't be used ({})",
        "mend MLFLOW_TRACKING_SERVER_CERT_PATH, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE",
    ),
    _Row(
        Kind.CERTIFICATE,
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|doesn't match either of|CertificateError",
        "has a certificate that is not trusted here ({})",
        "name the file of its certificate authority in MLFLOW_TRACKING_SERVER_CERT_PATH, or mend the certificate",
    ),
    _Row(
        Kind.PROXY,
        r"ProxyError|[Cc]annot connect to proxy|Unable to connect to proxy|Tunnel connection failed|InvalidProxyURL",
        "can't be reached through the proxy ({})",
        "mend HTTPS_PROXY or HTTP_PROXY, or name the server in NO_PROXY",
        is_permanent=False,
    ),
    _Row(
        Kind.NO_TLS,
        r"WRONG_VERSION_NUMBER|record layer failure|\[SSL: |SSLError|SSLEOFError|server does not support SSL",
        "does not speak TLS as asked ({})",
        "write http:// for a server without a certificate, or look at its log",
    ),
    _Row(
        Kind.HOST_NAME,
        r"NameResolutionError|Name or service not known|name resolution|No address associated|nodename nor servname"
        r"|could not translate host name|Unknown MySQL server host|getaddrinfo failed",
        "has a host name that is not known ({})",
        "check the name in MLFLOW_TRACKING_URI, and the network",
        is_permanent=False,
    ),
    _Row(
        Kind.ADDRESS,
        r"Invalid URL|InvalidURL|Failed to parse: |LocationParseError|nonnumeric port|Could not parse SQLAlchemy URL",
        "has an address that can't be used ({})",
        f"allowed are {_ALLOWED_STORES}",
    ),
)
_HTTP = (
    _Row(
        Kind.LOGIN,
        r"error code 401|\b401 Client Error|UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED|password authentication failed"
        r"|no password supplied|role \"[^\"]*\" does not exist|Access denied for user",
        "wants a login, or another one ({})",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (a database: in its address)",
    ),
    _Row(
        Kind.FORBIDDEN,
        r"error code 403|\b403 Client Error|PERMISSION_DENIED|no pg_hba.conf entry|permission denied for",
        "refuses ({})",
        "ask who runs it for access to the experiment, and to allow this host name (mlflow server --allowed-hosts)",
    ),
    _Row(
        Kind.NO_MLFLOW,
        r"error code (404|405|3\d\d) != 200|not in a valid JSON format",
        "is no MLflow server ({})",
        "set MLFLOW_TRACKING_URI to the address of one, with its path if it has one",
    ),
    _Row(
        Kind.SERVER_ERROR,
        r"too many \d{3} error responses|error code (429|5\d\d)|\b(429|5\d\d) (Client|Server) Error",
        "answers with an error ({})",
        f"look at the server's log, or {_OTHER_STORE}",
        is_permanent=False,
    ),
)
_DATABASE = (
    _Row(
        Kind.NO_DATABASE,
        r"file is not a database|file is encrypted",
        "is no database ({})",
        "name another file in MLFLOW_TRACKING_URI, or move this one away",
    ),
    _Row(
        Kind.NO_DATABASE,
        r"FATAL: +database \"[^\"]*\" does not exist|Unknown database",
        "has no such database ({})",
        "create it, or name another in MLFLOW_TRACKING_URI",
    ),
    _Row(
        Kind.DAMAGED,
        r"database disk image is malformed|malformed database schema",
        "is damaged ({})",
        "restore a copy of it (or `sqlite3 FILE .recover`), or name another file in MLFLOW_TRACKING_URI",
    ),
    _Row(
        Kind.NOT_WRITABLE,
        r"readonly database|read-only transaction|Read-only file system",
        "can't be written ({})",
        f"make the file and its folder writable, or {_OTHER_STORE}",
    ),
    _Row(
        Kind.DISK,
        r"database or disk is full|disk I/O error|No space left|could not extend file",
        "can't be written ({})",
        f"free space there, or {_OTHER_STORE}",
    ),
    _Row(
        Kind.LOCKED,
        r"database is locked",
        "is locked by another process ({})",
        "wait for that one, or end it",
        is_permanent=False,
    ),
    _Row(
        Kind.SCHEMA,
        r"Can't locate revision|out-of-date database schema|no such column|no such table|has no column named"
        r"|Undefined(Table|Column)|table \"?\w+\"? already exists|Multiple head revisions",
        "was made by another version of MLflow, or by another program ({})",
        "use the MLflow that made it, bring it up to date (mlflow db upgrade ADDRESS), or"
        " name another database in MLFLOW_TRACKING_URI",
    ),
)


class ArtifactStoreError(Exception):
    """The artifact store at `address` fails (the cause says how), while the tracking store answers."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = redact_secrets(address)


def to_user_error(error: Exception) -> UserError:
    """The user error for an exception of MLflow, SQLAlchemy or requests; it names the store that fails.

    Raises:
        NameError, AssertionError: re-raised, as they are bugs and not a server's fault.
    """
    if isinstance(error, NameError | AssertionError):
        raise error
    return error if isinstance(error, UserError) else UserError(str(find_failure(error)))


def is_permanent(error: Exception) -> bool:
    """Whether time alone does not mend it: the store refused, it can't work as it was asked, or there is a bug."""
    return find_failure(error).is_permanent


def find_failure(error: Exception) -> Failure:
    """What is broken, for an exception of MLflow, SQLAlchemy or requests."""
    if isinstance(error, UserError):
        return Failure(Kind.REFUSED, str(error), "", is_permanent=True)
    if isinstance(error, ArtifactStoreError):
        return _artifact_store_failure(error)
    address = get_tracking_uri()
    store, reason = f"the MLflow tracking store {redact_secrets(address)}", short_reason(error)
    if isinstance(error, NameError | AssertionError):
        problem = f"{store} can't be used ({type(error).__name__}: {reason})"
        return Failure(Kind.REFUSED, problem, "this is a fault of flowerml", is_permanent=True)
    if isinstance(error, UnsupportedModelRegistryStoreURIException) or get_uri_scheme(address) in ("", "file"):
        remedy = f"Allowed: {_ALLOWED_STORES}. Set MLFLOW_TRACKING_URI to one of these"
        return Failure(Kind.ADDRESS, f"{store} is of a kind that is not taken. {remedy}", "", is_permanent=True)
    if isinstance(error, ModuleNotFoundError):
        remedy = "install it, or name another driver (postgresql+psycopg2://…)"
        return Failure(Kind.PACKAGE, f"{store} needs the Python package {error.name!r}", remedy, is_permanent=True)
    text = "\n".join(_texts(error))
    if re.search("unable to open database file", text) and (file := database_file(address)) is not None:
        problem, remedy = _why_not_opened(file)
        return Failure(Kind.NOT_OPENED, f"{store} can't be opened: {problem}", remedy, is_permanent=True)
    for row in _rows(address):
        if re.search(row.pattern, text):
            return Failure(row.kind, f"{store} {row.problem.format(reason)}", row.remedy, row.is_permanent)
    if isinstance(error, RestException) and error.error_code in _NO_RESPONSE_CODES:  # the server's own failure
        remedy = f"look at the server's log, or {_OTHER_STORE}"
        return Failure(Kind.SERVER_ERROR, f"{store} answers with an error ({reason})", remedy, is_permanent=False)
    if _is_answer(error, address):
        remedy = f"mend what it names, or {_OTHER_STORE}"
        return Failure(Kind.REFUSED, f"{store} refuses ({reason})", remedy, is_permanent=True)
    if get_uri_scheme(address) == "sqlite":
        return Failure(
            Kind.REFUSED,
            f"{store} can't be used ({reason})",
            f"mend what it names, or {_OTHER_STORE}",
            is_permanent=True,
        )
    remedy = "start it, or set MLFLOW_TRACKING_URI"
    return Failure(Kind.AWAY, f"{store} does not answer ({reason})", remedy, is_permanent=False)


def _rows(address: str) -> Iterator[_Row]:
    """The rows that can apply to a store: a server's own database is its own affair."""
    if get_uri_scheme(address) != "sqlite":
        yield from _NETWORK
        yield from _HTTP
    if get_uri_scheme(address) in DATABASE_ENGINES:
        yield from _DATABASE


def _texts(error: BaseException) -> Iterator[str]:
    """The texts of an error and of those that it was raised from; `error_code` is MLflow's name of the kind."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield f"{type(current).__name__}: {current}"
        if isinstance(current, MlflowException):
            yield str(current.error_code)
        current = current.__cause__ or current.__context__


def _is_answer(error: Exception, address: str) -> bool:
    """Whether an error that no row describes is an answer of the store."""
    if isinstance(error, HTTPError):
        return error.response is not None
    if not isinstance(error, MlflowException):  # a running Postgres refuses with FATAL
        text = str(error)
        return isinstance(error, SQLAlchemyError) and "FATAL:" in text and not re.search(_TRANSIENT_FATAL, text)
    # A database that does not respond raises SQLAlchemy's errors, never MlflowException.
    is_database = get_uri_scheme(address) in DATABASE_ENGINES
    return is_database or error.error_code not in _NO_RESPONSE_CODES or is_html_page(error)


def _why_not_opened(file: Path) -> tuple[str, str]:
    """Why SQLite can't open a file, and how to mend it."""
    if file.is_dir():
        return f"{file} is a folder", f"name a file in it (sqlite:///{file}/mlflow.db)"
    ancestor = next(path for path in file.parents if os.path.lexists(path))
    if not ancestor.is_dir():
        return f"{ancestor} is no folder", "name a file in a folder in MLFLOW_TRACKING_URI"
    if ancestor != file.parent:
        return f"the folder {file.parent} can't be made", "make it, or name a file elsewhere in MLFLOW_TRACKING_URI"
    return f"this user may not write {file}", "make the file and its folder writable, or name another file"


def _artifact_store_failure(error: ArtifactStoreError) -> Failure:
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    remedy = _artifact_remedy(cause)
    problem = f"the artifact store {error.address} takes no files ({short_reason(cause)})"
    return Failure(Kind.ARTIFACT_STORE, problem, remedy, is_permanent=True)


_ARTIFACT_REMEDIES: tuple[tuple[Callable[[Exception], bool], str], ...] = (
    (lambda cause: isinstance(cause, TimeoutError), "start it, or look at the network between it and this machine"),
    (
        lambda cause: isinstance(cause, OSError) and not isinstance(cause, RequestException),
        "make it a folder that this machine can write, or let the tracking server store files (mlflow server"
        " --serve-artifacts)",
    ),
    (
        lambda cause: bool(re.search(r"[Cc]redential|AccessDenied|\b40[13]\b|InvalidAccessKey|Forbidden", str(cause))),
        "give this process credentials that may write there",
    ),
)


def _artifact_remedy(cause: Exception) -> str:
    if isinstance(cause, ModuleNotFoundError):
        return f"install the Python package {cause.name!r} here"
    for fits, remedy in _ARTIFACT_REMEDIES:
        if fits(cause):
            return remedy
    return "mend what it names, or look at the server's log"
