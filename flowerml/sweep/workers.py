"""The worker processes of a sweep: forked from a server that has imported what they need, watched, replaced when they
die.
"""

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from flowerml.errors import UserError
from flowerml.runs.lifecycle.device_share import ONE_THREAD, DeviceShare, device_share

logger = logging.getLogger(__name__)

_SHOWN = 15  # lines of a worker's log where it died
_SPARES = 5  # workers that take the place of dead ones

Job = Callable[
    [Path, DeviceShare], tuple[Callable[..., None], tuple[Any, ...]]
]  # what a worker with this log and share calls, and with what


@dataclass
class Workers:
    """Processes that are at work, on some GPUs; `spares` more may still be started."""

    job: Job
    logs: list[Path]
    gpus: Sequence[str]
    processes: dict[int, BaseProcess] = field(default_factory=dict)
    spares: int = _SPARES

    def start(self, place: int) -> None:
        """Begin the worker of a place (from 0)."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["flowerml.sweep.worker"])
        function, words = self.job(self.logs[place], device_share(place, len(self.logs), self.gpus))
        process = context.Process(target=function, args=words, name=f"worker {place + 1}")
        with _one_thread():
            process.start()
        self.processes[place] = process

    def supervise(self) -> bool:
        """Take note of those that have ended, put others in the place of dead ones. Returns whether somebody still
        works.

        Raises:
            UserError: the user's settings can't be run.
        """
        for place, process in list(self.processes.items()):
            if process.is_alive():
                continue
            process.join()
            del self.processes[place]
            if process.exitcode != 0:
                self._judge(process, self.logs[place])
                if self.spares:
                    self.spares -= 1
                    self.start(place)
        return bool(self.processes)

    def _judge(self, process: BaseProcess, log: Path) -> None:
        last = _last_lines(log)
        if process.exitcode == UserError.exit_code and last and last[-1].startswith("error: "):
            raise UserError(last[-1].removeprefix("error: "))
        code = process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        logger.warning(
            f"{process.name} {how}{'; another one takes its place' if self.spares else ''}. The end of {log}:"
        )
        for line in last:
            logger.info(f"  {line}")

    def stop(self) -> None:
        """Ask all to stop, with a checkpoint; asked again, at once. Waits for them."""
        for process in self.processes.values():
            if process.is_alive():
                process.terminate()
        for process in self.processes.values():
            process.join()


@contextmanager
def at_work(job: Job, logs: list[Path], gpus: Sequence[str]) -> Iterator[Workers]:
    """A worker per log, and a share of the GPUs for each. They are asked to stop if we are."""
    workers = Workers(job, logs, gpus)
    try:
        for place in range(len(logs)):
            workers.start(place)
        yield workers
    except BaseException:
        try:
            workers.stop()
        except BaseException:  # asked once more
            workers.stop()
            raise
        raise


def end_of(log: Path) -> str:
    """The last line of a log; empty where there is none."""
    return "".join(_last_lines(log)[-1:])


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text("utf-8", errors="replace").splitlines()[-_SHOWN:]
    except OSError:
        return []


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, the server of forks may come up: its environment is ours."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, text in before.items():
            with suppress(KeyError):
                del os.environ[name]
            if text is not None:
                os.environ[name] = text
