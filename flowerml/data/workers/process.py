"""A worker process from the inside: threads, signals, and its end where a batch can't be handed over."""

import multiprocessing
import multiprocessing.queues
import os
import signal
import sys

import torch

from flowerml.errors import one_line

_GRACE_S = 15  # how long a worker process survives SIGTERM


def init_worker(_number: int) -> None:
    """Set a new worker process up."""
    torch.set_num_threads(1)  # workers share the cores with the training
    # SIGINT and SIGTERM to the process group are handled by the training process. torch raises an error, at any moment,
    # when a worker dies, so workers survive for a while: long enough for the current step and its checkpoint.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
    # Python prints an error of the thread that sends, and drops what it had to send: the receiver would wait for good.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined] # in this process only


def _end_worker(error: Exception, _item: object) -> None:
    reason = one_line(f"{type(error).__name__}: {error}")
    print(f"a process that loads pictures could not hand a batch over ({reason})", file=sys.stderr, flush=True)
    os._exit(1)


def why_no_workers() -> str:
    """Why no worker process can be started, in words; empty where they can: their queues need semaphores."""
    try:
        multiprocessing.Lock()
    except (OSError, ImportError) as error:
        return one_line(str(error))
    return ""
