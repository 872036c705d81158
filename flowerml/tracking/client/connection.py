"""Connect to the tracking store. Probe the database first: MLflow retries permanent errors for minutes."""

import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.utils.uri import get_uri_scheme
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flowerml.errors import UserError
from flowerml.progress_bar import on_terminal
from flowerml.redaction import redact_secrets
from flowerml.tracking.client.failure_table import ALLOWED_STORES
from flowerml.tracking.client.store_client import StoreClient

_TIMEOUT, _RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_HTTP_DEFAULTS = {_TIMEOUT: "15", _RETRIES: "3"}
_LOCK_TIMEOUT_S = 60.0  # creating a database's tables takes 2 to 10 s: a process that holds the lock longer hangs

# MLflow's defaults wait minutes for a dead server (7 retries, 120 s each).
for _name, _value in _HTTP_DEFAULTS.items():
    os.environ.setdefault(_name, _value)
# With a server MLflow prints links on stdout, which is for --json only; in a log its progress bars are a line per step.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", str(on_terminal()).lower())
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # seconds; libpq's default waits for a hanging Postgres for ever

_timeout_set_here: str | None = None  # by `set_request_timeout`, to tell it from the user's own


def connect() -> MlflowClient:
    """A client of the current tracking store. A database is probed first, created if new, and migrated if old.

    Raises:
        Exception: what MLflow, SQLAlchemy or a driver raise; see `client.errors.to_user_error`.
        UserError: a SQLite store in memory, which would end with the process.
    """
    address = get_tracking_uri()
    if get_uri_scheme(address) not in DATABASE_ENGINES:
        return StoreClient(tracking_uri=address)
    from mlflow.store.db.utils import create_sqlalchemy_engine

    # It logs a traceback of what it then raises.
    logging.getLogger(create_sqlalchemy_engine.__module__).setLevel(logging.CRITICAL)
    file = database_file(address)
    if file is None and get_uri_scheme(address) == "sqlite" and re.fullmatch(r"[^:]*:/{0,3}(:memory:)?", address):
        raise UserError(f"the MLflow tracking store {address} names no file. Allowed: {ALLOWED_STORES}")
    _check_env_run(address, file)
    with _database_lock(file):
        engine = create_sqlalchemy_engine(address)
        if file is not None and _is_new_database(file):
            _create_database(address, file)
        # The missing folder of a SQLite file is created by MLflow.
        elif engine.dialect.name != "sqlite" or Path(engine.url.database or "").parent.is_dir():
            engine.connect().close()
        engine.dispose()
        client = StoreClient(tracking_uri=address)
        if engine.dialect.name == "sqlite":
            client.search_experiments(max_results=1)  # migrates the tables of an earlier MLflow version
    return client


def _check_env_run(address: str, file: Path | None) -> None:
    """Create no store for a process that was given a run of it: it is another one, mostly as its path is relative.

    Raises:
        UserError: MLFLOW_RUN_ID is set, and there is no such SQLite file.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id or file is None or not _is_new_database(file):
        return
    remedy = "unset it, or set MLFLOW_TRACKING_URI to the store that has it"
    if make_url(address).database != str(file):
        remedy += f". The address is relative, so that it is {file} here: give the whole path (sqlite:////…)"
    raise UserError(
        f"MLFLOW_RUN_ID {run_id} is no run of the MLflow tracking store {redact_secrets(address)}: {remedy}"
    )


def _is_new_database(file: Path) -> bool:
    try:
        return not file.exists() or (file.is_file() and file.stat().st_size == 0)
    except OSError:
        return False


def _create_database(address: str, file: Path) -> None:
    """Create a SQLite store atomically: MLflow creates its tables one by one and fails on an incomplete set."""
    from mlflow.store.db.utils import create_sqlalchemy_engine

    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with suppress(OSError):
        part.unlink(missing_ok=True)  # left by a killed process
    part_address = make_url(address).set(database=str(part)).render_as_string(hide_password=False)
    engine = create_sqlalchemy_engine(part_address)
    engine.connect().close()
    engine.dispose()
    StoreClient(tracking_uri=part_address).search_experiments(max_results=1)
    part.replace(file)


def database_file(address: str) -> Path | None:
    """The absolute path of a SQLite store's file; None for any other store, or one in memory."""
    if get_uri_scheme(address) != "sqlite":
        return None
    try:
        name = make_url(address).database
    except ArgumentError:
        return None
    return Path(os.path.abspath(name)) if name and not name.startswith((":", "file:")) else None  # noqa: PTH100 - links not followed


def store_name(address: str) -> str:
    """A store's identity in `delivered.json`: its address, absolute and without secrets."""
    file = database_file(address)
    return f"sqlite:///{file}" if file else redact_secrets(address).rstrip("/")


def is_remote(address: str) -> bool:
    """Whether the store may be behind a network, so that nothing may block on its response."""
    return get_uri_scheme(address) != "sqlite"


def set_request_timeout(seconds: float) -> None:
    """Set the timeout of this process's HTTP requests, without retries: the caller retries in its own way.

    A timeout that the user has set in the environment is kept.
    """
    global _timeout_set_here  # noqa: PLW0603 - the environment is of the process too
    if os.environ.get(_RETRIES) != "0":  # written only on a change: C libraries read the environment without a lock
        os.environ[_RETRIES] = "0"
    timeout = f"{seconds:.0f}"
    current = os.environ.get(_TIMEOUT)
    if current in (None, _HTTP_DEFAULTS[_TIMEOUT], _timeout_set_here) and current != timeout:
        os.environ[_TIMEOUT] = _timeout_set_here = timeout


@contextmanager
def _database_lock(file: Path | None) -> Iterator[None]:
    """One process at a time: several that create the tables of one SQLite file at once all crash.

    The lock is on the file's folder: it leaves no file, and the kernel frees it when the process ends. On a file system
    without locks there is none.
    """
    if file is None:
        yield
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # MLflow raises its own error
        yield
        return
    try:
        _wait_for_lock(folder)
        yield
    finally:
        os.close(folder)


def _wait_for_lock(folder: int) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return
        else:
            return
