"""A process that has imported everything and does nothing else; each run is a fork of it, with the fault it was asked
for.
"""

import itertools
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.runs.conftest import SMALL

RUN = {**SMALL, "dropout": 0.2, "ema": True, "checkpoint_every_steps": 3}


class Child:
    """A run in a process of its own."""

    def __init__(self, nursery: "Nursery", pid: int, log: Path) -> None:
        self._nursery, self.pid, self._log = nursery, pid, log
        self._code: int | None = None

    def log(self) -> str:
        return self._log.read_text()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask({"poll": self.pid})
        return self._code

    def wait(self, seconds: float = 120) -> int:
        end = time.monotonic() + seconds
        while (code := self.poll()) is None:
            assert time.monotonic() < end, f"still running after {seconds} s:\n{self.log()}"
            time.sleep(0.01)
        return code

    def send(self, number: int) -> None:
        os.kill(self.pid, number)


class Nursery:
    """`start` forks a run. `fault` is what happens to it: see `tests.faults.support.child`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> "Nursery":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.support.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.ask({"end": True})  # an end of file may never come: processes forked by other tests hold the pipe too
            self._process.wait(timeout=120)
        finally:
            self._process.kill()
            self._process.wait()

    def ask(self, order: dict[str, object]):
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], 120)
            assert ready, "the nursery does not answer"
            return json.loads(self._process.stdout.readline())

    def meet(self, store: str) -> Child:
        """A process that opens a store, and nothing else."""
        log = self._folder / f"{next(self._numbers)}.log"
        return Child(self, self.ask({"start": {"meet": store, "log": str(log)}}), log)

    def start(
        self, pictures: Path, folder: Path, fault: dict[str, object] | None = None, store: str = "", **changes: object
    ) -> Child:
        """A run of the small model into `folder`; with `store`, MLflow's address, else it is recorded in memory."""
        log = self._folder / f"{next(self._numbers)}.log"
        settings = {**RUN, "train_dir": str(pictures), "output_dir": str(folder), **changes}
        order = {"settings": settings, "fault": fault or {}, "store": store, "log": str(log)}
        return Child(self, self.ask({"start": order}), log)
