"""Map errors of MLflow, SQLAlchemy and requests to one-line user errors, without passwords."""

import re
from http import HTTPStatus

from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import get_tracking_uri
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.uri import get_uri_scheme
from requests import HTTPError, RequestException
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from flowerml.errors import UserError

_ALLOWED_STORES = "http://HOST:PORT, https://HOST, sqlite:///FILE.db, postgresql+psycopg2://USER@HOST/DATABASE"
_NO_RESPONSE_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")  # MLflow's codes for a failed connection, and others
_CONTENT_CODES = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
)
_PERMANENT_HTTP_STATUS = (400, 411, 413, 414, 415, 422)
_TRANSIENT_FATAL = r"starting up|shutting down|recovery|too many|remaining connection slots"
_SHORT_REASONS = (  # (pattern in an MlflowException, text)
    (r"\[Errno -?\d+\] ([^\"'\])]+?)(?=: |[\"'\])]|$)", "{}"),
    (r"timed out", "no answer in time"),
    (r"RemoteDisconnected|Connection aborted", "the connection broke off"),
    (r"error code (\d{3}) != 200", "HTTP {}"),
    (r"too many (\d{3}) error responses", "HTTP {}, each time"),
    (r"not in a valid JSON format", "what came is not from MLflow"),
)


class ArtifactStoreError(Exception):
    """The artifact store at `address` fails (the cause says how), while the tracking store answers."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = redact_secrets(address)


def artifact_store_reason(error: ArtifactStoreError) -> str:
    """What is wrong with an artifact store, and how to mend it, as one sentence without full stop."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, ModuleNotFoundError):
        remedy = f"install the Python package {cause.name!r} here"
    elif isinstance(cause, OSError) and not isinstance(cause, RequestException | TimeoutError):
        remedy = "make it a folder that this machine can write, or let the tracking server store files"
        remedy += " (mlflow server --serve-artifacts)"
    else:
        remedy = "mend what it names, or have the server's log looked at"
    return f"the artifact store {error.address} takes no files ({short_reason(cause)}): {remedy}"


_PERMANENT_ERRORS = (UserError, ArtifactStoreError, ModuleNotFoundError, UnsupportedModelRegistryStoreURIException)


def to_user_error(error: Exception) -> UserError:
    """The user error for an exception of MLflow, SQLAlchemy or requests; it names the current store.

    Raises:
        NameError, AssertionError: re-raised, as they are bugs and not a server's fault.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, NameError | AssertionError):
        raise error
    if isinstance(error, ArtifactStoreError):
        return UserError(artifact_store_reason(error))
    address = get_tracking_uri()
    store = f"the MLflow tracking store {redact_secrets(address)}"
    reason = short_reason(error)
    if isinstance(error, UnsupportedModelRegistryStoreURIException) or get_uri_scheme(address) in ("", "file"):
        return UserError(
            f"{store} is of a kind that is not taken. Allowed: {_ALLOWED_STORES}."
            " Set MLFLOW_TRACKING_URI to one of these"
        )
    if isinstance(error, ModuleNotFoundError):
        return UserError(
            f"{store} needs the Python package {error.name!r}: install it, or name another driver (postgresql+psycopg2://…)"
        )
    if is_server_response(error):
        return UserError(f"{store} refuses ({reason}): mend what it names, or set MLFLOW_TRACKING_URI to another store")
    return UserError(f"{store} does not answer ({reason}): start it, or set MLFLOW_TRACKING_URI")


def is_server_response(error: Exception) -> bool:
    """Whether the server refused or the address is invalid; False if there was no response and a retry may help."""
    if isinstance(error, _PERMANENT_ERRORS):
        return True
    if not isinstance(error, MlflowException):  # a running Postgres refuses with FATAL
        text = str(error)
        return isinstance(error, SQLAlchemyError) and "FATAL:" in text and not re.search(_TRANSIENT_FATAL, text)
    # A database that does not respond raises SQLAlchemy's errors, never MlflowException.
    is_database = get_uri_scheme(get_tracking_uri()) in DATABASE_ENGINES
    return is_database or error.error_code not in _NO_RESPONSE_CODES or _is_html_page(error)


def is_content_error(error: Exception) -> bool:
    """Whether a healthy store rejects the content of the request, so that a retry is useless.

    True also for a deleted or unknown run; False if the server's own database fails.
    """
    if isinstance(error, HTTPError):  # an upload
        return error.response is not None and error.response.status_code in _PERMANENT_HTTP_STATUS
    if not isinstance(error, MlflowException) or error.error_code not in _CONTENT_CODES or _is_html_page(error):
        return False
    return isinstance(error.__cause__, IntegrityError | DataError) or not re.search(
        r"\((sqlite3|psycopg2|pymysql)[.\w]*\)", str(error)
    )


def is_unknown_run(error: Exception) -> bool:
    """Whether the store has no such run."""
    unknown = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    return isinstance(error, MlflowException) and error.error_code in unknown and not _is_html_page(error)


def _is_html_page(error: MlflowException) -> bool:
    """Whether the response was a page and not MLflow's JSON: MLflow makes an error code of its HTTP status."""
    return str(error).startswith("API request to endpoint")


def short_reason(error: Exception) -> str:
    """The reason as a short text without passwords; MLflow's own message nests it in those of four libraries."""
    text = redact_secrets(str(error) or type(error).__name__)
    for pattern, template in _SHORT_REASONS if isinstance(error, MlflowException) else ():
        if found := re.search(pattern, text):
            detail = "".join(found.groups())
            return template.format(f"{detail} {HTTPStatus(int(detail)).phrase}" if detail.isdigit() else detail)
    return text.splitlines()[0][:160]


def redact_secrets(text: str) -> str:
    """Replace users and passwords of addresses, and passwords in query strings, by `***`."""
    text = re.sub(r"://(?:[^/@\s]*|[^/@:\s]*:(?!\d+/)\S*)@", "://***@", text)
    return re.sub(r"(?i)([?&][a-z_]*(?:password|passwd|pwd|token|secret)=)[^&\s]*", r"\1***", text)
