"""A process that imports everything once and forks a child per job: isolation without seconds of imports for each.

Forking is safe only while the process has one thread (a lock held by another one would stay locked in the child) and
no CUDA context (it does not survive a fork). So the client is another process, which may have threads, and nothing
here touches a GPU. The forkserver of `multiprocessing` was weighed: it does not check for threads, loses exit codes
when it dies, and its children outlive it.

Messages are pickled tuples (kind, content). When the client dies, the children get SIGTERM and write a checkpoint.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType
from typing import Any, NoReturn

from flowerml.errors import UserError
from flowerml.forkserver.job import Job, JobResult
from flowerml.log import configure_logging, print_traceback
from flowerml.process.exit import skip_teardown
from flowerml.process.garbage_collection import collect_rarely, freeze
from flowerml.redaction import redact_secrets

# What a training was found to import on its way: a module that is missing here is imported by every child.
_PRELOAD = (
    *("flowerml.runs.train", "flowerml.runs.evaluate", "flowerml.tracking", "flowerml.models.timm_backbone"),
    *("flowerml.models.open_clip_backbone", "timm", "open_clip", "torch.utils.serialization", "scipy.fftpack"),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "email.policy"),
    *(f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP")),
)
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)


def main() -> int:
    """Serve the connection whose file descriptor is the first argument; the others are modules to import before that.

    Returns the exit code.
    """
    client = Connection(int(sys.argv[1]))
    configure_logging()
    collect_rarely()
    for name in (*sys.argv[2:], *_PRELOAD):
        import_module(name)
    warm_up()
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1  # noqa: PTH112, PTH208 - no import for it
    if threads != 1:
        _send(client, "problem", f"{threads} threads in the process that forks: a child could wait for ever")
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client handles Ctrl-C, and asks the jobs to stop
    _send(client, "ready", None)
    return ForkServer(client).serve()


def warm_up() -> None:
    """Fill caches that last as long as the process: MLflow's imports, fonts, templates, the list of packages.

    All objects are then frozen: a child's garbage collector would touch, and so copy, the memory it shares.
    """
    from flowerml.reporting.warm_up import warm_up_reporting
    from flowerml.runs.outputs.artifacts import installed_packages
    from flowerml.tracking.preload import preload

    preload()
    warm_up_reporting()
    installed_packages()
    freeze()


class ForkServer:
    """Forks a child per job, and sends the client how each one ended."""

    def __init__(self, client: Connection) -> None:
        self.client = client
        self.children: dict[int, tuple[str, int]] = {}  # by process id: job name, read end of the pipe for its error
        self.wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end)
        signal.signal(signal.SIGCHLD, _ignore_signal)

    def serve(self) -> int:
        """Handle requests until the client is gone and all children have ended."""
        connected = True
        while connected or self.children:
            ready = wait([self.wakeup, self.client] if connected else [self.wakeup], 5.0)
            if self.wakeup in ready:
                with suppress(BlockingIOError):
                    os.read(self.wakeup, 4096)
            self.reap_children()
            if self.client in ready:
                try:
                    self.handle(*self.client.recv())
                except (EOFError, OSError):
                    connected = False
                    self.terminate(None)
        return 0

    def handle(self, request: str, content: Any) -> None:  # noqa: ANN401 - as the request has it
        """Start a job, or stop the job of a name."""
        if request == "start":
            self.fork(content)
        elif request == "stop":
            self.terminate(content)

    def terminate(self, name: str | None) -> None:
        """Send SIGTERM to a job (None: to all), which then writes a checkpoint."""
        for pid, (job_name, _) in self.children.items():
            if name in (None, job_name):
                os.kill(pid, signal.SIGTERM)

    def fork(self, job: Job) -> None:
        """Start a child for a job."""
        read_end, write_end = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            for _, other in self.children.values():
                os.close(other)
            self.client.close()
            _run_child(job, parent, write_end)
        os.close(write_end)
        self.children[pid] = (job.name, read_end)

    def reap_children(self) -> None:
        """Send the results of the children that have ended."""
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                name, read_end = self.children.pop(pid)
                result = JobResult(name, os.waitstatus_to_exitcode(status), _read_error(read_end))
                _send(self.client, "ended", result)


def _read_error(read_end: int) -> str:
    """What a child wrote before it ended. Grandchildren may hold the write end open, so this does not wait for EOF."""
    os.set_blocking(read_end, False)
    try:
        return os.read(read_end, 65_536).decode("utf-8", "replace")
    except BlockingIOError:
        return ""
    finally:
        os.close(read_end)


def _run_child(job: Job, parent: int, error_pipe: int) -> NoReturn:
    """The whole life of a job's process. SIGTERM raises KeyboardInterrupt where the job does not handle it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    code, error = run_with_exit_code(lambda: _run_function(job, parent))
    with suppress(OSError):
        os.write(error_pipe, error.encode(errors="backslashreplace")[:4096])
    for process in multiprocessing.active_children():  # of a data loader
        process.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_function(job: Job, parent: int) -> None:
    _terminate_with(parent)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.update(job.environment)
    if job.threads is not None:
        import torch

        torch.set_num_threads(job.threads)
    resolve_name(job.function)(*job.arguments)


def run_with_exit_code(function: Callable[[], None]) -> tuple[int, str]:
    """Call a function; return the exit code that a command has for its error, and the error's first line.

    Errors are printed to stderr too, unexpected ones with their traceback.
    """
    try:
        function()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code, str(error).splitlines()[0]
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130, "stopped"
    except MemoryError:
        print("error: memory ran out", file=sys.stderr)
        return 1, "memory ran out"
    except BaseException as error:
        print_traceback(type(error), error, error.__traceback__)
        return 1, redact_secrets(f"{type(error).__name__}: {error}").splitlines()[0]
    return 0, ""


def _terminate_with(parent: int) -> None:
    """Let the kernel send SIGTERM to this process when its parent dies, however it dies."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os._exit(130)


def _send(client: Connection, message: str, content: object) -> None:
    with suppress(OSError):  # the client is gone, which `serve` notices
        client.send((message, content))


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Without a Python handler, a signal is not written to the wake-up descriptor."""


if __name__ == "__main__":
    sys.exit(skip_teardown(main()))
