"""What went wrong with MLflow, in a line a person can act on: no answer, a refusal, or an address that can't be one.
Never a password.
"""

import re
from http import HTTPStatus

from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import get_tracking_uri
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.uri import get_uri_scheme
from requests import HTTPError
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from flowerml.errors import UserError

_KINDS = "http://HOST:PORT, https://HOST, sqlite:///FILE.db, postgresql+psycopg2://USER@HOST/DATABASE"
_UNANSWERED = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
)  # MLflow's codes for a connection that failed, and for much else
_CONTENT = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
)
_NEVER = (400, 411, 413, 414, 415, 422)
_PASSING = r"starting up|shutting down|recovery|too many|remaining connection slots"
_SILENCES = (
    (r"\[Errno -?\d+\] ([^\"'\])]+?)(?=: |[\"'\])]|$)", "{}"),
    (r"timed out", "no answer in time"),
    (r"RemoteDisconnected|Connection aborted", "the connection broke off"),
    (r"error code (\d{3}) != 200", "HTTP {}"),
    (r"too many (\d{3}) error responses", "HTTP {}, each time"),
    (r"not in a valid JSON format", "what came is not from MLflow"),
)


def to_user_error(error: Exception) -> UserError:
    """The line for whatever MLflow, SQLAlchemy or requests have raised. The store is the one that is set at this
    moment.

    Raises:
        NameError, AssertionError: passed on; they say that code is wrong, and never that a server is away.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, NameError | AssertionError):
        raise error
    address = get_tracking_uri()
    store = f"the MLflow tracking store {redact_secrets(address)}"
    reason = short_reason(error)
    if isinstance(error, UnsupportedModelRegistryStoreURIException) or get_uri_scheme(address) in ("", "file"):
        return UserError(
            f"{store} is of a kind that is not taken. Allowed: {_KINDS}. Set MLFLOW_TRACKING_URI to one of these"
        )
    if isinstance(error, ModuleNotFoundError):
        return UserError(
            f"{store} needs the Python package {error.name!r}: install it, or name another driver (postgresql+psycopg2://…)"
        )
    if is_server_response(error):
        return UserError(f"{store} refuses ({reason}): mend what it names, or set MLFLOW_TRACKING_URI to another store")
    return UserError(f"{store} does not answer ({reason}): start it, or set MLFLOW_TRACKING_URI")


def is_server_response(error: Exception) -> bool:
    """Whether something is there and has said no, or the address is one that can't be; an error without answer may mend
    itself.
    """
    if isinstance(error, UserError | ModuleNotFoundError | UnsupportedModelRegistryStoreURIException):
        return True
    if not isinstance(error, MlflowException):  # a database that is there says FATAL and why
        return isinstance(error, SQLAlchemyError) and "FATAL:" in str(error) and not re.search(_PASSING, str(error))
    database = (
        get_uri_scheme(get_tracking_uri()) in DATABASE_ENGINES
    )  # one that does not answer raises errors of SQLAlchemy's
    return database or error.error_code not in _UNANSWERED or _is_page(error)


def is_content_error(error: Exception) -> bool:
    """Whether the store is well and takes only these contents not: no use in asking again.

    Also for a run that is deleted or unknown, which can be asked for. Not for what a server says whose own database is
    ill.
    """
    if isinstance(error, HTTPError):  # of a file
        return error.response is not None and error.response.status_code in _NEVER
    if not isinstance(error, MlflowException) or error.error_code not in _CONTENT or _is_page(error):
        return False
    return isinstance(error.__cause__, IntegrityError | DataError) or not re.search(
        r"\((sqlite3|psycopg2|pymysql)[.\w]*\)", str(error)
    )


def is_unknown_run(error: Exception) -> bool:
    """Whether the store says that there is no such run."""
    unknown = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    return isinstance(error, MlflowException) and error.error_code in unknown and not _is_page(error)


def _is_page(error: MlflowException) -> bool:
    """Whether the answer is a page and not MLflow's JSON: MLflow makes an error code of its HTTP status."""
    return str(error).startswith("API request to endpoint")


def short_reason(error: Exception) -> str:
    """The reason in a few words, without the address's password: MLflow's own text has it deep in the names of four
    libraries.
    """
    text = redact_secrets(str(error) or type(error).__name__)
    for pattern, words in _SILENCES if isinstance(error, MlflowException) else ():
        if found := re.search(pattern, text):
            detail = "".join(found.groups())
            return words.format(f"{detail} {HTTPStatus(int(detail)).phrase}" if detail.isdigit() else detail)
    return text.splitlines()[0][:160]


def redact_secrets(text: str) -> str:
    """`text` with every user and password of an address in it, and every password in a query, as `***`."""
    text = re.sub(r"://(?:[^/@\s]*|[^/@:\s]*:(?!\d+/)\S*)@", "://***@", text)
    return re.sub(r"(?i)([?&][a-z_]*(?:password|passwd|pwd|token|secret)=)[^&\s]*", r"\1***", text)
