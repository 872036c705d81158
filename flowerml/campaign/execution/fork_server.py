"""A process that has everything imported, and forks a child for each run: isolation without paying seconds of imports
each time.

What must hold for a fork to be safe is made sure of before the first one: one thread in the process (a lock that
another thread held would never be let go of in the child), and no CUDA, which does not survive a fork. So the one who
asks is another process, which may have threads (a display, a sender), and nothing here ever asks a GPU anything.

It speaks JSON, a line a message, over a socket. When the one who asks has died, its children are asked to stop, with a
checkpoint each.
"""

import ctypes
import gc
import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from flowerml.campaign.execution.job import Job, JobResult
from flowerml.errors import UserError
from flowerml.log import configure_logging

# What a run imports on its way, as it turned out; what is missing here is paid by every run.
_IMPORTS = (
    *("flowerml.campaign.execution.job_worker", "flowerml.runs.train", "flowerml.runs.evaluate", "flowerml.tracking"),
    *("timm", "open_clip", "matplotlib.backends.backend_agg", "matplotlib.figure", "scipy.fftpack", "email.policy"),
    *(
        "PIL.BmpImagePlugin",
        "PIL.GifImagePlugin",
        "PIL.JpegImagePlugin",
        "PIL.PngImagePlugin",
        "PIL.PpmImagePlugin",
        "PIL.WebPImagePlugin",
    ),
    *(
        "PIL.TiffImagePlugin",
        "flowerml.models.timm_backbone",
        "flowerml.models.open_clip_backbone",
        "torch.utils.serialization",
    ),
)
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)


def main() -> int:
    """Import, then fork a child for each job that comes over the socket whose number is the first argument. Returns the
    exit code.
    """
    asking = socket.socket(fileno=int(sys.argv[1]))
    started = time.monotonic()
    configure_logging()
    for name in _IMPORTS:
        import_module(name)
    warm_up()
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1  # noqa: PTH112, PTH208 - no import for it
    if threads != 1:
        _tell(asking, {"problem": f"{threads} threads in the process that forks: a child could wait for ever"})
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the asking process's to pass on
    _tell(asking, {"ready": time.monotonic() - started})
    return ForkServer(asking).serve()


def warm_up() -> None:
    """Do once what is remembered for good: MLflow's imports, the fonts, the list of installed packages. No child's
    garbage collector looks through any of it: that would also copy the memory, which is the parent's until it is
    written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from flowerml.runs.outputs.artifacts import installed_packages
    from flowerml.tracking.preload import preload

    preload()
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().set_title("flowers")
    FigureCanvasAgg(figure).draw()
    installed_packages()
    gc.collect()
    gc.freeze()


class ForkServer:
    """Forks, waits, tells."""

    def __init__(self, asking: socket.socket) -> None:
        self.asking = asking
        self.children: dict[
            int, tuple[str, int]
        ] = {}  # by process number: the run's name, and where its last words are read
        self.heard, beating = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(beating)
        signal.signal(signal.SIGCHLD, _nothing)

    def serve(self) -> int:
        """Until the one who asks is gone and all children have ended."""
        waiting = b""
        asked = True
        while asked or self.children:
            sources: list[int | socket.socket] = [self.heard, self.asking] if asked else [self.heard]
            ready, _, _ = select.select(sources, [], [], 5.0)
            if self.heard in ready:
                with suppress(BlockingIOError):
                    os.read(self.heard, 4096)
            self.collect()
            if self.asking not in ready:
                continue
            data = _received(self.asking)
            if not data:
                asked = False
                self.stop_all()
                continue
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                self.answer(json.loads(line))
        return 0

    def answer(self, message: dict[str, Any]) -> None:
        """Start a job, or ask one to stop."""
        if "job" in message:
            self.fork(Job.from_json(message["job"]))
        elif "stop" in message:
            for process, (name, _) in self.children.items():
                if name == message["stop"]:
                    os.kill(process, signal.SIGTERM)

    def stop_all(self) -> None:
        """Ask every child to stop, with a checkpoint."""
        for process in self.children:
            os.kill(process, signal.SIGTERM)

    def fork(self, job: Job) -> None:
        """Start a child for a job."""
        reading, writing = os.pipe()
        parent = os.getpid()
        process = os.fork()
        if process == 0:
            os.close(reading)
            for _, last_words in self.children.values():
                os.close(last_words)
            self.asking.close()
            _be_child(job, parent, writing)
        os.close(writing)
        self.children[process] = (job.name, reading)
        _tell(self.asking, {"started": job.name, "process": process})

    def collect(self) -> None:
        """Tell of the children that have ended."""
        for process in list(self.children):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            name, reading = self.children.pop(process)
            _tell(
                self.asking,
                {"ended": {"name": name, "code": os.waitstatus_to_exitcode(status), "said": _last_words(reading)}},
            )


def _last_words(reading: int) -> str:
    """What a child wrote before it ended. Its own children may hold the other end open, so the end of it is not waited
    for.
    """
    os.set_blocking(reading, False)
    try:
        return os.read(reading, 65_536).decode("utf-8", "replace")
    except BlockingIOError:
        return ""
    finally:
        os.close(reading)


def _be_child(job: Job, parent: int, writing: int) -> NoReturn:
    """A run's process from its first to its last moment."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _die_with(parent)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    code, said = run_with_exit_code(lambda: _work(job))
    with suppress(OSError):
        os.write(writing, said.encode()[:4096])
    for loading in multiprocessing.active_children():
        loading.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _work(job: Job) -> None:
    os.environ.update(job.environment)
    from flowerml.campaign.execution.job_worker import run_job

    if job.threads is not None:
        import torch

        torch.set_num_threads(job.threads)
    run_job(job)


def run_with_exit_code(work: Callable[[], None]) -> tuple[int, str]:
    """Do it; the exit code, as every command has it, and the last line for people. What went wrong stands in the log
    too.
    """
    try:
        work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code, str(error).splitlines()[0]
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130, "stopped"
    except MemoryError:
        print("error: memory ran out", file=sys.stderr)
        return 1, "memory ran out"
    except BaseException as error:  # a mistake in code: the log has all of it
        traceback.print_exc()
        return 1, f"{type(error).__name__}: {error}".splitlines()[0]
    return 0, ""


def _die_with(parent: int) -> None:
    """Let the system ask this process to stop when the one that forked it dies, however it dies."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os._exit(130)


def _tell(asking: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):  # nobody asks any more: `serve` finds out
        asking.sendall(json.dumps(message).encode() + b"\n")


def _received(asking: socket.socket) -> bytes:
    try:
        return asking.recv(65_536)
    except OSError:
        return b""


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler: without one the signal would not be written where `serve` hears it."""


def ended_of(values: dict[str, Any]) -> JobResult:
    """From a message."""
    return JobResult(values["name"], values["code"], values["said"])


if __name__ == "__main__":
    sys.exit(main())
