"""The process behind `tests.faults.support.nursery`: reads orders, forks a run for each, arms its fault first.

The faults are real: SIGKILL, limits of the system, Inf in a tensor. Only the moment is chosen here.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import requests
import torch

import flowerml.tracking
from flowerml.errors import UserError
from flowerml.events import Ended, MemoryRecorder
from flowerml.log import configure_logging
from flowerml.runs import train as runs_training
from flowerml.runs.lifecycle import termination
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.settings import resolve
from flowerml.tracking.client.connection import connect
from flowerml.tracking.delivery.background_sender import BackgroundSender
from flowerml.training.checkpoints.store import CheckpointStore
from flowerml.training.train_step import TrainStep
from flowerml.training.trainer import Trainer

torch.set_num_threads(1)
configure_logging()


class Said(MemoryRecorder):
    """In memory; the end is said on stderr."""

    def record(self, event):
        super().record(event)
        if isinstance(event, Ended):
            print(f"ENDED {event.status}: {event.reason}", file=sys.stderr, flush=True)


class Watched:
    """A recorder that says on stderr what the server cost the run: requests that the training's own thread sent, the
    longest time that an event took, the time its end took.
    """

    def __init__(self, start, about):
        self._requests, self._longest = _count_requests(), 0.0
        self._recorder = start(*about)

    @property
    def run_id(self):
        return self._recorder.run_id

    def record(self, event):
        began = time.monotonic()
        self._recorder.record(event)
        self._longest = max(self._longest, time.monotonic() - began)

    def close(self):
        own, began = self._requests.count(threading.get_ident()), time.monotonic()
        self._recorder.close()
        seconds, others = time.monotonic() - began, len(self._requests) - own
        said = f"REQUESTS {own} OTHERS {others} LONGEST {self._longest:.3f} END {seconds:.3f}"
        print(said, file=sys.stderr, flush=True)


def _count_requests():
    """A list that gets the thread of each HTTP request, as it is sent."""
    sent, send = [], requests.Session.send

    def counted(session, request, **options):
        sent.append(threading.get_ident())
        return send(session, request, **options)

    requests.Session.send = counted
    return sent


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(fault):
    """Prepare what is to happen."""
    if "kill_after_step" in fault:
        count, check_stop = iter(range(1, 10**9)), Trainer.check_stop

        def kill_or_check_stop(trainer):
            if next(count) == fault["kill_after_step"]:
                kill_self()
            check_stop(trainer)

        Trainer.check_stop = kill_or_check_stop
    if "stop_while_opening" in fault:
        start = BackgroundSender.start

        def start_and_stop(sender):
            start(sender)
            signal.raise_signal(signal.SIGTERM)

        BackgroundSender.start = start_and_stop
    if "at_save" in fault:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the system ends the process at the very byte of its limit
        _at_save(fault)
    if "file_bytes" in fault:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _limit(resource.RLIMIT_FSIZE, fault["file_bytes"])
    if "memory_beyond" in fault:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _limit(resource.RLIMIT_AS, used + fault["memory_beyond"])
    if "infinite_at" in fault:
        count, step = iter(range(1, 10**9)), TrainStep.queue

        def poisoned(self, inputs, *rest):
            if next(count) == fault["infinite_at"]:
                inputs[0, 0, 0, 0] = float("inf")
            return step(self, inputs, *rest)

        TrainStep.queue = poisoned
    if "at_end" in fault:
        _at_end(fault["at_end"], fault["signal"])


def _at_end(moment, number):
    """Get a signal once the run's folder says FINISHED; once MLflow is told, too; or with a checkpoint half removed."""
    write, clear, rename = termination.write_run_file, CheckpointStore.clear, Path.rename

    def write_and_send(folder, run):
        write(folder, run)
        if moment == "written" and run.status == "FINISHED":
            os.kill(os.getpid(), number)

    def send_and_clear(store):
        if moment == "told" and read_run_file(store.folder.parent).status == "FINISHED":
            os.kill(os.getpid(), number)
        clear(store)

    def rename_and_send(path, target):
        renamed = rename(path, target)
        if moment == "removing" and ".gone" in str(target) and read_run_file(path.parent.parent).status == "FINISHED":
            os.kill(os.getpid(), number)
        return renamed

    termination.write_run_file, CheckpointStore.clear, Path.rename = write_and_send, send_and_clear, rename_and_send


def _at_save(fault):
    """Die inside the n-th save of a checkpoint: at a byte of its state, or before or after its rename."""
    count, save, rename = iter(range(1, 10**9)), CheckpointStore.save, Path.rename

    def save_with_fault(self, progress, state, best):
        if next(count) == fault["at_save"]:
            if "byte" in fault:
                _limit(resource.RLIMIT_FSIZE, fault["byte"])
            if "rename" in fault:
                Path.rename = die_at_rename
        save(self, progress, state, best)

    def die_at_rename(self, target):
        if self.name.endswith(".part") and ".gone" not in str(target):
            if fault["rename"] == "before":
                kill_self()
            rename(self, target)
            kill_self()
        return rename(self, target)

    CheckpointStore.save = save_with_fault


def _limit(what, value):
    resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


def run(order) -> int:
    """Carry out one run. Returns the exit code."""
    if "meet" in order:
        os.environ["MLFLOW_TRACKING_URI"] = order["meet"]
        connect().search_experiments()
        return 0
    settings, _ = resolve(order["settings"])
    arm(order["fault"])
    pause = order["fault"].get("pause", 0.0)

    def on_row(_row):
        time.sleep(pause)
        return ""

    def open_recorder(*about):
        recorder = Watched(flowerml.tracking.start_run, about) if order["store"] else Said("memory")
        if "kill_once_opened" in order["fault"]:
            kill_self()
        return recorder

    if order["store"]:
        os.environ["MLFLOW_TRACKING_URI"] = order["store"]
    try:
        runs_training.run_training(settings, open_recorder, on_row=on_row)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def fork(order) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 70
    try:
        code = run(order)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if "end" in order:
            print("null", flush=True)
            os._exit(0)  # not through the interpreter's end: it would look through all that torch has imported
        if "start" in order:
            answer = fork(order["start"])
        else:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
