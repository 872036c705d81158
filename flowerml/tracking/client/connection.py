"""The tracking store: the first contact with it, and how long its answers are waited for."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.utils.uri import get_uri_scheme
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flowerml.progress_bar import on_terminal
from flowerml.tracking.client.errors import redact_secrets

_TIMEOUT, _RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_PATIENCE = {_TIMEOUT: "15", _RETRIES: "3"}
_TURN_S = 60.0  # making a database's tables takes 2 to 10 s: a process that holds its turn for longer hangs

# MLflow's own patience with a dead server is minutes (7 retries, 120 s each).
for _name, _value in _PATIENCE.items():
    os.environ.setdefault(_name, _value)
# With a server it prints links on stdout, which belongs to --json; and in a log its progress bars are a line for every
# step.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", str(on_terminal()).lower())
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # seconds; without it a Postgres that hangs is waited for without end


def connect() -> MlflowClient:
    """A client of the tracking store. A database is knocked at once: MLflow tries ten times, for minutes, what no time
    mends.

    Raises:
        Exception: whatever MLflow, SQLAlchemy or a driver raise; see `refusals.refusal`.
    """
    address = get_tracking_uri()
    if get_uri_scheme(address) not in DATABASE_ENGINES:
        return MlflowClient(tracking_uri=address)
    from mlflow.store.db.utils import create_sqlalchemy_engine

    logging.getLogger(create_sqlalchemy_engine.__module__).setLevel(
        logging.CRITICAL
    )  # a traceback before what it raises anyway
    with _in_turn(database_file(address)):
        engine = create_sqlalchemy_engine(address)
        file = database_file(address)
        if file is not None and _is_new(file):
            _make(address, file)
        elif (
            engine.dialect.name != "sqlite" or Path(engine.url.database or "").parent.is_dir()
        ):  # a new one's folder MLflow makes itself
            engine.connect().close()
        engine.dispose()
        client = MlflowClient(tracking_uri=address)
        if engine.dialect.name == "sqlite":
            client.search_experiments(max_results=1)  # brings those of an earlier version of MLflow up to date
    return client


def _is_new(file: Path) -> bool:
    try:
        return not file.exists() or (file.is_file() and file.stat().st_size == 0)
    except OSError:
        return False


def _make(address: str, file: Path) -> None:
    """Make a new SQLite store, whole or not at all: MLflow makes its tables one by one, and can't go on with some of
    them.
    """
    from mlflow.store.db.utils import create_sqlalchemy_engine

    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with suppress(OSError):
        part.unlink(missing_ok=True)  # of a process that was killed meanwhile
    beside = make_url(address).set(database=str(part)).render_as_string(hide_password=False)
    engine = create_sqlalchemy_engine(beside)
    engine.connect().close()
    engine.dispose()
    MlflowClient(tracking_uri=beside).search_experiments(max_results=1)
    part.replace(file)


def database_file(address: str) -> Path | None:
    """The file of an SQLite store, absolute; None for a store of another kind."""
    if get_uri_scheme(address) != "sqlite":
        return None
    try:
        name = make_url(address).database
    except ArgumentError:
        return None
    return Path(os.path.abspath(name)) if name and not name.startswith((":", "file:")) else None  # noqa: PTH100 - links not followed


def store_name(address: str) -> str:
    """By what a store is told from others in a record that lies on a disk: its address without secrets, whatever the
    working folder.
    """
    file = database_file(address)
    return f"sqlite:///{file}" if file else redact_secrets(address).rstrip("/")


def is_remote(address: str) -> bool:
    """Whether a network may stand between here and the store, so that nothing may wait for its answer."""
    return get_uri_scheme(address) != "sqlite"


def set_request_timeout(seconds: float) -> None:
    """From now on this process's requests over http are tried once, for `seconds`, or for as long as the user's
    environment says: whoever calls this tries again in his own way.
    """
    if os.environ.get(_RETRIES) != "0":  # written as rarely as can be: libraries read the environment without a lock
        os.environ[_RETRIES] = "0"
    timeout = f"{seconds:.0f}"
    if (
        os.environ.get(_TIMEOUT) in (None, _PATIENCE[_TIMEOUT], _set_here.get(_TIMEOUT))
        and os.environ.get(_TIMEOUT) != timeout
    ):
        os.environ[_TIMEOUT] = _set_here[_TIMEOUT] = timeout


_set_here: dict[str, str] = {}


@contextmanager
def _in_turn(file: Path | None) -> Iterator[None]:
    """One process at a time: several that make the tables of one SQLite file at once all crash.

    The lock is on the file's folder: it leaves nothing behind, and it goes with the process that holds it, however that
    one ends. Where a file system has no locks nobody waits.
    """
    if file is None:
        yield
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # MLflow will say so in its own way
        yield
        return
    try:
        _take(folder)
        yield
    finally:
        os.close(folder)


def _take(folder: int) -> None:
    until = time.monotonic() + _TURN_S
    while time.monotonic() < until:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return
        else:
            return
