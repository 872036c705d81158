"""The one log handler of commands and worker processes: plain lines on stderr, as stdout belongs to results (`--json`).

Library modules log with `logging.getLogger(__name__)` and configure nothing.
"""

import io
import logging
import os
import sys
import threading
import traceback
from types import TracebackType

from flowerml.redaction import redact_secrets
from flowerml.text import storable

ROOT = "flowerml"

# A process that is forked while another thread writes would find the stream locked for ever: forks wait for the line.
_stream_lock = threading.RLock()
os.register_at_fork(
    before=_stream_lock.acquire, after_in_parent=_stream_lock.release, after_in_child=_stream_lock.release
)


class StderrHandler(logging.Handler):
    """Write each record to what `sys.stderr` is at that moment, and flush."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; an error of the stream is handled as `logging` does."""
        try:
            text = self.format(record)
            with _stream_lock:
                print(text, file=sys.stderr, flush=True)
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)


class LineFormatter(logging.Formatter):
    """Information as it is, warnings and errors behind their level, debug records with their module; no passwords."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        text = storable(redact_secrets(super().format(record)))  # with the traceback, where there is one
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.lower()}: {text}"
        return text if record.levelno >= logging.INFO else f"debug: {record.name.removeprefix(ROOT + '.')}: {text}"


def configure_logging() -> None:
    """Attach the handler to the package's logger, once per process. The level is INFO unless it was set before.

    Also lets stdout and stderr escape what their encoding lacks, so that no name ends a command after its work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    root = logging.getLogger(ROOT)
    if not any(isinstance(handler, StderrHandler) for handler in root.handlers):
        handler = StderrHandler()
        handler.setFormatter(LineFormatter())
        root.addHandler(handler)
        root.propagate = False  # MLflow, Ray and Optuna configure the root logger: each line would appear twice
    if root.level == logging.NOTSET:
        root.setLevel(logging.INFO)


def print_traceback(
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,  # as sys.excepthook has them
) -> None:
    """Print the traceback of an unexpected error on stderr, without passwords. For `sys.excepthook`."""
    text = storable(redact_secrets("".join(traceback.format_exception(kind, error, trace))))
    with _stream_lock:
        print(text, file=sys.stderr, end="", flush=True)


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Warnings and errors only (`-q`), debug records too (`-v`), or information (neither)."""
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger(ROOT).setLevel(level)
