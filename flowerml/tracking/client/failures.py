"""What is broken when a tracking store fails: one table from the cause to words, remedy and whether waiting helps.

MLflow raises one type for a server that is away, a certificate, a proxy and a refusal, so the cause is read from the
texts of the error and of those behind it.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from flowerml.tracking.client.failure_table import ALLOWED_STORES, OTHER_STORE, Kind, rows_for

_TRANSIENT_FATAL = r"starting up|shutting down|recovery|too many|remaining connection slots"
_NO_RESPONSE_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")  # MLflow's codes for a failed connection, and others


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
    if (by_type := _failure_by_type(error, address, store, reason)) is not None:
        return by_type
    text = "\n".join(_texts(error))
    if re.search("unable to open database file", text) and (file := database_file(address)) is not None:
        problem, remedy = _why_not_opened(file)
        return Failure(Kind.NOT_OPENED, f"{store} can't be opened: {problem}", remedy, is_permanent=True)
    for row in rows_for(address):
        if re.search(row.pattern, text):
            return Failure(row.kind, f"{store} {row.problem.format(reason)}", row.remedy, row.is_permanent)
    mend = f"mend what it names, or {OTHER_STORE}"
    if isinstance(error, RestException) and error.error_code in _NO_RESPONSE_CODES:  # the server's own failure
        remedy = f"look at the server's log, or {OTHER_STORE}"
        return Failure(Kind.SERVER_ERROR, f"{store} answers with an error ({reason})", remedy, is_permanent=False)
    if _is_answer(error, address):
        return Failure(Kind.REFUSED, f"{store} refuses ({reason})", mend, is_permanent=True)
    if get_uri_scheme(address) == "sqlite":
        return Failure(Kind.REFUSED, f"{store} can't be used ({reason})", mend, is_permanent=True)
    remedy = "start it, or set MLFLOW_TRACKING_URI"
    return Failure(Kind.AWAY, f"{store} does not answer ({reason})", remedy, is_permanent=False)


def _failure_by_type(error: Exception, address: str, store: str, reason: str) -> Failure | None:
    """The failure where the error's type says it; None if its texts have to."""
    if isinstance(error, NameError | AssertionError):
        problem = f"{store} can't be used ({type(error).__name__}: {reason})"
        return Failure(Kind.REFUSED, problem, "this is a fault of flowerml", is_permanent=True)
    if isinstance(error, UnsupportedModelRegistryStoreURIException) or get_uri_scheme(address) in ("", "file"):
        problem = (
            f"{store} is of a kind that is not taken. Allowed: {ALLOWED_STORES}. Set MLFLOW_TRACKING_URI to one of"
            " these"
        )
        return Failure(Kind.ADDRESS, problem, "", is_permanent=True)
    if isinstance(error, ModuleNotFoundError):
        name = repr(error.name)
        problem = (
            f"{store} needs the Python package {name}: install it, or name another driver (postgresql+psycopg2://…)"
        )
        return Failure(Kind.PACKAGE, problem, "", is_permanent=True)
    return None


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


def files_not_kept(address: str) -> ArtifactStoreError:
    """The failure of an artifact store at `address` that answers uploads without keeping the files."""
    error = ArtifactStoreError(address)
    error.__cause__ = RuntimeError("uploads are answered, but the files are not there: is a proxy in between?")
    return error


def is_access_denied(error: ArtifactStoreError) -> bool:
    """Whether the artifact store refuses this process's credentials."""
    return bool(_DENIED.search(str(error.__cause__)))


def _artifact_store_failure(error: ArtifactStoreError) -> Failure:
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    remedy = _artifact_remedy(cause)
    problem = f"the artifact store {error.address} takes no files ({short_reason(cause)})"
    return Failure(Kind.ARTIFACT_STORE, problem, remedy, is_permanent=True)


_DENIED = re.compile(r"[Cc]redential|AccessDenied|\b40[13]\b|InvalidAccessKey|Forbidden")
_ARTIFACT_REMEDIES: tuple[tuple[Callable[[Exception], bool], str], ...] = (
    (lambda cause: isinstance(cause, TimeoutError), "start it, or look at the network between it and this machine"),
    (
        lambda cause: isinstance(cause, OSError) and not isinstance(cause, RequestException),
        "make it a folder that this machine can write, or let the tracking server store files (mlflow server"
        " --serve-artifacts)",
    ),
    (
        lambda cause: bool(_DENIED.search(str(cause))),
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
