"""Errors of MLflow, SQLAlchemy and requests: which are about the content of a request, and their short reasons."""

import re
from http import HTTPStatus

from mlflow.exceptions import MlflowException
from mlflow.tracking import get_tracking_uri
from requests import HTTPError, RequestException
from sqlalchemy.exc import DataError, IntegrityError

from flowerml.redaction import redact_secrets

_CONTENT_CODES = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
)
_PERMANENT_HTTP_STATUS = (400, 411, 413, 414, 415, 422)
_SHORT_REASONS = (  # (pattern in an error of MLflow or requests, text)
    (r"certificate verify failed: ([^(\"']+?) *[(\"']", "{}"),
    (r"(Could not find a suitable TLS CA certificate bundle, invalid path: [^\s\"']+)", "{}"),
    (r"\[(?:SSL|X509): \w+\] ([a-z0-9 ]+)", "{}"),
    (r"Tunnel connection failed: ([^\"')]+)", "{}"),
    (r"\[Errno -?\d+\] ([^\"'\])]+?)(?=: |[\"'\])]|$)", "{}"),
    (r"timed out", "no answer in time"),
    (r"RemoteDisconnected|Connection aborted", "the connection broke off"),
    (r"error code (\d{3}) != 200", "HTTP {}"),
    (r"too many (\d{3}) error responses", "HTTP {}, each time"),
    (r"not in a valid JSON format", "what came is not from MLflow"),
)


def is_content_error(error: Exception) -> bool:
    """Whether a healthy store rejects the content of the request, so that a retry is useless.

    True also for a deleted or unknown run; False if the server's own database fails.
    """
    if isinstance(error, HTTPError):  # an upload
        return error.response is not None and error.response.status_code in _PERMANENT_HTTP_STATUS
    if not isinstance(error, MlflowException) or error.error_code not in _CONTENT_CODES or is_html_page(error):
        return False
    return isinstance(error.__cause__, IntegrityError | DataError) or not re.search(
        r"\((sqlite3|psycopg2|pymysql)[.\w]*\)", str(error)
    )


def is_unknown_run(error: Exception) -> bool:
    """Whether the store has no such run."""
    unknown = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    return isinstance(error, MlflowException) and error.error_code in unknown and not is_html_page(error)


def is_html_page(error: MlflowException) -> bool:
    """Whether the response was a page and not MLflow's JSON: MLflow makes an error code of its HTTP status."""
    return str(error).startswith("API request to endpoint")


def short_reason(error: Exception) -> str:
    """The reason as a short text without passwords; MLflow's own message nests it in those of four libraries."""
    text = redact_secrets(str(error) or type(error).__name__, get_tracking_uri())
    nested = isinstance(error, MlflowException | RequestException)
    for pattern, template in _SHORT_REASONS if nested else ():
        if found := re.search(pattern, text):
            detail = "".join(found.groups())
            return template.format(f"{detail} {HTTPStatus(int(detail)).phrase}" if detail.isdigit() else detail)
    return re.sub(r"^\((?:\w+\.)+\w+\) ", "", text.splitlines()[0])[:160]  # without SQLAlchemy's name of the type
